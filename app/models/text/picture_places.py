"""Finds the places of pictures in a rendered prompt.

Templates of models that see take a content as a list of parts, and write a token of their own where
a part is a picture; others take text only. A mark that no content can have stands for a picture in
what is split into tokens afterwards.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from typing import Final

from app.errors import TemplateError
from app.models.model import Turn, TurnImage

MARK: Final = "\ufdd2"
"""Stands around the number of a picture; a character that no text may have."""
PLACE: Final = re.compile(f"{MARK}([0-9]+){MARK}")
OWN_TOKENS: Final = re.compile(
    "|".join(
        map(
            re.escape,
            (
                "<|vision_start|><|image_pad|><|vision_end|>",
                "<|media_start|>image<|media_content|><|media_pad|><|media_end|>",
                "<|begin_of_image|><|image|><|end_of_image|>",
                "(<image>./</image>)",
                "<start_of_image>",
                "<|image_start|><|image|><|image_end|>",
                "<|audio_bos|><|AUDIO|><|audio_eos|>",
                "<|audio_start|><|audio_pad|><|audio_end|>",
                "[BEGIN_AUDIO][AUDIO]",
                "<audio_soft_token>",
                "<|AUDIO|>",
                "<|audio|>",
                "[AUDIO]",
                "<|image_pad|>",
                "<|image|>",
                "<image>",
                "[IMG]",
            ),
        )
    )
)
"""What templates write for a picture or a sound; the library puts its own tokens around one."""
Part = dict[str, str]
RenderParts = Callable[[Sequence[str | list[Part]]], str]
"""Renders a conversation with these contents."""


def has_pictures(turns: Sequence[Turn]) -> bool:
    return any(turn.images for turn in turns)


def parts_of(turns: Sequence[Turn], guard: Callable[[str], str]) -> list[list[Part]]:
    """Divide the contents of turns into the parts that templates know; guard: makes a text safe."""
    return [
        [
            {"type": "text", "text": guard(piece)}
            if isinstance(piece, str)
            else {"type": "audio" if piece.is_sound else "image"}
            for piece in _pieces(turn)
        ]
        for turn in turns
    ]


def with_marks(parts: Sequence[Sequence[Part]]) -> list[str]:
    """Write the parts of each content as one text, with marks for pictures."""
    numbers = itertools.count()
    return [
        "".join(part.get("text", "") or f"{MARK}{next(numbers)}{MARK}" for part in content)
        for content in parts
    ]


def place_marks(rendered: str, pictures: int) -> str | None:
    """Put marks where a template wrote its own tokens; None where it wrote another number."""
    if len(OWN_TOKENS.findall(rendered)) != pictures:
        return None
    numbers = iter(range(pictures))
    return OWN_TOKENS.sub(lambda _: f"{MARK}{next(numbers)}{MARK}", rendered)


def is_complete(marked: str, pictures: int) -> bool:
    """Tell whether every picture stands in a prompt once."""
    return sorted(map(int, PLACE.findall(marked))) == list(range(pictures))


def render_as_parts(render: RenderParts, contents: Sequence[str]) -> str:
    return render([[{"type": "text", "text": content}] for content in contents])


def render_by_parts(render: RenderParts, parts: Sequence[list[Part]], pictures: int) -> str | None:
    """Render contents as parts, with marks where the template wrote tokens for pictures; None for
    a template that does not know parts, or leaves some out."""
    try:
        rendered = render(parts)
    except TemplateError:
        return None
    texts = (part["text"].strip() for content in parts for part in content if "text" in part)
    return place_marks(rendered, pictures) if all(text in rendered for text in texts) else None


def _pieces(turn: Turn) -> list[str | TurnImage]:
    """A content in pieces, none of them empty, with its pictures and sounds."""
    content, start = turn.content.replace(MARK, "\ufffd"), 0
    pieces: list[str | TurnImage] = []
    for image in turn.images:
        place = max(start, min(image.place, len(content)))
        pieces += [content[start:place], image] if place > start else [image]
        start = place
    return [*pieces, content[start:]] if start < len(content) else pieces
