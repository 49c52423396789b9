"""Settings of chats and answers: parsed, merged with a model's, stored with what they made.

What can be chosen stands in one table, `app/models/parameters.py`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

import msgspec

from app.config import Settings
from app.errors import InvalidSettings
from app.inference.protocol import to_storable
from app.models import memory
from app.models.model import Model, Turn
from app.models.parameters import SAMPLING, SETTINGS, GenerationSettings, Parameter, Sampling
from app.models.text.builtin_templates import stops_of

# With what an answer is made: resolved when it is asked for, and remembered with it.


log = logging.getLogger(__name__)
MAX_ABOUT_CHARS: Final = 4_000
"""Length of what a user says of themselves."""
MAX_INTEGER: Final = 2**53
"""More than any number that can be chosen."""


def system_turns(made_with: GenerationSettings) -> tuple[Turn, ...]:
    """The turns that stand before the conversation."""
    return (Turn("system", made_with.system_prompt),) if made_with.system_prompt else ()


def resolve(settings: Settings, model: Model) -> GenerationSettings:
    """Resolve what the next answer is made with: choices for its model, else defaults."""
    return GenerationSettings(
        sampling=model.default_sampling,
        max_tokens=settings.max_tokens,
        system_prompt=model.settings.system_prompt.strip(),
        context_length=memory.context_length(model, settings),
        stop=stops_of(model),
        think=model.settings.think,
        reasoning_effort=model.settings.reasoning_effort,
        max_thought_tokens=model.settings.max_thought_tokens,
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
    """Tell whether the sampling is there, with no parameter that this version does not know."""
    known = {one.name for one in fields(Sampling)}
    return "sampling" in values and set(values["sampling"]) <= known


def _is_possible(made_with: GenerationSettings) -> bool:
    """Tell whether an answer may be made with these values: others would break what uses
    them."""
    values = asdict(made_with.sampling)
    numbers = (value for value in values.values() if isinstance(value, int | float))
    choices = (row for row in SAMPLING.values() if row.choices)
    return (
        all(abs(number) < MAX_INTEGER for number in numbers)
        and 0 < made_with.max_tokens < MAX_INTEGER
        and all(values[row.name] in {None, *row.choices} for row in choices)
    )


# Text as people send it, made fit for keeping.


def sanitize_text(text: str) -> str:
    """Make text fit for keeping, with line breaks of one kind."""
    return to_storable(text).replace("\r\n", "\n").replace("\r", "\n")


# What a user may choose for one chat, checked, and laid over what its model answers with.


STOPS, STOP_CHARS = 8, 100


@dataclass(frozen=True, slots=True, init=False)
class ChatSettings:
    """Choices for a chat, by the parameters' names; all else is the model's default."""

    overrides: Mapping[str, Any]

    def __init__(self, **values: Any) -> None:
        if unknown := values.keys() - SETTINGS.keys():
            raise TypeError(f"There are no settings {', '.join(sorted(unknown))}.")
        chosen = {name: values[name] for name in SETTINGS if values.get(name) is not None}
        object.__setattr__(self, "overrides", chosen)

    def get(self, name: str) -> Any:
        """Return what was chosen; None for the model's default."""
        return self.overrides.get(name)

    def to_json(self) -> str:
        return json.dumps(self.overrides, ensure_ascii=False)

    def merged_with(self, default: GenerationSettings) -> GenerationSettings:
        """Lay the choices over `default`, what the chat's model says."""
        return default.override(self.overrides)


def introduce(made_with: GenerationSettings, about: str) -> GenerationSettings:
    """Add what a person says of themselves to the instructions of an answer, whosever they are."""
    prompt = made_with.system_prompt.strip()
    if not about or prompt.endswith(about):
        return made_with
    text = "\n\n".join(part for part in (prompt, about) if part)
    return made_with.override({"system_prompt": text})


def written(chosen: ChatSettings) -> dict[str, str]:
    """The settings as a form shows them: empty where nothing was chosen."""
    texts = {
        name: SETTINGS[name].to_text(value)
        for name, value in chosen.overrides.items()
        if _is_parsed(SETTINGS[name])
    }
    texts["system_prompt"] = chosen.get("system_prompt") or ""
    texts["stop"] = stop_strings_to_lines(chosen.get("stop") or ())
    return texts


def _is_parsed(row: Parameter) -> bool:
    """Tell whether the table reads its text; prompts and stop strings are read here."""
    return row.is_number or bool(row.options)


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
    for name, row in SETTINGS.items():
        if _is_parsed(row) and name not in kept and (text := texts.get(name, "").strip()):
            try:
                values[name] = row.parse(text)
            except ValueError as error:
                problems[name] = str(error)
    prompt = texts.get("system_prompt", "")
    if len(prompt) > longest_prompt and "system_prompt" not in kept:
        problems["system_prompt"] = (
            f"The system prompt is {len(prompt):,} characters long; "
            f"the limit is {longest_prompt:,}. Shorten it."
        )
    stops = stop_strings_from_lines(texts.get("stop", ""))
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
        name: before.get(name)
        for name in SETTINGS
        if texts.get(name, "") == sanitize_text(shown.get(name, ""))
    }


def sanitize(values: Mapping[str, Any]) -> ChatSettings:
    """Keep those of somebody else's settings that might have been chosen here."""
    kept: dict[str, Any] = {}
    for name, row in SETTINGS.items():
        if _is_parsed(row) and name in values:
            with contextlib.suppress(ValueError):
                kept[name] = row.parse(_as_text(values[name]))
    prompt, stop = values.get("system_prompt"), values.get("stop")
    if isinstance(prompt, str) and prompt.strip():
        kept["system_prompt"] = sanitize_text(prompt)
    if isinstance(stop, list):
        texts = [sanitize_text(text) for text in stop if isinstance(text, str) and text]
        kept["stop"] = tuple(text for text in texts if len(text) <= STOP_CHARS)[:STOPS] or None
    return ChatSettings(**kept)


def _as_text(value: Any) -> str:
    """A value of JSON as a user would write it."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def parse_stored(text: str | None) -> ChatSettings:
    """Read what was saved; what cannot be read counts as nothing chosen."""
    try:
        values: dict[str, Any] = json.loads(text or "{}")
        stop = values.pop("stop", None)
        return ChatSettings(stop=tuple(stop) if stop else None, **values)
    except (ValueError, TypeError, AttributeError):
        log.warning("The settings of a chat cannot be read.")
        return ChatSettings()


# Stop strings as a user writes them: one a line, what a line cannot hold as an escape. `\n` is a
# line break, `\r` a carriage return, `\t` a tab, `\s` a space, `\uXXXX` any character, `\\` a
# backslash. Any other backslash stands for itself, so `\end{code}` may be written as it is.


_ESCAPED_CHARACTERS: Final = {"n": "\n", "r": "\r", "t": "\t", "s": " ", "\\": "\\"}
_ESCAPE_NAMES: Final = {character: name for name, character in _ESCAPED_CHARACTERS.items()}
_ESCAPE: Final = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|([nrts\\]))")
_NEEDS_ESCAPE: Final = re.compile(r"[\\\n\r\t\0\ud800-\udfff]")
_ANY_CHARACTER: Final = re.compile(r".", re.DOTALL)


def stop_strings_to_lines(stops: Iterable[str]) -> str:
    """Write the stop strings as `stop_strings_from_lines` takes them back, unchanged."""
    return "\n".join(map(escape_stop_string, stops))


def stop_strings_from_lines(text: str) -> tuple[str, ...]:
    """Read stop strings without blank lines: a blank that is meant is written as an escape."""
    lines = text.replace("\r\n", "\n").split("\n")
    return tuple(_ESCAPE.sub(_unescaped, line) for line in lines if line.strip())


def escape_stop_string(stop: str) -> str:
    """Write one stop string on one line."""
    return (_NEEDS_ESCAPE if stop.strip() else _ANY_CHARACTER).sub(_escape_of, stop)


def _escape_of(match: re.Match[str]) -> str:
    name = _ESCAPE_NAMES.get(match[0])
    return f"\\{name}" if name else f"\\u{ord(match[0]):04x}"


def _unescaped(match: re.Match[str]) -> str:
    return chr(int(match[1], 16)) if match[1] else _ESCAPED_CHARACTERS[match[2]]
