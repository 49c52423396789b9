"""The words of the house: classes and modules keep to docs/glossary.md."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
APP = ROOT / "app"


def forbidden_words() -> set[str]:
    """The first column of the table below "Forbidden words"."""
    section = (ROOT / "docs/glossary.md").read_text().split("## Forbidden words")[1]
    rows = re.findall(r"^\| ([\w, ]+) \|", section, flags=re.MULTILINE)
    return {word for row in rows[1:] for word in row.split(", ")}


def words_in(name: str) -> set[str]:
    """The words of a CamelCase or snake_case name, in lower case."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def names_in_app() -> list[tuple[str, str]]:
    """Every module and class of `app/`: where it stands, and its name."""
    names = []
    for path in sorted(APP.rglob("*.py")):
        where = str(path.relative_to(ROOT))
        names.append((where, path.parent.name if path.name == "__init__.py" else path.stem))
        tree = ast.parse(path.read_text())
        names += [(where, node.name) for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    return names


def test_the_glossary_forbids_words() -> None:
    assert {"wish", "asking", "told", "crowd", "desk"} <= forbidden_words()


def test_words_of_a_name() -> None:
    assert words_in("SseParser_of_KVCache") == {"sse", "parser", "of", "kv", "cache"}


def test_no_class_or_module_has_a_forbidden_word() -> None:
    forbidden = forbidden_words()
    wrong = [f"{where}: {name}" for where, name in names_in_app() if words_in(name) & forbidden]
    assert wrong == []


def test_no_two_modules_define_a_public_class_of_the_same_name() -> None:
    found: dict[str, list[str]] = {}
    for path in sorted(APP.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: where for name, where in found.items() if len(where) > 1} == {}


def test_each_term_stands_once() -> None:
    text = (ROOT / "docs/glossary.md").read_text().split("## Forbidden words")[0]
    terms = re.findall(r"^\| ([\w, -]+) \|", text, flags=re.MULTILINE)
    assert len(terms) - terms.count("Word") == len(set(terms)) - 1
