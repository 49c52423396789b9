"""The documents about the code tell the truth: whatever they name in code spans exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    ROOT / "CONTRIBUTING.md",
    ROOT / "docs/architecture.md",
    ROOT / "docs/glossary.md",
    ROOT / "tests/README.md",
    *sorted((ROOT / "app").rglob("README.md")),
)
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(\(\))?")
METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}
PLACEHOLDERS = {"NNNN_name.sql", "test_MODULE_topic.py"}


@cache
def modules() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text()) for path in (ROOT / "app").rglob("*.py")}


@cache
def members() -> dict[str, set[str]]:
    """The names of all classes and modules, each with the names that its body or methods define."""
    found: dict[str, set[str]] = {}
    for path, tree in modules().items():
        stem = path.parent.name if path.name == "__init__.py" else path.stem
        found.setdefault(stem, set()).update(defined_in(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, set()).update(defined_in(node))
    return found


def defined_in(scope: ast.Module | ast.ClassDef) -> set[str]:
    names = set()
    for node in ast.walk(scope):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr if isinstance(node, ast.Attribute) else node.id)
    return names


@cache
def all_names() -> set[str]:
    return {name for scope, names in members().items() for name in (scope, *names)}


@cache
def imports() -> set[str]:
    found = set[str]()
    for tree in modules().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
    return found


@cache
def values() -> set[str]:
    """The words of the program that are no names: its strings, libraries and settings, and
    the columns, attributes, files and folders beside it."""
    words = set[str]()
    for tree in modules().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                words.add(node.value)
    for pattern in ("migrations/*.sql", "templates/*.html", ".env.example"):
        for path in ROOT.glob(pattern):
            words |= set(re.findall(r"\w+", path.read_text()))
    folders = {ROOT / name for name in ("app", "templates", "static", "migrations", "tests")}
    files = {path.name for folder in folders for path in folder.rglob("*")}
    return words | imports() | files | {path.name for path in ROOT.iterdir()}


def is_known(name: str) -> bool:
    """True if classes, functions and modules of this name exist; or a value, for lower case."""
    first, *rest = name.removesuffix("()").split(".")
    if not rest:
        is_name = any(letter.isupper() for letter in name) and not name.startswith("WICK_")
        return first in all_names() or (first in values() and not is_name)
    return (
        name in values()
        or first in imports()
        or (first in members() and rest[0] in members()[first])
    )


def names_in(document: Path) -> set[str]:
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", text)
    return {span for span in spans if NAME.fullmatch(span)} - METHODS - PLACEHOLDERS


def test_documents_name_only_what_exists() -> None:
    found = {(path, name) for path in DOCUMENTS for name in names_in(path)}
    assert len(found) > 100
    wrong = [f"{path.relative_to(ROOT)}: {name}" for path, name in found if not is_known(name)]
    assert sorted(wrong) == []


def test_names_that_do_not_exist_are_found() -> None:
    known = [is_known(name) for name in ("AnswerService", "AnswerService.submit", "queued")]
    assert known == [True, True, True]
    known = [is_known(name) for name in ("AskingService", "AnswerService.wish", "NoSuch()")]
    assert known == [False, False, False]
