"""The parts of the bench that a test can hold still."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from rich.console import Console

from app.bench.local_target import LocalTarget
from app.bench.prompt_generator import PromptGenerator
from app.bench.report import MetricResult, Report, build_results, list_metrics, table
from app.bench.targets import (
    BenchRequest,
    ResponseTrace,
    TokenUsage,
    collect,
    describe_machine,
    resident_memory,
)
from app.bench.workload import BenchConfig, Samples, Workload
from app.config import Settings
from app.errors import RequestError, RunnerDied
from app.models.model import Turn
from app.models.parameters import Sampling
from app.models.text.chat_template import ChatTemplate
from app.models.text.tokenizer import Tokenizer
from tests.inference.tiny import tiny_model
from tests.tiny_gguf import Flavour


@pytest.mark.parametrize("flavour", ["bpe", "spm"])
def test_prompts_have_the_length_asked_for_and_differ(flavour: Flavour) -> None:
    model = tiny_model(flavour)
    template = ChatTemplate(model.chat_template, Tokenizer.load(model.folder))
    texts = PromptGenerator(lambda text: len(template.encode([Turn("user", text)])), seed=3)
    seen = set()
    for number, length in enumerate([60, 61, 62, 63, 200, 777]):
        text = texts.prompt(number, length)
        assert len(template.encode([Turn("user", text)])) == length
        seen.add(text[:6])
    assert len(seen) == 6
    assert texts.prompt(1, 100) == texts.prompt(1, 100)


class Scripted:
    """A target on a clock of its own: every token of anybody takes one tick."""

    name = "scripted"

    def __init__(self, answer_length: int = 1000) -> None:
        self._length = answer_length

    async def answer(self, ask: BenchRequest) -> AsyncGenerator[str | TokenUsage]:
        count = min(ask.max_tokens, self._length)
        for _ in range(count):
            await asyncio.sleep(0)
            yield "word "
        yield TokenUsage(7, count)

    async def restart(self) -> bool:
        return True

    def memory(self) -> int | None:
        return 1000


def workload(target: Scripted) -> Workload:
    return Workload(
        target, BenchConfig(prompt=50, tokens=8, turns=1), PromptGenerator(len, 1), Sampling()
    )


async def test_answers_that_end_early_are_asked_for_again() -> None:
    assert await workload(Scripted(answer_length=3)).streams(4) > 0


async def test_a_model_that_says_nothing_is_told() -> None:
    with pytest.raises(RequestError, match="empty answer"):
        await workload(Scripted(answer_length=0)).streams(2)


def test_a_piece_counts_as_many_tokens_as_it_is_long() -> None:
    answer = ResponseTrace(asked_at=0, times=[1, 2, 3], sizes=[1, 4, 5], text="0123456789")
    answer.usage = TokenUsage(7, 20)
    assert answer.made(1, 3) == pytest.approx(18)
    assert answer.made(1, 2) == pytest.approx(8)
    assert ResponseTrace(asked_at=0).made(0, 1) == 0


async def test_all_of_a_round_is_there() -> None:
    samples, before = Samples(), asyncio.all_tasks()
    one = workload(Scripted(answer_length=100))
    for measure in (
        one.measure_speed,
        one.measure_revisits,
        one.measure_busy,
        one.measure_interference,
    ):
        await measure(samples, lambda _: None)
    wanted = {f.key for f in list_metrics(BenchConfig())} - {
        "load", "bare", "ctransformers", "one_thread", "memory_loaded"
    }  # fmt: skip
    assert set(samples.lists) == wanted
    assert asyncio.all_tasks() <= before


def test_the_report_says_which_aims_are_reached() -> None:
    ours, theirs = Samples(), Samples()
    for key, value in {"cold": 10, "revisit": 0.2, "restart": 0.9, "one_thread": 50.0}.items():
        ours.add(key, value)
    ours.add("competitor", 30.0)
    theirs.add("cold", 5)
    ours.add("median_gap", 0.01)
    ours.add("longest_pause", 0.11)
    for count, mine, other in ((1, 99, 100), (8, 201, 200)):
        ours.add(f"streams_{count}", mine)
        theirs.add(f"streams_{count}", other)
    found: dict[str, MetricResult] = {
        r.metric.key: r for r in build_results(BenchConfig(), ours, theirs)
    }
    assert (found["revisit"].ratio, found["revisit"].meets_target) == (0.02, True)
    assert (found["restart"].ratio, found["restart"].meets_target) == (0.09, False)
    assert found["competitor"].meets_target is True
    assert (found["cold"].meets_target, found["cold"].ratio_to_peer) == (None, 2)
    assert (found["streams_1"].meets_peer, found["streams_8"].meets_peer) == (False, True)
    assert found["longest_pause"].meets_target is True
    strict = build_results(BenchConfig(), ours, theirs, max_pause=0.1)
    assert {r.metric.key: r for r in strict}["longest_pause"].meets_target is False
    assert (found["second_turn"].ratio, found["second_turn"].meets_target) == (None, None)


@pytest.mark.parametrize("against", ["", "stub at http://there"])
def test_a_table_for_people(against: str) -> None:
    ours, theirs = Samples(), Samples() if against else None
    ours.add("cold", 8.0)
    ours.add("restart", 0.2)
    if theirs:
        theirs.add("cold", 4.0)
    report = Report(
        "A machine",
        "Tiny F32",
        "llama.cpp",
        1,
        "2026-01-02",
        7,
        against,
        build_results(BenchConfig(), ours, theirs),
        ours,
        theirs,
    )
    console = Console(width=200, file=io.StringIO())
    console.print(table(report))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert lines[0].strip() == "Tiny F32 · llama.cpp · 1 thread · A machine · 2026-01-02"
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]
    found = {row[0]: row[1:] for row in cells}
    cold, restart = "first token, new chat of 1,536 tokens", "first token, back after a restart"
    assert found[cold] == ["8.00 s", "", "", "", *(["4.00 s", "2.00", ""] if against else [])]
    assert found[restart][:4] == ["200.0 ms", "2.5 % of the new chat", "≤ 4 %", "yes"]
    assert found["8 answers at once, together"][:4] == ["—", "—", "≥ 1.2 ×", ""]


def ask(tokens: int = 20, text: str = "Who is there?") -> BenchRequest:
    return BenchRequest("a", (Turn("user", text),), tokens, Sampling(temperature=0))


async def test_wicks_runner_answers_cancels_and_restarts(tmp_path: Path) -> None:
    settings = Settings(threads=1, context=512)
    async with LocalTarget.open(tiny_model(), settings, tmp_path) as target:
        whole = await collect(target, ask())
        assert whole.usage.completion_tokens == 20
        cut = await collect(target, ask(400), lambda answer: len(answer.times) == 3)
        assert len(cut.times) == 3
        assert (target.memory() or 0) > 1 << 20
        assert await target.restart()
        assert (await collect(target, ask())).text == whole.text
        with pytest.raises(RequestError, match="Shorten it"):
            await collect(target, ask(text="the " * 2000))


async def test_a_runner_that_dies_is_told(tmp_path: Path) -> None:
    async with LocalTarget.open(tiny_model(), Settings(threads=1, context=512), tmp_path) as target:
        await target._runner.kill()
        for _ in range(2):
            with pytest.raises(RunnerDied, match="SIGKILL"):
                await collect(target, ask())


def test_this_machine_has_a_name_and_this_process_a_size() -> None:
    assert "cores" in describe_machine()
    assert (resident_memory(os.getpid()) or 0) > 1 << 20
