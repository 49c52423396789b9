from __future__ import annotations

import pytest

from app.web.render.messages import CONTEXT_ROWS, PAGE_SIZE, page_start

PATH = list(range(1000, 1500))


@pytest.mark.parametrize(
    ("ids", "options", "start"),
    [
        ([], {}, 0),
        (PATH[:PAGE_SIZE], {}, 0),
        (PATH, {}, 500 - PAGE_SIZE),
        (PATH, {"first": 1100}, 100),
        (PATH, {"first": 1100, "more": PAGE_SIZE}, 100 - PAGE_SIZE),
        (PATH, {"first": 1003, "more": PAGE_SIZE}, 0),
        (PATH, {"first": 7}, 500 - PAGE_SIZE),  # on another path
        (PATH, {"sought": 1200}, 200 - CONTEXT_ROWS),
        (PATH, {"sought": 1499}, 500 - PAGE_SIZE),
        (PATH, {"sought": 1001}, 0),
        (PATH, {"sought": 7}, 500 - PAGE_SIZE),
        (PATH, {"first": 1100, "sought": 1200}, 100),
    ],
)
def test_where_the_shown_part_begins(ids: list[int], options: dict[str, int], start: int) -> None:
    first = options.pop("first", None)
    assert page_start(ids, first, **options) == start
