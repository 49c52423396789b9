"""The runner as a real process, with the tiny real model."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from app.inference.protocol import (
    Cancel,
    Command,
    DeleteCache,
    Delta,
    Event,
    Failed,
    Finished,
    Generate,
    Loaded,
    LoadFailed,
    Prefill,
    Shutdown,
    from_line,
    to_line,
)
from app.models.model import Turn
from app.models.parameters import Sampling
from tests.inference.tiny import tiny_model
from tests.patience import PATIENCE


class Child:
    """A runner; `events` end when it has died."""

    def __init__(self, process: subprocess.Popen[bytes], events: IO[bytes]) -> None:
        self.process = process
        self.events = events

    def next(self) -> Event | None:
        line = self.events.readline()
        if not line:
            return None
        event = from_line(line)
        assert not isinstance(event, Command)
        return event

    def send(self, *commands: Command | bytes) -> None:
        assert self.process.stdin
        for command in commands:
            self.process.stdin.write(command if isinstance(command, bytes) else to_line(command))
        self.process.stdin.flush()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.events):
            with contextlib.suppress(BrokenPipeError):
                if pipe:
                    pipe.close()

    def end_of(self, number: int) -> tuple[str, Finished | Failed]:
        text = ""
        while event := self.next():
            if isinstance(event, Delta) and event.id == number:
                text += event.text
            if isinstance(event, Finished | Failed) and event.id == number:
                return text, event
        raise AssertionError("the runner died")


Start = Callable[..., Child]


def command_line(model: Path, permits: Path, events_fd: int, threads: int = 1) -> list[str]:
    arguments = {
        "model": model,
        "events-fd": events_fd,
        "permits": permits,
        "threads": threads,
        "context": 512,
        "slots": 2,
        "kv-mb": 64,
        "kv-ram-mb": 16,
        "kv-disk-mb": 64,
        "kv-folder": permits.parent / "kv",
    }
    flags = [part for name, value in arguments.items() for part in (f"--{name}", str(value))]
    return [sys.executable, "-m", "app.inference.runner.main", *flags]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    children: list[Child] = []

    def start(model: Path | None = None, threads: int = 1) -> Child:
        read_end, write_end = os.pipe()
        process = subprocess.Popen(
            command_line(model or tiny_model().folder, tmp_path / "permits", write_end, threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=(write_end,),
        )
        os.close(write_end)
        children.append(Child(process, os.fdopen(read_end, "rb")))
        return children[-1]

    def kill_all() -> None:
        for child in children:
            child.process.kill()

    watchdog = threading.Timer(PATIENCE, kill_all)
    watchdog.start()
    yield start
    watchdog.cancel()
    for child in children:
        child.close()


@pytest.fixture
def child(start: Start) -> Child:
    child = start()
    assert isinstance(child.next(), Loaded)
    return child


def ask(number: int, text: str = "Who is there?", tokens: int = 20) -> Generate:
    return Generate(number, (Turn("user", text),), Sampling(temperature=0), tokens, chat="one")


ENDLESS = 10**6


def test_a_runner_reports_its_slots_and_window(start: Start) -> None:
    loaded = start().next()
    assert isinstance(loaded, Loaded)
    assert (loaded.slots, loaded.context_length) == (2, 512)


def test_an_answer_is_the_same_alone_together_and_again(start: Start) -> None:
    child = start(threads=2)  # of which one that is alone takes both
    child.send(ask(1), ask(2), ask(3))
    answers: dict[int, int] = {}
    while len(answers) < 3:
        event = child.next()
        assert event is not None
        if isinstance(event, Finished):
            answers[event.id] = event.completion_tokens
    assert set(answers.values()) == {20}
    child.send(ask(4))
    alone, finished = child.end_of(4)
    child.send(ask(5))
    assert child.end_of(5)[0] == alone != ""
    assert isinstance(finished, Finished)
    assert finished.cached_tokens > 0


def test_a_chat_goes_on_from_its_cache(child: Child) -> None:
    question = ask(1)
    child.send(question)
    text, first = child.end_of(1)
    assert isinstance(first, Finished)
    turns = (*question.turns, Turn("assistant", text), Turn("user", "And then?"))
    child.send(Generate(2, turns, Sampling(temperature=0), 5, chat="one"))
    _, second = child.end_of(2)
    assert isinstance(second, Finished)
    assert second.cached_tokens >= first.prompt_tokens + first.completion_tokens - 1


def test_the_same_seed_gives_the_same_answer(child: Child) -> None:
    texts = set()
    for number in (1, 2):
        turns = (Turn("user", "Tell me"),)
        child.send(Generate(number, turns, Sampling(temperature=1, seed=5), 20))
        texts.add(child.end_of(number)[0])
    assert len(texts) == 1


def test_a_cancelled_request_ends_at_once(child: Child) -> None:
    child.send(ask(1, tokens=ENDLESS))
    while not isinstance(child.next(), Delta):
        pass
    child.send(Cancel(1), Cancel(77))
    _, finished = child.end_of(1)
    assert isinstance(finished, Finished)
    assert finished.reason in ("cancelled", "length")  # the window is small


def test_nonsense_is_ignored_and_bad_requests_fail_by_their_number(child: Child) -> None:
    child.send(
        b"not json\n",
        b"[1, 2]\n",
        b"\xff\x00\n",
        b'{"type": "launch"}\n',
        b'{"type": "loaded", "slots": 1, "context_length": 1, "seconds": 1}\n',
        b'{"type": "generate", "id": 7}\n',
        Generate(8, ()),
        Generate(9, (Turn("user", None),)),  # type: ignore[arg-type]
    )
    for number in (7, 8, 9):
        assert isinstance(child.end_of(number)[1], Failed)
    child.send(ask(10))
    assert isinstance(child.end_of(10)[1], Finished)


def test_a_message_that_is_too_long_fails_in_a_sentence(child: Child) -> None:
    child.send(ask(1, "the " * 2000))
    _, failed = child.end_of(1)
    assert isinstance(failed, Failed)
    assert "the model can read 492 at once" in failed.message


def test_a_long_chat_drops_its_oldest_turns(child: Child) -> None:
    turns = [Turn("user", "water people " * 30), Turn("assistant", "first " * 20)] * 8
    child.send(Generate(1, (*turns, Turn("user", "Who?")), Sampling(temperature=0), 5))
    _, finished = child.end_of(1)
    assert isinstance(finished, Finished)
    assert finished.dropped > 0
    assert finished.prompt_tokens <= 512


def test_special_tokens_in_a_message_are_text(child: Child) -> None:
    child.send(ask(1, "x"), ask(2, "x<|im_end|>"))
    totals: dict[int, int] = {}
    while len(totals) < 2:
        event = child.next()
        if isinstance(event, Prefill):
            totals[event.id] = event.total
    assert totals[2] > totals[1] + 1


def test_half_pairs_of_surrogates_break_nothing(child: Child) -> None:
    child.send(ask(1, "\ud800 half"), ask(2))
    assert child.end_of(2)[1]


def test_the_end_of_input_ends_a_runner_at_work(child: Child) -> None:
    child.send(ask(1, tokens=ENDLESS))
    assert child.next()
    assert child.process.stdin
    child.process.stdin.close()
    assert child.process.wait(PATIENCE) == 0


def test_the_end_of_input_ends_a_runner_that_loads(start: Start) -> None:
    child = start()
    assert child.process.stdin
    child.process.stdin.close()
    assert child.process.wait(PATIENCE) == 0


def test_a_reader_that_goes_away_ends_the_runner(child: Child) -> None:
    child.events.close()
    child.send(ask(1))
    assert child.process.wait(PATIENCE) == 0


def test_ctrl_c_is_left_to_the_parent(child: Child) -> None:
    child.process.send_signal(signal.SIGINT)
    child.send(ask(1))
    assert isinstance(child.end_of(1)[1], Finished)


def test_standard_output_belongs_to_nobody(child: Child) -> None:
    """Whatever is printed there goes to standard error: the pipe has no writer left."""
    assert child.process.stdout
    assert child.process.stdout.read() == b""
    child.send(ask(1))
    assert isinstance(child.end_of(1)[1], Finished)


PARENT = """
import os, subprocess, sys
child = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, pass_fds=(int(sys.argv[1]),))
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_a_runner_dies_with_its_parent(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    line = command_line(tiny_model().folder, tmp_path, write_end)
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(write_end), *line],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=(write_end,),
    )
    os.close(write_end)
    with os.fdopen(read_end, "rb") as events:
        assert isinstance(from_line(events.readline()), Loaded)
        parent.kill()
        parent.communicate()
        # The pipe ends when its last writer, the runner, is gone.
        assert events.read() == b""


def copy_of_model(folder: Path) -> Path:
    return Path(shutil.copytree(tiny_model().folder, folder / "copy"))


def overwrite(path: Path, place: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        file.write(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: [path.unlink() for path in folder.glob("*.gguf")],
        lambda folder: overwrite(folder / "model.gguf", 0, b"\xff" * 4096),
        lambda folder: os.truncate(folder / "original.gguf", 5000),
        lambda folder: (folder / "tokenizer.json").write_text("{"),
        lambda folder: (folder / "model.json").write_text("[]"),
        shutil.rmtree,
    ],
)
def test_a_damaged_model_is_reported_and_ends_the_runner(
    start: Start, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    folder = copy_of_model(tmp_path)
    damage(folder)
    child = start(folder)
    assert isinstance(child.next(), LoadFailed)
    assert child.process.wait(PATIENCE) == 3


@pytest.mark.parametrize("place", [8, 16, 24, 60, 400, 3000, 9000])
def test_a_model_that_lies_never_hangs_the_runner(start: Start, tmp_path: Path, place: int) -> None:
    folder = copy_of_model(tmp_path)
    overwrite(folder / "model.gguf", place, b"\xfe" * 8)
    child = start(folder)
    first = child.next()
    if not isinstance(first, Loaded):
        assert child.process.wait(PATIENCE) != 0


STORY = "the people of the water and the first of the people " * 4


def talk(child: Child, number: int, turns: list[Turn], tokens: int = 40) -> Finished:
    """One more question in a chat; its answer is put at the end of `turns`."""
    # Not greedy: so the model spells its answer as no tokenizer would.
    sampling = Sampling(temperature=2.0, top_k=0, top_p=1.0, seed=number)
    child.send(Generate(number, tuple(turns), sampling, tokens, chat="chat"))
    text, finished = child.end_of(number)
    assert isinstance(finished, Finished)
    turns.append(Turn("assistant", text))
    return finished


def test_another_answer_to_a_prompt_reads_nothing_again(child: Child) -> None:
    turns = [Turn("user", STORY)]
    first = talk(child, 1, turns)
    again = talk(child, 2, turns[:1])
    assert again.cached_tokens == first.prompt_tokens - 1  # only what yields logits
    turns += [Turn("user", "And then?")]
    talk(child, 3, turns)
    edited = talk(child, 4, [*turns[:2], Turn("user", "Or else?")])
    assert edited.cached_tokens > first.prompt_tokens


def test_a_cut_answer_goes_on_as_if_it_had_not_been_cut(child: Child) -> None:
    turns, greedy = (Turn("user", STORY),), Sampling(temperature=0, repetition_penalty=1)
    child.send(Generate(1, turns, greedy, 40, chat="whole"))
    whole, _ = child.end_of(1)
    child.send(Generate(2, turns, greedy, 20, chat="cut"))
    begun, cut = child.end_of(2)
    assert isinstance(cut, Finished)
    child.send(Generate(2, turns, greedy, 20, chat="cut", opening=begun))  # the same id again
    rest, finished = child.end_of(2)
    assert isinstance(finished, Finished)
    assert begun + rest == whole
    assert finished.prompt_tokens == cut.prompt_tokens + 20
    assert finished.cached_tokens == finished.prompt_tokens - 1
    longer = (*turns, Turn("assistant", whole), Turn("user", "And then?"))
    child.send(Generate(3, longer, greedy, 5, chat="cut"))
    _, after = child.end_of(3)
    assert isinstance(after, Finished)
    assert after.cached_tokens >= finished.prompt_tokens + 19  # spelled as it was, twice


def test_a_chat_may_have_a_smaller_window(child: Child) -> None:
    turns = [Turn("user", STORY), Turn("assistant", STORY), Turn("user", "And then?")]
    child.send(Generate(1, tuple(turns), Sampling(temperature=0), ENDLESS, context=128))
    _, finished = child.end_of(1)
    assert isinstance(finished, Finished)
    assert (finished.context_length, finished.reason) == (128, "length")
    assert finished.dropped == 2
    assert finished.prompt_tokens + finished.completion_tokens == 128


def snapshots_in(folder: Path) -> list[Path]:
    return list((folder / "kv").glob("*/*"))


def test_a_chat_goes_on_after_a_restart_as_if_nothing_had_happened(
    start: Start, tmp_path: Path
) -> None:
    turns = [Turn("user", STORY)]
    held = 0
    for number in range(1, 4):  # a new process for every turn
        child = start()
        assert isinstance(child.next(), Loaded)
        finished = talk(child, number, turns)
        assert finished.dropped == 0
        if number > 1:
            assert finished.tier == "disk"
            assert finished.cached_tokens == held
        # The last token of an answer that was cut is not evaluated, nor is the end of a turn.
        held = finished.prompt_tokens + finished.completion_tokens - (finished.reason == "length")
        child.send(Shutdown(PATIENCE))
        assert child.process.wait(PATIENCE) == 0
        assert [path.stat().st_mode & 0o777 for path in snapshots_in(tmp_path)] == [0o600]
        turns.append(Turn("user", "And then?"))


def test_quitting_at_work_keeps_what_was_read(start: Start, tmp_path: Path) -> None:
    child = start()
    assert isinstance(child.next(), Loaded)
    turns = (Turn("user", STORY),)
    child.send(Generate(1, turns, Sampling(temperature=0), ENDLESS, chat="chat"))
    while not isinstance(child.next(), Delta):
        pass
    child.send(Shutdown(PATIENCE))
    assert child.process.wait(PATIENCE) == 0
    assert len(snapshots_in(tmp_path)) == 1


def test_a_deleted_chat_leaves_nothing(child: Child, tmp_path: Path) -> None:
    turns = [Turn("user", STORY)]
    talk(child, 1, turns)
    child.send(DeleteCache("chat"), DeleteCache("never seen"), DeleteCache(""))
    assert talk(child, 2, turns[:1]).cached_tokens == 0
    child.send(DeleteCache("chat"), Shutdown(PATIENCE))
    assert child.process.wait(PATIENCE) == 0
    assert snapshots_in(tmp_path) == []


def test_a_runner_that_is_killed_leaves_snapshots_that_are_whole_or_gone(
    start: Start, tmp_path: Path
) -> None:
    turns = [Turn("user", STORY)]
    for number in range(1, 3):
        child = start()
        assert isinstance(child.next(), Loaded)
        talk(child, number, turns[:1])
        child.send(Shutdown(PATIENCE))
        while number < 2 and child.process.poll() is None and not snapshots_in(tmp_path):
            pass  # the moment there is anything
        child.process.kill() if number < 2 else child.process.wait(PATIENCE)
    [path] = snapshots_in(tmp_path)
    assert path.suffix == ".kv"
    child = start()
    assert isinstance(child.next(), Loaded)
    assert talk(child, 9, turns[:1]).tier == "disk"


def test_damaged_snapshots_are_read_again_from_the_text(start: Start, tmp_path: Path) -> None:
    turns = [Turn("user", STORY)]
    for number in (1, 2):
        child = start()
        assert isinstance(child.next(), Loaded)
        finished = talk(child, number, turns[:1])
        assert finished.cached_tokens == 0
        child.send(Shutdown(PATIENCE))
        assert child.process.wait(PATIENCE) == 0
        [path] = snapshots_in(tmp_path)
        overwrite(path, path.stat().st_size - 5, b"damage"[:5])
