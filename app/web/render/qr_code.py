"""QR codes as paths, which templates put into SVG."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Final

QUIET_ZONE: Final = 4
"""Modules left free around the code, as the standard has it."""


@dataclass(frozen=True, slots=True)
class QrCode:
    """A QR code. size: modules of a side with the quiet zone; path: of the dark ones, in SVG."""

    size: int
    path: str

    @classmethod
    def of(cls, text: str) -> QrCode:
        # Here and not above: few pages have one.
        import segno

        rows = list(
            segno.make(text, error="m", micro=False).matrix_iter(scale=1, border=QUIET_ZONE)
        )
        runs: list[str] = []
        for y, row in enumerate(rows):
            x = 0
            for is_dark, modules in groupby(row):
                width = len(list(modules))
                if is_dark:
                    runs.append(f"M{x} {y}h{width}v1h-{width}z")
                x += width
        return cls(len(rows), "".join(runs))
