"""Heads of code blocks, and the colours of code on the paper of either theme."""

from __future__ import annotations

import re
from itertools import product

import pytest

from app.config import asset_dir
from app.web.render.code_blocks import code_head, file_name
from app.web.render.markdown import render_markdown

LEGIBLE = 4.5
"""Contrast of text to what is behind it, as WCAG demands it (AA)."""


@pytest.mark.parametrize(
    ("language", "name"),
    [
        *(("python", "code.py"), ("JavaScript", "code.js"), ("c++", "code.cpp"), ("sh", "code.sh")),
        *(("html", "code.html"), ("svg", "code.svg"), ("mermaid", "code.mmd"), ("", "code.txt")),
        *(("dockerfile", "code.docker"), ("no-such-language", "code.txt"), ("../x", "code.txt")),
    ],
)
def test_files_are_named_by_their_language(language: str, name: str) -> None:
    assert file_name(language) == name


@pytest.mark.parametrize("language", ["html", "HTM", "svg"])
def test_pages_and_drawings_have_a_preview_once_they_are_whole(language: str) -> None:
    assert "Preview" in code_head(language)
    assert "Preview" not in code_head(language, is_open=True)
    assert "Preview" in render_markdown(f"```{language}\n<p>x</p>\n```")


@pytest.mark.parametrize("language", ["", "python", "xml", "mermaid"])
def test_other_code_has_none(language: str) -> None:
    assert "Preview" not in render_markdown(f"```{language}\nx\n```")


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def pairs(css: str) -> dict[str, tuple[str, str]]:
    pattern = r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)"
    return {name: (light, dark) for name, light, dark in re.findall(pattern, css)}


def test_code_is_legible_on_its_paper_in_both_themes() -> None:
    static = asset_dir("static")
    paper = pairs((static / "wick.css").read_text())["code"]
    colours = pairs((static / "code.css").read_text())
    assert len(colours) >= 9
    for (name, pair), theme in product(colours.items(), (0, 1)):
        dark, light = sorted((luminance(pair[theme]), luminance(paper[theme])))
        assert (light + 0.05) / (dark + 0.05) >= LEGIBLE, (name, theme)
