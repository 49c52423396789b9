"""Model store: the folder that holds every installed model, one folder each.

`NAME/original.gguf` (or all parts of a split one) is the file as it came, `model.gguf` the copy
that ctransformers loads, `tokenizer.json` and `vocabulary.json` the tokenizer, `model.json` its
metadata; a remote model has `remote.json` alone. A model is put together in a hidden folder and
renamed into place at the end, so whatever is in the store is whole. All functions block: call them
from a thread.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from app.errors import ModelError, ModelFileError, ModelNotFound, ModelStoreUnreadable
from app.models.adapted import (
    Progress,
    remove_adapted,
)
from app.models.disk import ensure_space, fsync_path, write_atomic
from app.models.engines import (
    ENGINE_SETTINGS,
    LLAMA_CPP,
    PACKAGES,
    Engine,
    EngineSpeed,
    available_engines,
)
from app.models.gguf.reader import model_stem, read_header
from app.models.model import Model, ModelSettings, Projector, parse_gpu_layers
from app.models.model_files import (
    FILE,
    REMOTE,
    SETTINGS,
    SPEEDS,
    load_model,
    serialize_model,
    serialize_remote,
)
from app.models.parameters import Sampling
from app.models.staging import REMOVED, STAGING_LOCK, incoming
from app.models.upstream import RemoteModel, Upstream, merge_upstreams

if TYPE_CHECKING:
    from app.models.model_builder import Keep

log = logging.getLogger(__name__)

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
DEFAULT: Final = ".default"


class ModelStore:
    """Store of models in `root`. Any thread, and several processes, may use it."""

    def __init__(self, root: Path, keep_free: int = 0) -> None:
        """keep_free: bytes of the disk that no model on its way may take."""
        self.root = root
        self._keep_free = keep_free
        self._logged: set[str] = set()

    def models(self) -> list[Model]:
        """List all models by name. A folder that cannot be read is logged once and left out."""
        return self.scan()[0]

    def damaged(self) -> list[tuple[str, str]]:
        """Folders that cannot be read: name and a sentence that says why. They can be removed."""
        return self.scan()[1]

    def scan(self) -> tuple[list[Model], list[tuple[str, str]]]:
        """Read `models` and `damaged` in one pass."""
        models: list[Model] = []
        damaged: list[tuple[str, str]] = []
        for folder in self._folders():
            if folder.is_dir() and NAME.fullmatch(folder.name):
                try:
                    models.append(load_model(folder))
                except ModelFileError as error:
                    if folder.is_dir():  # and not just being removed
                        damaged.append((folder.name, str(error)))
        for _, sentence in damaged:
            if sentence not in self._logged:
                self._logged.add(sentence)
                log.warning("%s", sentence)
        return models, damaged

    def _folders(self) -> list[Path]:
        """Raises ModelStoreUnreadable."""
        try:
            return sorted(self.root.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            log.error("The models folder %s cannot be read: %s", self.root, error)
            raise ModelStoreUnreadable(
                f"Wick can't read its models folder ({error.strerror or 'unknown error'})."
            ) from error

    def get(self, name: str) -> Model:
        """Raises ModelNotFound, or ModelFileError if its folder is damaged."""
        return load_model(self.folder(name))

    def folder(self, name: str) -> Path:
        """Return the folder of a model, whole or damaged. Raises ModelNotFound."""
        folder = self.root / name
        if not NAME.fullmatch(name) or not folder.is_dir():
            raise ModelNotFound(f"No model named “{name}” is installed.")
        return folder

    def install(
        self,
        source: Path,
        name: str | None = None,
        *,
        sampling: Sampling | None = None,
        title: str | None = None,
        license_name: str | None = None,
        digest: str | None = None,
        progress: Progress | None = None,
        keep: Keep = "copy",
        linked_from: str = "",
        renews: bool = False,
        projector: Path | None = None,
    ) -> Model:
        """Check and add the GGUF file `source`, which stays as it is.

        `source` may be any part of a split model whose other parts lie beside it. `digest`: its
        SHA-256 if known already. keep: how the store comes to have its files; linked_from: the
        program that they belong to, where they are only linked. projector: the file with which it
        sees or hears, kept in the same way. renews: take the place of a model
        of that name whose original is not there; the same file may always. `progress` hears of
        bytes done and to do. Raises ModelFileError, ModelUnsupported or TemplateError for a file
        that will not do, DiskFull, and ModelError for a name that is taken or not allowed.
        """
        # Here and not above: tokenizers and templates, which only runners need but for this.
        from app.models.model_builder import ModelBuilder

        name = self._ensure_installable(name or name_for(source), digest, renews=renews)
        builder = ModelBuilder(source, keep, progress, projector)
        with self.incoming(builder.needed_bytes) as folder:
            model = builder.build(
                folder,
                name,
                digest=digest,
                title=title,
                license_name=license_name,
                sampling=sampling,
                linked_from=linked_from,
            )
            self._publish(folder, name, model.digest, renews=renews)
        return replace(model, folder=self.root / name)

    def _ensure_installable(self, name: str, digest: str | None, *, renews: bool) -> str:
        """`name`, if a file of that digest may become the model of that name. Raises ModelError.

        digest: None while it is not known.
        """
        if self.lacks_original(name) and (
            renews or digest in (None, load_model(self.root / name).digest)
        ):
            return name
        return self.ensure_name_free(name)

    def lacks_original(self, name: str) -> bool:
        """Tell whether an earlier version of Wick kept only the copy of this model for
        ctransformers.
        """
        if not NAME.fullmatch(name) or not (self.root / name).is_dir():
            return False
        try:
            model = load_model(self.root / name)
        except ModelFileError:
            return False
        return model.remote is None and not model.files

    def add_remote(
        self,
        name: str,
        upstreams: list[Upstream],
        *,
        context: int | None = None,
        title: str | None = None,
        sees: bool | None = None,
    ) -> Model:
        """Add a model that other servers hold, or more servers to one that is there.

        sees: whether it takes pictures, None leaves that as it was.

        Raises ModelError for what will not do, or a name that another model has; and DiskFull.
        """
        folder = self.root / name
        if NAME.fullmatch(name) and (folder / REMOTE).is_file():
            before = load_model(folder)
            remote = merge_upstreams(before.remote, upstreams, context)
            remote = remote if sees is None else replace(remote, sees=sees)
            text = serialize_remote(title or before.title, remote)
            write_atomic(folder / REMOTE, text)
        else:
            remote = replace(merge_upstreams(None, upstreams, context), sees=bool(sees))
            text = serialize_remote(title or name, remote)
            self.ensure_name_free(name)
            with self.incoming(len(text)) as incoming:
                (incoming / REMOTE).write_text(text + "\n", encoding="utf-8")
                self._publish(incoming, name)
        return load_model(folder)

    def save_context(self, name: str, remote: RemoteModel) -> None:
        """Keep what the servers of a model said of it. Raises DiskFull or ModelError."""
        model = self.get(name)
        if model.remote is not None and model.remote.upstreams == remote.upstreams:
            write_atomic(model.folder / REMOTE, serialize_remote(model.title, remote))

    def remove(self, name: str) -> None:
        """Remove a model and delete its files. Raises ModelNotFound."""
        folder = self.folder(name)
        # Renamed first: a crash halfway must not leave half a model under its name.
        doomed = Path(tempfile.mkdtemp(prefix=REMOVED, dir=self.root))
        folder.rename(doomed / "model")
        shutil.rmtree(doomed, ignore_errors=True)

    def save_settings(self, name: str, settings: ModelSettings) -> None:
        """Save the settings of a model. Raises ModelNotFound, DiskFull or ModelError."""
        model = self.get(name)
        text = json.dumps(asdict(settings), ensure_ascii=False, indent=2)
        write_atomic(model.folder / SETTINGS, text)
        if replace(model, settings=settings).engine == LLAMA_CPP:
            remove_adapted(model)

    def set_engine(self, name: str, setting: str) -> Model:
        """Choose the engine of a model, or leave it to Wick; the model with that choice.

        Raises ModelNotFound, ModelError for an engine that can't run it, or DiskFull.
        """
        model = self.get(name)
        if setting not in ENGINE_SETTINGS:
            raise ModelError(f"Choose one of {', '.join(ENGINE_SETTINGS)}.")
        engine = setting
        if model.remote is not None:
            raise ModelError(f"{model.title} runs on another server, so Wick chooses no engine.")
        if engine != "auto" and engine not in model.runs_on():
            raise ModelError(_cannot_run(model, engine))
        if engine != "auto" and engine not in available_engines():
            raise ModelError(f"{engine} is not installed here (pip install {PACKAGES[engine]}).")
        self.save_settings(name, replace(model.settings, engine=engine))
        return self.get(name)

    def set_projector(self, name: str, source: Path) -> Model:
        """Put a projector beside a model, in place of one that it has; the model with it.

        Raises ModelNotFound, ModelError for one that will not do, or DiskFull.
        """
        from app.models import projectors  # here and not above: few ask for it

        model = self.get(name)
        if not model.takes_projector:
            raise ModelError(f"{model.title} does not run on llama.cpp, so it takes no projector.")
        header = projectors.read_projector(source)
        projectors.ensure_belongs(header, read_header(model.original_paths[0]), model.title)
        with self.incoming(header.size) as folder:
            new = folder / projectors.FILE
            shutil.copyfile(source, new)
            made = projectors.describe(new)
            # Under a name of its own, as long as model.json still names the one before.
            made = replace(made, file=f"mmproj-{made.digest[:12]}.gguf")
            new.chmod(0o644)
            fsync_path(new)
            new.replace(model.folder / made.file)
        return self._save_projector(model, made)

    def remove_projector(self, name: str) -> Model:
        """Take the projector of a model away. Raises ModelNotFound, ModelError or DiskFull."""
        model = self.get(name)
        if model.projector is None:
            raise ModelError(f"{model.title} has no projector.")
        return self._save_projector(model, None)

    def _save_projector(self, model: Model, projector: Projector | None) -> Model:
        changed = replace(model, projector=projector)
        write_atomic(model.folder / FILE, serialize_model(changed))
        if model.projector is not None and projector != model.projector:
            (model.folder / model.projector.file).unlink(missing_ok=True)
        return self.get(model.name)

    def set_gpu_layers(self, name: str, setting: str) -> Model:
        """Choose how many layers a GPU may hold: `auto`, a number, or `default` for Wick's setting.

        Raises ModelNotFound, ModelError or DiskFull.
        """
        model = self.get(name)
        if LLAMA_CPP not in model.runs_on():
            raise ModelError(f"{model.title} does not run on llama.cpp, so no GPU is used for it.")
        layers = parse_gpu_layers("" if setting == "default" else setting)
        self.save_settings(name, replace(model.settings, gpu_layers=layers))
        return self.get(name)

    def save_speeds(self, name: str, speeds: Mapping[Engine, EngineSpeed], gpu: str = "") -> None:
        """Keep what was measured of a model; `gpu`: with which GPUs.

        Raises ModelNotFound, DiskFull or ModelError.
        """
        measured: dict[str, object] = {e: asdict(speed) for e, speed in speeds.items()}
        text = json.dumps(measured | {"gpu": gpu}, indent=2)
        write_atomic(self.get(name).folder / SPEEDS, text)

    def default(self) -> str | None:
        """Return the model chosen for new chats, while it is in the store."""
        try:
            name = (self.root / DEFAULT).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return None
        return name if NAME.fullmatch(name) and (self.root / name).is_dir() else None

    def set_default(self, name: str) -> None:
        """Begin new chats with this model. Raises ModelNotFound, DiskFull or ModelError."""
        model = self.get(name)
        if model.kind != "text":
            raise ModelError(f"{model.title} can't chat, so new chats can't begin with it.")
        write_atomic(self.root / DEFAULT, model.name)

    def ensure_name_free(self, name: str) -> str:
        """Return `name` if a model may be installed under it. Raises ModelError."""
        if not NAME.fullmatch(name):
            raise ModelError(
                f"“{name}” cannot be a model's name: use up to 64 small letters, digits, dots, "
                "dashes and underscores, beginning with a letter or digit."
            )
        if (self.root / name).exists():
            raise ModelError(
                f"A model named “{name}” is already installed; "
                "remove it first or choose another name."
            )
        return name

    def ensure_space(self, size: int) -> None:
        """Raises DiskFull unless `size` more bytes have room beside the models."""
        there = next(folder for folder in (self.root, *self.root.parents) if folder.is_dir())
        ensure_space(there, size, self._keep_free)

    @contextmanager
    def incoming(self, size: int) -> Iterator[Path]:
        """Make a hidden folder on the store's disk with space for `size` bytes; remove it
        afterwards.
        """
        with incoming(self.root, size, self._keep_free) as folder:
            yield folder

    def _publish(self, folder: Path, name: str, digest: str = "", *, renews: bool = False) -> None:
        (folder / STAGING_LOCK).unlink(missing_ok=True)
        for path in (*folder.iterdir(), folder):
            fsync_path(path)
        folder.chmod(0o755)
        self._ensure_installable(name, digest, renews=renews)
        self._make_way(name, folder)
        try:
            folder.rename(self.root / name)
        except OSError:
            self.ensure_name_free(name)
            raise
        fsync_path(self.root)

    def _make_way(self, name: str, folder: Path) -> None:
        """Remove a model that is renewed, and keep only what its user chose."""
        before = self.root / name
        if before.exists():
            if (before / SETTINGS).is_file():
                shutil.copyfile(before / SETTINGS, folder / SETTINGS)
            self.remove(name)


def _cannot_run(model: Model, engine: Engine) -> str:
    if not model.files and model.remote is None:
        return (
            f"Only the copy of {model.title} for ctransformers is here. Pull it again to run it on "
            f"{engine}: wick models pull {model.name}"
        )
    return f"{engine} can't run {model.title}; {' and '.join(model.runs_on())} can."


def name_for(source: Path) -> str:
    """Make a model name of a file name: `SmolLM2 135M.Q4_1.gguf` becomes `smollm2-135m.q4_1`."""
    stem = model_stem(source.name).lower()
    return re.sub(r"[^a-z0-9._-]+", "-", stem).strip("._-")[:64] or "model"
