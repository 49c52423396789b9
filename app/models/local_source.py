"""Models that are on this machine already: a GGUF file, or a folder with one model in it."""

from __future__ import annotations

from pathlib import Path

from app.errors import PullRefused
from app.models.spec import all_shards


def find_local(path: Path) -> Path:
    """The model's file, or the first of a split one. Raises PullRefused."""
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
    first = {all_shards(path.name)[0] for path in found}
    if not first:
        raise PullRefused(f"There is no GGUF file in {folder}.")
    if len(first) > 1:
        raise PullRefused(
            f"There are {len(first)} models in {folder}; name one of their files instead."
        )
    return folder / first.pop()
