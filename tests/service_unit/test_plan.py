"""What a service runs, and the file of its settings."""

import subprocess
from pathlib import Path

import pytest

from app.errors import ConfigError, ServiceError
from app.service_unit import plan as plans
from app.service_unit.plan import (
    ServicePlan,
    plan_service,
    service_command,
    settings_text,
    write_settings,
)

HARD = {
    "WICK_KEY_ELSEWHERE": 'it\'s "$HOME" `x` \\ #1',
    "WICK_PORT": "8100",
    "PATH": "/bin",
}


def plan(folder: Path, *, is_system: bool = False) -> ServicePlan:
    return ServicePlan(
        is_system=is_system,
        command=("/opt/wick/bin/wick", "serve"),
        data=folder / "data",
        settings=folder / "etc" / "wick.env",
    )


def test_the_script_beside_python_serves_else_the_module(tmp_path: Path) -> None:
    python = tmp_path / "python"
    assert service_command(python) == (str(python), "-P", "-m", "app", "serve")
    (tmp_path / "wick").touch()
    assert service_command(python) == (str(tmp_path / "wick"), "serve")


def test_a_program_in_a_home_folder_is_no_service_of_the_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(plans, "service_command", lambda: ("/home/user/venv/bin/wick", "serve"))
    with pytest.raises(ConfigError, match=r"lies in /home, .*--user"):
        plan_service(tmp_path, tmp_path, is_system=True)
    mine = plan_service(tmp_path, tmp_path / "config", is_system=False)
    assert mine.data == tmp_path
    assert mine.settings == tmp_path / "config" / "wick.env"
    monkeypatch.setattr(plans, "service_command", lambda: ("/opt/wick/bin/wick", "serve"))
    assert plan_service(tmp_path, tmp_path, is_system=True).data == Path("/var/lib/wick")


def test_a_shell_reads_the_settings_as_they_were_given(tmp_path: Path) -> None:
    text = settings_text(plan(tmp_path), HARD)
    assert "PATH" not in text
    script = 'set -a; . "$1"; printf %s "$WICK_KEY_ELSEWHERE $WICK_PORT $WICK_DATA_DIR"'
    (tmp_path / "file").write_text(text)
    said = subprocess.run(
        ("sh", "-c", script, "sh", tmp_path / "file"), capture_output=True, text=True, check=True
    )
    assert said.stdout == f"{HARD['WICK_KEY_ELSEWHERE']} 8100 {tmp_path / 'data'}"


def test_a_service_of_the_machine_has_its_own_data_folder(tmp_path: Path) -> None:
    given = {"WICK_DATA_DIR": "/home/user/data"}
    assert "WICK_DATA_DIR='/home/user/data'" in settings_text(plan(tmp_path), given)
    assert str(tmp_path / "data") in settings_text(plan(tmp_path, is_system=True), given)


def test_settings_are_written_once_and_for_their_owner_alone(tmp_path: Path) -> None:
    one = plan(tmp_path)
    assert write_settings(one, HARD)
    assert one.settings.stat().st_mode & 0o777 == 0o600
    before = one.settings.read_bytes()
    assert not write_settings(one, {"WICK_PORT": "1"})
    assert one.settings.read_bytes() == before


def test_settings_that_cannot_be_written_are_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "etc").write_text("a file")
    with pytest.raises(ServiceError, match="can't be written"):
        write_settings(plan(tmp_path), {})
    assert [file.name for file in tmp_path.iterdir()] == ["etc"]
