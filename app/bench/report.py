"""The figures as a table for people and as JSON for machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.table import Table

from app.bench.figures import Metric, MetricResult
from app.bench.samples import Samples

NONE = "—"


@dataclass(frozen=True, slots=True)
class Report:
    """`date`: ISO 8601; `seed`: of texts and sampling; `against`: the other's model and place."""

    machine: str
    model: str
    threads: int
    date: str
    seed: int
    against: str
    rows: list[MetricResult]
    ours: Samples
    theirs: Samples | None

    @property
    def heading(self) -> str:
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{self.model} · {threads} · {self.machine} · {self.date[:10]}"


def table(report: Report) -> Table:
    drawn = Table(title=report.heading, title_justify="left")
    drawn.add_column("")
    for heading in ("measured", "ratio", "aim", "reached"):
        drawn.add_column(heading, justify="right", no_wrap=heading != "ratio")
    if report.against:
        drawn.caption = f"theirs: {report.against}"
        drawn.add_column("theirs", justify="right", no_wrap=True)
        drawn.add_column("ours ÷ theirs", justify="right")
    for row in report.rows:
        cells = [
            row.metric.name,
            _amount(row.value, row.metric),
            _ratio(row),
            _aim(row.metric),
            {True: "yes", False: "no", None: ""}[row.meets_target],
        ]
        if report.against:
            cells += [_amount(row.theirs, row.metric), _times(row.ratio_to_peer)]
        drawn.add_row(*cells)
    return drawn


def as_json(report: Report) -> dict[str, Any]:
    """Seconds, bytes and tokens a second; ratios as plain quotients; null: not measured."""
    return {
        "machine": report.machine,
        "model": report.model,
        "threads": report.threads,
        "date": report.date,
        "seed": report.seed,
        "against": report.against or None,
        "figures": [_row_as_json(row) for row in report.rows],
        "samples": {"ours": report.ours.lists, "theirs": report.theirs and report.theirs.lists},
    }


def _row_as_json(row: MetricResult) -> dict[str, Any]:
    figure = row.metric
    return {
        "key": figure.key,
        "name": figure.name,
        "unit": figure.unit,
        "measured": row.value,
        "over": figure.over or None,
        "ratio": row.ratio,
        "at_least": figure.at_least,
        "at_most": figure.at_most,
        "reached": row.meets_target,
        "theirs": row.theirs,
        "ours_to_theirs": row.ratio_to_peer,
    }


def _amount(value: float | None, figure: Metric) -> str:
    if value is None:
        return NONE
    if figure.unit == "bytes":
        return f"{value / 1e6:,.1f} MB"
    if figure.unit == "s":
        return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.1f} ms"
    return f"{value:,.1f} tokens/s"


def _ratio(row: MetricResult) -> str:
    if not row.metric.over:
        return ""
    if row.ratio is None:
        return NONE
    return f"{_quotient(row.ratio, row.metric)} {row.metric.over_name}"


def _aim(figure: Metric) -> str:
    if figure.at_least is not None:
        return f"≥ {figure.at_least:g} ×"
    if figure.at_most is not None:
        return f"≤ {_quotient(figure.at_most, figure, exact=True)}"
    return ""


def _quotient(ratio: float, figure: Metric, *, exact: bool = False) -> str:
    """Of small parts in percent, else times."""
    if figure.at_most is not None and figure.at_most < 1:
        return f"{ratio * 100:g} %" if exact else f"{ratio * 100:.1f} % of"
    return f"{ratio:g} ×" if exact else f"{ratio:.2f} ×"


def _times(ratio: float | None) -> str:
    return NONE if ratio is None else f"{ratio:.2f}"
