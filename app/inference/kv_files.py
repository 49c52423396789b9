"""Files of KV cache snapshots on the disk, and the deletion of a chat's.

`FOLDER/MODEL/CHAT.kv`, one file a chat and model. Names are digests, so that a listing tells
nobody's chats, and so that the parent can delete without a runner.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

MEMORY_ONLY: Final = "t"
"""How ids of temporary chats, and the keys of their states, begin: no byte of them is written."""
SUFFIX: Final = ".kv"
UNFINISHED: Final = ".part"


def is_memory_only(chat: str) -> bool:
    """Tell from its id or its key whether this is a temporary chat."""
    return chat.startswith(MEMORY_ONLY)


def chat_key(chat: str) -> str:
    """32 hex digits for a chat, after MEMORY_ONLY for a temporary one; empty for none."""
    if not chat:
        return ""
    digest = hashlib.blake2b(chat.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return MEMORY_ONLY + digest if is_memory_only(chat) else digest


def model_key(digest: str, size: int) -> str:
    """32 hex digits for the weights; `size` in bytes."""
    return hashlib.blake2b(f"{digest}:{size}".encode(), digest_size=16).hexdigest()


def files(folder: Path) -> Iterator[Path]:
    """List every snapshot of every model."""
    return folder.glob(f"*/*{SUFFIX}")


def delete(folder: Path, chat: str) -> None:
    """Delete what any model keeps of a chat. Blocks; what cannot be deleted is logged."""
    if not chat:
        return
    for path in folder.glob(f"*/{chat_key(chat)}.*"):  # half-written ones, too
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("The snapshot %s could not be deleted: %s", path, error)


def purge(folder: Path, models: Container[str], chats: Iterable[str]) -> int:
    """Delete what belongs to no model of these `model_key`s or to no chat of these, and what was
    never finished. How many files that were. Blocks; what cannot be deleted is logged."""
    keys, count = {chat_key(chat) for chat in chats}, 0
    for path in folder.glob("*/*"):
        if path.parent.name in models and path.suffix == SUFFIX and path.stem in keys:
            continue
        try:
            path.unlink(missing_ok=True)
            count += 1
        except OSError as error:
            log.warning("The snapshot %s could not be deleted: %s", path, error)
    return count


def delete_model(folder: Path, key: str) -> None:
    """Delete what is kept of all chats with the model of this `model_key`. Blocks."""
    path = folder / key
    try:
        if path.is_dir():
            shutil.rmtree(path)
    except OSError as error:
        log.warning("The snapshots in %s could not be deleted: %s", path, error)
