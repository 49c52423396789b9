"""Arguments of calls in notations that are not JSON, to and from JSON.

In tags a text stands as it is, so only the schema tells a number from a text of digits.
"""

from __future__ import annotations

import ast
import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

MAX_DEPTH: Final = 32
"""Levels of a schema, or of a value, that are looked at."""
ALL_TYPES: Final = frozenset(
    ("string", "integer", "number", "boolean", "null", "array", "object"),
)
CDATA: Final = ("<![CDATA[", "]]>")
_PLAIN_VALUE: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[^,\]}]+')
_BARE: Final = re.compile(r"[^<&\n]*")


def parse_schema(parameters: str) -> dict[str, Any]:
    """Parse the schema of a tool's arguments; an empty one where it makes no sense."""
    try:
        schema = json.loads(parameters or "{}")
    except (ValueError, RecursionError):
        return {}
    return schema if isinstance(schema, dict) else {}


def resolve(schema: Any, root: Mapping[str, Any]) -> Any:
    """Follow the references of a schema within `root`."""
    for _ in range(MAX_DEPTH):
        if not isinstance(schema, dict) or not isinstance(schema.get("$ref"), str):
            return schema
        schema = _at(root, schema["$ref"])
    return {}


def _at(root: Any, pointer: str) -> Any:
    if not pointer.startswith("#"):
        return {}
    for key in filter(None, pointer[1:].split("/")):
        name = key.replace("~1", "/").replace("~0", "~")
        root = root.get(name) if isinstance(root, dict) else None
    return root if root is not None else {}


def types_of(schema: Any, root: Mapping[str, Any]) -> frozenset[str]:
    """The JSON types that a schema allows, as far as they are easily seen."""
    return _types(schema, root, set(), 0)


def _types(schema: Any, root: Mapping[str, Any], seen: set[str], depth: int) -> frozenset[str]:
    """seen: references that were followed already, which say nothing new."""
    if isinstance(schema, dict) and isinstance(pointer := schema.get("$ref"), str):
        if pointer in seen:
            return frozenset()
        seen.add(pointer)
        schema = resolve(schema, root)
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return ALL_TYPES
    if isinstance(schema.get("type"), str):
        return frozenset((schema["type"],))
    if isinstance(schema.get("type"), list):
        return frozenset(one for one in schema["type"] if isinstance(one, str))
    if "const" in schema:
        return frozenset((_type_of(schema["const"]),))
    if isinstance(schema.get("enum"), list):
        return frozenset(map(_type_of, schema["enum"]))
    for name in ("anyOf", "oneOf"):
        if isinstance(schema.get(name), list):
            some = [_types(one, root, seen, depth + 1) for one in schema[name]]
            return frozenset().union(*some) or ALL_TYPES
    for one in schema.get("allOf") or ():
        if (found := _types(one, root, seen, depth + 1)) != ALL_TYPES:
            return found
    return ALL_TYPES


def _type_of(value: object) -> str:
    kinds = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array"}
    return "null" if value is None else kinds.get(type(value), "object")


def properties_of(schema: Any, root: Mapping[str, Any]) -> dict[str, Any]:
    """The properties of an object's schema, in their order."""
    found = resolve(schema, root)
    properties = found.get("properties") if isinstance(found, dict) else None
    return properties if isinstance(properties, dict) else {}


def to_json_value(value: Any) -> Any:
    """Return what JSON can say; of numbers that are too large for it the largest one.

    Raises ValueError for values that it has not.
    """
    match value:
        case float() if not math.isfinite(value):
            return None if math.isnan(value) else math.copysign(sys.float_info.max, value)
        case None | str() | int() | float():
            return value
        case dict() if all(isinstance(key, str) for key in value):
            return {key: to_json_value(one) for key, one in value.items()}
        case list() | tuple():
            return list(map(to_json_value, value))
        case _:
            raise ValueError("JSON has no such value")


# Values in tags.


def read_value(text: str, schema: Any, root: Mapping[str, Any]) -> Any:
    """Read a value from between tags."""
    kinds = types_of(schema, root)
    if kinds == {"string"}:
        return text
    plain = {"True": True, "False": False, "None": None}
    try:
        value = to_json_value(plain[text] if text in plain else json.loads(text))
    except (ValueError, RecursionError):
        return text
    kind = _type_of(value)
    if "string" not in kinds or kind in kinds or (kind == "integer" and "number" in kinds):
        return value
    return text


def write_value(value: Any) -> str:
    """Write a value between tags, as templates do."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def open_cdata(text: str) -> str:
    """Read a value that may stand in a CDATA block."""
    begin, end = CDATA
    return text[len(begin) : -len(end)] if text.startswith(begin) and text.endswith(end) else text


def close_cdata(text: str) -> str:
    """Write a value in a CDATA block, where it needs one."""
    return text if _BARE.fullmatch(text) else text.join(CDATA)


# Values in Gemma's notation: texts between quotes of its own, keys without any.


def write_gemma(value: Any, quote: str) -> str:
    """Write a value in Gemma's notation."""
    if isinstance(value, str):
        return f"{quote}{value}{quote}"
    if isinstance(value, Mapping):
        return f"{{{write_gemma_fields(value, quote)}}}"
    if isinstance(value, list):
        return f"[{','.join(write_gemma(one, quote) for one in value)}]"
    return json.dumps(value)


def write_gemma_fields(values: Mapping[str, Any], quote: str) -> str:
    """Write the fields of an object, in the order of Gemma's template."""
    ordered = sorted(values.items(), key=lambda item: item[0].lower())
    return ",".join(f"{key}:{write_gemma(value, quote)}" for key, value in ordered)


def read_gemma_fields(text: str, quote: str) -> dict[str, Any]:
    """Read the fields of an object. Raises ValueError."""
    reader = _GemmaReader(text, quote)
    fields = reader.fields("")
    reader.expect_end()
    return fields


class _GemmaReader:
    def __init__(self, text: str, quote: str) -> None:
        self._text = text
        self._quote = quote
        self._place = 0

    def expect_end(self) -> None:
        if self._place < len(self._text):
            raise ValueError("text behind the arguments")

    def fields(self, end: str, depth: int = 0) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while self._place < len(self._text) and not self._takes(end):
            key = self._key()
            values[key] = self._value(depth + 1)
            if not self._takes(","):
                if end and not self._takes(end):
                    raise ValueError("an object does not end")
                break
        return values

    def _takes(self, text: str) -> bool:
        if text and self._text.startswith(text, self._place):
            self._place += len(text)
            return True
        return False

    def _key(self) -> str:
        if self._takes(self._quote):
            key = self._until(self._quote)
            if not self._takes(":"):
                raise ValueError("a key without a value")
            return key
        return self._until(":")

    def _until(self, end: str) -> str:
        place = self._text.find(end, self._place)
        if place < 0:
            raise ValueError(f"{end} is missing")
        found = self._text[self._place : place]
        self._place = place + len(end)
        return found

    def _value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise ValueError("nested too deeply")
        if self._takes(self._quote):
            return self._until(self._quote)
        if self._takes("{"):
            return self.fields("}", depth)
        if self._takes("["):
            return self._items(depth)
        match = _PLAIN_VALUE.match(self._text, self._place)
        if match is None:
            raise ValueError("a value is missing")
        self._place = match.end()
        return to_json_value(json.loads(match[0]))

    def _items(self, depth: int) -> list[Any]:
        values: list[Any] = []
        while not self._takes("]"):
            values.append(self._value(depth + 1))
            if not self._takes(","):
                if not self._takes("]"):
                    raise ValueError("a list does not end")
                break
        return values


# Values as Python writes them.


def write_python(value: Any) -> str:
    """Write a value as Python does, texts in double quotes."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        fields = (f"{write_python(key)}: {write_python(one)}" for key, one in value.items())
        return f"{{{', '.join(fields)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(write_python, value))}]"
    return repr(value)


def write_python_fields(values: Mapping[str, Any]) -> str:
    """Write keyword arguments."""
    return ", ".join(f"{key}={write_python(value)}" for key, value in values.items())


def read_python_fields(text: str) -> dict[str, Any]:
    """Read keyword arguments, also those that are words of Python's own. Raises ValueError."""
    try:
        pairs = (one.partition("=") for one in _split_fields(text))
        read = {key.strip(): ast.literal_eval(value.strip()) for key, _, value in pairs}
        return {key: to_json_value(value) for key, value in read.items()}
    except (SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError("no arguments of Python's") from error


def _split_fields(text: str) -> list[str]:
    """Split at the commas that stand in no value."""
    fields, start, place = list[str](), 0, 0
    while place < len(text):
        char = text[place]
        if char in "\"'":
            end = _behind_text(text, place + 1, char)
        elif char in "([{":
            end = find_end(text, place + 1, ('"', "'"), "([{", ")]}") + 1
        else:
            if char == ",":
                fields.append(text[start:place])
                start = place + 1
            place += 1
            continue
        if end <= place:
            raise ValueError("a value does not end")
        place = end
    return [one for one in (*fields, text[start:]) if one.strip()]


def find_end(text: str, start: int, quotes: Sequence[str], opening: str, closing: str) -> int:
    """Find where a bracket closes that is open at `start`; -1 as long as it does not.

    quotes: what stands around texts, in which nothing counts; with a backslash in front a quote of
    one character is none.
    """
    depth, place = 1, start
    while place < len(text):
        quote = next((one for one in quotes if text.startswith(one, place)), "")
        if quote:
            place = _behind_text(text, place + len(quote), quote)
            if place < 0:
                return -1
            continue
        depth += (text[place] in opening) - (text[place] in closing)
        if depth == 0:
            return place
        place += 1
    return -1


def _behind_text(text: str, place: int, quote: str) -> int:
    while True:
        end = text.find(quote, place)
        if end < 0:
            return -1
        slashes = len(text[place:end]) - len(text[place:end].rstrip("\\"))
        if len(quote) > 1 or slashes % 2 == 0:
            return end + len(quote)
        place = end + 1


# Arguments that stream.


@dataclass(slots=True)
class ObjectScanner:
    """Finds the end of an object of JSON in streamed text."""

    is_over: bool = False
    _depth: int = 0
    _is_string: bool = False
    _is_escaped: bool = False

    def feed(self, text: str) -> int:
        """Count the characters of `text` that belong to the object."""
        for place, char in enumerate(text):
            if self._is_string:
                self._in_string(char)
            elif char == '"':
                self._is_string = True
            elif char in "{[":
                self._depth += 1
            elif char in "}]":
                self._depth -= 1
                if self._depth <= 0:
                    self.is_over = True
                    return place + 1
        return len(text)

    def _in_string(self, char: str) -> None:
        if self._is_escaped:
            self._is_escaped = False
        elif char == "\\":
            self._is_escaped = True
        elif char == '"':
            self._is_string = False
