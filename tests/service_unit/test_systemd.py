"""What is asked of systemd. The programs are recorders; units are verified by systemd's
own tool where it is installed."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from app.errors import ServiceError
from app.service_unit.systemd import Systemd
from tests.service_unit.programs import calls, plan

ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


def test_a_users_service_is_declared_started_and_removed(tmp_path: Path, programs: Path) -> None:
    manager = Systemd(is_system=False, units=tmp_path / "units")
    manager.install(plan(tmp_path))
    assert calls(programs) == [
        "systemctl --user daemon-reload",
        "systemctl --user enable wick.service",
        "systemctl --user restart wick.service",
    ]
    assert (tmp_path / "my data").stat().st_mode & 0o777 == 0o700
    assert "User=" not in (tmp_path / "units" / "wick.service").read_text()
    manager.stop()
    manager.start()
    assert manager.status() == 0
    assert manager.logs(50, follow=True) == 0
    assert calls(programs) == [
        "systemctl --user stop wick.service",
        "systemctl --user start wick.service",
        "systemctl --user status --no-pager --lines=0 wick.service",
        "journalctl --user-unit wick.service --lines=50 --output=short-iso --follow",
    ]
    manager.uninstall()
    assert calls(programs) == [
        "systemctl --user disable --now wick.service",
        "systemctl --user daemon-reload",
    ]
    assert not (tmp_path / "units" / "wick.service").exists()
    with pytest.raises(ServiceError, match="nothing was installed"):
        manager.uninstall()


def test_what_systemd_says_is_in_the_error(tmp_path: Path, programs: Path) -> None:
    (tmp_path / "fails").touch()
    with pytest.raises(ServiceError, match="daemon-reload” failed: it is masked"):
        Systemd(is_system=False, units=tmp_path / "units").install(plan(tmp_path))


def test_without_systemd_a_sentence_says_what_else_can_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServiceError, match=r"no systemctl here.*--print"):
        Systemd(is_system=False, units=tmp_path / "units").start()


@needs_systemd
@pytest.mark.parametrize("is_system", [False, True])
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path, *, is_system: bool) -> None:
    manager = Systemd(is_system=is_system, units=tmp_path)
    path, text = manager.unit(plan(tmp_path, is_system=is_system))
    path.write_text(re.sub("(User|Group)=wick", r"\1=root", text))
    done = subprocess.run(
        (str(ANALYZE), "verify", "--man=no", path), capture_output=True, text=True, check=False
    )
    said = [line for line in done.stderr.splitlines() if "wick.service" in line]
    assert said == []


@needs_systemd
def test_the_unit_of_the_machine_is_well_confined(tmp_path: Path) -> None:
    path, text = Systemd(is_system=True, units=tmp_path).unit(plan(tmp_path, is_system=True))
    path.write_text(text)
    done = subprocess.run(
        (str(ANALYZE), "security", "--offline=yes", "--threshold=25", path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
