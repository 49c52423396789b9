"""Measures how much of the engine's speed reaches the user: `make bench`. Run nothing else
meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import platform
import statistics
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from app.bench import run
from app.config import available_cpus
from app.models.store import ModelStore
from tests.page_bench import served
from tests.smollm2 import store_with_smollm2

CONTEXT = 4096


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--tokens", type=int, default=300, help="length of an answer")
    parser.add_argument("--rounds", type=int, default=3, help="how often; medians are shown")
    parser.add_argument("--threads", type=int, default=available_cpus())
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    figures = asyncio.run(measure(options.tokens, options.rounds, options.threads))
    if options.json:
        print(json.dumps(figures, indent=1))
    else:
        show(figures, options.threads)


async def measure(tokens: int, rounds: int, threads: int) -> dict[str, float]:
    """Measure all figures, by name. The contestants take turns, so that a noisy minute hits them
    all.
    """
    models = store_with_smollm2()
    model = ModelStore(models).get("smollm2-135m")
    bare, library, socket, cold, warm, pages = [], [], [], [], [], []
    page_starts = []
    for _ in range(rounds):
        bare.append(run.measure_engine(model, tokens, threads, CONTEXT))
        theirs = run.ctransformers_loop(model, tokens, threads, CONTEXT)
        assert theirs is not None, "ctransformers cannot be imported"
        library.append(theirs)
        with tempfile.TemporaryDirectory() as folder:
            async with served.served(models, Path(folder), tokens) as server:
                page_starts.append(server.page_seconds)
                first, _ = await served.over_websocket(server)
                cold.append(first)
                first, pace = await served.over_websocket(server)
                warm.append(first)
                socket.append(pace)
                pages += await served.on_page(server, 2)
    median = statistics.median
    return {
        "bare_tokens": median(p.tokens for p in bare),
        "ctransformers_tokens": median(library),
        "socket_tokens": median(p.tokens for p in socket),
        "page_characters": median(seen.characters for seen in pages),
        "page_tokens": median(seen.characters / seen.density for seen in pages),
        "first_text_cold": median(cold),
        "first_text_warm": median(warm),
        "first_text_page": median(seen.first_text for seen in pages),
        "page_answers": median(page_starts),
    }


def show(figures: dict[str, float], threads: int) -> None:
    table = Table(
        title=f"SmolLM2-135M Q4_1, {threads} threads, {platform.machine()}, "
        f"{dt.datetime.now().astimezone():%Y-%m-%d}"
    )
    for heading in ("", "measured", "ratio", "aim"):
        table.add_column(heading, justify="left" if not heading else "right")
    f = figures
    rows = [
        ("bare engine loop", f"{f['bare_tokens']:.1f} tokens/s", 1.0, ""),
        (
            "bare loop against ctransformers.LLM",
            f"{f['ctransformers_tokens']:.1f} tokens/s",
            f["bare_tokens"] / f["ctransformers_tokens"],
            "1.10",
        ),
        (
            "through server and WebSocket",
            f"{f['socket_tokens']:.1f} tokens/s",
            f["socket_tokens"] / f["bare_tokens"],
            "0.95",
        ),
        (
            "seen on the page in Chromium",
            f"{f['page_characters']:.0f} characters/s = {f['page_tokens']:.1f} tokens/s",
            f["page_tokens"] / f["bare_tokens"],
            "0.85",
        ),
    ]
    for name, measured, ratio, aim in rows:
        table.add_row(name, measured, f"{ratio:.2f}", aim)
    for name, key, aim in (
        ("page answers after start", "page_answers", "< 1 s"),
        ("first text, model not loaded", "first_text_cold", "< 1.5 s"),
        ("first text, model loaded", "first_text_warm", ""),
        ("first text on the page, model loaded", "first_text_page", ""),
    ):
        table.add_row(name, f"{f[key]:.2f} s", "", aim)
    Console().print(table)


if __name__ == "__main__":
    main()
