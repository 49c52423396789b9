"""Proves what Wick survives: `python -m tests.prove [--only PART] [--rounds N] [--minutes N]`.

Each part runs real servers, prints figures and its seed, and names what was lost. At the end
comes a table in Markdown. Exit code 1: something was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.prove.parts import PARTS, Part
from tests.prove.plan import Plan
from tests.prove.report import Report, table


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.prove", description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, metavar="PART")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--rounds", type=int, help="of each part, instead of its usual number")
    parser.add_argument("--minutes", type=float, help="after which no round begins (soak: 60)")
    given = parser.parse_args()
    reports = []
    for name in given.only or PARTS:
        reports.append(run(name, given.seed, given.rounds, given.minutes))
        print("\n".join(reports[-1].lines()), flush=True)
    print(f"\n{table(reports)}\n\nSeed: {given.seed}")
    return int(any(report.losses for report in reports))


def run(name: str, seed: int, rounds: int | None, minutes: float | None) -> Report:
    """Run a part in a folder of its own. What breaks it counts as a loss."""
    print(f"{name}: --seed {seed}", flush=True)
    part: Part = PARTS[name]
    with tempfile.TemporaryDirectory(prefix="wick-prove-") as folder:
        plan = Plan(Path(folder), seed, rounds, minutes)
        try:
            report = asyncio.run(part(plan))
        except Exception as error:  # the other parts still run
            traceback.print_exc()
            report = Report(name, losses=[f"{type(error).__name__}: {error}"])
        report.seconds = time.monotonic() - plan.began
    return report


if __name__ == "__main__":
    sys.exit(main())
