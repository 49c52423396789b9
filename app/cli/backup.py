"""`wick backup` and `wick restore`: a data folder in one file, and back."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from app.backup.archive import (
    BackupManifest,
    backup_name,
    restore_backup,
    verify_backup,
    write_backup,
)
from app.config import Settings


def add_backup_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "backup",
        description="Back up chats, files, users and settings into one file, also while Wick runs."
        " Models and KV snapshots are left out. The file is not encrypted: whoever has it can read"
        " everything.",
    )
    parser.add_argument("file", type=Path, help="new file, or a folder that gets one by the time")
    parser.add_argument(
        "--verify", action="store_true", help="check an existing backup; write nothing"
    )
    parser.set_defaults(func=run_backup)


def add_restore_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "restore",
        description="Restore a backup into an empty data folder (WICK_DATA_DIR). A backup of an"
        " earlier version is brought up to date at the next start.",
    )
    parser.add_argument("file", type=Path, help="what “wick backup” has written")
    parser.set_defaults(func=run_restore)


def run_backup(arguments: argparse.Namespace, settings: Settings) -> int:
    target: Path = arguments.file
    if arguments.verify:
        print(f"{target} is whole: {_described(verify_backup(target))}.")
        return 0
    if target.is_dir():
        target /= backup_name(time.time())
    manifest = write_backup(settings, target)
    print(f"{target} written ({target.stat().st_size / 1e6:.1f} MB): {_described(manifest)}.")
    return 0


def run_restore(arguments: argparse.Namespace, settings: Settings) -> int:
    manifest = restore_backup(arguments.file, settings.data_dir)
    print(f"{settings.data_dir} restored: {_described(manifest)}.")
    print("Models are not in a backup: they are downloaded again, or put into the models folder.")
    return 0


def _described(manifest: BackupManifest) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(manifest.created_at))
    count = len(manifest.files)
    files = "1 file" if count == 1 else f"{count:,} files"
    return f"{files}, {manifest.size / 1e6:.1f} MB, of {when}, by Wick {manifest.wick}"
