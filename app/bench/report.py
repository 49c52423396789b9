"""Metrics of a run, their targets, and the report as a table or JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from rich.table import Table

from app.bench.workload import BenchConfig, Samples

# The rows of the report: each figure, what it is held against, and the aim.


Unit = Literal["tokens/s", "s", "bytes"]
AIM_TOGETHER = 8
"""The number of answers at once that has an aim."""


@dataclass(frozen=True, slots=True)
class Metric:
    """Line of the report.

    `over`: the key of the figure it is divided by, and `over_name` what that is.

    `at_least`, `at_most`: the aim for that ratio.
    """

    key: str
    name: str
    unit: Unit
    over: str = ""
    over_name: str = ""
    at_least: float | None = None
    at_most: float | None = None


@dataclass(frozen=True, slots=True)
class MetricResult:
    """Metric as it was measured; `theirs`: by the other server. None: not measured."""

    metric: Metric
    value: float | None
    ratio: float | None
    theirs: float | None

    @property
    def meets_target(self) -> bool | None:
        figure, ratio = self.metric, self.ratio
        if ratio is None or figure.at_least is figure.at_most is None:
            return None
        return (figure.at_least is None or ratio >= figure.at_least) and (
            figure.at_most is None or ratio <= figure.at_most
        )

    @property
    def ratio_to_peer(self) -> float | None:
        return _divided(self.value, self.theirs)


def list_metrics(plan: BenchConfig) -> list[Metric]:
    """List all metrics, in the order of the report."""
    long = f"{plan.prompt:,} tokens"
    return [
        Metric("load", "loading the model", "s"),
        Metric("ctransformers", "ctransformers.LLM, same threads", "tokens/s"),
        _against_library("bare", "the engine alone, in a bare loop"),
        _against_library("streams_1", "one answer"),
        *(_together(count) for count in plan.concurrency if count > 1),
        Metric("one_thread", "one answer, one thread", "tokens/s"),
        Metric(
            "competitor",
            "one answer beside a program that keeps a core busy",
            "tokens/s",
            "one_thread",
            "one thread undisturbed",
            at_least=0.6,
        ),
        Metric("prefill", f"reading a prompt of {long}", "tokens/s"),
        Metric("cold", f"first token, new chat of {long}", "s"),
        _against_cold("second_turn", "first token, second turn of that chat", 0.05),
        _against_cold("revisit", f"first token, back after {plan.others} other chats", 0.05),
        _against_cold("restart", "first token, back after a restart", 0.08),
        Metric("median_gap", f"between tokens while another reads {long}: median", "s"),
        Metric(
            "longest_pause",
            "the same: longest pause",
            "s",
            "median_gap",
            "the median",
            at_most=12,
        ),
        Metric("first_alone", f"first token of {long}, alone with one thread", "s"),
        Metric(
            "first_beside",
            f"first token of {long} beside a running answer",
            "s",
            "first_alone",
            "alone with one thread",
            at_most=1.3,
        ),
        Metric("memory_loaded", "memory after loading", "bytes"),
        Metric("memory_chat", f"memory for each further chat of {long}", "bytes"),
    ]


def build_results(plan: BenchConfig, ours: Samples, theirs: Samples | None) -> list[MetricResult]:
    return [
        MetricResult(
            figure,
            ours.median(figure.key),
            _divided(ours.median(figure.key), ours.median(figure.over)),
            theirs.median(figure.key) if theirs else None,
        )
        for figure in list_metrics(plan)
    ]


def _against_library(key: str, name: str) -> Metric:
    return Metric(key, name, "tokens/s", "ctransformers", "ctransformers.LLM", at_least=1.12)


def _against_cold(key: str, name: str, at_most: float) -> Metric:
    return Metric(key, name, "s", "cold", "the new chat", at_most=at_most)


def _together(count: int) -> Metric:
    aim = 1.2 if count == AIM_TOGETHER else None
    name = f"{count} answers at once, together"
    return Metric(f"streams_{count}", name, "tokens/s", "streams_1", "one answer", at_least=aim)


def _divided(value: float | None, by: float | None) -> float | None:
    return value / by if value is not None and by else None


# The figures as a table for people and as JSON for machines.


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
    """Seconds, bytes and tokens per second; ratios as plain quotients; null: not measured."""
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
    """Format a ratio: small parts in percent, else as a multiple."""
    if figure.at_most is not None and figure.at_most < 1:
        return f"{ratio * 100:g} %" if exact else f"{ratio * 100:.1f} % of"
    return f"{ratio:g} ×" if exact else f"{ratio:.2f} ×"


def _times(ratio: float | None) -> str:
    return NONE if ratio is None else f"{ratio:.2f}"
