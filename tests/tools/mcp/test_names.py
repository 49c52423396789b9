"""Names of tools: one among all servers, and what every model takes."""

from __future__ import annotations

import re
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from app.tools.mcp.names import unique_names

TAKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")


def test_plain_names_stay() -> None:
    assert unique_names("time", ["get", "convert-time"]) == {
        "time__get": "get",
        "time__convert-time": "convert-time",
    }


def test_names_that_would_be_one_are_two_in_any_order() -> None:
    tools = ["a_b", "a.b", "a b"]
    found = [unique_names("s", order) for order in permutations(tools)]
    assert all(one == found[0] for one in found)
    assert found[0]["s__a_b"] == "a_b"
    assert len(found[0]) == 3


@given(st.lists(st.text(max_size=200), unique=True, max_size=20))
def test_names_are_what_models_take(tools: list[str]) -> None:
    found = unique_names("a-server-of-24-characters", tools)
    assert sorted(found.values()) == sorted(tools)
    assert all(TAKEN.fullmatch(name) for name in found)
