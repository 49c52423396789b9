"""The table of generation parameters: each is declared once, here, for every surface.

A row gives a parameter's type, default, limits, label and one sentence. Forms, the terminal, the
command line, the APIs and their documentation, imports and requests to other servers are made from
it. A new parameter is one row, and its use by the engine.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import Field, asdict, dataclass, field, fields, replace
from typing import Any, Final, Literal

from app.models.text.thinking import EFFORTS, Effort

THINKING: Final = ("think", "reasoning_effort", "max_thought_tokens")
"""Parameters that mean something to models that think."""
Kind = Literal["number", "integer", "choice", "flag", "text", "texts"]
Protocol = Literal["openai", "ollama", "anthropic", "responses"]
_RENAMED: Final[Mapping[str, Mapping[str, str]]] = {
    "anthropic": {"stop": "stop_sequences"},
    "responses": {"max_tokens": "max_output_tokens"},
}
"""Protocols with the parameters of OpenAI's completions, but for these names;"""
_NESTED: Final = "reasoning_effort"
"""this one stands within another field there."""
UNLIMITED: Final = 1 << 20
"""Tokens of an answer that only its window ends."""
FLAGS: Final[Mapping[str, bool]] = {"on": True, "off": False}


@dataclass(frozen=True, slots=True)
class WireField:
    """A parameter in a protocol for programs."""

    name: str = ""
    """As the protocol calls it; empty when it is called as here."""
    limits: Mapping[str, float] | None = None
    """As `msgspec.Meta` takes them; None for those of the parameter."""
    decode: Callable[[Any], Any] | None = None
    """What a value of the protocol stands for here; None for the same."""
    note: str = ""
    """What the documentation says beside the parameter's own sentence."""
    is_extension: bool = False
    """Not every server that speaks the protocol knows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One row of the table."""

    name: str = ""
    kind: Kind
    label: str
    help: str
    """One sentence: what it does."""
    form_help: str = ""
    """What a form says beside that."""
    minimum: float = 0
    maximum: float = 0
    choices: tuple[str, ...] = ()
    neutral: Any = None
    """The value that switches it off, so that other servers need not be told."""
    is_setting: bool = True
    """Whether it can be chosen for a chat or a model. Else only the APIs have it."""
    openai: WireField | None = None
    ollama: WireField | None = None

    @property
    def is_whole(self) -> bool:
        return self.kind == "integer"

    @property
    def is_number(self) -> bool:
        return self.kind in {"number", "integer"}

    @property
    def options(self) -> tuple[str, ...]:
        """The values among which a user chooses, as texts."""
        return tuple(FLAGS) if self.kind == "flag" else self.choices

    @property
    def range(self) -> str:
        """Possible values in words."""
        if self.options:
            return " or ".join(self.options)
        return f"from {self.minimum:,} to {self.maximum:,}"

    @property
    def subject(self) -> str:
        """Label as the first words of a sentence."""
        return self.label if "-" in self.label else f"The {self.label.lower()}"

    def parse(self, text: str) -> Any:
        """The value of a text that a user wrote. Raises ValueError with a sentence."""
        if self.options:
            if text not in self.options:
                raise ValueError(f"{self.subject} must be {self.range}.")
            return FLAGS[text] if self.kind == "flag" else text
        number = parse_number(text, self.minimum, self.maximum, is_whole=self.is_whole)
        if number is None:
            kind = "a whole number" if self.is_whole else "a number"
            raise ValueError(f"{self.subject} must be {kind} {self.range}.")
        return number

    def to_text(self, value: Any) -> str:
        """The text that `parse` reads as this value."""
        if self.kind == "flag":
            return next(text for text, flag in FLAGS.items() if flag == value)
        return number_text(value) if self.is_number else str(value)

    def wire(self, protocol: Protocol) -> WireField | None:
        """Return the parameter in a protocol, with its name there; None when it has none."""
        found = self.ollama if protocol == "ollama" else self.openai
        renamed = _RENAMED.get(protocol)
        if found is None or (renamed is not None and self.name == _NESTED):
            return None
        name = (renamed or {}).get(self.name, found.name)
        return replace(found, name=name or self.name)


def parse_number(text: str, least: float, most: float, *, is_whole: bool = False) -> float | None:
    """A number as a user writes it; None for what is none, or lies outside of these limits."""
    try:
        number: float = int(text) if is_whole else float(text.replace(",", "."))
    except ValueError:
        number = math.nan
    return number if least <= number <= most else None


def number_text(number: float) -> str:
    """A number in as few digits as give it back exactly."""
    if isinstance(number, int):
        return str(number)
    return f"{number:g}" if float(f"{number:g}") == number else repr(number)


# What values of the protocols stand for.


def unlimited(tokens: int) -> int:
    """Take what is negative for no limit, as other servers do."""
    return UNLIMITED if tokens < 0 else tokens


def all_tokens(top_k: int) -> int:
    """Take -1 for all tokens, as 0 is here."""
    return max(0, top_k)


def random_seed(seed: int) -> int | None:
    """Take -1 for another seed every time."""
    return None if seed == -1 else seed


def positive(number: int) -> int | None:
    """Take 0 and -1 for the default."""
    return number if number > 0 else None


def limit_or_default(tokens: int) -> int | None:
    """Take 0 for the default, and what is negative for no limit."""
    return unlimited(tokens) or None


def to_texts(given: str | list[str]) -> tuple[str, ...]:
    """List one text or several, without empty ones."""
    texts = (given,) if isinstance(given, str) else given
    return tuple(text for text in texts if text)


# The rows. Each is a field of a dataclass, so that its value is typed where it is used.


def _row(kind: Kind, default: Any, label: str, help_: str, **more: Any) -> Any:
    row = Parameter(kind=kind, label=label, help=help_, **more)
    return field(default=default, metadata={"parameter": row})


def _number(
    default: float | None, limits: tuple[float, float], label: str, help_: str, **more: Any
) -> Any:
    return _row("number", default, label, help_, minimum=limits[0], maximum=limits[1], **more)


def _integer(
    default: int | None, limits: tuple[int, int], label: str, help_: str, **more: Any
) -> Any:
    return _row("integer", default, label, help_, minimum=limits[0], maximum=limits[1], **more)


def _choice(
    default: str | None, choices: tuple[str, ...], label: str, help_: str, **more: Any
) -> Any:
    return _row("choice", default, label, help_, choices=choices, **more)


def _flag(default: bool | None, label: str, help_: str, **more: Any) -> Any:  # noqa: FBT001
    return _row("flag", default, label, help_, **more)


_SAME: Final = WireField()
_EXTENSION: Final = WireField(is_extension=True)
_PROBABILITY: Final = WireField(limits={"ge": 0, "le": 1})
_PENALTY: Final = {"gt": 0, "le": 5}
_TOP_K: Final = WireField(
    limits={"ge": -1}, decode=all_tokens, note="-1 is no limit, too.", is_extension=True
)
_SEED: Final = WireField(limits={}, decode=random_seed, note="-1 is random.")


@dataclass(frozen=True, slots=True)
class Sampling:
    """Parameters that choose the next token: what a model's authors recommend, and a request brings
    to the engine. A seed of None draws a fresh one."""

    temperature: float = _number(
        0.7,
        (0, 5),
        "Temperature",
        "Higher is more varied; 0 always picks the most likely word.",
        openai=_SAME,
        ollama=_SAME,
    )
    top_p: float = _number(
        0.9,
        (0.01, 1),
        "Top-p",
        "Consider only the top words whose probabilities add up to this; 1 = no limit.",
        neutral=1.0,
        openai=_PROBABILITY,
        ollama=_PROBABILITY,
    )
    top_k: int = _integer(
        40,
        (0, 1000),
        "Top-k",
        "Consider only this many top words; 0 = no limit.",
        neutral=0,
        openai=_TOP_K,
        ollama=_TOP_K,
    )
    min_p: float = _number(
        0.0,
        (0, 1),
        "Min-p",
        "Ignore words below this fraction of the top word's probability.",
        neutral=0.0,
        openai=_EXTENSION,
        ollama=_SAME,
    )
    repetition_penalty: float = _number(
        1.1,
        (0.5, 2),
        "Repetition penalty",
        "Above 1, recently used words become less likely; 1 = no penalty.",
        neutral=1.0,
        openai=WireField(limits=_PENALTY, is_extension=True),
        ollama=WireField("repeat_penalty", limits=_PENALTY),
    )
    seed: int | None = _integer(
        None,
        (0, 2**32 - 1),
        "Seed",
        "Same seed, same answer.",
        form_help="Leave empty for random.",
        openai=_SEED,
        ollama=_SEED,
    )
    repetition_window: int = _integer(
        256,
        (0, UNLIMITED),
        "Repetition window",
        "How many tokens the repetition penalty looks back.",
        is_setting=False,
        ollama=WireField("repeat_last_n", limits={}, decode=unlimited, note="-1 means all."),
    )
    frequency_penalty: float = _number(
        0.0,
        (-2, 2),
        "Frequency penalty",
        "Above 0, words become less likely each time they are in the answer already.",
        neutral=0.0,
        is_setting=False,
        openai=_SAME,
        ollama=_SAME,
    )
    presence_penalty: float = _number(
        0.0,
        (-2, 2),
        "Presence penalty",
        "Above 0, words that are in the answer already become less likely.",
        neutral=0.0,
        is_setting=False,
        openai=_SAME,
        ollama=_SAME,
    )


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """The effective settings of one answer. A context_length of None: the model was still on its
    way when it was asked."""

    system_prompt: str = _row(
        "text",
        "",
        "System prompt",
        "Instructions the model follows in this chat.",
    )
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int = _integer(
        1024,
        (1, 32768),
        "Maximum length",
        "Answer stops after this many tokens; you can continue it.",
        openai=WireField(
            limits={"ge": -1},
            decode=unlimited,
            note="-1: as long as the context has room.",
        ),
        ollama=WireField(
            "num_predict",
            limits={},
            decode=limit_or_default,
            note="Negative: as long as the context has room.",
        ),
    )
    context_length: int | None = _integer(
        None,
        (128, 1_048_576),
        "Context size",
        "How many tokens of this chat the model can see. Fewer are processed faster.",
        ollama=WireField("num_ctx", limits={"ge": -1}, decode=positive, note="0 is the default."),
    )
    stop: tuple[str, ...] = _row(
        "texts",
        (),
        "Stop strings",
        "Stop when the model writes any of these.",
        form_help=r"One per line; \n is a line break, \s a space, \\ a backslash.",
        openai=WireField(
            limits={"max_length": 16}, decode=to_texts, note="They are not in the answer."
        ),
        ollama=WireField(limits={}, decode=to_texts, note="They are not in the answer."),
    )
    think: bool | None = _flag(None, "Thinking", "Reason before answering.")
    reasoning_effort: Effort | None = _choice(  # noqa: RUF009 - the field of a row
        None,
        EFFORTS,
        "Thinking effort",
        "How much the model reasons; models that know fewer levels take the nearest.",
        openai=_EXTENSION,
    )
    max_thought_tokens: int | None = _integer(
        None,
        (0, 32768),
        "Thinking limit",
        "Thinking ends after this many tokens, and the answer begins.",
        openai=WireField(is_extension=True),
    )
    instruction: str = _row(
        "text",
        "",
        "Instruction",
        "What this answer alone was asked for, beside its prompt.",
        is_setting=False,
    )

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    def override(self, chosen: Mapping[str, Any]) -> GenerationSettings:
        """Return these settings with others by name. A window can only be made smaller, and stop
        strings are added: the model's own belong to its chat template."""
        values = dict(chosen)
        sampling = {name: values.pop(name) for name in SAMPLING if name in values}
        if "context_length" in values and self.context_length:
            values["context_length"] = min(values["context_length"], self.context_length)
        if "stop" in values:
            values["stop"] = self.stop + values["stop"]
        return replace(self, sampling=replace(self.sampling, **sampling), **values)

    def value(self, name: str) -> Any:
        """The value of one parameter, by its name."""
        return getattr(self.sampling if name in SAMPLING else self, name)


def _rows(record: type[Any]) -> dict[str, Parameter]:
    rows: dict[str, Parameter] = {}
    for one in fields(record):
        if one.name == "sampling":
            rows |= _rows(Sampling)
        else:
            rows[one.name] = _named(one)
    return rows


def _named(one: Field[Any]) -> Parameter:
    row: Parameter = one.metadata["parameter"]
    return replace(row, name=one.name)


PARAMETERS: Final[Mapping[str, Parameter]] = _rows(GenerationSettings)
SAMPLING: Final[Mapping[str, Parameter]] = _rows(Sampling)
SETTINGS: Final[Mapping[str, Parameter]] = {
    name: row for name, row in PARAMETERS.items() if row.is_setting
}
"""Those that can be chosen for a chat, in the order of its form."""
