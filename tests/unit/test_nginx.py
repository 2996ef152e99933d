"""`controller.rollout.routers.nginx`: what is written for nginx; that nginx does so is the integration tests'."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from controller.rollout.routers.document import RouterDocument
from controller.rollout.routers.nginx import (
    OLDEST_VERSION,
    NginxBuild,
    NginxOptions,
    brand_of,
    build_of,
    render_nginx,
)
from tests.routers import block, loaded, workload

OPTIONS = NginxOptions()


def _shop(*weights: int, epoch: int = 0) -> RouterDocument:
    blocks = [block(f"r{index}", weight, 8000 + index) for index, weight in enumerate(weights)]
    return loaded(workload("shop", ["shop.example/"], blocks, epoch=epoch))


def _percentages(document: RouterDocument) -> list[str]:
    text = render_nginx(document, (), OPTIONS, NginxBuild())
    body = re.search(r"split_clients [^{]*\{([^}]*)\}", text)
    assert body is not None
    return [line.split()[0] for line in body[1].strip().splitlines()]


def test_percentages_have_two_decimals_and_the_last_bucket_is_the_rest() -> None:
    """T4, T5: one hundredth of a percent is one basis point."""
    assert _percentages(_shop(1, 9_899, 0, 100)) == ["0.01%", "98.99%", "*"]
    assert _percentages(_shop(10_000)) == ["*"]
    assert _percentages(_shop(0, 10_000)) == ["*"]


@given(st.lists(st.integers(0, 10_000), max_size=8))
def test_percentages_sum_up_to_a_hundred(cuts: list[int]) -> None:
    """T4: whatever the weights, none is 0 (which nginx would read as the rest) and the rest is the last one's."""
    ends = [*sorted(cuts), 10_000]
    weights = [after - before for before, after in zip([0, *ends], ends, strict=False)]
    *inner, last = _percentages(_shop(*weights))
    assert last == "*"
    assert [round(float(each.removesuffix("%")) * 100) for each in inner] == [each for each in weights if each][:-1]


def test_equal_documents_have_one_text_and_others_another_brand() -> None:
    """T5: so that a reload is known by what answers."""
    first, again, other = (render_nginx(_shop(10_000, epoch=each), (), OPTIONS, NginxBuild()) for each in (1, 1, 2))
    assert first == again
    assert re.fullmatch("[0-9a-f]{16}", brand_of(first))
    assert brand_of(first) != brand_of(other)


def test_what_is_quarantined_has_no_upstream() -> None:
    """T3: nginx refuses an upstream without servers."""
    lacking = loaded(workload("shop", ["shop.example/"], [block("r", 10_000)]))
    text = render_nginx(lacking, ("shop",), OPTIONS, NginxBuild())
    assert not re.search(r"^ *(upstream|proxy_pass) ", text, re.MULTILINE)
    assert "return 503;" in text


def test_each_nginx_gets_what_it_knows() -> None:
    """T5: by its own account; an unknown directive would be refused, and all with it."""
    debian = build_of("nginx version: nginx/1.22.1\nconfigure arguments: --with-http_stub_status_module")
    newest = build_of("nginx version: freenginx/1.27.4 (x)\nconfigure arguments: --with-http_ssl_module")
    assert (debian, newest) == (NginxBuild((1, 22, 1), counts=True), NginxBuild((1, 27, 4), counts=False))
    texts = [render_nginx(_shop(10_000), (), OPTIONS, each) for each in (debian, newest)]
    assert ["keepalive_min_timeout 2s;" in each for each in texts] == [False, True]
    assert ["stub_status;" in each for each in texts] == [True, False]
    assert build_of("what?").version < OLDEST_VERSION


def test_what_stands_between_quotes_stays_there() -> None:
    """T5: an option is not checked by the loader."""
    text = render_nginx(_shop(10_000), (), NginxOptions(hash_key='"; evil "\\'), NginxBuild())
    assert 'split_clients "\\"; evil \\"\\\\" $new_' in text


def test_a_host_name_with_control_characters_adds_no_line() -> None:
    """T5: the store's name of the host is anybody's; it stands in a comment only."""
    hostile = _shop(10_000).model_copy(update={"host": "web\n}\x00\u2028x"})
    assert (
        render_nginx(hostile, (), OPTIONS, NginxBuild())
        .splitlines()[0]
        .startswith("# Written by tallyd for host web?}??x.")
    )
