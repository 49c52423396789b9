"""The words of the house: classes and modules keep to docs/glossary.md."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
APP = ROOT / "app"

# How no docstring begins: it begins with a verb or a noun.
FORBIDDEN_OPENING = re.compile(
    r"(Of|The same|Whether|What|Whatever|Which|Who|Whom|Whose|Whoever|Where|When|How|Why|As|For|In"
    r"|On|At|By|To|From|With|Without|After|Before|Until|While|If|It|Its|They|Their|This|That|Those|All"
    r"|Every|Everything|Nothing|Nobody|Somebody|Only|Like|Again|Here|There|Now|Then|Never)\b"
)
# Rooms whose docstrings keep to that.
WITH_PLAIN_DOCSTRINGS = (
    "app/*.py",
    "app/accounts/*.py",
    "app/db/*.py",
    "app/models/**/*.py",
    "app/inference/**/*.py",
    "app/api/**/*.py",
    "app/web/**/*.py",
    "app/markup/*.py",
    "app/media/**/*.py",
    "app/conversations/**/*.py",
    "app/terminal/*.py",
    "app/cli/*.py",
    "app/bench/*.py",
)
NOT_YET: set[str] = set()


def forbidden_words() -> set[str]:
    """The first column of the table below "Forbidden words"."""
    section = (ROOT / "docs/glossary.md").read_text().split("## Forbidden words")[1]
    rows = re.findall(r"^\| ([\w, ]+) \|", section, flags=re.MULTILINE)
    return {word for row in rows[1:] for word in row.split(", ")}


def words_in(name: str) -> set[str]:
    """The words of a CamelCase or snake_case name, in lower case."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def names_in_app() -> list[tuple[str, str]]:
    """List every module and class of `app/`: its file, and its name."""
    names = []
    for path in sorted(APP.rglob("*.py")):
        where = str(path.relative_to(ROOT))
        names.append((where, path.parent.name if path.name == "__init__.py" else path.stem))
        tree = ast.parse(path.read_text())
        names += [(where, node.name) for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    return names


def docstrings_of(path: Path) -> list[tuple[str, str]]:
    """The docstrings of a module and of all in it, with the line of each."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        (f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}", docstring)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, kinds) and (docstring := ast.get_docstring(node))
    ]


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    paths = {path for pattern in WITH_PLAIN_DOCSTRINGS for path in ROOT.glob(pattern)}
    paths -= {ROOT / name for name in NOT_YET}
    found = [pair for path in sorted(paths) for pair in docstrings_of(path)]
    assert len(found) > 400
    assert [f"{where}: {text}" for where, text in found if FORBIDDEN_OPENING.match(text)] == []


def test_forbidden_openings() -> None:
    matches = [
        bool(FORBIDDEN_OPENING.match(text)) for text in ("What it is.", "Of it.", "The same.")
    ]
    assert matches == [True, True, True]
    matches = [
        bool(FORBIDDEN_OPENING.match(text)) for text in ("Whole text.", "The text.", "Add it.")
    ]
    assert matches == [False, False, False]


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
