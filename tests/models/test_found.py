"""Models of other programs: found where those keep them, and used without a copy."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from app.errors import ModelFileError, ModelNotFound, PullRefused
from app.models import found as found_module
from app.models.adapted import remove_adapted
from app.models.found import FoundModel, FoundModels, find_models
from app.models.install import install
from app.models.install.ollama import MODEL
from app.models.store import ModelStore

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def into_ollama(folder: Path, weights: Path, path: str = "library/tiny/1b") -> Path:
    """As `ollama pull` leaves a model; its blob."""
    data = weights.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    layers = [{"mediaType": MODEL, "digest": f"sha256:{sha256}", "size": len(data)}]
    manifest = folder / "manifests/registry.ollama.ai" / path
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))
    blob = folder / "blobs" / f"sha256-{sha256}"
    blob.parent.mkdir(exist_ok=True)
    shutil.copyfile(weights, blob)
    return blob


def into_hub_cache(hub: Path, weights: Path, name: str = "Tiny-Q4_K_M.gguf") -> Path:
    """As the hub's library leaves a file: a link to a blob that is named by its checksum."""
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    repository = hub / "models--who--Tiny-GGUF"
    snapshot, blob = repository / "snapshots" / COMMIT, repository / "blobs" / sha256
    for folder in (snapshot, blob.parent):
        folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(weights, blob)
    (snapshot / name).symlink_to(f"../../blobs/{sha256}")
    return blob


def summaries(models: list[FoundModel]) -> list[tuple[str, str, str]]:
    return [(model.program, model.title, model.name) for model in models]


def test_each_program_s_models_are_found(tmp_path: Path, tiny: Path) -> None:
    home = tmp_path / "home"
    into_ollama(home / ".ollama/models", tiny)
    into_hub_cache(home / ".cache/huggingface/hub", tiny)
    studio = home / ".lmstudio/models/who/Some-GGUF"
    old = home / ".cache/llama.cpp"
    for folder in (studio, old):
        folder.mkdir(parents=True)
    shutil.copyfile(tiny, studio / "Some-Q8_0.gguf")
    shutil.copyfile(tiny, studio / "mmproj-Some-F16.gguf")
    shutil.copyfile(tiny, studio / "Half-00001-of-00002.gguf")
    shutil.copyfile(tiny, studio / "Some-Q4_0.gguf.downloadInProgress")
    shutil.copyfile(tiny, old / "who_Other_other.gguf")
    models = find_models({}, home)
    assert summaries(models) == [
        ("LM Studio", "Some-Q8_0", "some-q8_0"),
        ("Hugging Face", "Tiny-Q4_K_M", "tiny-q4_k_m"),
        ("Ollama", "tiny:1b", "tiny-1b"),
        ("llama.cpp", "who_Other_other", "who_other_other"),
    ]
    assert all(model.size == tiny.stat().st_size for model in models)
    digest = hashlib.sha256(tiny.read_bytes()).hexdigest()
    assert [model.digest for model in models] == [None, digest, digest, None]


def test_variables_say_where_they_are(tmp_path: Path, tiny: Path) -> None:
    into_ollama(tmp_path / "o", tiny, "who/tiny/latest")
    into_hub_cache(tmp_path / "h/hub", tiny)
    into_hub_cache(tmp_path / "l", tiny, "Llama.gguf")
    pointed = tmp_path / "moved/models/a/b"
    pointed.mkdir(parents=True)
    shutil.copyfile(tiny, pointed / "Moved.gguf")
    chosen = tmp_path / "chosen/x"
    chosen.mkdir(parents=True)
    shutil.copyfile(tiny, chosen / "Chosen.gguf")
    (tmp_path / "moved/settings.json").write_text(
        json.dumps({"downloadsFolder": str(tmp_path / "chosen")})
    )
    (tmp_path / ".lmstudio-home-pointer").write_text(f"{tmp_path / 'moved'}\n")
    environ = {
        "OLLAMA_MODELS": str(tmp_path / "o"),
        "HF_HOME": str(tmp_path / "h"),
        "LLAMA_CACHE": str(tmp_path / "l"),
    }
    assert summaries(find_models(environ, tmp_path)) == [
        ("LM Studio", "Chosen", "chosen"),
        ("llama.cpp", "Llama", "llama"),
        ("LM Studio", "Moved", "moved"),
        ("Hugging Face", "Tiny-Q4_K_M", "tiny-q4_k_m"),
        ("Ollama", "who/tiny:latest", "tiny"),
    ]


def test_damaged_or_unknown_files_are_left_out(tmp_path: Path, tiny: Path) -> None:
    folder = tmp_path / ".ollama/models"
    blob = into_ollama(folder, tiny)
    manifest = folder / "manifests/registry.ollama.ai/library/tiny/1b"
    for content in (b"", b"[]", b"\xff" * 100, b"[" * 200_000):
        manifest.write_bytes(content)
        assert find_models({}, tmp_path) == []
    into_ollama(folder, tiny)
    blob.write_bytes(b"GGUF")  # half of a download
    assert find_models({}, tmp_path) == []
    (tmp_path / ".lmstudio").mkdir()
    (tmp_path / ".lmstudio/settings.json").write_text('{"downloadsFolder": "\\u0000"}')
    (tmp_path / ".lmstudio-home-pointer").write_bytes(b"\xff\x00")
    loop = tmp_path / ".lmstudio/models"
    loop.symlink_to(tmp_path / ".lmstudio")
    assert find_models({"LLAMA_CACHE": "\0"}, tmp_path) == []


def test_a_search_of_folders_ends_at_its_limits(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ".lmstudio/models"
    folder.mkdir(parents=True)
    for number in range(8):
        shutil.copyfile(tiny, folder / f"m{number}.gguf")
    monkeypatch.setattr(found_module, "MAX_FOUND", 3)
    assert len(find_models({}, tmp_path)) == 3
    monkeypatch.setattr(found_module, "MAX_ENTRIES", 2)
    assert len(find_models({}, tmp_path)) == 2


async def link(store: ModelStore, home: Path) -> None:
    (found,) = FoundModels({}, home).all()
    await install.pull(install.resolve_found(found, store), store, lambda _: None)


async def test_a_model_is_used_without_a_copy(
    store: ModelStore, tmp_path: Path, tiny: Path
) -> None:
    blob = into_ollama(tmp_path / ".ollama/models", tiny)
    await link(store, tmp_path)
    model = store.get("tiny-1b")
    assert model.original_paths[0].samefile(blob)
    assert model.linked_from == "Ollama"
    assert FoundModels({}, tmp_path).available(store.models()) == []
    blob.unlink()  # a link of the disk's own is the file as much as the other was
    assert store.get("tiny-1b") == model
    with pytest.raises(PullRefused, match="already"):
        install.resolve_found(FoundModel("Ollama", "t", blob, 1, "tiny-1b"), store)
    store.remove("tiny-1b")


async def test_on_another_disk_a_deletion_is_said(
    store: ModelStore, tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_disk(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", other_disk)
    blob = into_ollama(tmp_path / ".ollama/models", tiny)
    await link(store, tmp_path)
    model = store.get("tiny-1b")
    assert model.original_paths[0].is_symlink()
    assert FoundModels({}, tmp_path).available(store.models()) == []
    blob.unlink()
    assert store.get("tiny-1b").runs_on() == ("ctransformers",)  # of its own copy
    remove_adapted(model)
    with pytest.raises(ModelFileError, match=r"it belonged to Ollama, which seems to have deleted"):
        store.get("tiny-1b")
    assert "belonged to Ollama" in store.damaged()[0][1]
    store.remove("tiny-1b")


async def test_removing_it_here_leaves_the_other_program_s_file(
    store: ModelStore, tmp_path: Path, tiny: Path
) -> None:
    blob = into_hub_cache(tmp_path / ".cache/huggingface/hub", tiny)
    await link(store, tmp_path)
    store.remove("tiny-q4_k_m")
    assert blob.read_bytes() == tiny.read_bytes()


def test_a_found_model_that_is_gone_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="no longer where it was found"):
        FoundModels({}, tmp_path).get("0123456789abcdef")
