"""`controller.cli.chains`: what somebody is shown before anything is taken away."""

from __future__ import annotations

from controller.cli.chains import told_going
from controller.rollout.teardown import Going
from tests.builders import workload


def test_all_that_goes_is_shown() -> None:
    """S4: by name; data stands out, and what stays is told as well."""
    volumes = {"t-shop-data": "project-named", "t-shop-1-cache": "stage"}
    going = Going(workload("shop", declared_by="web-1"), ("t-shop-1-1",), 2, True, volumes)
    told = told_going(going, False, False)
    assert told.splitlines() == [
        "workload shop",
        "  declared by manifests of web-1: comes back unless it is taken out there",
        "  its share of the traffic",
        "  container t-shop-1-1",
        "  2 revision(s)",
        "  volume t-shop-1-cache",
        "  (volume t-shop-data stays)",
    ]
    with_data = told_going(going, True, True).splitlines()
    assert with_data[0] == "workload shop (its declaration stays)"
    assert with_data[-1] == "  volume t-shop-data, WITH ITS DATA"
    assert told_going(Going(workload("shop")), False, False) == "workload shop"
