"""Backups of a data folder: one zip file with a manifest of digests, made while Wick runs.

With a passphrase that file is encrypted as it is written, and decrypted where it is read.

What can be made or downloaded again (models, KV snapshots) is left out. The database is SQLite's
own online copy, in one transaction; files beside it never change once they are written.
"""

from __future__ import annotations

import hashlib
import io
import os
import sqlite3
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator, Set
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Annotated, Final

import msgspec
from msgspec import Meta

import app
from app import age
from app.config import Settings
from app.datadir import LOCK, OWNER_FILE, lock_data_folder
from app.db.inspection import copy_database, inspect
from app.db.migrations import newest_version
from app.disk_reserve import CACHES, ensure_kept_free
from app.disk_reserve import FILE as RESERVE
from app.errors import BackupError, DecryptionFailed, DiskFull, InvalidPassphrase
from app.logs.files import FOLDER as LOGS

FORMAT: Final = "wick-backup"
VERSION: Final = 1
MANIFEST: Final = "manifest.json"
DATABASE: Final = "wick.db"
MAX_MANIFEST_BYTES: Final = 64 << 20
_CHUNK_BYTES: Final = 1 << 20
_LEFT_OUT: Final = frozenset({LOCK, OWNER_FILE, RESERVE, CACHES, LOGS, DATABASE})
_ENDINGS_LEFT_OUT: Final = ("-wal", "-shm", "-journal", ".part", ".tmp")

_BROKEN: Final = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""What reading a damaged zip file may raise."""

Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Bytes = Annotated[int, Meta(ge=0)]


class BackedUpFile(msgspec.Struct, frozen=True):
    """A file in a backup: its bytes and their SHA-256."""

    size: Bytes
    sha256: Digest


class BackupManifest(msgspec.Struct, frozen=True):
    """Contents of a backup. schema: the database's version; files: by their path in the folder."""

    format: str
    version: int
    wick: str
    schema: Bytes
    created_at: float
    files: dict[str, BackedUpFile]

    @property
    def size(self) -> int:
        """Bytes of all files, unpacked."""
        return sum(file.size for file in self.files.values())


def backup_name(now: float, *, is_encrypted: bool = False) -> str:
    """Return the name of a backup made at that time (UTC)."""
    ending = f".zip{age.ENDING}" if is_encrypted else ".zip"
    return f"wick-{datetime.fromtimestamp(now, UTC):%Y-%m-%d-%H%M%S}{ending}"


def write_backup(settings: Settings, target: Path, passphrase: str = "") -> BackupManifest:
    """Back up the data folder into the new file `target`, while its server runs or not.

    passphrase: encrypts it, in the age format. Raises BackupError and InvalidPassphrase; then there
    is no file `target`.
    """
    folder = settings.data_dir
    if not (folder / DATABASE).is_file():
        raise BackupError(f"There is no data to back up in {folder}.")
    if target.exists():
        raise BackupError(f"{target} exists already. Choose another name.")
    _check_space(settings, target.parent)
    try:
        descriptor, name = tempfile.mkstemp(".part", f".{target.name}-", target.parent)
    except OSError as error:
        raise BackupError(f"{target.parent} cannot be written: {error.strerror}.") from error
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if passphrase:
                encrypted = age.EncryptedWriter(file, passphrase)
                manifest = _fill(encrypted, settings)
                encrypted.finish()
            else:
                manifest = _fill(file, settings)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
        return manifest
    except OSError as error:
        raise BackupError(f"The backup {target} failed: {error.strerror or error}.") from error
    finally:
        part.unlink(missing_ok=True)


def _check_space(settings: Settings, place: Path) -> None:
    """Check that the copy of the database, and the backup, fit. Raises BackupError."""
    folder, keep_free = settings.data_dir, settings.keep_free_bytes
    try:
        database = (folder / DATABASE).stat().st_size
        others = _other_files(folder, {settings.models_dir, settings.backup_dir})
        size = database + sum(path.stat().st_size for path in others)
        is_same_disk = place.stat().st_dev == folder.stat().st_dev
        ensure_kept_free(folder, database + size * is_same_disk, keep_free)
        ensure_kept_free(place, size, keep_free)
    except DiskFull as error:
        raise BackupError(f"There is no room for a backup in {place}. {error}") from error
    except OSError as error:
        raise BackupError(f"The backup failed: {error.strerror or error}.") from error


def _fill(file: IO[bytes] | io.RawIOBase, settings: Settings) -> BackupManifest:
    folder, files = settings.data_dir, dict[str, BackedUpFile]()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=4) as archive:
        with _database_copy(folder / DATABASE) as copy:
            schema = _check_database(copy)
            files[DATABASE] = _add(archive, DATABASE, copy)
        for path in _other_files(folder, {settings.models_dir, settings.backup_dir}):
            name = path.relative_to(folder).as_posix()
            try:
                files[name] = _add(archive, name, path)
            except FileNotFoundError:  # deleted since: the copy of the database is older
                continue
        manifest = BackupManifest(FORMAT, VERSION, app.__version__, schema, time.time(), files)
        archive.writestr(MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
    return manifest


@contextmanager
def _database_copy(source: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=".backup-", dir=source.parent) as folder:
        copy = Path(folder) / DATABASE
        try:
            copy_database(source, copy)
        except sqlite3.Error as error:
            raise BackupError(f"The database {source} cannot be copied: {error}.") from error
        yield copy


def _other_files(folder: Path, left_out: Set[Path | None]) -> Iterator[Path]:
    """Yield the files beside the database that cannot be made again, in order."""
    for root, folders, names in os.walk(folder):
        here = Path(root)
        folders[:] = sorted(
            name
            for name in folders
            if here / name not in left_out
            and not name.startswith(".")
            and not (here == folder and name in _LEFT_OUT)
        )
        for name in sorted(names):
            path = here / name
            is_own = here == folder and (name in _LEFT_OUT or name.startswith(DATABASE))
            if not is_own and not name.endswith(_ENDINGS_LEFT_OUT) and not path.is_symlink():
                yield path


def _add(archive: zipfile.ZipFile, name: str, path: Path) -> BackedUpFile:
    """Add a file, and return its size and digest as they were written."""
    info = zipfile.ZipInfo(name, time.gmtime(path.stat().st_mtime)[:6])
    info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o600 << 16
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as source, archive.open(info, "w", force_zip64=True) as target:
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
            target.write(chunk)
    return BackedUpFile(size, digest.hexdigest())


def is_encrypted_backup(source: Path) -> bool:
    """Tell whether this file needs a passphrase. Raises BackupError."""
    try:
        with source.open("rb") as file:
            return age.is_encrypted_file(file)
    except OSError as error:
        raise _unreadable(source, error) from error


def verify_backup(source: Path, passphrase: str = "") -> BackupManifest:
    """Read a backup whole: its digests, and its database.

    Raises BackupError with what is wrong, and InvalidPassphrase.
    """
    with (
        _opened(source, passphrase) as (archive, manifest),
        tempfile.TemporaryDirectory() as folder,
    ):
        for name in manifest.files:
            target = Path(folder) / DATABASE if name == DATABASE else None
            _extract(archive, manifest, name, target)
        _check_database(Path(folder) / DATABASE)
        return manifest


def restore_backup(source: Path, folder: Path, passphrase: str = "") -> BackupManifest:
    """Restore a backup into a folder without data.

    Raises BackupError and InvalidPassphrase; then nothing has come.
    """
    with (
        _opened(source, passphrase) as (archive, manifest),
        lock_data_folder(folder, "wick restore"),
    ):
        taken = next((name for name in manifest.files if (folder / name).exists()), None)
        if taken is not None:
            raise BackupError(
                f"{folder} has data already ({taken}). Restore into an empty folder"
                " (WICK_DATA_DIR), or move it away first."
            )
        try:
            with tempfile.TemporaryDirectory(prefix=".restore-", dir=folder) as place:
                for name in manifest.files:
                    _extract(archive, manifest, name, Path(place) / name)
                _check_database(Path(place) / DATABASE)
                # The database comes last: a folder without one is empty to Wick.
                for name in sorted(manifest.files, key=DATABASE.__eq__):
                    (folder / name).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                    (Path(place) / name).replace(folder / name)
        except OSError as error:
            raise BackupError(f"Restoring failed: {error.strerror or error}.") from error
        return manifest


@contextmanager
def _opened(source: Path, passphrase: str) -> Iterator[tuple[zipfile.ZipFile, BackupManifest]]:
    try:
        with (
            source.open("rb") as file,
            _decrypted(file, passphrase) as plain,
            zipfile.ZipFile(plain) as archive,
        ):
            yield archive, _read_manifest(archive, source)
    except _BROKEN as error:
        raise BackupError(f"{source} is not a backup, or is damaged: {error}.") from error
    except DecryptionFailed as error:
        raise BackupError(f"{source} cannot be decrypted. {error}") from error
    except OSError as error:
        raise _unreadable(source, error) from error


@contextmanager
def _decrypted(file: IO[bytes], passphrase: str) -> Iterator[IO[bytes]]:
    """Yield the bytes of a zip file, which are decrypted where they are read."""
    if not age.is_encrypted_file(file):
        yield file
        return
    if not passphrase:
        raise InvalidPassphrase("This backup is encrypted. Give its passphrase.")
    with io.BufferedReader(age.EncryptedReader(file, passphrase), age.CHUNK_BYTES) as plain:
        yield plain


def _unreadable(source: Path, error: OSError) -> BackupError:
    return BackupError(f"{source} cannot be read: {error.strerror or error}.")


def _read_manifest(archive: zipfile.ZipFile, source: Path) -> BackupManifest:
    try:
        with archive.open(MANIFEST) as file:
            text = file.read(MAX_MANIFEST_BYTES + 1)
        manifest = msgspec.json.decode(text, type=BackupManifest)
    except (KeyError, msgspec.DecodeError) as error:
        raise BackupError(f"{source} is not a backup of Wick.") from error
    if (
        manifest.format != FORMAT
        or manifest.version > VERSION
        or manifest.schema > newest_version()
    ):
        raise BackupError(
            f"{source} was made by a later version of Wick ({manifest.wick}). Update Wick first."
        )
    names = sorted([*manifest.files, MANIFEST])
    if sorted(archive.namelist()) != names or DATABASE not in manifest.files:
        raise BackupError(f"{source} is damaged: its files are not those of its manifest.")
    if not all(map(_is_safe, manifest.files)):
        raise BackupError(f"{source} has files outside of a data folder, so it is refused.")
    return manifest


def _is_safe(name: str) -> bool:
    path = PurePosixPath(name)
    is_plain = "\\" not in name and "\0" not in name and path.as_posix() == name
    return is_plain and not path.is_absolute() and ".." not in path.parts and bool(path.parts)


def _extract(
    archive: zipfile.ZipFile, manifest: BackupManifest, name: str, target: Path | None
) -> None:
    """Read one file, keep it in `target` if there is one, and compare it with the manifest."""
    expected, digest, size = manifest.files[name], hashlib.sha256(), 0
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with archive.open(name) as source, (target or Path(os.devnull)).open("wb") as file:
        if target is not None:
            target.chmod(0o600)
        while size <= expected.size and (chunk := source.read(_CHUNK_BYTES)):
            digest.update(chunk)
            size += len(chunk)
            file.write(chunk)
    if size != expected.size or digest.hexdigest() != expected.sha256:
        raise BackupError(f"{name} is damaged in this backup. Use an older one.")


def _check_database(path: Path) -> int:
    """Return the version of a database's schema. Raises BackupError for a damaged one."""
    try:
        with inspect(path) as database:
            problems, version = database.problems(), database.version
    except sqlite3.Error as error:
        raise BackupError(f"The database is damaged: {error}.") from error
    if problems:
        raise BackupError(f"The database is damaged: {problems[0]}.")
    return version
