from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest

from app.cli.models import add_parser
from app.config import Settings
from app.errors import ModelNotFound, PullRefused
from app.models import engines
from app.models.install import install
from app.models.install.install import PullSpec
from app.models.install.progress import PullProgress
from app.models.model import Model
from app.models.store import ModelStore
from tests.models.test_found import into_ollama
from tests.tiny_gguf import write_tiny_gguf
from tests.tiny_projectors import write_projector


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(models_dir=tmp_path / "models", port=9)  # where no server runs


def run(settings: Settings, *words: str) -> int:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    args = parser.parse_args(["models", *words])
    code: int = args.func(args, settings)
    return code


def test_import_list_and_remove_a_model(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(settings, "list") == 0
    out = capsys.readouterr().out
    assert "No model installed yet" in out
    assert "wick models pull" in out
    assert "smollm2-135m" in out

    source = write_tiny_gguf(tmp_path / "Tiny One.gguf")
    assert run(settings, "import", str(source)) == 0
    captured = capsys.readouterr()
    assert captured.out == "Tiny is installed as tiny-one.\n"
    assert captured.err.splitlines()[-1].startswith("100 %  Installing")

    assert run(settings, "list") == 0
    assert "tiny-one" in capsys.readouterr().out
    assert run(settings, "remove", "tiny-one") == 0
    assert ModelStore(settings.models_dir).models() == []
    with pytest.raises(ModelNotFound):
        run(settings, "remove", "tiny-one")


def test_import_takes_a_folder_and_refuses_a_missing_file(
    settings: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    write_tiny_gguf(folder / "model.gguf")
    assert run(settings, "import", str(folder), "--name", "mine") == 0
    assert [model.name for model in ModelStore(settings.models_dir).models()] == ["mine"]
    with pytest.raises(PullRefused, match="There is no file"):
        run(settings, "import", str(tmp_path / "none"))
    with pytest.raises(PullRefused, match="already"):
        run(settings, "import", str(folder), "--name", "mine")


def test_the_list_marks_the_default_names_the_damaged_and_takes_no_markup(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ModelStore(settings.models_dir)
    source = write_tiny_gguf(tmp_path / "m.gguf", **{"general.name": "[b]T"})  # type: ignore[arg-type]
    store.install(source, "one")
    (store.install(source, "two").folder / "model.json").write_text("{")
    store.set_default("one")
    assert run(settings, "list") == 0
    out = capsys.readouterr().out
    assert "[b]T" in out
    assert "one *" in out
    assert "* The default" in out
    assert "The model two is damaged" in out
    assert run(settings, "remove", "two") == 0
    assert store.damaged() == []


def test_models_of_other_programs_are_listed_and_linked(
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run(settings, "list", "--found") == 0
    assert "No other program" in capsys.readouterr().out
    into_ollama(tmp_path / "ollama", write_tiny_gguf(tmp_path / "x.gguf"))
    assert run(settings, "list", "--found") == 0
    out = capsys.readouterr().out
    assert "tiny-1b" in out
    assert "Ollama" in out
    assert run(settings, "link", "tiny:1b", "--name", "mine") == 0
    assert ModelStore(settings.models_dir).get("mine").linked_from == "Ollama"
    with pytest.raises(ModelNotFound, match="No other program has a model"):
        run(settings, "link", "gpt-7")


def test_the_catalogue_is_listed(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(settings, "catalogue") == 0
    out = capsys.readouterr().out
    assert "smollm2-1.7b" in out
    assert "Fits" in out
    assert "Apache-2.0" in out


def test_pull_shows_its_stages(
    settings: Settings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def pull(
        order: PullSpec, store: ModelStore, report: Callable[[PullProgress], None]
    ) -> Model:
        assert order.source == "hf:a/b/c.gguf"
        for done in range(0, 101):
            report(PullProgress("downloading", done * 1_000_000, 100_000_000, 2e6))
        return store.install(write_tiny_gguf(tmp_path / "m.gguf"), order.name)

    monkeypatch.setattr(install, "pull", pull)
    assert run(settings, "pull", "hf:a/b/c.gguf", "--name", "tiny") == 0
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert len(lines) == 11
    assert lines[5] == " 50 %  Downloading, 50 of 100 MB, 2.0 MB/s, about 25 s left"
    assert captured.out == "Tiny is installed as tiny.\n"


def test_ctrl_c_says_how_to_continue_a_pull(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def pull(*_: object) -> Model:
        raise KeyboardInterrupt

    monkeypatch.setattr(install, "pull", pull)
    with pytest.raises(KeyboardInterrupt):
        run(settings, "pull", "smollm2-135m")
    assert "Run the same command to continue" in capsys.readouterr().err


def test_a_projector_is_set_shown_and_removed(
    settings: Settings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engines, "installed_engines", lambda: engines.ENGINES)
    run(settings, "import", str(write_tiny_gguf(tmp_path / "tiny.gguf")))
    mmproj = write_projector(tmp_path / "mmproj.gguf", "idefics3", width=64)
    capsys.readouterr()
    for words, out in (
        ((), "Tiny has no projector, so it sees no pictures.\n"),
        ((str(mmproj),), "Tiny has a projector of 0 MB.\n"),
        ((), "Tiny has a projector of 0 MB.\n"),
        (("--remove",), "Tiny has no projector, so it sees no pictures.\n"),
    ):
        assert run(settings, "projector", "tiny", *words) == 0
        assert capsys.readouterr().out == out
