"""Settings of chats and answers: parsed, merged with a model's, stored with what they made."""

from __future__ import annotations

import contextlib
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final

import msgspec

from app.config import Settings
from app.conversations import stop_strings
from app.errors import InvalidSettings
from app.models import memory
from app.models.model import Model, Sampling, Turn
from app.models.text.builtin_templates import stops_of

# With what an answer is made: resolved when it is asked for, and remembered with it.


log = logging.getLogger(__name__)
MOST: Final = 2**53
"""More than any number that can be chosen."""


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """The effective settings of one answer.

    max_tokens: its longest length; system_prompt: empty for none; context_length: tokens, as far
    as they were asked for (None: the model was still on its way); stop: texts that end it.
    """

    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int = 1024
    system_prompt: str = ""
    context_length: int | None = None
    stop: tuple[str, ...] = ()

    @property
    def system_turns(self) -> tuple[Turn, ...]:
        """The turns that stand before the conversation."""
        return (Turn("system", self.system_prompt),) if self.system_prompt else ()

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)


def resolve(settings: Settings, model: Model) -> GenerationSettings:
    """What the next answer is made with: the person's choices for its model, else the defaults."""
    return GenerationSettings(
        sampling=model.default_sampling,
        max_tokens=settings.max_tokens,
        system_prompt=model.settings.system_prompt.strip(),
        context_length=memory.context_length(model, settings),
        stop=stops_of(model),
    )


def parse_generation_settings(text: str | None) -> GenerationSettings | None:
    """The settings that a stored answer has; None when it has none that can be read.

    An earlier version took whatever an import brought, so what is stored is checked as well.
    """
    try:
        values: dict[str, Any] = msgspec.json.decode(text or "")
        made_with = msgspec.convert(values, GenerationSettings)
    except msgspec.MsgspecError:
        made_with = None
    if made_with is None or not _names_known(values) or not _is_possible(made_with):
        if text:
            log.warning("The settings of an answer cannot be read.")
        return None
    return made_with


def _names_known(values: dict[str, Any]) -> bool:
    """Whether the sampling is there and has no parameter that this version does not know."""
    known = {one.name for one in fields(Sampling)}
    return "sampling" in values and set(values["sampling"]) <= known


def _is_possible(made_with: GenerationSettings) -> bool:
    """Numbers that an answer may be made with: others would break what shows or uses them."""
    sampling = made_with.sampling
    numbers = (v for v in asdict(sampling).values() if isinstance(v, int | float))
    return all(abs(number) < MOST for number in numbers) and 0 < made_with.max_tokens < MOST


# Text as people send it, made fit for keeping.


def sanitize_text(text: str) -> str:
    """Lines end in one way; what SQLite and UTF-8 cannot hold (lone surrogates, NUL) becomes a
    replacement character."""
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\0", "\ufffd").replace("\r\n", "\n").replace("\r", "\n")


def parse_number(text: str, least: float, most: float, *, is_whole: bool = False) -> float | None:
    """A number as a person writes it; None for what is none, or lies outside of these limits."""
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


# What a person may choose for one chat, checked, and laid over what its model answers with.


STOPS, STOP_CHARS = 8, 100


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """None is the model's default. context_length: a window smaller than the model's, in tokens."""

    system_prompt: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] | None = None
    context_length: int | None = None

    @property
    def overrides(self) -> dict[str, Any]:
        """Only what differs from the defaults."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def to_json(self) -> str:
        return json.dumps(self.overrides, ensure_ascii=False)

    def merged_with(self, default: GenerationSettings) -> GenerationSettings:
        """What the next answer of the chat is made with; `default`: what its model says."""
        chosen = self.overrides
        sampling = {name: chosen.pop(name) for name in SAMPLING if name in chosen}
        if self.context_length and default.context_length:
            chosen["context_length"] = min(self.context_length, default.context_length)
        if self.stop:  # in addition: the model's own belong to its chat template
            chosen["stop"] = default.stop + self.stop
        return replace(default, sampling=replace(default.sampling, **sampling), **chosen)


@dataclass(frozen=True, slots=True)
class NumberRange:
    """A number's limits, both allowed, and what it is called in a sentence."""

    name: str
    minimum: float
    maximum: float
    is_whole: bool = False

    def read(self, text: str) -> float | int:
        """Raises ValueError with a sentence."""
        number = parse_number(text, self.minimum, self.maximum, is_whole=self.is_whole)
        if number is None:
            kind = "a whole number" if self.is_whole else "a number"
            raise ValueError(
                f"{self.name} must be {kind} from {self.minimum:,} to {self.maximum:,}."
            )
        return number


SAMPLING: Final = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed")
NUMBERS: Final = {
    "temperature": NumberRange("The temperature", 0, 5),
    "top_p": NumberRange("Top-p", 0.01, 1),
    "top_k": NumberRange("Top-k", 0, 1000, is_whole=True),
    "min_p": NumberRange("Min-p", 0, 1),
    "repetition_penalty": NumberRange("The repetition penalty", 0.5, 2),
    "max_tokens": NumberRange("The longest answer", 1, 32768, is_whole=True),
    "seed": NumberRange("The seed", 0, 2**32 - 1, is_whole=True),
    "context_length": NumberRange("The context size", 128, 1_048_576, is_whole=True),
}


def written(chosen: ChatSettings) -> dict[str, str]:
    """The settings as a form shows them: empty where nothing was chosen."""
    texts = {
        name: number_text(value) for name, value in chosen.overrides.items() if name in NUMBERS
    }
    texts["system_prompt"] = chosen.system_prompt or ""
    texts["stop"] = stop_strings.to_lines(chosen.stop or ())
    return texts


def parse(
    form: Mapping[str, str], longest_prompt: int, before: ChatSettings | None = None
) -> ChatSettings:
    """The settings in a form; an empty field is the default.

    before: what the form was made from. A field that still says the same stays as it was, byte for
    byte, whatever forms do to line breaks and digits.

    Raises InvalidSettings, which has a sentence for every field that is wrong.
    """
    texts = {name: sanitize_text(text) for name, text in form.items()}
    kept = _unchanged(texts, before or ChatSettings())
    values: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name, bounds in NUMBERS.items():
        if name not in kept and (text := texts.get(name, "").strip()):
            try:
                values[name] = bounds.read(text)
            except ValueError as error:
                problems[name] = str(error)
    prompt = texts.get("system_prompt", "")
    if len(prompt) > longest_prompt and "system_prompt" not in kept:
        problems["system_prompt"] = (
            f"The system prompt is {len(prompt):,} characters long; "
            f"the limit is {longest_prompt:,}. Please shorten it."
        )
    stops = stop_strings.from_lines(texts.get("stop", ""))
    too_long = any(len(stop) > STOP_CHARS for stop in stops)
    if (len(stops) > STOPS or too_long) and "stop" not in kept:
        problems["stop"] = f"Give at most {STOPS} stop strings of up to {STOP_CHARS} characters."
    if problems:
        raise InvalidSettings(problems)
    values |= {"system_prompt": prompt if prompt.strip() else None, "stop": stops or None}
    return ChatSettings(**values | kept)


def _unchanged(texts: Mapping[str, str], before: ChatSettings) -> dict[str, Any]:
    shown = written(before)
    return {
        field.name: getattr(before, field.name)
        for field in fields(before)
        if texts.get(field.name, "") == sanitize_text(shown.get(field.name, ""))
    }


def sanitize(values: Mapping[str, Any]) -> ChatSettings:
    """Of settings that somebody else wrote down, those that might have been chosen here."""
    kept: dict[str, Any] = {}
    for name, bounds in NUMBERS.items():
        with contextlib.suppress(KeyError, ValueError):
            kept[name] = bounds.read(str(values[name]))
    prompt, stop = values.get("system_prompt"), values.get("stop")
    if isinstance(prompt, str) and prompt.strip():
        kept["system_prompt"] = sanitize_text(prompt)
    if isinstance(stop, list):
        texts = [sanitize_text(text) for text in stop if isinstance(text, str) and text]
        kept["stop"] = tuple(text for text in texts if len(text) <= STOP_CHARS)[:STOPS] or None
    return ChatSettings(**kept)


def parse_stored(text: str | None) -> ChatSettings:
    """What was saved; what cannot be read counts as nothing chosen."""
    try:
        values: dict[str, Any] = json.loads(text or "{}")
        stop = values.pop("stop", None)
        return ChatSettings(stop=tuple(stop) if stop else None, **values)
    except (ValueError, TypeError, AttributeError):
        log.warning("The settings of a chat cannot be read.")
        return ChatSettings()
