"""`wick models add-remote`, against servers that answer and servers that do not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.config import Settings
from app.errors import ModelError
from app.models.store import ModelStore
from tests.cli.test_models import run
from tests.inference.remote.stub import serving


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(models_dir=tmp_path / "models", port=9)  # where no server runs


async def test_add_list_and_remove_a_remote_model(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving() as stub:
        words = ("add-remote", "far", "--url", stub.url, "--url", "http://127.0.0.1:9")
        more = ("--model", "stub", "--parallel", "7", "--title", "Far Away")
        assert await asyncio.to_thread(run, settings, *words, *more) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Far Away is installed as far."
    assert lines[1].endswith(" is ready (8,192 tokens).")
    assert lines[2].startswith("Not ready yet: Can't reach 127.0.0.1:9")
    assert len(lines) == 3  # nothing leaves this machine
    run(settings, "default", "far")
    assert run(settings, "list") == 0
    out = capsys.readouterr().out
    assert "Far Away" in out
    assert "127.0.0.1:9" in out
    assert "Licence" not in out  # there is no other model
    assert run(settings, "remove", "far") == 0
    assert ModelStore(settings.models_dir).models() == []


def test_adding_a_remote_model_says_where_messages_are_sent(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    run(settings, "add-remote", "far", "--url", "http://far.invalid/v1", "--model", "m")
    assert "is sent to far.invalid." in capsys.readouterr().out


def test_wrong_remote_models_are_refused_with_a_sentence(settings: Settings) -> None:
    with pytest.raises(ModelError, match="begins with http"):
        run(settings, "add-remote", "far", "--url", "far", "--model", "m")
    with pytest.raises(ModelError, match="cannot be a model's name"):
        run(settings, "add-remote", "Far", "--url", "http://far.invalid", "--model", "m")
