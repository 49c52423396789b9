"""`wick bench` from end to end, with numbers so small that it takes seconds. What it measures is
never asserted, only that it is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.cli import main
from app.models.store import ModelStore
from tests.bench import stub
from tests.inference.tiny import tiny_model
from tests.tiny_architectures import write_architecture

SMALL = ["--concurrency", "2", "--prompt", "100", "--tokens", "8", "--others", "2", "--turns", "1"]
HERE_ONLY = {
    "load",
    "bare",
    "ctransformers",
    "one_thread",
    "restart",
    "memory_loaded",
    "memory_chat",
}
BOTH = {
    "streams_1",
    "streams_2",
    "competitor",
    "prefill",
    "cold",
    "second_turn",
    "revisit",
    "median_gap",
    "longest_pause",
    "first_alone",
    "first_beside",
}


@pytest.fixture(autouse=True)
def data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("WICK_MODELS_DIR", str(tiny_model().folder.parent))
    monkeypatch.setenv("WICK_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WICK_CONTEXT", "512")
    # One thread: GGML's barrier would wait for whoever else is busy on this machine.
    monkeypatch.setenv("WICK_THREADS", "1")
    return tmp_path / "data"


def test_every_figure_of_both_as_json(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with stub.serving(stub.answer) as url:
        assert main(["bench", "tiny", *SMALL, "--json", "--against", f"{url}/v1/"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert result["against"] == f"stub-1 at {url}/v1/"
    assert result["threads"] == 1
    assert result["machine"]
    assert "answers at once" in err
    figures: dict[str, dict[str, Any]] = {f["key"]: f for f in result["figures"]}
    assert set(figures) == HERE_ONLY | BOTH
    for key, figure in figures.items():
        assert figure["measured"] is not None, key
        # The stub sends an answer in one piece, which may leave no gap to measure.
        if key not in {"median_gap", "longest_pause"}:
            assert (figure["theirs"] is not None) == (key in BOTH), key
            assert (figure["ours_to_theirs"] is not None) == (key in BOTH), key
        if figure["over"]:
            assert figure["ratio"] == figure["measured"] / figures[figure["over"]]["measured"]
        has_aim = figure["at_least"] is not None or figure["at_most"] is not None
        assert isinstance(figure["reached"], bool) == has_aim, key
    assert len(result["samples"]["ours"]["cold"]) == 3
    assert list(data.iterdir()) == []  # it leaves nothing behind


def test_both_engines_on_one_file(capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SMALL, "--json", "--engine", "both", "--parts", "speed"]
    assert main(["bench", "tiny", *words]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["engine"], result["second_engine"]) == ("ctransformers", "llama.cpp")
    figures: dict[str, dict[str, Any]] = {f["key"]: f for f in result["figures"]}
    for key in ("streams_1", "streams_2", "load"):
        assert figures[key]["measured"] > 0
        assert figures[key]["second_engine"] > 0
    assert figures["ctransformers"]["second_engine"] is None
    assert figures["cold"]["measured"] is None


@pytest.mark.parametrize("engine", ["ctransformers", "both"])
def test_an_engine_that_cannot_run_the_model(
    engine: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weights = write_architecture(tmp_path / "qwen.gguf", "qwen3")
    ModelStore(tmp_path / "store").install(weights, "qwen")
    monkeypatch.setenv("WICK_MODELS_DIR", str(tmp_path / "store"))
    assert main(["bench", "qwen", *SMALL, "--engine", engine]) == 1
    assert "ctransformers can't run" in capsys.readouterr().err


def test_an_unknown_part(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "tiny", "--parts", "speed,colour"])
    assert "colour is none of speed, chats, busy, pause" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (stub.break_off, "broke off in the middle of an answer"),
        (stub.lie_about_length, "broke off in the middle of an answer"),
        (stub.say_nothing, "gave an empty answer"),
        (stub.refuse, "answered with status 503: no room [31m today."),
        (stub.fail_inside, "failed: out of memory."),
        (stub.garbage(b"data: <html>\n\n"), "is not the OpenAI protocol"),
        (stub.garbage(b"data: [1, 2]\n\n"), "is not the OpenAI protocol"),
        (stub.garbage(b'data: {"choices": [3]}\n\n'), "is not the OpenAI protocol"),
        (stub.garbage(b'data: {"usage": {"prompt_tokens": "?"}}\n\n'), "not the OpenAI protocol"),
    ],
)
def test_a_server_that_misbehaves(
    reply: stub.Reply, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with stub.serving(reply) as url:
        assert main(["bench", "tiny", *SMALL, "--against", url]) == 1
    out, err = capsys.readouterr()
    last = err.splitlines()[-1]
    assert last.startswith("wick: ")
    assert words in last
    assert url in last
    assert out == ""


def test_a_server_without_the_wanted_model(capsys: pytest.CaptureFixture[str]) -> None:
    with stub.serving(stub.answer) as url:
        assert main(["bench", "tiny", "--prompt", "100", *against(url, "other")]) == 1
    assert "serves no model named “other”; it has stub-1." in capsys.readouterr().err


@pytest.mark.parametrize("models", [b"<html>", b"[]", b'{"data": [{}]}'])
def test_a_server_of_another_kind(models: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    with stub.serving(stub.answer, models) as url:
        assert main(["bench", "tiny", *SMALL, "--against", url]) == 1
    assert "is not the OpenAI protocol" in capsys.readouterr().err


def test_nobody_there(capsys: pytest.CaptureFixture[str]) -> None:
    with stub.serving(stub.answer) as url:
        pass
    assert main(["bench", "tiny", *SMALL, "--against", url]) == 1
    assert f"Nobody answers at {url}" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://here", "http://", "http://h:x", "\x00"])
def test_no_address(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "tiny", *SMALL, "--against", url]) == 1
    assert "is not an address" in capsys.readouterr().err


def test_an_unknown_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "nobody", *SMALL]) == 1
    assert "No model named “nobody” is installed." in capsys.readouterr().err


def test_a_prompt_that_fits_no_window_and_one_that_is_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["bench", "tiny", "--prompt", "500"]) == 2
    assert "here it is 512: make --prompt or --tokens smaller" in capsys.readouterr().err
    assert main(["bench", "tiny", *SMALL, "--prompt", "3"]) == 1
    assert "too short for this model" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["--concurrency 0", "--concurrency 1,,2", "--tokens -1"])
def test_wrong_numbers(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["bench", "tiny", *words.split()])
    assert raised.value.code == 2
    assert "is wrong: it takes" in capsys.readouterr().err


def against(url: str, model: str) -> list[str]:
    return ["--against", url, "--against-model", model]
