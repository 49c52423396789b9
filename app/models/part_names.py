"""How the files of a split model are called: `NAME-00001-of-00003.gguf` and so on."""

from __future__ import annotations

import re
from typing import Final

_PART: Final = re.compile(r"(.+)-([0-9]{5})-of-([0-9]{5})(\.gguf)", re.IGNORECASE)
_ENDING: Final = re.compile(r"\.gguf$", re.IGNORECASE)


def is_part(file: str) -> bool:
    """Whether `file` is the name of one part of several."""
    return _PART.fullmatch(file) is not None


def part_names(file: str) -> list[str]:
    """The names of all files of the model of which `file` is one; of a whole one just that.

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
    """A file's name without its ending and, for a part of a split model, without its number."""
    match = _PART.fullmatch(file)
    return match[1] if match else _ENDING.sub("", file)
