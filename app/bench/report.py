"""Metrics of a run, their targets, and the report as a table or JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from rich.table import Table

from app.bench.workload import BenchConfig, Samples
from app.models.engines import SMALL_PARAMETERS

# The rows of the report: each figure, what it is held against, and the aim.


Unit = Literal["tokens/s", "s", "bytes"]
AIM_TOGETHER = 8
"""The number of answers at once that has an aim."""
SHORT_PAUSE, LONG_PAUSE = 0.15, 0.3
"""Seconds that an answer may pause, of a small model and of a larger one."""


@dataclass(frozen=True, slots=True)
class Metric:
    """Line of the report.

    `over`: the key of the figure it is divided by, and `over_name` what that is.

    `at_least`, `at_most`: the aim for that ratio; `limit`: for the figure itself;
    `at_least_theirs`: for the part of the other server's figure that it reaches.
    """

    key: str
    name: str
    unit: Unit
    over: str = ""
    over_name: str = ""
    at_least: float | None = None
    at_most: float | None = None
    limit: float | None = None
    at_least_theirs: float | None = None


@dataclass(frozen=True, slots=True)
class MetricResult:
    """Metric as it was measured; `theirs`: by the other server; `second`: by the engine that Wick
    would not have chosen. None: not measured."""

    metric: Metric
    value: float | None
    ratio: float | None
    theirs: float | None = None
    second: float | None = None

    @property
    def meets_target(self) -> bool | None:
        figure, ratio = self.metric, self.ratio
        if ratio is None or figure.at_least is figure.at_most is None:
            return None
        return (
            (figure.at_least is None or ratio >= figure.at_least)
            and (figure.at_most is None or ratio <= figure.at_most)
            and (figure.limit is None or self.value is None or self.value <= figure.limit)
        )

    @property
    def ratio_to_peer(self) -> float | None:
        return _divided(self.value, self.theirs)

    @property
    def meets_peer(self) -> bool | None:
        ratio, least = self.ratio_to_peer, self.metric.at_least_theirs
        return None if ratio is None or least is None else ratio >= least


def list_metrics(plan: BenchConfig, max_pause: float = SHORT_PAUSE) -> list[Metric]:
    """List all metrics, in the order of the report. max_pause: seconds of a pause at most."""
    long = f"{plan.prompt:,} tokens"
    return [
        Metric("load", "loading the model", "s"),
        Metric("ctransformers", "ctransformers.LLM, same threads", "tokens/s"),
        _against_library("bare", "the engine alone, in a bare loop"),
        _against_library("streams_1", "one answer", at_least_theirs=1.0),
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
        Metric("prefill", f"reading a prompt of {long}", "tokens/s", at_least_theirs=0.95),
        Metric("cold", f"first token, new chat of {long}", "s"),
        _against_cold("second_turn", "first token, second turn of that chat", 0.02),
        _against_cold("revisit", f"first token, back after {plan.others} other chats", 0.02),
        _against_cold("restart", "first token, back after a restart", 0.04),
        Metric("median_gap", "between tokens of an answer that is alone: median", "s"),
        Metric(
            "longest_pause",
            f"its longest pause while another reads {long}",
            "s",
            "median_gap",
            "that median",
            at_most=12,
            limit=max_pause,
        ),
        Metric("first_alone", f"first token of {long}, alone", "s"),
        Metric(
            "first_beside",
            f"first token of {long} beside a running answer",
            "s",
            "first_alone",
            "alone",
            at_most=1.8,
        ),
        Metric("memory_loaded", "memory after loading", "bytes"),
        Metric("memory_chat", f"memory for each further chat of {long}", "bytes"),
    ]


def build_results(
    plan: BenchConfig,
    ours: Samples,
    theirs: Samples | None,
    second: Samples | None = None,
    max_pause: float = SHORT_PAUSE,
) -> list[MetricResult]:
    return [
        MetricResult(
            figure,
            ours.median(figure.key),
            _divided(ours.median(figure.key), ours.median(figure.over)),
            theirs.median(figure.key) if theirs else None,
            second.median(figure.key) if second else None,
        )
        for figure in list_metrics(plan, max_pause)
    ]


def max_pause(parameters: int) -> float:
    """Seconds that an answer of a model of that size may pause while another prompt is read."""
    return SHORT_PAUSE if parameters <= SMALL_PARAMETERS else LONG_PAUSE


def _against_library(key: str, name: str, at_least_theirs: float | None = None) -> Metric:
    return Metric(
        key,
        name,
        "tokens/s",
        "ctransformers",
        "ctransformers.LLM",
        at_least=1.12,
        at_least_theirs=at_least_theirs,
    )


def _against_cold(key: str, name: str, at_most: float) -> Metric:
    return Metric(key, name, "s", "cold", "the new chat", at_most=at_most)


def _together(count: int) -> Metric:
    name, has_aim = f"{count} answers at once, together", count == AIM_TOGETHER
    return Metric(
        f"streams_{count}",
        name,
        "tokens/s",
        "streams_1",
        "one answer",
        at_least=1.2 if has_aim else None,
        at_least_theirs=1.0 if has_aim else None,
    )


def _divided(value: float | None, by: float | None) -> float | None:
    return value / by if value is not None and by else None


# The figures as a table for people and as JSON for machines.


NONE = "—"


@dataclass(frozen=True, slots=True)
class Report:
    """`date`: ISO 8601; `seed`: of texts and sampling; `against`: the other's model and place;
    `engine`, `second_engine`: whose figures are ours, and whose stand beside them, if any."""

    machine: str
    model: str
    engine: str
    threads: int
    date: str
    seed: int
    against: str
    rows: list[MetricResult]
    ours: Samples
    theirs: Samples | None
    second_engine: str = ""
    second: Samples | None = None

    @property
    def heading(self) -> str:
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{self.model} · {self.engine} · {threads} · {self.machine} · {self.date[:10]}"


def table(report: Report) -> Table:
    drawn = Table(title=report.heading, title_justify="left")
    drawn.add_column("")
    for heading in ("measured", "ratio", "aim", "reached"):
        drawn.add_column(heading, justify="right", no_wrap=heading != "ratio")
    if report.second_engine:
        drawn.add_column(report.second_engine, justify="right", no_wrap=True)
    if report.against:
        drawn.caption = f"theirs: {report.against}"
        drawn.add_column("theirs", justify="right", no_wrap=True)
        drawn.add_column("ours ÷ theirs", justify="right")
        drawn.add_column("aim", justify="right")
    for row in report.rows:
        cells = [
            row.metric.name,
            _amount(row.value, row.metric),
            _ratio(row),
            _aim(row.metric),
            {True: "yes", False: "no", None: ""}[row.meets_target],
        ]
        if report.second_engine:
            cells.append(_amount(row.second, row.metric))
        if report.against:
            cells += [_amount(row.theirs, row.metric), _times(row.ratio_to_peer), _peer_aim(row)]
        drawn.add_row(*cells)
    return drawn


def as_json(report: Report) -> dict[str, Any]:
    """Seconds, bytes and tokens per second; ratios as plain quotients; null: not measured."""
    return {
        "machine": report.machine,
        "model": report.model,
        "engine": report.engine,
        "threads": report.threads,
        "date": report.date,
        "seed": report.seed,
        "against": report.against or None,
        "second_engine": report.second_engine or None,
        "figures": [_row_as_json(row) for row in report.rows],
        "samples": {
            "ours": report.ours.lists,
            "theirs": report.theirs and report.theirs.lists,
            "second_engine": report.second and report.second.lists,
        },
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
        "limit": figure.limit,
        "reached": row.meets_target,
        "second_engine": row.second,
        "theirs": row.theirs,
        "ours_to_theirs": row.ratio_to_peer,
        "at_least_theirs": figure.at_least_theirs,
        "reached_theirs": row.meets_peer,
    }


def _amount(value: float | None, figure: Metric) -> str:
    if value is None:
        return NONE
    if figure.unit == "bytes":
        return f"{value / 1e6:,.1f} MB"
    if figure.unit == "s":
        return _seconds(value)
    return f"{value:,.1f} tokens/s"


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.1f} ms"


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
        limit = "" if figure.limit is None else f", {_seconds(figure.limit)}"
        return f"≤ {_quotient(figure.at_most, figure, exact=True)}{limit}"
    return ""


def _peer_aim(row: MetricResult) -> str:
    least = row.metric.at_least_theirs
    if least is None:
        return ""
    return f"≥ {least:g}{ {True: ', yes', False: ', no', None: ''}[row.meets_peer] }"


def _quotient(ratio: float, figure: Metric, *, exact: bool = False) -> str:
    """Format a ratio: small parts in percent, else as a multiple."""
    if figure.at_most is not None and figure.at_most < 1:
        return f"{ratio * 100:g} %" if exact else f"{ratio * 100:.1f} % of"
    return f"{ratio:g} ×" if exact else f"{ratio:.2f} ×"


def _times(ratio: float | None) -> str:
    return NONE if ratio is None else f"{ratio:.2f}"
