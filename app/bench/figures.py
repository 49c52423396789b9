"""The rows of the report: each figure, what it is held against, and the aim."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from app.bench.plan import BenchConfig
from app.bench.samples import Samples

Unit = Literal["tokens/s", "s", "bytes"]
AIM_TOGETHER = 8
"""The number of answers at once that has an aim."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One line. `over`: the key of the figure it is divided by, and `over_name` what that is.

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
    """A figure as it was measured; `theirs`: by the other server. None: not measured."""

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
    """All of them, in their order on the page."""
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
