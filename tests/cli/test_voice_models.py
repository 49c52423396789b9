"""Voice models in `wick models`."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.cli import main
from tests.whisper import store_with_whisper


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WICK_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WICK_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("COLUMNS", "120")


def test_a_voice_model_is_pulled_listed_and_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WICK_MODELS_DIR", str(store_with_whisper()))
    assert main(["models", "pull", "whisper-base"]) == 0
    assert "Whisper Base is installed as whisper-base." in capsys.readouterr().out
    assert main(["models", "list"]) == 0
    listed = capsys.readouterr().out
    assert "whisper-base" in listed
    assert "yes" in listed
    folder = tmp_path / "models/.voice/whisper-small"
    folder.mkdir(parents=True)
    for file in ("model.bin", "tokenizer.json"):
        (folder / file).write_bytes(b"1234")
    monkeypatch.setenv("WICK_MODELS_DIR", str(tmp_path / "models"))
    assert main(["models", "remove", "whisper-small"]) == 0
    assert not folder.exists()
    assert main(["models", "remove", "whisper-small"]) == 1


def test_voice_models_are_in_the_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "catalogue"]) == 0
    assert "whisper-large-v3-turbo" in capsys.readouterr().out
