"""Voice models on the disk."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.errors import MediaNotSetUp, ModelNotFound, PullError, PullRefused
from app.media.voice_catalogue import VOICE_CATALOGUE, estimate_seconds
from app.media.voice_models import VoiceModels, _join
from app.models.install import download
from app.models.store import ModelStore
from tests.models.stub_server import Stub, serve_stub
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


def test_speeds_are_kept_and_others_are_estimated_by_them(tmp_path: Path) -> None:
    models = VoiceModels(tmp_path)
    assert models.speeds() == {}
    assert estimate_seconds("whisper-small", models.speeds()) is None
    place(tmp_path, "whisper-base")
    models.save_speed("my-own", 7.0)
    models.save_speed("whisper-base", 0.5)
    assert models.speeds() == {"my-own": 7.0, "whisper-base": 0.5}
    small = estimate_seconds("whisper-small", models.speeds())
    assert small == pytest.approx(0.5 * VOICE_CATALOGUE["whisper-small"].work)
    assert estimate_seconds("my-own", {"whisper-base": 0.5}) is None
    (tmp_path / ".voice/.speeds").write_text("[damaged")
    assert models.speeds() == {}


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


SMALL = VOICE_CATALOGUE["whisper-small"]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """A hub that has files in place of Whisper Small's, and knows the checksum of the largest."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)
    with serve_stub() as web:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", web.url)
        template = web.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        pinned = []
        for spec in SMALL.hub:
            data = spec.path.encode() * 100
            pinned.append(replace(spec, sha256=hashlib.sha256(data).hexdigest()))
            web.files[f"/store/{spec.path}"] = data
            address = f"/{spec.repo}/resolve/{spec.revision}/{spec.path}"
            web.redirects[address] = f"{web.url}/store/{spec.path}"
            if spec.path == "model.bin":  # of small files the hub has no such checksum
                web.headers[address] = {
                    "X-Linked-Etag": f'"{pinned[-1].sha256}"',
                    "X-Linked-Size": str(len(data)),
                }
        monkeypatch.setitem(VOICE_CATALOGUE, SMALL.name, replace(SMALL, hub=tuple(pinned)))
        yield web


async def test_every_file_of_the_hub_must_have_its_checksum(hub: Stub, tmp_path: Path) -> None:
    for name in ("config.json", "model.bin"):
        whole = hub.files[f"/store/{name}"]
        hub.files[f"/store/{name}"] = bytes(len(whole))  # damaged on its way
        with pytest.raises(PullError):
            await VoiceModels(tmp_path).install("whisper-small", lambda *step: None)
        assert VoiceModels(tmp_path).installed() == []
        hub.files[f"/store/{name}"] = whole
    weights = hub.files["/store/model.bin"]
    model = await VoiceModels(tmp_path).install("whisper-small", lambda *step: None)
    assert {path.name for path in model.folder.iterdir()} == {spec.path for spec in SMALL.hub}
    assert (model.folder / "model.bin").read_bytes() == weights


async def test_another_file_on_the_hub_is_refused_before_it_is_fetched(
    hub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = next(spec for spec in SMALL.hub if spec.path == "model.bin")
    only = replace(SMALL, hub=(weights,))
    monkeypatch.setitem(VOICE_CATALOGUE, SMALL.name, only)
    with pytest.raises(PullError, match="another file on the hub now"):
        await VoiceModels(tmp_path).install("whisper-small", lambda *step: None)


def test_every_file_has_a_checksum() -> None:
    for entry in VOICE_CATALOGUE.values():
        specs = [spec for wheel in entry.wheels for spec in wheel]
        assert all(spec.sha256 and spec.wheel_sha256 for spec in specs)
        assert bool(entry.sha256) == bool(specs) != bool(entry.hub)
        for file in entry.hub:
            assert re.fullmatch("[0-9a-f]{64}", file.sha256 or "")
            assert re.fullmatch("[0-9a-f]{40}", file.revision or "")
