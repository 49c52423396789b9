"""Turns a conversation into token ids by the model's own chat template, so that none can be forged.

The template is rendered with placeholders where the contents go. Its own text is searched for
special tokens, the contents never are. Between two special tokens, text and contents are tokenised
as one piece, exactly as if the whole prompt had been rendered and tokenised at once.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from jinja2 import TemplateError as JinjaError

from app.errors import TemplateError
from app.models.meter import METER, SECONDS, Meter
from app.models.model import Turn
from app.models.sandbox import Sandbox
from app.models.template_filters import RefusedByTemplate, shortened
from app.models.template_names import guess, named_templates
from app.models.tokenizer import Tokenizer

MAX_SOURCE: Final = 100_000
MAX_OUTPUT: Final = 4_000_000
CACHED_CHARACTERS: Final = 2_000_000

# Around each placeholder stands white space that no template writes itself: where it is gone, the
# template trims its messages. The private-use letters around the number survive case and trimming.
LEFT, RIGHT, OPEN, CLOSE = "\x1e", "\x1f", "\ue000", "\ue001"
PLACEHOLDER: Final = re.compile(f"({LEFT})?{OPEN}([0-9]{{1,9}}){CLOSE}({RIGHT})?")
LEFTOVER: Final = re.compile(f"[{LEFT}{RIGHT}{OPEN}{CLOSE}]")


def placeholder(index: int) -> str:
    return f"{LEFT}{OPEN}{index}{CLOSE}{RIGHT}"


Piece = tuple[str, bool]
"""A piece of the prompt, and whether the template wrote it (and not a person or a model)."""


def fallback_template(tokenizer: Tokenizer, title: str = "") -> str:
    """The template for a file that brings none; `title`: what its model is called."""
    return named_templates()[guess(tokenizer, title)].source


class _SystemLost(Exception):
    """The template passed over the system prompt without a word."""


class ChatTemplate:
    """The chat template of one model. Any thread may use it."""

    def __init__(self, source: str, tokenizer: Tokenizer, *, seconds: float = SECONDS) -> None:
        """Raises TemplateError if `source` is too long or is not a template."""
        if len(source) > MAX_SOURCE:
            raise TemplateError("The model's chat template is too long.")
        self._tokenizer = tokenizer
        self._seconds = seconds
        self._runs: OrderedDict[str, list[int]] = OrderedDict()
        self._cached = 0
        self._lock = threading.Lock()
        try:
            self._template = Sandbox().from_string(source or fallback_template(tokenizer))
        except (JinjaError, RecursionError, SyntaxError, MemoryError, ValueError) as error:
            raise TemplateError(
                f"The model's chat template is not valid: {shortened(error)}."
            ) from error

    def encode(
        self,
        turns: Sequence[Turn],
        opening: str = "",
        spelled: Mapping[str, Sequence[int]] = MappingProxyType({}),
    ) -> list[int]:
        """The prompt that asks for the next answer; `opening`: how that answer already begins.

        spelled: the ids that stand for certain texts between special tokens in this chat.

        Raises TemplateError if the template fails or cannot be followed.
        """
        ids: list[int] = []
        run = ""
        for text, own in [*self._pieces(turns), (opening, False)]:
            for part in self._tokenizer.split_marks(text) if own else [text]:
                if isinstance(part, str):
                    run += part
                    continue
                ids += spelled.get(run) or self._encode_run(run)
                ids.append(part)
                run = ""
        ids += spelled.get(run) or self._encode_run(run)
        return self._with_bos(ids)

    def encode_plain(self, text: str) -> list[int]:
        """A prompt without a template. What the text says is never a special token."""
        ids = self._with_bos(self._encode_run(text))
        # A model cannot go on from nothing.
        return ids or [self._tokenizer.bos_id or self._tokenizer.eos_id or 0]

    def text(self, turns: Sequence[Turn]) -> str:
        """The same prompt as text, before its special tokens are found."""
        return "".join(text for text, _ in self._pieces(turns))

    def _with_bos(self, ids: list[int]) -> list[int]:
        bos = self._tokenizer.bos_id
        if bos is None or not self._tokenizer.adds_bos:
            return ids
        start = next((index for index, token in enumerate(ids) if token != bos), len(ids))
        return [bos, *ids[start:]]

    def _encode_run(self, text: str) -> list[int]:
        """The ids of text between special tokens; the same turns come again with every prompt."""
        if not text:
            return []
        with self._lock:
            if (known := self._runs.get(text)) is not None:
                self._runs.move_to_end(text)
                return known
        ids = self._tokenizer.encode(text)
        with self._lock:
            if text not in self._runs:
                self._runs[text] = ids
                self._cached += len(text)
            while self._cached > CACHED_CHARACTERS:
                self._cached -= len(self._runs.popitem(last=False)[0])
        return ids

    def _pieces(self, turns: Sequence[Turn]) -> list[Piece]:
        try:
            return self._fill(turns)
        except (RefusedByTemplate, _SystemLost):
            merged = merge_system(turns)
            if merged == list(turns):
                raise
            return self._fill(merged)

    def _fill(self, turns: Sequence[Turn]) -> list[Piece]:
        rendered = self._render(turns)
        pieces: list[Piece] = []
        position, seen = 0, set()
        for match in PLACEHOLDER.finditer(rendered):
            left, number, right = match.groups()
            index = int(number)
            if index >= len(turns):
                raise TemplateError("The model's chat template changes the messages.")
            content = turns[index].content
            content = content if left else content.lstrip()
            pieces.append((rendered[position : match.start()], True))
            pieces.append((content if right else content.rstrip(), False))
            position = match.end()
            seen.add(index)
        pieces.append((rendered[position:], True))
        lost = {turn.role for index, turn in enumerate(turns) if turn.content and index not in seen}
        if "system" in lost:
            raise _SystemLost
        if "user" in lost or any(own and LEFTOVER.search(text) for text, own in pieces):
            raise TemplateError(
                "The model's chat template changes the messages in a way that Wick cannot follow."
            )
        return pieces

    def _render(self, turns: Sequence[Turn]) -> str:
        messages = [
            # Templates ask whether there is any text at all: none must look like none.
            {"role": turn.role, "content": turn.content and placeholder(index)}
            for index, turn in enumerate(turns)
        ]
        token = METER.set(Meter(self._seconds))
        try:
            rendered = self._template.render(
                messages=messages,
                add_generation_prompt=True,
                tools=None,
                documents=None,
                bos_token=self._tokenizer.special_text(self._tokenizer.bos_id),
                eos_token=self._tokenizer.special_text(self._tokenizer.eos_id),
                pad_token="",
                unk_token="",
            )
        except TemplateError:
            raise
        except Exception as error:  # whatever a template's code can raise
            raise TemplateError(f"The model's chat template failed: {shortened(error)}.") from error
        finally:
            METER.reset(token)
        if len(rendered) > MAX_OUTPUT:
            raise TemplateError("The model's chat template grew too large.")
        return rendered


def merge_system(turns: Sequence[Turn]) -> list[Turn]:
    """The same for a model without a system role: its text opens the first question."""
    system = "\n\n".join(turn.content for turn in turns if turn.role == "system")
    merged = [turn for turn in turns if turn.role != "system"]
    if not system:
        return merged
    for index, turn in enumerate(merged):
        if turn.role == "user":
            merged[index] = Turn("user", "\n\n".join(filter(None, (system, turn.content))))
            return merged
    return [Turn("user", system), *merged]
