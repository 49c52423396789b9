"""A whole runner of a tiny model that sees: from a message with pictures to its answer."""

from __future__ import annotations

import threading
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.inference.protocol import Delta, Event, Failed, Finished, Generate, Prefill
from app.inference.runner.engines.engine import Logits, StepInterrupted
from app.inference.runner.pictures.encoder import PictureEncoder
from app.inference.runner.setup import ModelRuntime, build_runtime
from app.models.devices import CPU_ONLY
from app.models.model import Model, Turn, TurnImage
from app.models.model_files import load_model
from app.models.parameters import Sampling
from tests.inference.seeing import picture, seeing_model
from tests.patience import PATIENCE
from tests.tiny_projectors import KINDS

GREEDY = Sampling(temperature=0.0)


class Heard:
    """The events so far."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.changed = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()

    def end(self, number: int) -> Finished | Failed:
        def ended() -> Finished | Failed | None:
            ends = (e for e in self.events if isinstance(e, Finished | Failed) and e.id == number)
            return next(ends, None)

        with self.changed:
            found = self.changed.wait_for(ended, PATIENCE)
        assert isinstance(found, Finished | Failed), self.events
        return found

    def text(self, number: int) -> str:
        return "".join(e.text for e in self.events if isinstance(e, Delta) and e.id == number)

    def finished(self, number: int) -> Finished:
        end = self.end(number)
        assert isinstance(end, Finished), end
        return end

    def failed(self, number: int) -> Failed:
        end = self.end(number)
        assert isinstance(end, Failed), end
        return end


class Runner:
    """A runner in this process. encoder: what its model sees with."""

    def __init__(self, model: Model, folder: Path, **options: object) -> None:
        values: dict[str, object] = {
            "model": model.folder,
            "context": 1024,
            "slots": 3,
            "threads": 2,
            "engine": "auto",
            "gpu": CPU_ONLY,
            "kv_type": "f16",
            "kv_mb": 256,
            "kv_ram_mb": 64,
            "kv_disk_mb": 64,
            "kv_folder": folder / "kv",
            "permits": folder / "permits",
            "gather_ms": 0,
            "keep_free_mb": 0,
        }
        self.heard = Heard()
        self.runtime: ModelRuntime = build_runtime(Namespace(**values | options), self.heard)
        encoder = self.runtime.scheduler._context.pictures
        self.encoder = encoder

    @property
    def encoded(self) -> int:
        assert isinstance(self.encoder, PictureEncoder)
        return self.encoder.chunks_encoded

    def ask(self, number: int, *turns: Turn, **options: object) -> None:
        request = Generate(number, turns, GREEDY, max_tokens=6, chat="c", owner="o")
        self.runtime.scheduler.submit(replace(request, **options))  # type: ignore[arg-type]

    def answer(self, number: int, *turns: Turn, **options: object) -> Finished:
        self.ask(number, *turns, **options)
        return self.heard.finished(number)


@contextmanager
def runner(model: Model, folder: Path, **options: object) -> Iterator[Runner]:
    made = Runner(model, folder, **options)
    try:
        yield made
    finally:
        made.runtime.shutdown(10)
        made.runtime.contexts.engine.close()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(kind: str) -> Model:
    return seeing_model(kind)


def shown(*images: TurnImage, text: str = "What is this?") -> Turn:
    return Turn("user", text, images=images)


def test_a_chat_with_pictures_goes_on_and_survives_a_restart(model: Model, tmp_path: Path) -> None:
    """Nothing that was read is read again, and no picture is encoded twice."""
    first = shown(picture(0), picture(1))
    with runner(model, tmp_path) as made:
        done = made.answer(1, first)
        assert done.cached_tokens == 0
        chunks = made.encoded
        assert chunks >= 2
        said = Turn("assistant", made.heard.text(1))
        more = (first, said, Turn("user", "And what else?"))
        again = made.answer(2, *more)
        assert again.tier == "live"
        assert again.cached_tokens > done.prompt_tokens - 16
        assert made.encoded == chunks
        expected = made.heard.text(2)
    with runner(load_model(model.folder), tmp_path) as later:
        after = later.answer(1, *more)
        assert (after.tier, later.encoded) == ("disk", 0)
        assert after.cached_tokens > done.prompt_tokens - 16
        assert later.heard.text(1)[:1] == expected[:1]


def test_the_same_picture_is_encoded_once_for_everybody(model: Model, tmp_path: Path) -> None:
    with runner(model, tmp_path) as made:
        made.ask(1, shown(picture(0)), chat="a")
        made.ask(2, shown(picture(0), text="Something else."), chat="b")
        one, other = made.heard.finished(1), made.heard.finished(2)
        chunks = made.encoded
        assert one.completion_tokens
        assert other.completion_tokens
        made.answer(3, shown(picture(0), text="Once more."), chat="d", owner="somebody else")
        assert made.encoded == chunks


def test_two_people_show_pictures_while_a_third_is_answered(model: Model, tmp_path: Path) -> None:
    with runner(model, tmp_path) as made:
        alone = made.answer(1, shown(picture(2)), chat="a", max_tokens=3)
        expected = made.heard.text(1)
        made.ask(2, Turn("user", "Go on and on."), chat="b", max_tokens=60)
        made.ask(3, shown(picture(3)), chat="x", owner="p")
        made.ask(4, shown(picture(2)), chat="y", owner="q", max_tokens=3)
        ends = [made.heard.finished(number) for number in (2, 3, 4)]
        assert ends[0].completion_tokens
        assert ends[2].prompt_tokens == alone.prompt_tokens
        assert made.heard.text(4)[:1] == expected[:1]


def test_progress_is_told_chunk_by_chunk(tmp_path: Path) -> None:
    with runner(seeing_model("idefics3"), tmp_path) as made:
        done = made.answer(1, shown(picture(0)))
        told = [e.done for e in made.heard.events if isinstance(e, Prefill)]
        assert len(set(told)) > made.encoded > 3
        assert told == sorted(told)
        assert told[-1] == done.prompt_tokens


def test_a_stop_in_the_middle_of_a_picture(model: Model, tmp_path: Path) -> None:
    """It ends the chunk that is being encoded; the next request begins with it."""
    with runner(model, tmp_path) as made:
        scheduler, encoder = made.runtime.scheduler, made.encoder
        assert isinstance(encoder, PictureEncoder)
        native = encoder._native
        encode, reached, go = native.encode, threading.Event(), threading.Event()
        interrupted = list[int]()

        def slow(*args: Any) -> Logits:
            *rest, go_on = args

            def at_an_operation() -> bool:
                reached.set()
                assert go.wait(PATIENCE)
                return bool(go_on())

            try:
                return encode(*rest, at_an_operation)  # type: ignore[call-arg]
            except StepInterrupted:
                interrupted.append(1)
                raise

        native.encode = slow  # type: ignore[method-assign,assignment]
        made.ask(1, shown(picture(4)))
        assert reached.wait(PATIENCE)
        made.ask(2, shown(picture(5)), chat="waits", owner="p")
        scheduler.cancel(1)
        go.set()
        assert made.heard.finished(1).reason == "cancelled"
        assert interrupted == [1]
        assert made.heard.finished(2).reason != "cancelled"
        native.encode = encode  # type: ignore[method-assign]
        assert made.answer(3, shown(picture(4))).completion_tokens


def test_a_picture_that_is_gone_fails_its_own_request(model: Model, tmp_path: Path) -> None:
    gone = TurnImage("f" * 64, str(tmp_path / "gone.png"), 100, 60)
    wrong = replace(picture(0), width=60, height=100, id="e" * 64)
    with runner(model, tmp_path) as made:
        for number, image in enumerate((gone, wrong)):
            made.ask(number, shown(image))
            failed = made.heard.failed(number)
            assert (failed.status, "damaged" in failed.message) == (400, True)
        assert made.answer(5, shown(picture(0))).completion_tokens


def test_a_damaged_projector_is_said_to_whoever_shows_a_picture(
    model: Model, tmp_path: Path
) -> None:
    assert model.projector is not None
    assert model.projector_path is not None
    broken = tmp_path / "models" / "broken"
    broken.mkdir(parents=True)
    for path in model.folder.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    data = (broken / model.projector.file).read_bytes()
    (broken / model.projector.file).write_bytes(data[:100] + bytes(len(data) - 100))
    with runner(load_model(broken), tmp_path) as made:
        assert made.answer(1, Turn("user", "Hello.")).completion_tokens
        made.ask(2, shown(picture(0)))
        failed = made.heard.failed(2)
        assert (failed.status, "damaged" in failed.message) == (400, True)


def test_the_oldest_pictures_leave_with_their_messages(tmp_path: Path) -> None:
    with runner(seeing_model("qwen2vl"), tmp_path, context=512) as made:
        turns: list[Turn] = []
        for number in range(8):
            turns += [shown(picture(number), text=f"{number}?"), Turn("assistant", "Yes.")]
        done = made.answer(1, *turns, Turn("user", "And now?"))
        assert 0 < done.dropped < len(turns)
        assert done.prompt_tokens < 512
        assert made.encoded < 8


def test_ids_that_are_told_are_tokens_alone(model: Model, tmp_path: Path) -> None:
    with runner(model, tmp_path) as made:
        done = made.answer(1, shown(picture(0)), tells_ids=True)
        assert done.ids
        assert min(done.ids) >= 0


def test_penalties_pass_over_rows(model: Model, tmp_path: Path) -> None:
    with runner(model, tmp_path) as made:
        sampling = replace(GREEDY, repetition_penalty=1.5, repetition_window=500)
        assert made.answer(1, shown(picture(0)), sampling=sampling).completion_tokens


def test_rows_that_see_each_other_are_read_beside_an_answer(tmp_path: Path) -> None:
    with runner(seeing_model("gemma3"), tmp_path) as made:
        engine = made.runtime.contexts.engine
        alone = made.answer(1, shown(picture(6)), chat="a", max_tokens=1)
        expected, aside = made.heard.text(1), list[bool]()
        evaluate = engine.evaluate_aside

        def counted(*args: Any) -> bool:
            aside.append(evaluate(*args))
            return aside[-1]

        engine.evaluate_aside = counted  # type: ignore[method-assign,assignment]
        made.ask(2, Turn("user", "Go on."), chat="b", max_tokens=400)
        with made.heard.changed:
            assert made.heard.changed.wait_for(lambda: made.heard.text(2), PATIENCE)
        again = made.answer(3, shown(picture(6)), chat="c", owner="p", max_tokens=1)
        assert aside == [True]
        assert again.prompt_tokens == alone.prompt_tokens
        assert made.heard.text(3) == expected
        assert made.heard.finished(2).completion_tokens
