"""Reasoning of models that think before they answer: how it is marked, and how it is switched.

One table of formats and one parser serve the embedded engines and remote servers alike. The facts
are those of the families' own chat templates.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

Part = Literal["thought", "answer"]
_State = Literal["before", "thought", "answer", "header"]


@dataclass(frozen=True, slots=True)
class ThinkingFormat:
    """The markers around a thought.

    opening, closing: what a thought that is written back stands between. recurs: the markers are
    special tokens that may come again behind the answer's beginning; those of other formats are
    plain text too, so that they count at the beginning only. wrappers: tags around the answer
    itself, which are no part of it; hint: what only a template of such a model says; special:
    names that only the special tokens of such a model have.

    channel_markers: of formats whose messages have headers, as gpt-oss' harmony: those that end a
    header come first. thought_header: how the header of a thought begins; answer: the header of an
    answer. begins_in_header: the prompt ends within the first one.
    """

    name: str
    start: str
    end: str
    opening: str
    closing: str
    recurs: bool = False
    wrappers: tuple[str, ...] = ()
    hint: str = ""
    special: tuple[str, ...] = ()
    channel_markers: tuple[str, ...] = ()
    thought_header: str = ""
    answer: str = ""
    begins_in_header: bool = False

    @property
    def has_channels(self) -> bool:
        """True if messages have headers."""
        return bool(self.channel_markers)

    @property
    def markers(self) -> tuple[str, ...]:
        """List all texts that a parser must see, even where a tokenizer treats them as special."""
        return self.channel_markers or (self.start, self.end, *self.wrappers)

    def is_opened_by(self, prompt: str) -> bool:
        """True if the prompt ends inside a thought, so that the model begins with it."""
        return prompt.rstrip().endswith(self.opening.strip())


THINK: Final = ThinkingFormat(
    "think", "<think>", "</think>", opening="<think>\n", closing="\n</think>\n\n"
)
FORMATS: Final = (
    ThinkingFormat(
        "harmony",
        "<|channel|>",
        "<|end|>",
        opening="<|channel|>analysis<|message|>",
        closing="<|end|><|start|>assistant<|channel|>final<|message|>",
        recurs=True,
        channel_markers=("<|message|>", "<|channel|>", "<|start|>", "<|end|>"),
        thought_header="analysis",
        answer="<|channel|>final<|message|>",
    ),
    ThinkingFormat(
        "muse",
        "<|start|>",
        "<|eom|>",
        opening=" to=self<|message|>",
        closing="<|eom|><|start|>assistant to=user<|message|>",
        recurs=True,
        channel_markers=("<|message|>", "<|start|>", "<|eom|>"),
        thought_header="to=self",
        answer=" to=user<|message|>",
        begins_in_header=True,
    ),
    ThinkingFormat(
        "kimi",
        "<|open|>think<|sep|>",
        "<|close|>think<|sep|>",
        opening="<|open|>think<|sep|>",
        closing="<|close|>think<|sep|><|open|>response<|sep|>",
        recurs=True,
        wrappers=("<|open|>response<|sep|>", "<|close|>response<|sep|>", "<|close|>message<|sep|>"),
        special=("<|open|>", "<|close|>", "<|sep|>"),
    ),
    ThinkingFormat(
        "minimax",
        "<mm:think>",
        "</mm:think>",
        opening="<mm:think>",
        closing="</mm:think>",
        wrappers=("</mm:think>",),  # an answer without a thought begins with it
    ),
    ThinkingFormat(
        "apriel",
        "Here are my reasoning steps:",
        "[BEGIN FINAL RESPONSE]",
        opening="Here are my reasoning steps:\n",
        closing="\n[BEGIN FINAL RESPONSE]\n",
        wrappers=("[BEGIN FINAL RESPONSE]", "[END FINAL RESPONSE]"),
        hint="[BEGIN FINAL RESPONSE]",
    ),
    ThinkingFormat(
        "gemma",
        "<|channel>thought",
        "<channel|>",
        opening="<|channel>thought\n",
        closing="<channel|>",
        recurs=True,
    ),
    ThinkingFormat(
        "cohere",
        "<|START_THINKING|>",
        "<|END_THINKING|>",
        opening="<|START_THINKING|>",
        closing="<|END_THINKING|>",
        recurs=True,
    ),
    ThinkingFormat(
        "mistral", "[THINK]", "[/THINK]", opening="[THINK]", closing="[/THINK]", recurs=True
    ),
    ThinkingFormat(
        "seed",
        "<seed:think>",
        "</seed:think>",
        opening="<seed:think>",
        closing="</seed:think>",
    ),
    ThinkingFormat(
        "granite",
        "<think>",
        "</think>",
        opening="<think>",
        closing="</think>\n<response>",
        wrappers=("<response>", "</response>"),
        hint="<response></response>",
    ),
    ThinkingFormat(
        "hunyuan",
        "<think>",
        "</think>",
        opening="<think>\n",
        closing="\n</think>\n<answer>\n",
        wrappers=("<answer>", "</answer>"),
        hint="<answer>",
    ),
    THINK,
)
"""Those that are told apart by more come first."""


def find_format(template: str, special: Iterable[str] = ()) -> ThinkingFormat | None:
    """The format of a model by its chat template and the names of its special tokens, or None for
    a model that does not think."""
    names = set(special)
    for candidate in FORMATS:
        first, last = candidate.start, candidate.end
        if candidate.special and names.issuperset(candidate.special):
            found = True
        elif candidate.wrappers:
            found = first in template and candidate.hint in template
        elif candidate.has_channels:
            found = first in template and candidate.thought_header in template
        else:
            found = last in template or {first, last} <= names
        if found:
            return candidate
    return None


# How a thought is switched.

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
EFFORTS: Final[tuple[Effort, ...]] = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_SWITCHES: Final = ("enable_thinking", "thinking")
_LEVELS: Final = ("reasoning_effort", "reasoning_strength")


@dataclass(frozen=True, slots=True)
class ThinkingControls:
    """Variables that switch and limit thinking in a template.

    switch: takes True or False; level: takes a word; efforts: the words it knows, from little to
    much, without "none".
    """

    switch: str = ""
    level: str = ""
    efforts: tuple[Effort, ...] = ()

    @property
    def can_switch(self) -> bool:
        """True if thinking can be turned off."""
        return bool(self.switch) or "none" in self.efforts

    def variables(self, *, think: bool | None, effort: Effort | None) -> dict[str, object]:
        """Return the variables to render the template with.

        think: None leaves it to the model; effort: a level that the template does not know becomes
        the nearest that it knows.
        """
        values: dict[str, object] = {}
        wanted = False if effort == "none" else think
        if self.switch and wanted is not None:
            values[self.switch] = wanted
        if self.level:
            if wanted is False and "none" in self.efforts:
                values[self.level] = "none"
            elif effort is not None and effort != "none" and (near := self._nearest(effort)):
                values[self.level] = near
        return values

    def _nearest(self, effort: Effort) -> Effort | None:
        known = [level for level in self.efforts if level != "none"]
        place = EFFORTS.index(effort)
        return min(known, key=lambda level: abs(EFFORTS.index(level) - place), default=None)


_COMMENT: Final = re.compile(r"\{#.*?#\}", re.DOTALL)
_CODE: Final = re.compile(r"\{[{%](.*?)[%}]\}", re.DOTALL)
_STRING: Final = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)


def find_controls(template: str) -> ThinkingControls:
    """The controls that a chat template reads, by its source."""
    code = " ".join(_CODE.findall(_COMMENT.sub("", template)))
    names = set(re.findall(r"(?<![\w.])[a-z_]+\b(?!\s*=[^=])", _STRING.sub("''", code)))
    switch = next((name for name in _SWITCHES if name in names), "")
    level = next((name for name in _LEVELS if name in names), "")
    if not level:
        return ThinkingControls(switch)
    quoted = {text[1:-1] for text in _STRING.findall(code)}
    named = tuple(effort for effort in EFFORTS if effort in quoted)
    # gpt-oss writes the word itself into its system turn, so its template names only the usual one.
    efforts = named if len(named) > 1 else ("low", "medium", "high")
    return ThinkingControls(switch, level, efforts)


def thinking_parameters(template: str) -> tuple[str, ...]:
    """The generation parameters about thinking that mean something to a model, by its template."""
    if find_format(template) is None:
        return ()
    controls = find_controls(template)
    switch = ("think",) if controls.can_switch else ()
    level = ("reasoning_effort",) if controls.level else ()
    return (*switch, *level, "max_thought_tokens")


# From what a model writes to its thought and its answer.


@dataclass(slots=True)
class ThinkingParser:
    """Splits streamed text. Whatever the pieces are, the concatenated parts are the same.

    is_open: the prompt ended inside a thought. is_answering: it ended inside an answer. resumes:
    the thought or the answer that it ended in has begun before, and white space goes on with it.
    """

    format: ThinkingFormat
    is_open: bool = False
    is_answering: bool = False
    resumes: bool = False
    has_thought: bool = False
    _state: _State = "before"
    _pending: str = ""
    _header: str = ""
    _skips_space: bool = True
    _pending_space: str = ""
    _is_first_header: bool = True
    _markers: tuple[str, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        self._markers = self.format.markers
        if self.is_open:
            self._state = "thought"
        elif self.is_answering:
            self._state = "answer"
            if not self.format.recurs:
                self._markers = self.format.wrappers[1:]
        elif self.format.begins_in_header:
            self._state = "header"
        self._skips_space = not self.resumes

    @property
    def is_thinking(self) -> bool:
        """True inside a thought."""
        return self._state == "thought"

    @property
    def is_in_header(self) -> bool:
        """True inside the header of a message, also of the one that the prompt has begun."""
        return self._state == "header" or (self.format.has_channels and self._state == "before")

    def end_thought(self) -> None:
        """End a thought without its marker."""
        if self._state == "thought":
            self._enter(self.format.end)

    def feed(self, text: str) -> list[tuple[Part, str]]:
        """Add text and return the parts that are certain now, in order."""
        self._pending += text
        return _joined(self._take(is_last=False))

    def flush(self) -> list[tuple[Part, str]]:
        """Return the text that was held back and turned out to be no marker."""
        parts = list(self._take(is_last=True))
        if self._state == "header" and self._is_first_header and self.format.begins_in_header:
            parts.append(("answer", self._header))  # it was none
            self._header = ""
        return _joined(parts)

    def _take(self, *, is_last: bool) -> Iterator[tuple[Part, str]]:
        while self._pending:
            if self._state == "before" and not self._begins(is_last=is_last):
                return
            place, marker = self._next_marker()
            if marker:
                yield from self._emit(self._pending[:place])
                self._pending = self._pending[place + len(marker) :]
                self._enter(marker)
                continue
            kept = 0 if is_last else self._partial_marker()
            certain = self._pending[: len(self._pending) - kept]
            self._pending = self._pending[len(certain) :]
            yield from self._emit(certain)
            return

    def _begins(self, *, is_last: bool) -> bool:
        """Decides how the text begins; False as long as that is not certain."""
        text = self._pending.lstrip()
        if not text and not is_last:
            return False
        start = self.format.start
        if self.format.recurs or text.startswith(start):
            self._state = "answer"
            self._skips_space = text.startswith(start)
            return True
        if start.startswith(text) and not is_last:
            return False
        if any(text.startswith(wrapper) for wrapper in self.format.wrappers):
            self._state, self._skips_space = "answer", True
            return True
        if any(w.startswith(text) for w in self.format.wrappers) and not is_last:
            return False
        self._state, self._skips_space = "answer", False
        self._markers = self.format.wrappers[1:]
        return True

    def _next_marker(self) -> tuple[int, str]:
        found = [(at, m) for m in self._expected() if (at := self._pending.find(m)) >= 0]
        return min(found, default=(0, ""))

    def _expected(self) -> tuple[str, ...]:
        """List the markers that mean something now."""
        if self._state == "thought" and not self.format.has_channels:
            return (self.format.end,)
        return self._markers

    def _partial_marker(self) -> int:
        """Count the characters at the end that may begin a marker."""
        expected = self._expected()
        longest = max(map(len, expected), default=1) - 1
        for size in range(min(longest, len(self._pending)), 0, -1):
            if any(marker.startswith(self._pending[-size:]) for marker in expected):
                return size
        return 0

    def _enter(self, marker: str) -> None:
        if self.format.has_channels:
            self._enter_channel(marker)
            return
        self._pending_space = ""
        if marker == self.format.start:
            self._state, self._skips_space = "thought", True
        elif marker == self.format.end:
            self._state, self._skips_space = "answer", True
            if not self.format.recurs:
                self._markers = self.format.wrappers
        else:
            self._skips_space = marker == self.format.wrappers[0]

    def _enter_channel(self, marker: str) -> None:
        self._pending_space = ""
        self._is_first_header = False
        if marker == self.format.channel_markers[0]:
            header = self._header.strip().removeprefix("assistant").lstrip()
            is_thought = header.startswith(self.format.thought_header)
            self._state = "thought" if is_thought else "answer"
            self._header, self._skips_space = "", True
        else:
            self._state, self._header = "header", ""

    def _emit(self, text: str) -> Iterator[tuple[Part, str]]:
        """Return one part without the white space around a thought and before an answer."""
        if self._state == "header":
            self._header += text
            return
        if self._skips_space:
            text = text.lstrip()
            if not text:
                return
            self._skips_space = False
        if self._state != "thought":
            if text:
                yield "answer", text
            return
        text = self._pending_space + text
        said = text.rstrip()
        self._pending_space = text[len(said) :]
        if said:
            self.has_thought = True
            yield "thought", said


def _joined(parts: Iterable[tuple[Part, str]]) -> list[tuple[Part, str]]:
    joined: list[tuple[Part, str]] = []
    for part, text in parts:
        if joined and joined[-1][0] == part:
            joined[-1] = part, joined[-1][1] + text
        else:
            joined.append((part, text))
    return joined
