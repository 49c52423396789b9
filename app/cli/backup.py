"""`wick backup` and `wick restore`: a data folder in one file, and back."""

from __future__ import annotations

import argparse
import getpass
import sys
import time
from pathlib import Path
from typing import Final

from app import age
from app.backup.archive import (
    BackupManifest,
    backup_name,
    is_encrypted_backup,
    restore_backup,
    verify_backup,
    write_backup,
)
from app.config import Settings
from app.errors import InvalidPassphrase

_FILE_HELP: Final = (
    "file with the passphrase on one line (default: WICK_BACKUP_PASSPHRASE_FILE, else it is asked"
    " for)"
)


def add_backup_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "backup",
        description="Back up chats, files, users and settings into one file, also while Wick runs."
        " Models and KV snapshots are left out. Without a passphrase, whoever has the file can read"
        " everything.",
    )
    parser.add_argument("file", type=Path, help="new file, or a folder that gets one by the time")
    parser.add_argument(
        "--verify", action="store_true", help="check an existing backup; write nothing"
    )
    parser.add_argument(
        "--encrypt",
        action="store_true",
        help="encrypt it by a passphrase, in the age format; without that passphrase nobody can"
        " restore it",
    )
    parser.add_argument(
        "--passphrase-file", type=Path, metavar="FILE", help=f"{_FILE_HELP}; encrypts, too"
    )
    parser.set_defaults(func=run_backup)


def add_restore_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "restore",
        description="Restore a backup into an empty data folder (WICK_DATA_DIR). A backup of an"
        " earlier version is brought up to date at the next start.",
    )
    parser.add_argument("file", type=Path, help="what “wick backup” has written")
    parser.add_argument("--passphrase-file", type=Path, metavar="FILE", help=_FILE_HELP)
    parser.set_defaults(func=run_restore)


def run_backup(arguments: argparse.Namespace, settings: Settings) -> int:
    target: Path = arguments.file
    file: Path | None = arguments.passphrase_file or settings.backup_passphrase_file
    if arguments.verify:
        manifest = verify_backup(target, _known_passphrase(target, file))
        print(f"{target} is whole: {_described(manifest)}.")
        return 0
    passphrase = ""
    if file is not None:
        passphrase = age.read_passphrase(file)
        age.check_passphrase(passphrase)
    elif arguments.encrypt:
        passphrase = _new_passphrase()
    if target.is_dir():
        target /= backup_name(time.time(), is_encrypted=bool(passphrase))
    manifest = write_backup(settings, target, passphrase)
    how = "written and encrypted" if passphrase else "written"
    print(f"{target} {how} ({target.stat().st_size / 1e6:.1f} MB): {_described(manifest)}.")
    return 0


def run_restore(arguments: argparse.Namespace, settings: Settings) -> int:
    source: Path = arguments.file
    file: Path | None = arguments.passphrase_file or settings.backup_passphrase_file
    manifest = restore_backup(source, settings.data_dir, _known_passphrase(source, file))
    print(f"{settings.data_dir} restored: {_described(manifest)}.")
    print("Models are not in a backup: they are downloaded again, or put into the models folder.")
    return 0


def _known_passphrase(source: Path, file: Path | None) -> str:
    """Return the passphrase of a backup; empty for one that needs none."""
    if not is_encrypted_backup(source):
        return ""
    if file is not None:
        return age.read_passphrase(file)
    return _ask("Passphrase: ")


def _new_passphrase() -> str:
    """Ask for a passphrase twice at a terminal. Raises InvalidPassphrase."""
    passphrase = _ask("New passphrase: ")
    age.check_passphrase(passphrase)
    if passphrase != _ask("Confirm passphrase: "):
        raise InvalidPassphrase("The passphrases do not match.")
    return passphrase


def _ask(prompt: str) -> str:
    if not sys.stdin.isatty():
        raise InvalidPassphrase(
            "A passphrase is needed, and there is no terminal to ask for it: use --passphrase-file."
        )
    return getpass.getpass(prompt)


def _described(manifest: BackupManifest) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(manifest.created_at))
    count = len(manifest.files)
    files = "1 file" if count == 1 else f"{count:,} files"
    return f"{files}, {manifest.size / 1e6:.1f} MB, of {when}, by Wick {manifest.wick}"
