"""`wick service`, with recorders in place of systemd."""

from pathlib import Path

import pytest

from app.cli import main
from tests.service_unit.conftest import programs
from tests.service_unit.programs import calls

__all__ = ["programs"]


def test_the_command_installs_a_service_for_its_user(
    tmp_path: Path,
    programs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("WICK_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WICK_PORT", "8123")
    monkeypatch.chdir(tmp_path)
    assert main(["service", "install", "--user", "--print"]) == 0
    unit = tmp_path / "config" / "systemd" / "user" / "wick.service"
    assert capsys.readouterr().out.startswith(f"# {unit}\n[Unit]")
    assert not calls(programs)
    assert main(["service", "install", "--user"]) == 0
    said = capsys.readouterr().out
    assert "http://127.0.0.1:8123" in said
    assert str(tmp_path / "data") in said
    settings = (tmp_path / "config" / "wick" / "wick.env").read_text()
    assert f"WICK_DATA_DIR='{tmp_path / 'data'}'\nWICK_PORT='8123'\n" in settings
    assert unit.exists()
    assert main(["service", "install", "--user"]) == 0
    assert "was there, and is unchanged" in capsys.readouterr().out
    assert main(["service", "uninstall", "--user"]) == 0
    assert not unit.exists()


def test_a_service_of_the_machine_takes_root(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main(["service", "start", "--system"]) == 2
    assert "takes root" in capsys.readouterr().err
