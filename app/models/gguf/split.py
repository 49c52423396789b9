"""Split models: the names of their parts, and all parts read as one."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from app.errors import ModelFileError
from app.models.gguf.header import Header
from app.models.gguf.reader import read_header

# How the files of a split model are called: `NAME-00001-of-00003.gguf` and so on.


_PART: Final = re.compile(r"(.+)-([0-9]{5})-of-([0-9]{5})(\.gguf)", re.IGNORECASE)
_ENDING: Final = re.compile(r"\.gguf$", re.IGNORECASE)


def is_part(file: str) -> bool:
    """Tell whether `file` is the name of one part of a split model."""
    return _PART.fullmatch(file) is not None


def part_names(file: str) -> list[str]:
    """Return the names of all files of the model that `file` belongs to; just `file` if it is
    whole.

    Raises ValueError for a number that no part has.
    """
    match = _PART.fullmatch(file)
    if match is None:
        return [file]
    number, count = int(match[2]), int(match[3])
    if not 1 <= number <= count:
        raise ValueError(f"{file} is part {number} of {count}")
    return [f"{match[1]}-{n:05d}-of-{match[3]}{match[4]}" for n in range(1, count + 1)]


def model_stem(file: str) -> str:
    """Return a file's name without its suffix and, for a part of a split model, its number."""
    match = _PART.fullmatch(file)
    return match[1] if match else _ENDING.sub("", file)


# Finds the parts of a model that was split into several GGUF files, and reads them as one.
#
# `NAME-00001-of-00003.gguf` holds the metadata and the first tensors, the others only tensors. Each
# says which part it is (`split.no`, from 0), of how many, and how many tensors there are in all.


MAX_PARTS: Final = 1_000
NAMED_MISSING: Final = 3
SHARED: Final = ("general.architecture", "general.name")


@dataclass(frozen=True, slots=True)
class ModelFile:
    """GGUF file on the disk: `header` covers all `parts` together."""

    header: Header
    parts: tuple[Header, ...]

    @property
    def paths(self) -> list[Path]:
        return [part.path for part in self.parts]


def read_model_file(path: Path) -> ModelFile:
    """Read the header of the GGUF file at `path`, and of its other parts if it is split.

    Raises ModelFileError if parts are missing or do not belong together, and whatever `read_header`
    raises.
    """
    header = read_header(path)
    count = header.integer("split.count") or 1
    if count == 1:
        return ModelFile(header, (header,))
    paths = part_paths(path)
    if len(paths) != count or count > MAX_PARTS:
        raise ModelFileError(
            f"{path.name} is one of the {count} parts of a split model, but it is not named so; "
            f"keep all parts in one folder, with names such as NAME-00001-of-{count:05d}.gguf."
        )
    missing = [part.name for part in paths if not part.is_file()]
    if missing:
        named = ", ".join(missing[:NAMED_MISSING])
        more = f" and {len(missing) - NAMED_MISSING} more" if len(missing) > NAMED_MISSING else ""
        raise ModelFileError(
            f"{path.name} is one of {count} parts of a model, and {named}{more} "
            f"{'is' if len(missing) == 1 else 'are'} missing; put all parts into one folder."
        )
    parts = tuple(header if part == path else read_header(part) for part in paths)
    _check(parts)
    return ModelFile(_join(parts), parts)


def part_paths(path: Path) -> list[Path]:
    """Return the paths of all parts of the model at `path`, by their names; just `path` if it is
    whole.
    """
    try:
        return [path.with_name(name) for name in part_names(path.name)]
    except ValueError:
        return [path]


def _check(parts: tuple[Header, ...]) -> None:
    first = parts[0]
    tensors = sum(len(part.tensors) for part in parts)
    for index, part in enumerate(parts):
        told = (part.integer("split.no"), part.integer("split.count"))
        if told != (index, len(parts)):
            raise ModelFileError(
                f"{part.path.name} is not the part that its name says: "
                f"it counts itself as {_part_label(*told)}."
            )
    for part in parts:
        different = [
            key for key in SHARED if key in part.metadata and part.text(key) != first.text(key)
        ]
        if part.integer("split.tensors.count") != tensors or different:
            raise ModelFileError(
                f"{part.path.name} does not belong to {first.path.name}: "
                "they are parts of different models, or one of them is damaged."
            )
    if len({tensor.name for part in parts for tensor in part.tensors}) != tensors:
        raise ModelFileError(f"{first.path.name} and its other parts hold the same tensor twice.")


def _part_label(number: int | None, count: int | None) -> str:
    return "no part at all" if number is None else f"part {number + 1} of {count}"


def _join(parts: tuple[Header, ...]) -> Header:
    first = parts[0]
    return replace(
        first,
        metadata={k: v for k, v in first.metadata.items() if not k.startswith("split.")},
        tensors=tuple(tensor for part in parts for tensor in part.tensors),
        size=sum(part.size for part in parts),
    )
