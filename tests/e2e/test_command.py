"""What `wick serve` says when it cannot."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.e2e.server import Server, environment, free_port
from tests.patience import PATIENCE


async def serve(folder: Path, **settings: object) -> tuple[int | None, str]:
    """The exit code and everything that was printed, of a start that fails."""
    given = {"auto_pull": 0, "data_dir": folder, "models_dir": folder / "models"} | settings
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "serve"),
        cwd=folder,
        env=environment(given),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode, printed.decode()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "eighty"),
        ("port", "70000"),
        ("threads", "0"),
        ("slots", "-1"),
        ("auto_pull", "perhaps"),
        ("host", "256.256.256.256"),
        ("colour", "blue"),
        ("data_dir", "/proc/nowhere"),
    ],
)
async def test_a_wrong_setting_is_one_line_and_exit_code_2(
    tmp_path: Path, name: str, value: str
) -> None:
    code, printed = await serve(tmp_path, **{"port": free_port(), name: value})
    assert code == 2
    assert len(printed.splitlines()) == 1
    assert f"WICK_{name.upper()}" in printed
    if name != "colour":
        assert value in printed


async def test_a_port_in_use_is_one_line_and_exit_code_1(tmp_path: Path, server: Server) -> None:
    code, printed = await serve(tmp_path, port=server.port)
    assert code == 1
    assert len(printed.splitlines()) == 1
    assert f"Port {server.port} is in use already." in printed
