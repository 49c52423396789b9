"""Pulls under way in the server: start, follow, cancel and wait for one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from app.errors import DiskFull, ModelError, PullError, PullRefused, WickError
from app.models.catalogue import find
from app.models.found import FoundModel
from app.models.install import install
from app.models.install.install import Origins, PullSpec
from app.models.install.progress import PullProgress
from app.models.install.upload import UploadManifest, receive
from app.models.model import Model
from app.models.sources import LocalSpec
from app.models.store import ModelStore

log = logging.getLogger(__name__)

INTERVAL: Final = 0.2
"""Seconds between two steps of one pull that listeners hear of; a new stage is heard of at once."""


@dataclass(slots=True, eq=False)
class Pull:
    """Pull under way or failed; after a failure `error` is a sentence and it may be retried.

    source: where it comes from, for display; text: the request, as `start` takes it again (empty
    for an upload).
    """

    name: str
    title: str
    source: str
    progress: PullProgress
    text: str = ""
    error: str | None = None
    is_cancelled: bool = False
    task: asyncio.Task[Model] | None = field(default=None, repr=False)
    reported: float = 0.0
    due: asyncio.TimerHandle | None = field(default=None, repr=False)

    @property
    def is_running(self) -> bool:
        return self.task is not None and not self.task.done()

    @property
    def description(self) -> str:
        """Describe the progress for display."""
        return f"Getting the model {self.name}: {self.progress.description}"


class PullManager:
    """Manager of pulls, one task per name at a time. `listeners` are called at every step.

    is_public: requests may come from users elsewhere, who must not reach anything through this
    computer that they could not reach themselves.
    """

    def __init__(self, store: ModelStore, *, is_public: bool = False, budget: int = 0) -> None:
        self._is_public = is_public
        self._budget = budget
        self._store = store
        self.origins = Origins(store.root)
        self._pulls: dict[str, Pull] = {}
        self.listeners: list[Callable[[], None]] = []

    def all(self) -> list[Pull]:
        """List the pulls that run or have failed."""
        return [p for p in self._pulls.values() if p.is_running or p.error]

    def get(self, name: str) -> Pull | None:
        """Return the pull of that name that runs or has failed."""
        return next((pull for pull in self.all() if pull.name == name), None)

    def start(self, text: str, name: str | None = None) -> Pull:
        """Start the pull of `text` (see `sources.parse_spec`), or join the one that runs.

        Raises PullRefused for an invalid source and a name that is taken.
        """
        spec = install.resolve(text, self._store, name, budget=self._budget)
        spec = replace(spec, is_public=self._is_public)
        running = self._pulls.get(spec.name)
        if running is not None and running.is_running:
            if running.source == spec.source and not running.is_cancelled:
                return running
            raise _conflict(running)
        pull = Pull(spec.name, spec.title, spec.source, PullProgress("downloading", 0, 0), text)
        self._begin(pull, install.pull(spec, self._store, self._reporter(pull)))
        return pull

    def link(self, found: FoundModel) -> Pull:
        """Begin to use a model of another program. Raises PullRefused."""
        spec = install.resolve_found(found, self._store)
        running = self._pulls.get(spec.name)
        if running is not None and running.is_running:
            raise _conflict(running)
        pull = Pull(spec.name, spec.title, spec.source, PullProgress("installing", 0, 0))
        self._begin(pull, install.pull(spec, self._store, self._reporter(pull)))
        return pull

    def retry(self, name: str) -> Pull:
        """Retry a failed pull. Raises PullRefused if there is none, or it was an upload."""
        pull = self._pulls.get(name)
        if pull is None or not pull.text:
            raise PullRefused(f"There is nothing named “{name}” to fetch again.")
        return self.start(pull.text, pull.name)

    def pull_again(self, name: str) -> Pull:
        """Pull a model by the name it has or had: retry what failed, or use its last source.

        Raises PullRefused or PullError when the name is unknown.
        """
        pull = self.get(name)
        if pull is not None and not pull.is_running:
            return self.retry(name)
        source = self.origins.find(name)
        if source is None:
            return self.start(find(name).name)
        if not source.text:
            raise PullRefused(f"{source.title} came from a file that was sent. Send it again.")
        return self.start(source.text, name)

    def try_start(self, name: str) -> None:
        """Start the pull of a catalogue name like `start`, but show an error as a failed pull."""
        try:
            self.start(name)
        except PullError as error:
            failed = Pull(name, name, "", PullProgress("downloading", 0, 0), name, str(error))
            self._pulls[name] = failed
            self._notify()

    def check(self, manifest: UploadManifest) -> None:
        """Check that an upload may begin. Raises PullRefused."""
        running = self._pulls.get(manifest.name)
        if running is not None and running.is_running:
            raise _conflict(running)
        manifest.check()
        try:
            if not self._store.lacks_original(manifest.name):
                self._store.ensure_name_free(manifest.name)
            self._store.ensure_space(manifest.needed)
        except (ModelError, DiskFull) as error:
            raise PullRefused(str(error)) from error

    async def receive(self, manifest: UploadManifest, chunks: AsyncIterator[bytes]) -> Model:
        """Receive uploaded GGUF files and install them.

        Raises PullError or another ModelError; then nothing of it stays. Nor when this is cancelled
        before everything has come; afterwards the installation goes on.
        """
        self.check(manifest)
        name, file = manifest.name, manifest.file
        spec = PullSpec(name, name, file, LocalSpec(Path(file)))
        pull = Pull(name, name, file, PullProgress("receiving", 0, manifest.total or 0))
        task = self._begin(pull, receive(spec, self._store, chunks, manifest, self._reporter(pull)))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if pull.progress.stage != "receiving" and not pull.is_cancelled:
                raise  # the sender went away after all of it had come: it is installed
            if not pull.is_cancelled:
                pull.is_cancelled = True
                task.cancel()
                await asyncio.wait([task])
                if self._pulls.get(name) is pull:
                    del self._pulls[name]
                raise
            raise PullRefused(f"Receiving {file} was cancelled.") from None

    def cancel(self, name: str) -> None:
        """Stop a pull; the bytes received are kept for another. Does nothing if none runs."""
        pull = self._pulls.get(name)
        if pull is not None and pull.is_running and pull.task is not None:
            pull.is_cancelled = True
            pull.task.cancel()

    def was_cancelled(self, name: str) -> bool:
        """Tell whether a user cancelled the last pull of that name."""
        pull = self._pulls.get(name)
        return pull is not None and pull.is_cancelled

    def dismiss(self, name: str) -> None:
        """Drop a failed pull from the list."""
        pull = self._pulls.get(name)
        if pull is not None and not pull.is_running:
            del self._pulls[name]
            self._notify()

    async def wait_for(self, name: str, notify: Callable[[str], None]) -> None:
        """Wait for the pull of that name to end; return at once if none runs.

        `notify` gets the progress. Raises PullError when it fails.
        """
        pull = self._pulls.get(name)
        if pull is None or not pull.is_running or pull.task is None:
            return
        while not pull.task.done():
            notify(pull.description)
            await asyncio.wait([pull.task], timeout=0.5)
        if pull.is_cancelled:
            raise PullError(f"Getting the model {name} was cancelled.")
        if pull.error:
            raise PullError(pull.error)

    async def close(self) -> None:
        """Stop all pulls and wait until they have ended."""
        for name in list(self._pulls):
            self.cancel(name)
        tasks = [pull.task for pull in self._pulls.values() if pull.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, pull: Pull, work: Coroutine[Any, Any, Model]) -> asyncio.Task[Model]:
        self._pulls[pull.name] = pull
        pull.task = asyncio.create_task(work, name=f"pull {pull.name}")
        pull.task.add_done_callback(lambda task: self._end(pull, task))
        self._notify()
        return pull.task

    def _end(self, pull: Pull, task: asyncio.Task[Model]) -> None:
        if pull.due is not None:
            pull.due.cancel()
        if task.cancelled():
            pull.is_cancelled = True
            log.info("The pull of %s was cancelled.", pull.name)
        elif isinstance(error := task.exception(), WickError):
            pull.error = str(error)
        elif error is not None:
            log.error("The pull of %s failed.", pull.name, exc_info=error)
            pull.error = f"Getting {pull.name} failed because of an error inside Wick."
        else:
            log.info("%s is installed.", pull.name)
        self._notify()

    def _reporter(self, pull: Pull) -> Callable[[PullProgress], None]:
        loop = asyncio.get_running_loop()
        return lambda progress: _call_threadsafe(loop, lambda: self._advance(pull, progress))

    def _advance(self, pull: Pull, progress: PullProgress) -> None:
        """Notify listeners at once or, soon after another step, a little later."""
        is_new = progress.stage != pull.progress.stage
        pull.progress = progress
        now = asyncio.get_running_loop().time()
        if is_new or now - pull.reported >= INTERVAL:
            self._notify_pull(pull)
        elif pull.due is None and pull.is_running:
            later = asyncio.get_running_loop().call_at
            pull.due = later(pull.reported + INTERVAL, self._notify_pull, pull)

    def _notify_pull(self, pull: Pull) -> None:
        if pull.due is not None:
            pull.due.cancel()
            pull.due = None
        pull.reported = asyncio.get_running_loop().time()
        self._notify()

    def _notify(self) -> None:
        for listener in self.listeners:
            listener()


def _conflict(pull: Pull) -> PullRefused:
    if pull.is_cancelled:
        return PullRefused(f"“{pull.name}” is just being stopped. Try again in a moment.")
    return PullRefused(f"Another model is on its way already as “{pull.name}”.")


def _call_threadsafe(loop: asyncio.AbstractEventLoop, step: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(step)
