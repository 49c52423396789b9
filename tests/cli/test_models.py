from __future__ import annotations

import argparse
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from app.cli.models import add_parser
from app.config import Settings
from app.errors import ModelNotFound
from app.models import sources
from app.models.model import Model
from app.models.shelf import Shelf
from app.models.sources import PullProgress
from tests.tiny_gguf import write_tiny_gguf


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(models_dir=tmp_path / "models")


def run(settings: Settings, *words: str) -> int:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    args = parser.parse_args(["models", *words])
    code: int = args.func(args, settings)
    return code


def test_import_list_and_remove(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(settings, "list") == 0
    out = capsys.readouterr().out
    assert "no models" in out
    assert "wick models pull smollm2-135m" in out

    source = write_tiny_gguf(tmp_path / "Tiny One.gguf")
    assert run(settings, "import", str(source)) == 0
    captured = capsys.readouterr()
    assert captured.out == "Tiny is on the shelf as tiny-one.\n"
    assert captured.err.endswith("Importing: 100 %\n")

    assert run(settings, "list") == 0
    assert "tiny-one" in capsys.readouterr().out
    assert run(settings, "remove", "tiny-one") == 0
    assert Shelf(settings.models_dir).models() == []
    with pytest.raises(ModelNotFound):
        run(settings, "remove", "tiny-one")


def test_pull_shows_its_stages(
    settings: Settings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def pull(
        name: str, shelf: Shelf, progress: Callable[[PullProgress], None], _: threading.Event
    ) -> Model:
        for done in range(0, 101):
            progress(PullProgress("downloading", done, 100))
        return shelf.install(write_tiny_gguf(tmp_path / "m.gguf"), name)

    monkeypatch.setattr(sources, "pull", pull)
    assert run(settings, "pull", "tiny") == 0
    captured = capsys.readouterr()
    assert captured.err.count("Downloading") == 11
    assert captured.out == "Tiny is on the shelf as tiny.\n"
