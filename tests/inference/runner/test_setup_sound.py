"""A whole runner of a tiny model that hears: from a message with sound to its answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from app.models.model import Turn
from app.models.model_files import load_model
from tests.inference.runner.test_setup_pictures import runner, shown
from tests.inference.seeing import picture, seeing_model, sound
from tests.tiny_projectors import HEARING


def test_a_chat_with_sound_goes_on_and_survives_a_restart(tmp_path: Path) -> None:
    model = seeing_model(HEARING)
    assert model.hears
    assert not model.sees
    first = shown(sound(1, 45 * 16_000), text="What do you hear?")
    with runner(model, tmp_path, context=2048) as made:
        done = made.answer(1, first)
        chunks = made.encoded
        assert chunks == 2  # it is longer than the window of 30 s
        more = (first, Turn("assistant", made.heard.text(1)), Turn("user", "And what else?"))
        again = made.answer(2, *more)
        assert again.tier == "live"
        assert again.cached_tokens > done.prompt_tokens - 16
        assert made.encoded == chunks
        expected = made.heard.text(2)
    with runner(load_model(model.folder), tmp_path, context=2048) as later:
        after = later.answer(1, *more)
        assert (after.tier, later.encoded) == ("disk", 0)
        assert later.heard.text(1)[:1] == expected[:1]


def test_what_cannot_be_heard_or_seen_is_said(tmp_path: Path) -> None:
    gone = replace(sound(0), path=str(tmp_path / "gone"), id="f" * 64)
    with runner(seeing_model(HEARING), tmp_path) as made:
        for number, image, sentence in (
            (1, picture(0), "This model cannot see pictures."),
            (2, gone, "A sound of this message is gone."),
            (3, replace(sound(0), samples=15_000, id="e" * 64), "damaged"),
        ):
            made.ask(number, shown(image))
            failed = made.heard.failed(number)
            assert failed.status == 400
            assert sentence in failed.message
        assert made.answer(5, shown(sound(0))).completion_tokens
    with runner(seeing_model("gemma3"), tmp_path / "seer") as made:
        made.ask(1, shown(sound(0)))
        assert made.heard.failed(1).message == "This model cannot hear sound."


def test_a_stop_in_the_middle_of_a_sound(tmp_path: Path) -> None:
    with runner(seeing_model(HEARING), tmp_path) as made:
        made.ask(1, shown(sound(2)))
        made.runtime.scheduler.cancel(1)
        assert made.heard.finished(1).reason == "cancelled"
        assert made.answer(2, shown(sound(2))).completion_tokens
