"""Model store: the folder that holds every installed model, one folder each.

`NAME/model.gguf` is the adapted file, `tokenizer.json` and `vocabulary.json` its tokenizer,
`model.json` its metadata; a remote model has `remote.json` alone. A model is put together in a
hidden folder and renamed into place at the end, so whatever is in the store is whole. All functions
block: call them from a thread.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from app.errors import ModelError, ModelFileError, ModelNotFound, ModelStoreUnreadable
from app.models.disk import ensure_space, files_digest, fsync_path, write_atomic
from app.models.gguf.compatibility import check_compatible
from app.models.gguf.convert import Progress, convert
from app.models.gguf.split import model_stem, read_model_file
from app.models.model import Model, ModelSettings, Sampling
from app.models.model_files import (
    REMOTE,
    SETTINGS,
    load_model,
    merge_upstreams,
    save_model,
    serialize,
)
from app.models.staging import REMOVED, STAGING_LOCK, incoming
from app.models.upstream import RemoteModel, Upstream

log = logging.getLogger(__name__)

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
DEFAULT: Final = ".default"


class ModelStore:
    """Store of models in `root`. Any thread, and several processes, may use it."""

    def __init__(self, root: Path) -> None:
        self.root = root
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
            raise ModelNotFound(f"There is no model named “{name}” on the shelf.")
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
    ) -> Model:
        """Check, adapt and add the GGUF file `source`, which stays as it is.

        `source` may be any part of a split model whose other parts lie beside it. `digest`: its
        SHA-256 if known already. `progress` hears of bytes done and to do. Raises
        ModelFileError, ModelUnsupported or TemplateError for a file that will not do, DiskFull,
        and ModelError for a name that is taken or not allowed.
        """
        # Here and not above: tokenizers and templates, which only runners need but for this.
        from app.models.metadata import build_model
        from app.models.text.tokenizer import save_tokenizer

        name = self.ensure_name_free(name or name_for(source))
        file = read_model_file(source)
        header = file.header
        sizes = check_compatible(header)
        tied = next(t for t in header.tensors if t.name == "token_embd.weight")
        with self.incoming(header.size + tied.size) as folder:
            notify = progress or (lambda done, total: None)
            if digest is None or len(file.parts) > 1:
                digest = files_digest(file.paths, lambda done: notify(done // 2, header.size))
            half = header.size // 2
            convert(
                file,
                folder / "model.gguf",
                lambda done, total: notify(half + done * half // total, header.size),
            )
            save_tokenizer(header, folder)
            model = build_model(header, sizes, folder)
            model = replace(
                model,
                name=name,
                digest=digest,
                title=title or model.title or name,
                license=license_name or model.license,
                sampling=sampling or Sampling(),
            )
            save_model(model, folder)
            notify(header.size, header.size)
            self._publish(folder, name)
        return replace(model, folder=self.root / name)

    def add_remote(
        self,
        name: str,
        upstreams: list[Upstream],
        *,
        context: int | None = None,
        title: str | None = None,
    ) -> Model:
        """Add a model that other servers hold, or more servers to one that is there.

        Raises ModelError for what will not do, or a name that another model has; and DiskFull.
        """
        folder = self.root / name
        if NAME.fullmatch(name) and (folder / REMOTE).is_file():
            before = load_model(folder)
            text = serialize(
                title or before.title, merge_upstreams(before.remote, upstreams, context)
            )
            write_atomic(folder / REMOTE, text)
        else:
            text = serialize(title or name, merge_upstreams(None, upstreams, context))
            self.ensure_name_free(name)
            with self.incoming(len(text)) as incoming:
                (incoming / REMOTE).write_text(text + "\n", encoding="utf-8")
                self._publish(incoming, name)
        return load_model(folder)

    def save_context(self, name: str, remote: RemoteModel) -> None:
        """Keep what the servers of a model said of it. Raises DiskFull or ModelError."""
        model = self.get(name)
        if model.remote is not None and model.remote.upstreams == remote.upstreams:
            write_atomic(model.folder / REMOTE, serialize(model.title, remote))

    def remove(self, name: str) -> None:
        """Remove a model and delete its files. Raises ModelNotFound."""
        folder = self.folder(name)
        # Renamed first: a crash halfway must not leave half a model under its name.
        doomed = Path(tempfile.mkdtemp(prefix=REMOVED, dir=self.root))
        folder.rename(doomed / "model")
        shutil.rmtree(doomed, ignore_errors=True)

    def save_settings(self, name: str, settings: ModelSettings) -> None:
        """Save the settings of a model. Raises ModelNotFound, DiskFull or ModelError."""
        text = json.dumps(asdict(settings), ensure_ascii=False, indent=2)
        write_atomic(self.get(name).folder / SETTINGS, text)

    def default(self) -> str | None:
        """Return the model chosen for new chats, while it is in the store."""
        try:
            name = (self.root / DEFAULT).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return None
        return name if NAME.fullmatch(name) and (self.root / name).is_dir() else None

    def set_default(self, name: str) -> None:
        """Begin new chats with this model. Raises ModelNotFound, DiskFull or ModelError."""
        write_atomic(self.root / DEFAULT, self.get(name).name)

    def ensure_name_free(self, name: str) -> str:
        """Return `name` if a model may be installed under it. Raises ModelError."""
        if not NAME.fullmatch(name):
            raise ModelError(
                f"“{name}” cannot be a model's name: use up to 64 small letters, digits, dots, "
                "dashes and underscores, beginning with a letter or digit."
            )
        if (self.root / name).exists():
            raise ModelError(
                f"There is a model named “{name}” on the shelf already; "
                "remove it first or choose another name."
            )
        return name

    def check_room(self, size: int) -> None:
        """Raises DiskFull unless `size` more bytes have room beside the models."""
        there = next(folder for folder in (self.root, *self.root.parents) if folder.is_dir())
        ensure_space(there, size)

    @contextmanager
    def incoming(self, size: int) -> Iterator[Path]:
        """Make a hidden folder on the store's disk with space for `size` bytes; remove it
        afterwards.
        """
        with incoming(self.root, size) as folder:
            yield folder

    def _publish(self, folder: Path, name: str) -> None:
        (folder / STAGING_LOCK).unlink(missing_ok=True)
        for path in (*folder.iterdir(), folder):
            fsync_path(path)
        folder.chmod(0o755)
        self.ensure_name_free(name)
        try:
            folder.rename(self.root / name)
        except OSError:
            self.ensure_name_free(name)
            raise
        fsync_path(self.root)


def name_for(source: Path) -> str:
    """Make a model name of a file name: `SmolLM2 135M.Q4_1.gguf` becomes `smollm2-135m.q4_1`."""
    stem = model_stem(source.name).lower()
    return re.sub(r"[^a-z0-9._-]+", "-", stem).strip("._-")[:64] or "model"
