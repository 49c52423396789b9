"""What is asked of launchd."""

import plistlib
import subprocess
import sys
from pathlib import Path

import pytest

from app.errors import ServiceError
from app.service_unit.launchd import Launchd
from tests.service_unit.programs import calls, plan


def test_launchd_gets_an_agent_that_reads_the_settings(tmp_path: Path, programs: Path) -> None:
    manager = Launchd(tmp_path / "LaunchAgents", tmp_path / "Logs" / "wick.log", 501)
    (tmp_path / "wick.env").write_text("WICK_PORT='8123'\n")
    manager.install(plan(tmp_path))
    content = plistlib.loads((tmp_path / "LaunchAgents" / "wick.plist").read_bytes())
    words = content["ProgramArguments"]
    assert words[-5:] == [sys.executable, "-P", "-m", "app", "serve"]
    shown = [*words[:-5], "sh", "-c", "echo $WICK_PORT"]
    done = subprocess.run(shown, capture_output=True, text=True, check=True)
    assert done.stdout == "8123\n"
    manager.start()
    manager.stop()
    with pytest.raises(ServiceError, match="no log yet"):
        manager.logs(10, follow=False)
    manager.uninstall()
    assert [line.split()[1] for line in calls(programs)] == [
        *("bootout", "bootstrap", "bootstrap", "kickstart", "bootout", "bootout"),
    ]
