"""Models of other programs on this machine: Ollama, LM Studio, llama.cpp and Hugging Face's cache.

Only their folders are looked at, never the whole disk, and nothing in them is changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.config import other_programs_environment
from app.errors import ModelNotFound, PullError
from app.models.gguf.reader import model_stem, part_names
from app.models.install.ollama import MAX_MANIFEST_BYTES, Manifest, read_manifest
from app.models.model import Model
from app.models.projectors import find_beside
from app.models.sources import NOT_MODELS
from app.models.store import name_for

MAX_FOUND: Final = 200
MAX_ENTRIES: Final = 20_000
"""Names of files and folders that are looked at, in each program's folder."""
MAX_DEPTH: Final = 6
CACHE_SECONDS: Final = 30.0
SHA256_NAME: Final = re.compile(r"[0-9a-f]{64}")
OLLAMA: Final = "Ollama"
LM_STUDIO: Final = "LM Studio"
LLAMA_CPP: Final = "llama.cpp"
HUGGING_FACE: Final = "Hugging Face"


@dataclass(frozen=True, slots=True)
class FoundModel:
    """Model of another program. path: its file or the first of several; name: what it would be
    called here; size: bytes of all its files; digest: SHA-256 in hex where it is known;
    projector: the file with which it sees."""

    program: str
    title: str
    path: Path
    size: int
    name: str
    digest: str | None = None
    projector: Path | None = None

    @property
    def key(self) -> str:
        """Name it in an address, without its path."""
        return hashlib.blake2b(os.fsencode(self.path), digest_size=8).hexdigest()


def find_models(environ: Mapping[str, str], home: Path) -> list[FoundModel]:
    """Find the models of all programs, by title; each file once."""
    seen: set[tuple[int, int]] = set()
    found: list[FoundModel] = []
    for model in _all(environ, home):
        try:
            status = model.path.stat()
        except OSError:
            continue
        if (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            found.append(model)
        if len(found) == MAX_FOUND:
            break
    return sorted(found, key=lambda model: (model.title.lower(), model.program))


def _all(environ: Mapping[str, str], home: Path) -> Iterator[FoundModel]:
    for folder in ollama_folders(environ, home):
        yield from _ollama(folder)
    for folder in lm_studio_folders(home):
        yield from _files(folder, LM_STUDIO)
    for program, folder in cache_folders(environ, home):
        yield from _hub_cache(folder, program)
    for folder in llama_cpp_folders(environ, home):
        yield from _files(folder, LLAMA_CPP, depth=1)


def ollama_folders(environ: Mapping[str, str], home: Path) -> list[Path]:
    """List the folders where Ollama keeps models: the user's, and that of its service."""
    if chosen := environ.get("OLLAMA_MODELS"):
        return [Path(chosen)]
    return [home / ".ollama/models", Path("/usr/share/ollama/.ollama/models")]


def lm_studio_folders(home: Path) -> list[Path]:
    """List the folders where LM Studio keeps models, as its settings say."""
    homes = [home / ".lmstudio", home / ".cache/lm-studio"]
    if moved := _read(home / ".lmstudio-home-pointer", 4096).decode("utf-8", "replace").strip():
        homes.insert(0, Path(moved))
    folders = []
    for each in homes:
        folders.append(each / "models")
        try:
            chosen = json.loads(_read(each / "settings.json", 1 << 20))["downloadsFolder"]
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
        if isinstance(chosen, str) and chosen:
            folders.append(Path(chosen))
    return folders


def cache_folders(environ: Mapping[str, str], home: Path) -> list[tuple[str, Path]]:
    """List the caches in the hub's own layout, with the programs that fill them."""
    folders = [(LLAMA_CPP, Path(environ["LLAMA_CACHE"]))] if environ.get("LLAMA_CACHE") else []
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if chosen := environ.get(name):
            return [*folders, (HUGGING_FACE, Path(chosen))]
    if chosen := environ.get("HF_HOME"):
        return [*folders, (HUGGING_FACE, Path(chosen) / "hub")]
    cache = Path(environ.get("XDG_CACHE_HOME") or home / ".cache")
    return [*folders, (HUGGING_FACE, cache / "huggingface/hub")]


def llama_cpp_folders(environ: Mapping[str, str], home: Path) -> list[Path]:
    """List the folders where earlier versions of llama.cpp kept files side by side."""
    if chosen := environ.get("LLAMA_CACHE"):
        return [Path(chosen)]
    folders = [home / ".cache/llama.cpp", home / "Library/Caches/llama.cpp"]
    if local := environ.get("LOCALAPPDATA"):
        folders.append(Path(local) / "llama.cpp")
    return folders


def _ollama(folder: Path) -> Iterator[FoundModel]:
    """Find models by Ollama's manifests: HOST/NAMESPACE/MODEL/TAG."""
    root = folder / "manifests"
    for path in _walk(root, 4):
        parts = path.relative_to(root).parts
        if len(parts) != 4:
            continue
        try:
            manifest = read_manifest(_read(path, MAX_MANIFEST_BYTES))
            sha256, size = manifest.weights()
        except PullError:
            continue
        _, namespace, model, tag = parts
        title = f"{model}:{tag}" if namespace == "library" else f"{namespace}/{model}:{tag}"
        blob = folder / "blobs" / f"sha256-{sha256}"
        if blob.is_file() and blob.stat().st_size == size:
            name = model if tag == "latest" else f"{model}-{tag}"
            shown = _ollama_projector(folder, manifest)
            yield FoundModel(OLLAMA, title, blob, size, name_for(Path(name)), sha256, shown)


def _ollama_projector(folder: Path, manifest: Manifest) -> Path | None:
    if (found := manifest.projector()) is None:
        return None
    blob = folder / "blobs" / f"sha256-{found[0]}"
    return blob if blob.is_file() and blob.stat().st_size == found[1] else None


def _hub_cache(folder: Path, program: str) -> Iterator[FoundModel]:
    """Find models by the snapshots of a cache: models--OWNER--REPO/snapshots/COMMIT/FILE."""
    for repository in _list(folder):
        if not repository.name.startswith("models--"):
            continue
        for snapshot in sorted(_list(repository / "snapshots"), key=_changed, reverse=True)[:1]:
            yield from _files(snapshot, program)


def _files(folder: Path, program: str, depth: int = MAX_DEPTH) -> Iterator[FoundModel]:
    """Find all GGUF files that are models and whole, each split one once."""
    for path in _walk(folder, depth):
        name = path.name.lower()
        if not name.endswith(".gguf") or any(mark in name for mark in NOT_MODELS):
            continue
        try:
            parts = [path.with_name(part) for part in part_names(path.name)]
            if path != parts[0]:
                continue
            size = sum(part.stat().st_size for part in parts)
            real = path.resolve().name
        except (OSError, ValueError):
            continue
        digest = real if len(parts) == 1 and SHA256_NAME.fullmatch(real) else None
        stem = model_stem(path.name)
        shown = find_beside(path)
        yield FoundModel(program, stem, path, size, name_for(Path(stem)), digest, shown)


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """The files below a folder, bounded in depth and number. What cannot be read is left out."""
    left, pending = MAX_ENTRIES, [(folder, depth)]
    while pending and left > 0:
        here, levels = pending.pop()
        for path in _list(here):
            left -= 1
            if path.is_file():
                yield path
            elif levels > 1 and path.is_dir() and not path.is_symlink():
                pending.append((path, levels - 1))


def _list(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())[:MAX_ENTRIES]
    except (OSError, ValueError):  # not there, not ours to read, or no path at all
        return []


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except (OSError, ValueError):
        return b""


class FoundModels:
    """Cache of what was found lately, for pages that are drawn often. Any thread may use it."""

    def __init__(self, environ: Mapping[str, str] | None = None, home: Path | None = None) -> None:
        self._environ = other_programs_environment() if environ is None else environ
        self._home = home
        self._lock = threading.Lock()
        self._found: list[FoundModel] = []
        self._looked_at = -CACHE_SECONDS

    def available(self, models: Collection[Model]) -> list[FoundModel]:
        """List those that `models`, all of the store, do not include yet. Blocks."""
        digests, files = {model.digest for model in models}, set()
        for model in models:
            for path in model.original_paths:
                try:
                    status = path.stat()
                except OSError:
                    continue
                files.add((status.st_dev, status.st_ino))
        return [each for each in self.all() if not _is_here(each, digests, files)]

    def all(self) -> list[FoundModel]:
        with self._lock:
            if time.monotonic() - self._looked_at >= CACHE_SECONDS:
                self._found = find_models(self._environ, self._home or _home())
                self._looked_at = time.monotonic()
            return self._found

    def get(self, key: str) -> FoundModel:
        """Find one by its key. Raises ModelNotFound."""
        for model in self.all():
            if model.key == key:
                return model
        raise ModelNotFound("This model is no longer where it was found.")


def _is_here(model: FoundModel, digests: set[str], files: set[tuple[int, int]]) -> bool:
    if model.digest in digests:
        return True
    try:
        status = model.path.stat()
    except OSError:
        return True
    return (status.st_dev, status.st_ino) in files


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # nobody's
        return Path("/nonexistent")
