"""A backup is whole or refused, and what is restored from it is what was there."""

from __future__ import annotations

import io
import json
import os
import random
import re
import sqlite3
import tarfile
import zipfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import httpx
import pyrage
import pytest

from app import age
from app.backup.archive import MANIFEST, backup_name, restore_backup, verify_backup, write_backup
from app.cli import main
from app.config import Settings
from app.conversations.attachments import imported_text
from app.datadir import lock_data_folder
from app.db import attachments, folder_documents, folders
from app.db.connection import open_database
from app.errors import BackupError, DataFolderInUse, InvalidPassphrase
from tests.e2e.server import Server
from tests.patience import PATIENCE
from tests.recorded.record import HERE, log_in

RECORDED = sorted(HERE.glob("schema-*.tar.xz"))[-1]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a data folder with a database, files beside it, and what is left out."""
    folder = tmp_path / "data"
    with tarfile.open(RECORDED) as archive:
        archive.extractall(folder, filter="data")
    for name in (
        "pictures/ab/abc.png",
        "kv/x/snapshot",
        "models/m/model.gguf",
        "reserve",
        "logs/wick.log",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode() * 1000)
    (folder / "wick.db.before-2").write_bytes(b"old")
    (folder / "link").symlink_to("/etc/hostname")
    return Settings(data_dir=folder, models_dir=folder / "models")


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_a_restored_folder_is_what_was_backed_up(settings: Settings, tmp_path: Path) -> None:
    file, other = tmp_path / "wick.zip", tmp_path / "other"
    written = write_backup(settings, file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert verify_backup(file) == written
    assert {"wick.db", "pictures/ab/abc.png"} <= set(written.files)
    left_out = (
        "logs",
        "kv",
        "models",
        "reserve",
        "wick.lock",
        "owner",
        "wick.db.",
        "wick.db-",
        "link",
    )
    assert not [name for name in written.files if name.startswith(left_out)]
    assert restore_backup(file, other) == written
    assert dump(other / "wick.db") == dump(settings.data_dir / "wick.db")
    picture = "pictures/ab/abc.png"
    assert (other / picture).read_bytes() == (settings.data_dir / picture).read_bytes()
    assert not list(other.glob(".restore-*"))
    assert not list(settings.data_dir.glob(".backup-*"))


async def test_a_running_server_is_backed_up_and_restored_elsewhere(tmp_path: Path) -> None:
    """The exports of both are byte for byte the same, but for the time at which they were made."""
    manifest = json.loads(RECORDED.with_name(RECORDED.name[:9] + ".json").read_text())
    first, second, file = tmp_path / "first", tmp_path / "moved" / "second", tmp_path / "wick.zip"
    with tarfile.open(RECORDED) as archive:
        archive.extractall(first, filter="data")
    exports = []
    for folder in (first, second):
        server = Server(folder, tmp_path / "models", accounts="on", titles="off")
        await server.start()
        try:
            with httpx.Client(
                base_url=server.origin, headers={"Origin": server.origin}, timeout=PATIENCE
            ) as client:
                log_in(client, manifest["users"][0], manifest["password"])
                exported = client.get("/exchange/chats.json").raise_for_status().content
            exports.append(re.sub(rb'("exported_at":)[^,]*', rb"\g<1> 0", exported))
            if folder is first:
                restored = write_backup(Settings(data_dir=first), file)
                assert restore_backup(file, second) == restored
        finally:
            await server.stop()
    assert len(json.loads(exports[0])["chats"]) > 2
    assert exports[0] == exports[1]


def test_a_folder_with_data_is_left_as_it_is(settings: Settings, tmp_path: Path) -> None:
    write_backup(settings, tmp_path / "wick.zip")
    before = dump(settings.data_dir / "wick.db")
    with pytest.raises(BackupError, match="has data already"):
        restore_backup(tmp_path / "wick.zip", settings.data_dir)
    with pytest.raises(BackupError, match="exists already"):
        write_backup(settings, tmp_path / "wick.zip")
    assert dump(settings.data_dir / "wick.db") == before
    other = tmp_path / "other"
    with lock_data_folder(other, "wick serve"), pytest.raises(DataFolderInUse):
        restore_backup(tmp_path / "wick.zip", other)
    assert not (other / "wick.db").exists()


def test_any_damage_is_found_and_nothing_of_it_restored(settings: Settings, tmp_path: Path) -> None:
    file, other = tmp_path / "wick.zip", tmp_path / "other"
    write_backup(settings, file)
    data, random_ = file.read_bytes(), random.Random(7)
    for _ in range(60):
        damaged = bytearray(data)
        place = random_.randrange(len(damaged))
        if random_.random() < 0.3:
            del damaged[place:]
        else:
            damaged[place] ^= 1 << random_.randrange(8)
        file.write_bytes(damaged)
        try:
            verify_backup(file)
        except BackupError:
            with pytest.raises(BackupError):
                restore_backup(file, other)
            assert not (other / "wick.db").exists()


@pytest.mark.parametrize("name", ["../out", "/out", "a/../../out", "a\\..\\out", "./a"])
def test_files_outside_of_the_folder_are_refused(
    name: str, settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "wick.zip"
    write_backup(settings, file)
    with zipfile.ZipFile(file) as archive:
        contents = {one: archive.read(one) for one in archive.namelist()}
    manifest = json.loads(contents.pop(MANIFEST))
    manifest["files"][name] = manifest["files"].pop("pictures/ab/abc.png")
    contents[name] = contents.pop("pictures/ab/abc.png")
    with zipfile.ZipFile(file, "w") as archive:
        for one, data in (contents | {MANIFEST: json.dumps(manifest).encode()}).items():
            archive.writestr(one, data)
    with pytest.raises(BackupError, match="outside"):
        restore_backup(file, tmp_path / "other")
    assert not (tmp_path / "out").exists()


def test_what_is_no_backup_is_refused(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "wick.zip"
    with pytest.raises(BackupError, match="cannot be read"):
        verify_backup(file)
    file.write_bytes(b"hello")
    with pytest.raises(BackupError, match="not a backup"):
        verify_backup(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("conversations.json", "[]")
    with pytest.raises(BackupError, match="not a backup of Wick"):
        restore_backup(file, tmp_path / "other")
    file.unlink()
    write_backup(settings, file)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("more", "")
    with pytest.raises(BackupError, match="manifest"):
        verify_backup(file)
    with pytest.raises(BackupError, match="no data"):
        write_backup(Settings(data_dir=tmp_path / "nothing"), tmp_path / "new.zip")


def test_a_damaged_database_is_not_backed_up(settings: Settings, tmp_path: Path) -> None:
    database = settings.data_dir / "wick.db"
    data = bytearray(database.read_bytes())
    data[4096 : len(data) // 2] = os.urandom(len(data) // 2 - 4096)
    database.write_bytes(data)
    with pytest.raises(BackupError):
        write_backup(settings, tmp_path / "wick.zip")
    assert list(tmp_path.glob("*.zip*")) == list(tmp_path.glob(".wick.zip*")) == []


def test_the_commands_say_what_they_did(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WICK_DATA_DIR", str(settings.data_dir))
    assert main(["backup", str(tmp_path)]) == 0
    (file,) = tmp_path.glob("wick-*.zip")
    assert main(["backup", "--verify", str(file)]) == 0
    assert "is whole" in capsys.readouterr().out
    monkeypatch.setenv("WICK_DATA_DIR", str(tmp_path / "new"))
    assert main(["restore", str(file)]) == 0
    assert "restored" in capsys.readouterr().out
    assert main(["restore", str(file)]) == 1
    assert "has data already" in capsys.readouterr().err


def test_a_backup_leaves_the_disk_free(settings: Settings, tmp_path: Path) -> None:
    full = replace(settings, keep_free_mb=1_000_000_000)
    with pytest.raises(BackupError, match="no room for a backup"):
        write_backup(full, tmp_path / "wick.zip")
    assert not list(tmp_path.glob("*wick.zip*"))


QUICK = 4
WORDS = "four words in a row"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take little work to encrypt."""
    monkeypatch.setattr(age, "WORK_FACTOR", QUICK)


@pytest.mark.usefixtures("quick")
def test_an_encrypted_backup_comes_back_by_its_passphrase_alone(
    settings: Settings, tmp_path: Path
) -> None:
    file, other = tmp_path / "wick.zip.age", tmp_path / "other"
    written = write_backup(settings, file, WORDS)
    assert b"manifest" not in file.read_bytes()
    assert verify_backup(file, WORDS) == written
    for wrong, why in (("", "encrypted"), ("other words", "Wrong")):
        with pytest.raises(InvalidPassphrase, match=why):
            restore_backup(file, other, wrong)
        assert not other.exists()
    assert restore_backup(file, other, WORDS) == written
    assert dump(other / "wick.db") == dump(settings.data_dir / "wick.db")
    plain = pyrage.passphrase.decrypt(file.read_bytes(), WORDS)
    assert zipfile.ZipFile(io.BytesIO(plain)).testzip() is None
    data, chance = file.read_bytes(), random.Random(9)
    for _ in range(20):
        damaged = bytearray(data)
        damaged[chance.randrange(len(data))] ^= 1
        file.write_bytes(damaged)
        with pytest.raises((BackupError, InvalidPassphrase)):
            verify_backup(file, WORDS)


@pytest.mark.usefixtures("quick")
def test_the_commands_encrypt_by_a_file_or_by_what_is_typed_twice(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WICK_DATA_DIR", str(settings.data_dir))
    by_file, typed = tmp_path / "words", tmp_path / "typed.zip"
    by_file.write_text(f"{WORDS}\n")
    assert main(["backup", str(tmp_path), "--passphrase-file", str(by_file)]) == 0
    (file,) = tmp_path.glob("wick-*.zip.age")
    assert "written and encrypted" in capsys.readouterr().out
    assert main(["backup", "--verify", str(file)]) == 1
    assert "no terminal to ask" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    answers = [WORDS, "something else", "short", WORDS, WORDS, "wrong one", WORDS]
    monkeypatch.setattr("getpass.getpass", lambda _: answers.pop(0))
    for sentence in ("do not match", "at least 8"):
        assert main(["backup", str(typed), "--encrypt"]) == 1
        assert sentence in capsys.readouterr().err
        assert not typed.exists()
    assert main(["backup", str(typed), "--encrypt"]) == 0
    assert main(["backup", "--verify", str(typed)]) == 1
    assert "Wrong passphrase" in capsys.readouterr().err
    assert main(["backup", "--verify", str(typed)]) == 0
    monkeypatch.setenv("WICK_BACKUP_PASSPHRASE_FILE", str(by_file))
    monkeypatch.setenv("WICK_DATA_DIR", str(tmp_path / "new"))
    assert main(["restore", str(typed)]) == 0
    assert dump(tmp_path / "new" / "wick.db") == dump(settings.data_dir / "wick.db")


def test_backups_are_named_by_their_time() -> None:
    assert backup_name(1767225600.0) == "wick-2026-01-01-000000.zip"
    assert backup_name(0, is_encrypted=True) == "wick-1970-01-01-000000.zip.age"


async def test_documents_of_folders_come_back(settings: Settings, tmp_path: Path) -> None:
    file = imported_text("list.txt", "Pears and figs.", {})
    async with open_database(settings.database) as db:
        folder = await db.write(lambda c: folders.add(c, 1, "Work", 1.0))
        await db.write(lambda c: folder_documents.add(c, 1, folder, file, 1.0))
    write_backup(settings, tmp_path / "wick.zip")
    restore_backup(tmp_path / "wick.zip", tmp_path / "other")
    async with open_database(tmp_path / "other" / "wick.db") as db:
        (one,) = await folder_documents.list_all(db, 1, folder)
        assert await attachments.texts(db, 1, [one.file.id]) == {one.file.id: "Pears and figs."}
