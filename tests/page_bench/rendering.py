"""Measures what a long answer costs the server: `python -m tests.page_bench.rendering`.

An answer of 10,000 tokens comes 24 characters at a time, as from a small model at ten frames a
second. Measured is the processor's time for parsing, rendering and writing each frame for one tab.
"""

from __future__ import annotations

import statistics
import time
from itertools import islice

from rich.console import Console
from rich.table import Table

from app.config import asset_dir
from app.web.render.fragments import Fragments
from app.web.render.streaming import StreamedMarkdown

TOKENS, CHARACTERS_A_TOKEN, CHARACTERS_A_FRAME = 10_000, 4, 24
LIMIT, GROWTH = 1.5, 2.0
PROSE = "Some *plain* words about a fox, with `code` and a [link](https://e.example/x) in them. "
CHAPTER = f"""## A heading

{PROSE * 4}

1. First do *this*, and think of $e^{{i\\pi}} = -1$.
   - And that, which is nested.
   - [x] And this is done.
2. Then do **that**.

| name | value |
|:-----|------:|
{"| fox | 42 |" + chr(10)}{"| hen | 17 |" + chr(10)}
```python
def reverse(text: str) -> str:
    return text[::-1]  # backwards
```

> {PROSE}

"""
ANSWERS = {
    "chapters of everything": CHAPTER,
    "one paragraph": PROSE,
    "one list": f"- {PROSE}\n",
    "one table": "| fox | **42** | some words about it |\n",
    "one block of code": "    value = compute(value, 42)  # step\n",
}
STARTS = {"one table": "| a | b | c |\n|---|---|---|\n", "one block of code": "```python\n"}


def frames(name: str) -> list[float]:
    """Milliseconds of processor time for each frame."""
    length = TOKENS * CHARACTERS_A_TOKEN
    unit = ANSWERS[name]
    text = (STARTS.get(name, "") + unit * (length // len(unit) + 1))[:length]
    fragments = Fragments(asset_dir("templates"), asset_dir("static"))
    blocks, costs = StreamedMarkdown(), []
    place = blocks.cursor
    for end in range(CHARACTERS_A_FRAME, length, CHARACTERS_A_FRAME):
        shown = text[:end]
        start = time.process_time()
        blocks.feed(shown)
        fragments.answer_update(1, blocks.update_since(place))
        place = blocks.cursor
        costs.append(1000 * (time.process_time() - start))
    return costs


def main() -> None:
    table = Table(title="Processor time per frame, in milliseconds; aims: end <= 1.5, ratio <= 2")
    for heading in ("answer", "beginning", "end", "ratio", "dearest", "met"):
        table.add_column(heading, justify="left" if heading == "answer" else "right")
    frames(next(iter(ANSWERS)))  # what is imported and compiled once
    for name in ANSWERS:
        costs = frames(name)
        tenth = len(costs) // 10
        first, last = (statistics.mean(part) for part in (islice(costs, tenth), costs[-tenth:]))
        met = "yes" if last <= LIMIT and last <= GROWTH * first else "NO"
        cells = (first, last, last / first, max(costs))
        table.add_row(name, *(f"{cell:.2f}" for cell in cells), met)
    Console().print(table)


if __name__ == "__main__":
    main()
