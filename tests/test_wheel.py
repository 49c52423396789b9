"""The wheel alone, in an environment of its own: it brings all that `wick` needs."""

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.patience import PATIENCE

ROOT = Path(__file__).parents[1]
PARTS = ("app", "templates", "static", "migrations", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the sources, and install it; the script `wick` of it."""
    folder = tmp_path_factory.mktemp("wheel")
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / part)
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    build = (*pip, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "-w", folder, folder)
    subprocess.run(build, check=True, timeout=PATIENCE * 6)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env", symlinks=True)
    python = folder / "env" / "bin" / "python"
    install = (*pip, "--python", python, "install", "--no-deps", "--no-index", wheel)
    subprocess.run(install, check=True, timeout=PATIENCE * 6)
    # The libraries are those of the tests; their installation of Wick itself is not seen this way.
    (site,) = (folder / "env" / "lib").glob("python*/site-packages")
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    return python.with_name("wick")


def run(wick: Path, cwd: Path, *words: str) -> str:
    done = subprocess.run(
        (wick, *words), cwd=cwd, env=environment(cwd), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def environment(folder: Path) -> dict[str, str]:
    given = {name: value for name, value in os.environ.items() if not name.startswith("WICK_")}
    return given | {"WICK_DATA_DIR": str(folder / "data"), "WICK_AUTO_PULL": "0"}


@pytest.fixture
def served(wick: Path, tmp_path: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        (wick, "serve", "--port", str(port)),
        cwd=tmp_path,
        env=environment(tmp_path),
        stderr=subprocess.STDOUT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    origin = f"http://127.0.0.1:{port}"
    try:
        assert any(origin in line for line in server.stdout)
        yield origin
    finally:
        server.terminate()
        server.communicate(timeout=PATIENCE)
        assert server.returncode == 0


def test_the_commands_work_from_anywhere(wick: Path, tmp_path: Path) -> None:
    assert run(wick, tmp_path, "--version").startswith("wick ")
    assert "_shtab_wick_models" in run(wick, tmp_path, "completion", "bash")
    assert "smollm2-135m" in run(wick, tmp_path, "models", "catalogue")
    assert str(wick) in run(wick, tmp_path, "service", "install", "--user", "--print")


def test_the_page_comes_with_its_assets(wick: Path, tmp_path: Path, served: str) -> None:
    assert served in run(wick, tmp_path, "health")
    page = httpx.get(served + "/").raise_for_status().text
    quoted = sorted(set(page.split('"')))
    found = [part for part in quoted if part.startswith("/static/") and "." in part]
    assert any(part.endswith(".js") or ".js?" in part for part in found)
    assert any(".css" in part for part in found)
    for part in found:
        assert httpx.get(served + part).raise_for_status().content


def test_nothing_that_answers_is_no_health(wick: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            (wick, "health"),
            cwd=tmp_path,
            env=environment(tmp_path) | {"WICK_PORT": port},
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stdout) == (1, "")
    assert f"Nothing answers at http://127.0.0.1:{port}" in done.stderr
