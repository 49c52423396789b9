"""Measures the speed of one API stream: `python -m tests.page_bench.api`.

The bare loop and the API take turns, so that a noisy minute hits both. Run nothing else meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from rich.console import Console

from app.bench.http_target import HttpTarget
from app.bench.run import QUESTION, measure_engine
from app.bench.targets import BenchRequest, TokenUsage
from app.config import available_cpus
from app.models.model import Turn
from app.models.store import ModelStore
from tests.page_bench.served import served
from tests.smollm2 import NAME, store_with_smollm2

AIM = 0.95
CONTEXT = 4096


async def over_api(url: str, ask: BenchRequest) -> float:
    """Tokens a second from the first piece of text to the last."""
    pieces: list[float] = []
    usage = TokenUsage(None, None)
    async with HttpTarget.open(url, NAME) as target:
        async for event in target.answer(ask):
            if isinstance(event, TokenUsage):
                usage = event
            else:
                pieces.append(time.perf_counter())
    assert usage.completion_tokens is not None
    # The first token came with the first piece; what is gathered behind it comes later.
    return (usage.completion_tokens - 1) / (pieces[-1] - pieces[0])


async def measure(tokens: int, rounds: int, threads: int) -> tuple[float, float]:
    """Medians: of the bare loop and of the API, in tokens per second."""
    models = store_with_smollm2()
    model = ModelStore(models).get(NAME)
    bare, api = [], []
    ask = BenchRequest("", (Turn("user", QUESTION),), tokens, model.sampling)
    with tempfile.TemporaryDirectory() as folder:
        async with served(models, Path(folder), tokens) as server:
            await over_api(server.url, ask)  # loads the model
            for _ in range(rounds):
                bare.append(measure_engine(model, tokens, threads, CONTEXT).tokens)
                api.append(await over_api(server.url, ask))
    return statistics.median(bare), statistics.median(api)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.page_bench.api", description=__doc__)
    parser.add_argument("--tokens", type=int, default=300, help="length of an answer")
    parser.add_argument("--rounds", type=int, default=5, help="how often; medians are shown")
    parser.add_argument("--threads", type=int, default=available_cpus())
    options = parser.parse_args()
    bare, api = asyncio.run(measure(options.tokens, options.rounds, options.threads))
    Console().print(
        f"bare engine loop {bare:.1f} tokens/s, one stream of the API {api:.1f} tokens/s: "
        f"ratio {api / bare:.2f} (aim {AIM})"
    )


if __name__ == "__main__":
    main()
