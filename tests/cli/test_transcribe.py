"""`wick transcribe` on real speech."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.cli import main
from tests.whisper import speak, store_with_whisper


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WICK_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WICK_MODELS_DIR", str(store_with_whisper()))


def test_a_recording_is_written_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = speak("Please write a short story about a dog and a cat.", tmp_path)
    assert main(["transcribe", str(path), "--format", "json", "--language", "en"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "short story" in found["text"].lower()
    assert found["segments"][0]["end"] > 1


def test_what_is_wrong_is_said_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.mp3").write_bytes(b"no sound")
    assert main(["transcribe", str(tmp_path / "bad.mp3")]) == 1
    assert capsys.readouterr().err.startswith("wick: bad.mp3 is damaged, or not audio")
    assert main(["transcribe"]) == 1
    assert "Name the recording" in capsys.readouterr().err
    assert main(["transcribe", str(tmp_path / "none.mp3")]) == 2
    capsys.readouterr()
    monkeypatch.setenv("WICK_MODELS_DIR", str(tmp_path / "models"))
    assert main(["transcribe", str(tmp_path / "bad.mp3")]) == 1
    assert "wick transcribe --set-up" in capsys.readouterr().err
