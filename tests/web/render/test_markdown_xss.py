"""Known ways to make text run as a program, as an answer and as a prompt: all of it stays text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import html5lib
import pytest

from app.config import asset_dir
from app.web.render.fragments import Fragments
from app.web.render.markdown import escape_text, render_markdown, render_prompt
from app.web.render.streaming import StreamedMarkdown

FRAGMENTS = Fragments(asset_dir("templates"), asset_dir("static"))
VECTORS: list[str] = json.loads(Path(__file__).with_name("xss_vectors.json").read_text())
PROSE = {
    *("a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li"),
    *("ol", "p", "pre", "s", "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"),
    *("div", "button", "details", "summary", "kbd", "mark", "sub", "sup"),
}
FORMULA = {
    *("math", "mrow", "mi", "mo", "mn", "mtext", "mspace", "msup", "msub", "msubsup", "mfrac"),
    *("mpadded", "mphantom", "mover", "munder", "munderover", "mtable", "mtr", "mtd", "msqrt"),
    *("mroot", "mmultiscripts", "mprescripts"),
}
# Values are fixed, or of a kind that does nothing.
FIXED = {
    "target": {"_blank"},
    "rel": {"noopener noreferrer nofollow"},
    "dir": {"auto", "ltr"},
    "tabindex": {"0"},
    "type": {"button"},
    "id": {"m1-open", "m1-tail"},
    "role": {"group"},
    "aria-label": {"Formula", "Table"},
    "open": {""},
    "aria-pressed": {"false"},
}
HARMLESS = {
    *("class", "align", "start", "display", "mathvariant", "stretchy", "width", "mathcolor"),
    *("form", "lspace", "rspace", "minsize", "maxsize", "symmetric", "movablelimits", "accent"),
    *("accentunder", "displaystyle", "scriptlevel", "linethickness"),
}
NOTE_ID = re.compile(r"m1-note-[\w-]+")


def elements(html: str) -> Iterator[ElementTree.Element]:
    tree = html5lib.parseFragment(html, treebuilder="etree", namespaceHTMLElements=False)
    for element in tree.iter():
        if element is not tree:
            yield element


def assert_harmless(html: str) -> None:
    assert html.count("<div") == html.count("</div>"), "a way out of the message"
    for element in elements(html):
        assert isinstance(element.tag, str), "a comment"
        name = element.tag.rpartition("}")[2]
        assert name in PROSE | FORMULA, html
        for attribute, value in element.attrib.items():
            if attribute == "href" and value.startswith("#"):
                assert NOTE_ID.fullmatch(value[1:]), html
            elif attribute == "id" and NOTE_ID.fullmatch(value):
                assert element.get("class") == "footnote", html
            elif attribute == "href":
                assert value.startswith(("https://", "http://", "mailto:")), html
            elif attribute == "value":
                assert re.fullmatch(r"html|svg|code\.\w{1,12}|\w{1,12}", value), html
            elif attribute in FIXED:
                assert value in FIXED[attribute], html
            else:
                assert attribute in HARMLESS, html


def test_there_are_enough_attacks() -> None:
    assert len(set(VECTORS)) >= 100


@pytest.mark.parametrize("vector", VECTORS)
def test_an_answer_holds_nothing_that_runs(vector: str) -> None:
    assert_harmless(render_markdown(vector, 1))
    assert "<hx-" not in render_markdown(vector).lower()


@pytest.mark.parametrize("vector", VECTORS)
def test_an_answer_that_grows_holds_nothing_that_runs(vector: str) -> None:
    blocks = StreamedMarkdown(1)
    for end in range(0, len(vector) + 10, 10):
        blocks.feed(vector[:end])
        assert_harmless(blocks.finished + FRAGMENTS.open_block(1, blocks.open))


def test_all_attacks_in_one_answer_hold_nothing_that_runs() -> None:
    for joint in ("", "\n", "\n\n"):
        assert_harmless(render_markdown(joint.join(VECTORS), 1))


@pytest.mark.parametrize("vector", VECTORS)
def test_attacks_inside_allowed_markup_hold_nothing_that_runs(vector: str) -> None:
    for text in (
        f"<details>\n<summary>{vector}</summary>\n\n{vector}\n\n</details>",
        f"<sup>{vector}</sup><kbd>{vector}<mark>",
        f"x[^1]\n\n[^1]: {vector}",
        f"x[^{vector}]\n\n[^{vector}]: y",
        f"$\\text{{{vector}}}$ $$\n\\textbf{{{vector}}} {vector}\n$$",
        f"https://e.example/{vector} <{vector}>",
        f"| a |\n|---|\n| <br>{vector}<sub> |",
    ):
        assert_harmless(render_markdown(text, 1))


@pytest.mark.parametrize("vector", VECTORS)
def test_an_attack_in_a_prompt_is_text(vector: str) -> None:
    assert list(elements(escape_text(vector))) == []
    assert_harmless(render_prompt(vector))
    assert "<hx-" not in render_prompt(vector).lower()
