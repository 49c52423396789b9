"""Grammars of arguments that are not written as JSON: between tags, in Gemma's and Python's way.

Each schema becomes rules in the library's notation; what has a form of its own in JSON, such as
numbers, stays a JSON schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

from app.models.text.argument_values import (
    ALL_TYPES,
    CDATA,
    MAX_DEPTH,
    properties_of,
    resolve,
    types_of,
    write_gemma,
    write_python,
    write_value,
)
from app.models.text.tool_formats import KEY, KIND, ToolFormat

Split = Callable[[str], Sequence[int | str]]
"""Splits text at the names of special tokens, which become their ids."""
Notation = Literal["gemma", "python"]
MAX_ITEMS: Final = 64
"""Items of a list whose schema has no bound."""
MAX_FIELDS: Final = 32
"""Fields of an object whose schema names none and has no bound."""
MAX_REPEATS: Final = 2000
MAX_LITERALS: Final = 20_000
"""Pieces of a grammar: references can make a small schema a huge one."""
MAX_CHOICES_DEPTH: Final = 2
"""Levels of choices between tags that are told apart."""
STYLE: Final = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "lenient": True,
}
"""How arguments are written: as templates do. What the library cannot follow is passed over, since
schemas come from anywhere."""
_MAP: Final = frozenset(("additionalProperties", "minProperties", "maxProperties"))
_LIMITS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")


def literal(text: str, split: Split) -> str:
    """Write text in the grammar's notation."""
    parts = (f"<[{part}]>" if isinstance(part, int) else json.dumps(part) for part in split(text))
    return " ".join(parts)


class ArgumentRules:
    """Rules for the arguments of a request's tools. rules, schemas: what was made so far."""

    def __init__(self, known: ToolFormat, split: Split, *, patterns: bool = True) -> None:
        self._format = known
        self._split = split
        self._patterns = patterns
        self._size = 0
        self._names: dict[str, str] = {}
        self.rules: list[str] = []
        self.schemas: list[dict[str, Any]] = []

    def add(self, schema: dict[str, Any]) -> str:
        """Add the rules of one tool; returns what stands for its arguments."""
        if self._format.arguments == "json":
            return self._json(schema)
        root = schema
        if self._format.arguments == "tags":
            return self._tags(root)
        return _Values(self, self._format, root).fields(root, 0)

    # What all notations share.

    def rule(self, body: str) -> str:
        """Add a rule; returns its name."""
        name = f"r{len(self.rules)}"
        self.rules.append(f"{name}: {body}")
        return name

    def literal(self, text: str) -> str:
        """Write text in the grammar's notation. Raises ValueError for a schema without measure."""
        self._size += 1
        if self._size > MAX_LITERALS:
            raise ValueError("it is too large or too complex")
        return literal(text, self._split)

    def _json(self, schema: dict[str, Any]) -> str:
        text = json.dumps(schema)
        if (name := self._names.get(text)) is None:
            name = self._names[text] = f"json{len(self.schemas)}"
            given = schema if self._patterns else _without_patterns(schema)
            self.schemas.append({"name": name, "json_schema": {**given, "x-guidance": STYLE}})
        return f"@{name}"

    def json_of(self, schema: Any, root: Mapping[str, Any]) -> str:
        """Add a part of a schema, whose references lead into the whole."""
        if '"$ref"' not in json.dumps(schema):
            return self._json(schema if isinstance(schema, dict) else {})
        return self._json({**_moved(schema), "$defs": {"root": _moved(root)}})

    def text_until(self, schema: Any, end: str) -> str:
        """Add text that ends with the first `end`."""
        first, *rest = self._split(end)
        pattern = self._pattern(schema)
        if isinstance(first, int):
            return f"{self.terminal(pattern)} {self.literal(end)}"
        if rest:  # no text holds the special token that ends it, but it may hold what stands before
            before = "".join("\\n" if char == "\n" else re.escape(char) for char in first)
            name = self.terminal(pattern + before)
            return f"{name} {self.literal(end.removeprefix(first))}"
        name = f"r{len(self.rules)}"
        self.rules.append(f"{name}[suffix={json.dumps(first)}]: /{pattern}/")
        return name

    def terminal(self, pattern: str) -> str:
        return self.expression(f"/{pattern}/")

    def _pattern(self, schema: Any) -> str:
        """The regular expression of a text by its schema."""
        schema = schema if isinstance(schema, dict) else {}
        if self._patterns and isinstance(schema.get("pattern"), str):
            return _escaped(_unanchored(schema["pattern"]))
        least, most = schema.get("minLength"), schema.get("maxLength")
        low = min(least, MAX_REPEATS) if isinstance(least, int) and least > 0 else 0
        if isinstance(most, int) and 0 <= most <= MAX_REPEATS:
            return f"(?s:.{{{min(low, most)},{most}}})"
        return f"(?s:.{{{low},}})" if low else "(?s:.*)"

    # Tags.

    def _tags(self, root: Mapping[str, Any]) -> str:
        required = resolve(root, root).get("required") or ()
        parts = []
        for key, schema in properties_of(root, root).items():
            parameter = self.rule(self._parameter(key, schema, root))
            parts.append(parameter if key in required else f"{parameter}?")
        return " ".join(parts)

    def _parameter(self, key: str, schema: Any, root: Mapping[str, Any]) -> str:
        parts = self._format.parameter
        end = parts[-1]
        assert isinstance(end, str)  # noqa: S101 - every parameter ends with text
        values = {KEY: key, KIND: "true" if types_of(schema, root) == {"string"} else "false"}
        head = "".join(part if isinstance(part, str) else values[part] for part in parts[:-2])
        value = self._value(schema, root, end, 0)
        return " ".join(filter(None, (self.literal(head), f"({value})")))

    def _value(self, schema: Any, root: Mapping[str, Any], end: str, depth: int) -> str:
        """List what may stand between tags, with the tag behind it."""
        schema = resolve(schema, root)
        choices = _choices(schema)
        if choices is not None and depth < MAX_CHOICES_DEPTH:
            return " | ".join(self._value(one, root, end, depth + 1) for one in choices)
        listed = _listed(schema)
        if listed is not None:
            return " | ".join(self._exactly(value, end) for value in listed)
        kinds = types_of(schema, root)
        if "string" in kinds:
            return self._text(schema if kinds == {"string"} else {}, end)
        return f"{self.json_of(schema, root)} {self.literal(end)}"

    def _exactly(self, value: Any, end: str) -> str:
        return self.literal(write_value(value) + end)

    def _text(self, schema: Any, end: str) -> str:
        if not self._format.has_cdata:
            return self.text_until(schema, end)
        begin, close = CDATA
        block = self.text_until(schema, close + end)
        plain = self.expression(f"/{self._pattern(schema)}/ & /[^<&\\n]*/")
        return f"{plain} {self.literal(end)} | {self.literal(begin)} {block}"

    def expression(self, body: str) -> str:
        """Add a terminal of expressions; returns its name."""
        name = f"T{len(self.rules)}"
        self.rules.append(f"{name}: {body}")
        return name


class _Values:
    """Values of one tool in a notation without JSON's quotes, or with Python's words."""

    def __init__(self, rules: ArgumentRules, known: ToolFormat, root: Mapping[str, Any]) -> None:
        self._rules = rules
        self._is_gemma = known.arguments == "gemma"
        self._quote = known.quote
        self._root = root
        self._names: dict[str, str] = {}

    def fields(self, schema: Any, depth: int) -> str:
        """The fields of an object, with commas between those that are there."""
        properties = properties_of(schema, self._root)
        required = resolve(schema, self._root).get("required") or ()
        keys = sorted(properties, key=str.lower) if self._is_gemma else list(properties)
        comma = '","' if self._is_gemma else '", "'
        following = '""'
        first: list[str] = []
        for key in reversed(keys):
            field = self._rules.rule(self._field(key, properties[key], depth))
            is_required = key in required
            first = [f"{field} {following}", *([] if is_required else first)]
            rest = f"{comma} {field}" if is_required else f"({comma} {field})?"
            following = self._rules.rule(f"{rest} {following}")
        is_empty = not any(key in required for key in keys)
        return f"({' | '.join(first)}){'?' if is_empty else ''}" if first else '""'

    def _field(self, key: str, schema: Any, depth: int) -> str:
        head = f"{key}:" if self._is_gemma else f"{key}=" if depth == 0 else f"{json.dumps(key)}: "
        return f"{self._rules.literal(head)} ({self._value(schema, depth + 1)})"

    def _value(self, schema: Any, depth: int) -> str:
        if isinstance(schema, dict) and isinstance(schema.get("$ref"), str):
            return self._referred(schema["$ref"], depth)
        choices, listed = _choices(schema), _listed(schema)
        if depth > MAX_DEPTH:
            return self._any()
        if choices is not None:
            return " | ".join(self._value(one, depth + 1) for one in choices)
        if listed is not None:
            return " | ".join(map(self._exactly, listed))
        kinds = types_of(schema, self._root)
        if kinds == ALL_TYPES:
            return self._any()
        return " | ".join(self._of_type(kind, schema, depth) for kind in sorted(kinds))

    def _referred(self, pointer: str, depth: int) -> str:
        """A rule of its own, which may refer to itself."""
        if pointer not in self._names:
            name = self._names[pointer] = self._rules.rule("")
            place = len(self._rules.rules) - 1
            target = resolve({"$ref": pointer}, self._root)
            self._rules.rules[place] = f"{name}: {self._value(target, depth + 1)}"
        return self._names[pointer]

    def _exactly(self, value: Any) -> str:
        is_gemma = self._is_gemma
        return self._rules.literal(
            write_gemma(value, self._quote) if is_gemma else write_python(value)
        )

    def _of_type(self, kind: str, schema: Any, depth: int) -> str:
        match kind:
            case "string":
                return self._text(schema)
            case "object" if properties_of(schema, self._root):
                return f'"{{" {self._nested(schema, depth)} "}}"'
            case "array":
                return self._list(schema, depth)
            case "boolean" if not self._is_gemma:
                return '"True" | "False"'
            case "null" if not self._is_gemma:
                return '"None"'
            case "object" if _MAP & schema.keys():
                return self._map(schema, depth + 1)
            case "object":
                return self._any_object()
            case _:
                limits = {name: schema[name] for name in _LIMITS if name in schema}
                return self._rules.json_of({"type": kind, **limits}, {})

    def _nested(self, schema: Any, depth: int) -> str:
        return self.fields(schema, depth + 1)

    def _text(self, schema: Any) -> str:
        if self._is_gemma:
            quote = self._quote
            return f"{self._rules.literal(quote)} {self._rules.text_until(schema, quote)}"
        limits = {
            name: schema[name]
            for name in ("minLength", "maxLength", "pattern", "format")
            if name in schema
        }
        return self._rules.json_of({"type": "string", **limits}, {})

    def _list(self, schema: Any, depth: int) -> str:
        items = schema.get("items", {})
        item = self._rules.rule(self._value(items, depth + 1))
        low, high = _bounds(schema, "minItems", "maxItems", MAX_ITEMS)
        comma = '","' if self._is_gemma else '", "'
        return f'"[" {_repeated(item, comma, low, high)} "]"'

    def _any(self) -> str:
        """Any value: a text, a number, or a list or an object of such."""
        simple = " | ".join(
            self._of_type(kind, {}, MAX_DEPTH) for kind in ("string", "number", "boolean", "null")
        )
        return f"{simple} | {self._any_object()}"

    def _any_object(self) -> str:
        if "any" not in self._names:
            name = self._names["any"] = self._rules.rule("")
            place = len(self._rules.rules) - 1
            simple = " | ".join(
                self._of_type(kind, {}, MAX_DEPTH)
                for kind in ("string", "number", "boolean", "null")
            )
            self._rules.rules[place] = f"{name}: {self._map_of(f'{simple} | {name}', {})}"
        return self._names["any"]

    def _map(self, schema: Mapping[str, Any], depth: int) -> str:
        """An object whose keys are not named."""
        given = schema.get("additionalProperties", True)
        if given is False:
            return '"{" "}"'
        return self._map_of(self._value(given if isinstance(given, dict) else {}, depth), schema)

    def _map_of(self, value: str, schema: Mapping[str, Any]) -> str:
        key = self._rules.terminal("[A-Za-z_][A-Za-z0-9_]{0,40}")
        pair, comma = (f'{key} ":"', '","')
        if not self._is_gemma:
            pair, comma = (f'"\\"" {key} "\\": "', '", "')
        field = self._rules.rule(f"{pair} ({value})")
        low, high = _bounds(schema, "minProperties", "maxProperties", MAX_FIELDS)
        return f'"{{" {_repeated(field, comma, low, high)} "}}"'


def _bounds(
    schema: Mapping[str, Any], least_name: str, most_name: str, longest: int
) -> tuple[int, int]:
    least, most = schema.get(least_name), schema.get(most_name)
    low = min(least, longest) if isinstance(least, int) and least > 0 else 0
    high = min(most, longest) if isinstance(most, int) and most >= 0 else longest
    return low, max(low, high)


def _repeated(one: str, comma: str, low: int, high: int) -> str:
    """Write what comes several times, with commas in between."""
    if high == 0:
        return ""
    some = f"{one} ({comma} {one}){{{max(0, low - 1)},{high - 1}}}"
    return some if low else f"({some})?"


def _choices(schema: Any) -> list[Any] | None:
    """The schemas of which a value follows one."""
    if not isinstance(schema, dict):
        return None
    for name in ("anyOf", "oneOf"):
        if isinstance(schema.get(name), list) and schema[name]:
            return list(schema[name])
    if isinstance(schema.get("type"), list) and "enum" not in schema and "const" not in schema:
        return [{**schema, "type": one} for one in schema["type"]]
    if isinstance(schema.get("allOf"), list) and len(schema["allOf"]) == 1:
        return list(schema["allOf"])
    return None


def _listed(schema: Any) -> list[Any] | None:
    """The values of which a value is one."""
    if not isinstance(schema, dict):
        return None
    if "const" in schema:
        return [schema["const"]]
    listed = schema.get("enum")
    return listed if isinstance(listed, list) and listed else None


def _moved(schema: Any) -> Any:
    """The schema with references into a whole that stands at `#/$defs/root`."""
    if isinstance(schema, dict):
        return {
            key: "#/$defs/root" + one[1:]
            if key == "$ref" and isinstance(one, str) and one.startswith("#")
            else _moved(one)
            for key, one in schema.items()
        }
    return [_moved(one) for one in schema] if isinstance(schema, list) else schema


def _without_patterns(schema: Any) -> Any:
    if isinstance(schema, dict):
        kept = {
            key: one
            for key, one in schema.items()
            if not (key == "pattern" and isinstance(one, str))
        }
        return {key: _without_patterns(one) for key, one in kept.items()}
    return [_without_patterns(one) for one in schema] if isinstance(schema, list) else schema


def _unanchored(pattern: str) -> str:
    """The expression of a whole text of which some part matches."""
    begin = "" if pattern.startswith("^") else "(?s:.*)"
    end = "" if pattern.endswith("$") and not pattern.endswith("\\$") else "(?s:.*)"
    return f"{begin}(?:{pattern.removeprefix('^').removesuffix('' if end else '$')}){end}"


def _escaped(pattern: str) -> str:
    return re.sub(r"(?<!\\)((?:\\\\)*)/", r"\1\\/", pattern).replace("\n", "\\n")
