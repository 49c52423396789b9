from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import threading
from pathlib import Path
from typing import NamedTuple

import pytest

from app.errors import (
    DiskFull,
    ModelError,
    ModelFileError,
    ModelNotFound,
    ModelUnsupported,
    TemplateError,
)
from app.models import adapted
from app.models.disk import file_digest
from app.models.model import ModelSettings
from app.models.parameters import Sampling
from app.models.store import ModelStore, name_for
from tests.tiny_gguf import write_tiny_gguf


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_installing_listing_and_removing(store: ModelStore, tiny: Path) -> None:
    steps: list[tuple[int, int]] = []
    model = store.install(
        tiny, "b", sampling=Sampling(temperature=0.2), progress=lambda *step: steps.append(step)
    )
    other = store.install(tiny, "a", title="Another", license_name="MIT")
    assert other.license == "MIT"
    assert [(m.name, m.title) for m in store.models()] == [("a", "Another"), ("b", "Tiny")]
    assert store.get("b") == model
    assert model.sampling.temperature == 0.2
    assert model.digest == file_digest(tiny)
    assert model.size == tiny.stat().st_size == (model.folder / "original.gguf").stat().st_size
    assert model.adapted_size == model.weights_path.stat().st_size
    assert (model.runs_on(), model.engine) == (("ctransformers", "llama.cpp"), "ctransformers")
    assert (model.context_length, model.license) == (512, "cc0-1.0")
    assert model.kv_bytes_per_token == 2 * 2 * 32 * 2
    assert steps == sorted(steps)
    assert steps[-1] == (tiny.stat().st_size, tiny.stat().st_size)
    store.remove("b")
    assert [m.name for m in store.models()] == ["a"]
    assert [path.name for path in store.root.iterdir()] == ["a"]


def test_an_absent_store_is_empty(store: ModelStore) -> None:
    assert store.models() == []


def test_listing_does_not_open_the_weights(store: ModelStore, tiny: Path) -> None:
    model = store.install(tiny, "a")
    model.weights_path.write_bytes(bytes(model.adapted_size))
    model.original_paths[0].write_bytes(bytes(model.size))
    assert store.models() == [model]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a", "a/b", "a\\b", ".hidden", "A", "ä", "a\n", "a" * 65, "-a", "\0"]
)
def test_names_cannot_leave_the_store(store: ModelStore, tiny: Path, name: str) -> None:
    store.root.mkdir()
    for action in (store.get, store.remove):
        with pytest.raises(ModelNotFound, match="No model named"):
            action(name)
    with pytest.raises(ModelError, match="cannot be a model's name"):
        store.ensure_name_free(name)
    assert tiny.exists()


def test_a_name_is_made_from_the_file_s() -> None:
    assert name_for(Path("/x/SmolLM2 135M (new).Q4_1.gguf")) == "smollm2-135m-new-.q4_1"
    assert name_for(Path("..x.gguf")) == "x"
    assert name_for(Path("日本.gguf")) == "model"


def test_a_taken_name_is_refused_and_stays_whole(store: ModelStore, tiny: Path) -> None:
    model = store.install(tiny, "a")
    with pytest.raises(ModelError, match="already"):
        store.install(tiny, "a")
    assert store.get("a") == model


def test_two_installations_of_one_name_give_one_model(store: ModelStore, tiny: Path) -> None:
    errors: list[ModelError] = []

    def install() -> None:
        try:
            store.install(tiny, "a")
        except ModelError as error:
            errors.append(error)

    threads = [threading.Thread(target=install) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 3
    assert all("already" in str(error) for error in errors)
    assert [path.name for path in store.root.iterdir()] == ["a"]


def test_bad_files_leave_no_trace(store: ModelStore, tmp_path: Path, tiny: Path) -> None:
    text = tmp_path / "letter.gguf"
    text.write_text("Dear model, how are you?")
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny.read_bytes()[:-100])
    other = write_tiny_gguf(tmp_path / "other.gguf", **{"general.architecture": "nonsense"})  # type: ignore[arg-type]
    bomb = write_tiny_gguf(
        tmp_path / "bomb.gguf",
        **{"tokenizer.chat_template": "{{ 'a' * 10**9 }}"},  # type: ignore[arg-type]
    )
    for path, error in (
        (text, ModelFileError),
        (cut, ModelFileError),
        (tmp_path, ModelFileError),
        (other, ModelUnsupported),
        (bomb, TemplateError),
    ):
        with pytest.raises(error):
            store.install(path, "bad")
    assert not store.root.exists() or list(store.root.iterdir()) == []


def test_a_file_without_a_template_gets_one(store: ModelStore, tmp_path: Path) -> None:
    source = write_tiny_gguf(tmp_path / "m.gguf", **{"tokenizer.chat_template": None})  # type: ignore[arg-type]
    assert "<|im_start|>" in store.install(source).chat_template


def test_broken_folders_are_logged_and_left_out(
    store: ModelStore, tiny: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = store.install(tiny, "whole")
    for name in ("empty", "short", "strange", "newer", "deep"):
        shutil.copytree(whole.folder, store.root / name)
    (store.root / "empty/model.json").unlink()
    (store.root / "short/original.gguf").write_bytes(b"GGUF")
    (store.root / "strange/model.json").write_text("[]")
    (store.root / "deep/model.json").write_text("[" * 100_000)
    (store.root / "newer/model.json").write_text(json.dumps({"format": 99}))
    (store.root / "a-file").write_text("")
    with caplog.at_level(logging.WARNING):
        assert store.models() == [whole]
        assert store.models() == [whole]
    assert len(caplog.records) == 5  # once for each
    damaged = store.damaged()
    assert [name for name, _ in damaged] == ["deep", "empty", "newer", "short", "strange"]
    assert all(sentence.endswith(".") for _, sentence in damaged)
    store.remove("empty")
    assert "empty" not in dict(store.damaged())
    with pytest.raises(ModelFileError, match="cut short"):
        store.get("short")


def test_leftovers_of_a_crash_are_removed_and_running_installs_are_not(
    store: ModelStore, tiny: Path
) -> None:
    for name in (".incoming-old", ".incoming-live", ".removed-half"):
        (store.root / name).mkdir(parents=True)
        (store.root / name / "model.gguf").write_text("GGUF")
    with store.incoming(0) as silent:
        # Not for days has anything changed in it, but it is held.
        for folder in (store.root / ".incoming-old", silent):
            os.utime(folder, (1e9, 1e9))
        store.install(tiny, "a")
        assert {path.name for path in store.root.iterdir()} == {".incoming-live", silent.name, "a"}
    assert sorted(path.name for path in store.get("a").folder.iterdir()) == [
        *("model.gguf", "model.json", "original.gguf", "tokenizer.json", "vocabulary.json")
    ]
    assert [model.name for model in store.models()] == ["a"]


def test_a_full_disk_is_found_before_anything_is_written(
    store: ModelStore, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 1000))
    with pytest.raises(DiskFull, match="no room"):
        store.install(tiny, "a")
    assert list(store.root.iterdir()) == []


def test_a_disk_that_fills_up_halfway_leaves_no_trace(
    store: ModelStore, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(adapted, "convert", fail)
    with pytest.raises(DiskFull):
        store.install(tiny, "a")
    assert list(store.root.iterdir()) == []


def test_a_title_says_nothing_to_a_terminal(store: ModelStore, tmp_path: Path) -> None:
    source = write_tiny_gguf(tmp_path / "m.gguf", **{"general.name": "A\x1b[31m\n[red]B"})  # type: ignore[arg-type]
    assert store.install(source).title == "A[31m [red]B"


def test_settings_may_be_saved_by_two_threads_at_once(store: ModelStore, tiny: Path) -> None:
    store.install(tiny, "tiny")
    threads = [threading.Thread(target=store.set_default, args=("tiny",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.default() == "tiny"
    assert sorted(path.name for path in store.root.iterdir()) == [".default", "tiny"]


def test_settings_are_kept_beside_the_model(store: ModelStore, tiny: Path) -> None:
    store.install(tiny, "tiny")
    chosen = ModelSettings("Be brief.", Sampling(temperature=0.0, seed=3), 512, "chatml")
    store.save_settings("tiny", chosen)
    model = store.get("tiny")
    assert model.settings == chosen
    assert model.default_sampling == chosen.sampling
    with pytest.raises(ModelNotFound):
        store.save_settings("other", chosen)


def test_damaged_settings_count_as_none(store: ModelStore, tiny: Path) -> None:
    store.install(tiny, "tiny")
    for text in (
        "",
        "[]",
        "[" * 100_000,
        "{}",
        '{"sampling": {"heat": 1}}',
        '{"sampling": null, "x": 1}',
    ):
        (store.root / "tiny" / "settings.json").write_text(text)
        assert store.get("tiny").settings == ModelSettings()


def test_the_default_is_a_model_of_the_store(store: ModelStore, tiny: Path) -> None:
    assert store.default() is None
    store.install(tiny, "tiny")
    store.set_default("tiny")
    assert store.default() == "tiny"
    with pytest.raises(ModelNotFound):
        store.set_default("other")
    store.remove("tiny")
    assert store.default() is None
