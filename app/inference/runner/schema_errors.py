"""Errors of the grammar library about a schema or a grammar, as sentences."""

from __future__ import annotations

import re
from typing import Final

MAX_REASON_CHARS: Final = 200  # characters of a reason that is given in the library's words
_ENDLESS: Final = "it refers to itself without an end"
_SENTENCES: Final = (
    (r"NoExtensionBias|MaxTokensParser|NoExtension$", _ENDLESS),
    (r"Pointer '(.*?)' does not exist", "its $ref leads to “{}”, which is not in it"),
    (r"Anchor '(.*?)' does not exist", "its $ref leads to “#{}”, which is not in it"),
    (r"Resource '(.*?)' is not present", "its $ref leads to “{}”, and nothing is fetched"),
    (r"Unimplemented keys: \[(.*?)\]", "it uses {}, which cannot be followed"),
    (r"Invalid type: (.*)", "there is no type “{}”"),
    (r"Unknown format: (.*)", "the format “{}” is not known"),
    (r"(?s)regex parse error.*error: (.*?)\s*$", "a pattern in it is not valid: {}"),
    (r"regex parse error|[Rr]egex", "a pattern in it cannot be followed"),
    (r"oneOf constraints are not supported", "it uses oneOf with choices that may both be right"),
    (r"Expecting object schema|expected value", "it is not a JSON object"),
    (r"invalid multiple of", "its multipleOf is not a number above 0"),
    (r"required property '(.*?)' is unsatisfiable", "it requires “{}” and does not allow it"),
    (r"anyOf is empty", "it leaves nothing to choose from"),
    (r"incompatible types", "it asks for two types at once"),
    (r"(\w+) \((.*?)\) is greater than (\w+) \((.*?)\)", "its {} ({}) is greater than its {} ({})"),
    (r"Unsatisfiable schema: (.*)", "nothing can satisfy it ({})"),
    (r"(\w+) must be an? (.*)|type must be (.*)", None),
    (
        r"(?i)too (many|large|complex|big|deep)|limit|fuel|recursion",
        "it is too large or too complex",
    ),
    (r"at line (\d+), '.*|^(\d+)\(\d+\):.*", "line {} of it cannot be read"),
    (r"No 'root' rule|no start rule", "it has no rule “root” or “start”"),
    (r"unknown (?:name|grammar):? \"?@?(\w+)|Rule '(\w+)' not found", "it has no rule “{}”"),
)


def reason_of(text: str) -> str:
    """Explain why it cannot be followed, as the end of a sentence without its full stop."""
    for pattern, sentence in _SENTENCES:
        if (match := re.search(pattern, text)) is not None:
            groups = [group for group in match.groups() if group is not None]
            found = match[0] if sentence is None else sentence.format(*groups)
            return _short(found.replace('"', ""))
    return _short(text) or "no reason is given"


def _short(text: str) -> str:
    line = text.strip().splitlines()[0] if text.strip() else ""
    return line[:MAX_REASON_CHARS].rstrip(" .")
