"""A projector of which the library would die is tried in another process first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.inference.runner.engines.mtmd_native import ProjectorError
from app.inference.runner.pictures import trial
from app.models.model import Turn
from app.models.store import ModelStore
from tests.inference.runner.test_setup_pictures import runner, shown
from tests.inference.seeing import picture, seeing_model, sound
from tests.tiny_architectures import WIDTH, Weights
from tests.tiny_gguf import encode
from tests.tiny_projectors import (
    HEARING,
    KINDS,
    PROJECTORS,
    TINY,
    ultravox,
    write_seeing_model,
)


def write_hostile(path: Path, **values: object) -> Path:
    """A projector that passes for one, with other values in its header."""
    known, tensors = PROJECTORS["idefics3"](Weights(1), WIDTH, TINY)
    named = {key.replace("__", "."): value for key, value in values.items()}
    path.write_bytes(encode(known | named, tensors))
    return path


def test_a_projector_that_kills_is_said_and_texts_are_answered(tmp_path: Path) -> None:
    weights = write_seeing_model(tmp_path / "model.gguf", "idefics3")
    hostile = write_hostile(tmp_path / "mmproj.gguf", clip__projector_type="mlp")
    model = ModelStore(tmp_path / "store").install(weights, "m", projector=hostile)
    with runner(model, tmp_path) as made:
        assert made.answer(1, Turn("user", "Hello.")).completion_tokens
        made.ask(2, shown(picture(0)))
        failed = made.heard.failed(2)
        assert (failed.status, "projector cannot be used" in failed.message) == (400, True)
    assert not (model.folder / trial.NOTE).exists()


def test_a_projector_of_sound_that_kills_is_said_and_texts_are_answered(tmp_path: Path) -> None:
    weights = write_seeing_model(tmp_path / "model.gguf", HEARING)
    hostile = tmp_path / "mmproj.gguf"
    hostile.write_bytes(encode(*ultravox(Weights(1), WIDTH)))
    model = ModelStore(tmp_path / "store").install(weights, "m", projector=hostile)
    assert model.hears
    with runner(model, tmp_path) as made:
        made.ask(1, shown(sound(0)))
        failed = made.heard.failed(1)
        assert (failed.status, "projector cannot be used" in failed.message) == (400, True)
        assert made.answer(2, Turn("user", "Hello.")).completion_tokens
    assert not (model.folder / trial.NOTE).exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_projector_is_tried_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = seeing_model(kind)
    assert model.projector is not None
    assert model.projector_path is not None
    weights = model.original_paths[0]
    (model.folder / trial.NOTE).unlink(missing_ok=True)
    trial.ensure_usable(weights, model.projector_path, model.projector)
    assert json.loads((model.folder / trial.NOTE).read_text())["digest"] == model.projector.digest
    monkeypatch.setattr(trial, "try_projector", None)
    trial.ensure_usable(weights, model.projector_path, model.projector)


def test_the_librarys_reason_is_told(tmp_path: Path) -> None:
    weights = write_seeing_model(tmp_path / "model.gguf", "idefics3")
    wrong = write_hostile(tmp_path / "mmproj.gguf", clip__projector_type="nonesuch")
    with pytest.raises(ProjectorError, match=r"cannot be used: .* from mmproj.gguf"):
        trial.try_projector(weights, wrong)
