"""The files of a model stay as they came; what ctransformers loads is made of them when needed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from app.errors import DiskFull, ModelError, ModelFileError, ModelUnsupported, PullRefused
from app.models import adapted, engines
from app.models.adapted import ensure_adapted, remove_adapted
from app.models.engines import EngineSpeed
from app.models.install import install
from app.models.install.install import ModelSource, Origins
from app.models.model import Model, ModelSettings
from app.models.store import ModelStore
from app.models.text import tokenizer_builder
from app.models.text.tokenizer import Tokenizer
from tests.models.conftest import encode_template
from tests.models.gguf.test_engine_support import header_of
from tests.models.gguf.test_reader_split import parts_of, write
from tests.tiny_gguf import write_tiny_gguf


def make_old(model: Model) -> None:
    """As a version of Wick left it that kept only what ctransformers loads."""
    for path in model.original_paths:
        path.unlink()
    path = model.folder / "model.json"
    values = json.loads(path.read_text())
    new = {"engines", "files", "adapted_size", "kind", "tokenizer", "kv", "linked_from"}
    old = {key: value for key, value in values.items() if key not in new}
    old |= {"format": 1, "size": model.weights_path.stat().st_size}
    path.write_text(json.dumps(old))


def test_the_file_stays_as_it_came(store: ModelStore, tiny: Path) -> None:
    model = store.install(tiny, "m")
    assert model.original_paths == [store.root / "m/original.gguf"]
    assert model.original_paths[0].read_bytes() == tiny.read_bytes()
    assert not model.original_paths[0].samefile(tiny)


def test_a_shared_file_is_not_copied_into_the_store(store: ModelStore, tiny: Path) -> None:
    model = store.install(tiny, "m", keep="share")
    assert model.original_paths[0].samefile(tiny)
    assert model.linked_from == ""


def test_split_files_stay_split(store: ModelStore, tmp_path: Path) -> None:
    paths = write(tmp_path, parts_of())
    model = store.install(paths[1], "m")
    assert model.files == tuple(f"original-0000{n}-of-00003.gguf" for n in (1, 2, 3))
    kept = [path.read_bytes() for path in model.original_paths]
    assert kept == [path.read_bytes() for path in paths]
    assert model.size == sum(map(len, kept))
    model.weights_path.unlink()
    assert ensure_adapted(store.get("m")).stat().st_size == model.adapted_size


def test_the_copy_for_ctransformers_is_made_again(store: ModelStore, tiny: Path) -> None:
    model = store.install(tiny, "m")
    before = model.weights_path.read_bytes()
    remove_adapted(model)
    assert store.get("m") == model
    steps: list[tuple[int, int]] = []
    assert ensure_adapted(model, lambda *step: steps.append(step)).read_bytes() == before
    assert steps
    model.weights_path.write_bytes(before[:1000])  # as a crash may leave it
    assert ensure_adapted(model).read_bytes() == before
    mode = model.weights_path.stat().st_mode & 0o777
    assert (mode, sorted(path.name for path in model.folder.iterdir())) == (
        0o644,
        ["model.gguf", "model.json", "original.gguf", "tokenizer.json", "vocabulary.json"],
    )


def test_a_full_disk_is_found_before_the_copy_is_made(
    store: ModelStore, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = store.install(tiny, "m")
    remove_adapted(model)

    def full(*_: object) -> None:
        raise DiskFull("There is no room.")

    monkeypatch.setattr(adapted, "ensure_space", full)
    with pytest.raises(DiskFull):
        ensure_adapted(model)
    assert not model.weights_path.exists()


def test_half_a_copy_of_a_crash_is_removed(store: ModelStore, tiny: Path) -> None:
    model = store.install(tiny, "m")
    remove_adapted(model)
    old, new = model.folder / ".adapted-old", model.folder / ".adapted-new"
    for path in (old, new):
        path.write_bytes(b"GGUF")
    os.utime(old, (1e9, 1e9))
    ensure_adapted(model)
    assert (old.exists(), new.exists()) == (False, True)


def test_a_store_of_an_earlier_version_goes_on_with_ctransformers(
    store: ModelStore, tiny: Path
) -> None:
    made = store.install(tiny, "m")
    make_old(made)
    (old,) = store.models()
    assert (old.runs_on(), old.engine, old.files) == (("ctransformers",), "ctransformers", ())
    assert ensure_adapted(old) == old.weights_path
    assert store.lacks_original("m")
    remove_adapted(old)  # there is nothing to make it of
    assert old.weights_path.exists()


@pytest.mark.parametrize("gone", ["original.gguf", "model.gguf"])
def test_a_model_needs_either_its_original_or_its_copy(
    store: ModelStore, tiny: Path, gone: str
) -> None:
    store.install(tiny, "m")
    (store.root / "m" / gone).unlink()
    model = store.get("m")
    assert model.runs_on() == (
        ("ctransformers",) if gone == "original.gguf" else ("ctransformers", "llama.cpp")
    )
    assert ensure_adapted(model).is_file()
    for path in (*model.original_paths, model.weights_path):
        path.unlink()
    with pytest.raises(ModelFileError, match="damaged"):
        store.get("m")


def test_a_new_pull_brings_the_original(store: ModelStore, tiny: Path) -> None:
    make_old(store.install(tiny, "smollm2-135m"))
    store.save_settings("smollm2-135m", ModelSettings(system_prompt="Be brief."))
    spec = install.resolve("smollm2-135m", store)
    assert spec.renews
    model = store.install(tiny, spec.name, renews=True)
    assert model.files == ("original.gguf",)
    renewed = store.get("smollm2-135m")
    assert (renewed.settings.system_prompt, renewed.files) == ("Be brief.", model.files)
    assert [path.name for path in store.root.iterdir()] == ["smollm2-135m"]
    with pytest.raises(PullRefused, match="already"):
        install.resolve("smollm2-135m", store)


def test_another_model_does_not_take_its_place(store: ModelStore, tiny: Path) -> None:
    make_old(store.install(tiny, "m"))
    Origins(store.root).keep("m", ModelSource("hf:who/what/m.gguf", "M", 1))
    with pytest.raises(PullRefused, match="already"):
        install.resolve("hf:who/else/m.gguf", store, "m")
    assert install.resolve("hf:who/what/m.gguf", store, "m").renews
    with pytest.raises(ModelError, match="already"):
        store.install(tiny, "m", digest="of another file")
    assert store.lacks_original("m")
    assert install.resolve_local(str(tiny), store, "m").name == "m"
    assert store.install(tiny, "m").files  # the same file by its checksum


@pytest.mark.usefixtures("both_engines")
def test_a_vocabulary_that_wick_does_not_know_is_left_to_llama_cpp(
    store: ModelStore, tmp_path: Path
) -> None:
    path = header_of(tmp_path / "m.gguf", "qwen35")
    model = store.install(change(path, "smollm", "qwen35"), "m")
    assert (model.tokenizer, model.engine) == ("llama.cpp", "llama.cpp")
    assert "<|im_start|>" in model.chat_template
    assert not model.weights_path.exists()
    assert {path.name for path in model.folder.iterdir()} == {
        *("original.gguf", "model.json", "vocabulary.json")
    }
    with pytest.raises(ModelFileError):
        Tokenizer.load(model.folder)
    native = Tokenizer.load(model.folder, Native())
    assert encode_template(native, "<|im_start|>user") == [1, 117, 115, 101, 114]
    assert native.token_bytes(200) == b"200"
    assert native.token_bytes(1) == b""


@pytest.mark.usefixtures("both_engines")
def test_a_llama_with_such_a_vocabulary_runs_on_llama_cpp_alone(
    store: ModelStore, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = store.install(change(tiny, "smollm", "qwen35"), "m")
    assert (model.tokenizer, model.runs_on()) == ("llama.cpp", ("llama.cpp",))
    assert model.adapted_size == 0
    monkeypatch.setattr(engines, "installed_engines", lambda: ("ctransformers",))
    with pytest.raises(ModelUnsupported, match="in a way Wick does not know"):
        store.install(tiny, "n")


@pytest.mark.usefixtures("both_engines")
def test_a_large_vocabulary_is_left_to_llama_cpp(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer_builder, "MAX_MERGED_TOKENS", 10)
    keys = {"tokenizer.ggml.model": "llama", "general.file_type": 15}
    path = header_of(tmp_path / "m.gguf", "gemma3", more=keys)
    model = store.install(path, "m")
    assert (model.tokenizer, model.quantisation) == ("llama.cpp", "Q4_K_M")
    both = write_tiny_gguf(tmp_path / "spm.gguf", flavour="spm")
    assert store.install(both, "both").tokenizer == "wick"  # the other engine needs it


@pytest.mark.usefixtures("both_engines")
def test_a_known_vocabulary_of_another_architecture_is_wick_s_own(
    store: ModelStore, tmp_path: Path
) -> None:
    model = store.install(header_of(tmp_path / "m.gguf", "qwen3"), "m")
    assert (model.tokenizer, model.architecture, model.adapted_size) == ("wick", "qwen3", 0)
    assert Tokenizer.load(model.folder).encode(" the")
    assert store.get("m") == model


@pytest.mark.usefixtures("both_engines")
def test_an_embedding_model_has_no_template(store: ModelStore, tmp_path: Path) -> None:
    path = header_of(tmp_path / "m.gguf", "nomic-bert")
    model = store.install(path, "m")
    assert (model.kind, model.chat_template) == ("embedding", "")
    assert store.get("m").kind == "embedding"
    with pytest.raises(ModelError, match="new chats can't begin with it"):
        store.set_default("m")


class Native:
    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def token_bytes(self, index: int) -> bytes:
        return str(index).encode()


def change(path: Path, before: str, after: str) -> Path:
    """Another text of the same length in a file's header."""
    assert len(before) == len(after)
    data = path.read_bytes()
    assert data.count(before.encode()) == 1
    path.write_bytes(data.replace(before.encode(), after.encode()))
    return path


def test_speeds_are_kept_with_the_model(store: ModelStore, tiny: Path) -> None:
    store.install(tiny, "m")
    speeds: dict[Any, EngineSpeed] = {"ctransformers": EngineSpeed(100.0, 200.0)}
    store.save_speeds("m", speeds)
    assert store.get("m").speeds == speeds
    for text in ("", "[]", '{"ctransformers": 3}', '{"llama.cpp": {"decode": 0, "prompt": 1}}'):
        (store.root / "m/engine.json").write_text(text)
        assert store.get("m").speeds == {}
