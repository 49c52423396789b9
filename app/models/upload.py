"""Takes a model that a person sends from the page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

from app.errors import DiskFull, PullError, PullRefused
from app.models.model import Model
from app.models.progress import Pace, PullProgress
from app.models.room import check_room
from app.models.shelf import Shelf, name_for
from app.models.sources import Order, install
from app.models.stoppable import write

PIECE: Final = 1 << 20
MAGIC: Final = b"GGUF"


async def receive(
    order: Order,
    shelf: Shelf,
    pieces: AsyncIterator[bytes],
    size: int | None,
    report: Callable[[PullProgress], None],
) -> Model:
    """Write `pieces` beside the shelf, and install what they make. Nothing stays if it fails.

    Raises PullError, another ModelError if the file will not do, or what `pieces` raises.
    """
    if size is not None and size <= 0:
        raise PullRefused(f"{order.source} is empty.")
    tell = Pace(report).tell
    try:
        with shelf.incoming(2 * (size or 0)) as folder:
            path, done, begun = folder / f"{name_for(Path(order.source))}.gguf", 0, False
            tell("receiving", 0, size or 0)
            with path.open("wb") as file:
                async for whole in _gathered(pieces):
                    if not begun and not whole.startswith(MAGIC):
                        raise PullRefused(f"{order.source} is not a GGUF file.")
                    begun, done = True, done + len(whole)
                    if size is not None and done > size:
                        raise PullError(f"More of {order.source} came than was announced.")
                    check_room(folder, 0)
                    await write(file, whole)
                    tell("receiving", done, size or 0)
            if not begun or (size is not None and done != size):
                raise PullError(f"Only a part of {order.source} arrived. Please send it again.")
            return await install(path, order, shelf, tell)
    except DiskFull as error:
        raise PullError(str(error)) from error


async def _gathered(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces that are worth a write."""
    waiting = bytearray()
    try:
        async for piece in pieces:
            waiting += piece
            if len(waiting) >= PIECE:
                yield bytes(waiting)
                waiting = bytearray()
    except (OSError, EOFError) as error:
        raise PullError("The file broke off on its way. Please send it again.") from error
    if waiting:
        yield bytes(waiting)
