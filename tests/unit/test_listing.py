"""Cutting a listing into containers: the same value as decoding it whole, whatever it is."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.engine.listing import ListingDecoder, decode_whole
from tests.builders import listed

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    ['"},{"Id":"', "}]", "[{"]
)
ITEMS = st.lists(
    st.fixed_dictionaries({"Id": TEXT, "Labels": st.dictionaries(TEXT, TEXT, max_size=3), "Ports": st.just([])}),
    max_size=5,
)


def values(decoded: object) -> object:
    return [item.value for item in decoded] if isinstance(decoded, list) else decoded


@given(first=ITEMS, second=ITEMS)
def test_decodes_to_the_same_value(first: list[object], second: list[object]) -> None:
    """R6, P1: with a memory of another listing or without, the value is what JSON says."""
    decoder = ListingDecoder()
    for items in (first, second, first):
        body = orjson.dumps(items)
        assert values(decoder.decode(body)) == items == values(decode_whole(body))


def test_what_was_known_is_not_decoded_again() -> None:
    """P1: an unchanged container keeps its text and has no decoded value of its own until it is asked for."""
    decoder = ListingDecoder()
    body = orjson.dumps([listed("a"), listed("b")])
    assert all(item.decoded is not None for item in decoder.decode(body))
    again = decoder.decode(orjson.dumps([listed("a"), listed("b", state="exited")]))
    assert [item.decoded is None for item in again] == [True, False]
    assert again[0].value == listed("a")


@pytest.mark.parametrize("body", [b"null", b"{}", b"[]", b"  [] \n", b'"text"', b'[{"Names":["/a"]}]'])
def test_other_json_is_decoded_whole(body: bytes) -> None:
    """R6: what is not a list of containers is given as it is, for the client to judge."""
    assert values(ListingDecoder().decode(body)) == json.loads(body)


@pytest.mark.parametrize("cut", [1, 2, 10, 200, 700])
def test_a_truncated_answer_is_an_error_even_if_all_containers_are_known(cut: int) -> None:
    """R6, F: knowing every container of a listing does not make half an answer a whole one."""
    decoder = ListingDecoder()
    body = orjson.dumps([listed("a"), listed("b"), listed("c")])
    decoder.decode(body)
    with pytest.raises(orjson.JSONDecodeError):
        decoder.decode(body[:-cut])


def test_a_seam_inside_a_container_is_no_seam() -> None:
    """R17: nested objects that begin like a container do not tear it apart."""
    nested = [{"Id": "a", "Parts": [{"x": 1}, {"Id": "inner"}]}, {"Id": "b", "Parts": []}]
    decoder = ListingDecoder()
    for _ in range(2):
        assert values(decoder.decode(json.dumps(nested, separators=(",", ":")).encode())) == nested
