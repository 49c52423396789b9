"""`wick bench`: speed of a model on this machine, alone and with several users."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import random
from collections.abc import Callable

from rich.console import Console

from app.config import Settings
from app.models.store import ModelStore

MIN_COLUMNS = 130
"""Columns of a table that is not shown on a terminal."""
MAX_CONCURRENCY = 32
PARTS = ("speed", "chats", "busy", "pause")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "bench",
        description="Measure how fast a model runs here, in Wick's own runner. Close other "
        "programs first. With the defaults, each round reads about 17 prompts of 1,536 tokens.",
    )
    parser.add_argument("model", metavar="MODEL", help="name of an installed model")
    parser.add_argument(
        "--concurrency",
        type=_counts,
        default=(1, 2, 4, 8),
        metavar="N,N,…",
        help="numbers of simultaneous answers to measure (default: 1,2,4,8)",
    )
    for name, default, low, text in (
        ("prompt", 1536, 1, "length of a long prompt in tokens"),
        ("tokens", 128, 8, "length of an answer in tokens"),
        ("others", 12, 0, "other chats before returning to the first one"),
        ("turns", 3, 1, "speed measurements per round"),
        ("rounds", 1, 1, "rounds of the whole benchmark; medians are shown"),
    ):
        parser.add_argument(
            f"--{name}",
            type=_number(low),
            default=default,
            metavar="N",
            help=f"{text} (default: {default})",
        )
    parser.add_argument(
        "--engine",
        choices=("auto", "ctransformers", "llama.cpp", "both"),
        default="auto",
        help="engine to measure; both: compare them on this model (default: auto)",
    )
    parser.add_argument(
        "--parts",
        type=_parts,
        default=PARTS,
        metavar="PART,PART,…",
        help=f"what to measure (default: {','.join(PARTS)})",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--against", metavar="URL", help="compare with an OpenAI-compatible server")
    parser.add_argument(
        "--against-model", metavar="NAME", help="model of that server (default: the first it lists)"
    )
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    # Here and not above: the engine and a client for HTTP, which no other command needs.
    from app.bench import report
    from app.bench.run import Peer, models_by_engine, run_benchmark
    from app.bench.targets import describe_machine
    from app.bench.workload import BenchConfig

    model = ModelStore(settings.models_dir).get(arguments.model)
    plan = BenchConfig(
        concurrency=tuple(sorted({1, *arguments.concurrency})),
        prompt=arguments.prompt,
        tokens=arguments.tokens,
        others=arguments.others,
        turns=arguments.turns,
        rounds=arguments.rounds,
        parts=arguments.parts,
    )
    peer = Peer(arguments.against, arguments.against_model) if arguments.against else None
    seed = random.randrange(2**31)  # noqa: S311 - not a secret
    progress = Console(stderr=True)
    measured = run_benchmark(
        models_by_engine(model, arguments.engine),
        settings,
        plan,
        peer,
        seed,
        lambda text: progress.print(text, style="dim", highlight=False, markup=False),
    )
    result = report.Report(
        machine=describe_machine(),
        model=f"{model.title} {model.quantisation}",
        engine=measured.engine,
        threads=settings.threads,
        date=dt.datetime.now().astimezone().isoformat(timespec="seconds"),
        seed=seed,
        against=f"{measured.their_model} at {peer.url}" if peer else "",
        rows=report.build_results(
            plan,
            measured.ours,
            measured.theirs,
            measured.second,
            report.max_pause(model.parameters),
        ),
        ours=measured.ours,
        theirs=measured.theirs,
        second_engine=measured.second_engine,
        second=measured.second,
    )
    if arguments.json:
        print(json.dumps(report.as_json(result), indent=1))
        return 0
    console = Console()
    if not console.is_terminal:
        console = Console(width=MIN_COLUMNS)
    console.print(report.table(result), highlight=False)
    return 0


def _number(low: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text) if text.isascii() and text.isdigit() else low - 1
        if value < low:
            raise argparse.ArgumentTypeError(f"{text} is wrong: it takes a number from {low}")
        return value

    return parse


def _parts(text: str) -> tuple[str, ...]:
    wanted = text.split(",")
    if unknown := [part for part in wanted if part not in PARTS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]} is none of {', '.join(PARTS)}")
    return tuple(part for part in PARTS if part in wanted)


def _counts(text: str) -> tuple[int, ...]:
    counts = [int(part) if part.isascii() and part.isdigit() else 0 for part in text.split(",")]
    if not all(1 <= count <= MAX_CONCURRENCY for count in counts):
        raise argparse.ArgumentTypeError(
            f"{text} is wrong: it takes numbers from 1 to {MAX_CONCURRENCY} with commas between"
        )
    return tuple(counts)
