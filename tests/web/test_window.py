from __future__ import annotations

import pytest

from app.web.window import BEFORE, PART, start_of_part

PATH = list(range(1000, 1500))


@pytest.mark.parametrize(
    ("ids", "options", "start"),
    [
        ([], {}, 0),
        (PATH[:PART], {}, 0),
        (PATH, {}, 500 - PART),
        (PATH, {"first": 1100}, 100),
        (PATH, {"first": 1100, "more": PART}, 100 - PART),
        (PATH, {"first": 1003, "more": PART}, 0),
        (PATH, {"first": 7}, 500 - PART),  # on another path
        (PATH, {"sought": 1200}, 200 - BEFORE),
        (PATH, {"sought": 1499}, 500 - PART),
        (PATH, {"sought": 1001}, 0),
        (PATH, {"sought": 7}, 500 - PART),
        (PATH, {"first": 1100, "sought": 1200}, 100),
    ],
)
def test_where_the_shown_part_begins(ids: list[int], options: dict[str, int], start: int) -> None:
    first = options.pop("first", None)
    assert start_of_part(ids, first, **options) == start
