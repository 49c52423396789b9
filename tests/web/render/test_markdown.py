from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import nh3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it.rules_inline import StateInline

from app.markup import links
from app.markup.parser import make_parser
from app.web.render import markdown
from app.web.render.markdown import escape_text, render_markdown

# What a model or a person might write in the hope that it becomes markup.
HOSTILE = [
    "<script>window.__pwned=1</script>",
    "<img src=x onerror=alert(1)>",
    "<div hx-get='/x' hx-trigger=load>x</div>",
    "<div hx-swap-oob='innerHTML:#log'>x</div>",
    "<hx-partial hx-target='#log'>x</hx-partial>",
    "[x](javascript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](vbscript:x)",
    "![x](https://tracker.example/pixel.png)",
    '[x](https://e.example "onmouseover=alert(1)")',
    "[x](<https://e.example' onclick='alert(1)>)",
    "<a href='https://e.example' style='position:fixed'>x</a>",
    "```html onload=x\n</code></pre><script>1</script>\n```",
    "`</code><script>1</script>`",
    "|<b hx-on:click=x>a</b>|\n|-|\n|<script>|",
    "&lt;script&gt;",
    "<svg><use href='#x'></svg>",
    "<iframe srcdoc='<script>1</script>'></iframe>",
    "<!-- <hx-oob> -->",
    "<style>*{display:none}</style>",
    "<form action=/x><button>x</form>",
    "<meta http-equiv=refresh content=0>",
    "<base href=//e.example>",
    "<details open ontoggle=alert(1)>",
    "<details>\n<summary onclick=x>a</summary>\n<script>1</script>\n</details>",
    "<sup id=log>x</sup>",
    "<kbd><script>1</script></kbd>",
    "</details></div></article>",
    "<sub><p></sub></p>",
    "x[^<b>]\n\n[^<b>]: y",
    '[^"onload=x]\n\n[^"onload=x]: y',
    "$\\text{<script>1</script>}$",
    "$\\textbf{<img src=x onerror=alert(1)>}$",
    "$\\href{javascript:alert(1)}{x}$",
    "$\\color{red;position:fixed}x$",
    'https://e.example/"onmouseover=alert(1)',
    "javascript:alert(1)",
    "http:javascript:alert(1)",
]
FORBIDDEN = re.compile(
    r"<(script|img|iframe|svg|style|form|meta|base|object|embed|link|template|hx-)"
    r"|<[^>]*\s(on\w+|hx-[\w:-]+|data-[\w-]+|id|style|srcdoc|action)\s*="
    r"|(href)=\"(javascript|data|vbscript):",
    re.IGNORECASE,
)


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_written_becomes_markup(text: str) -> None:
    assert not FORBIDDEN.search(render_markdown(text))
    assert "<" not in escape_text(text)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from([*HOSTILE, "\n", "\n\n", "> ", "- ", "```", "`", "*", "<", '"']), max_size=8
    )
)
def test_no_combination_of_what_is_written_becomes_markup(parts: list[str]) -> None:
    assert not FORBIDDEN.search(render_markdown("".join(parts)))


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_text_renders_and_cleaning_again_changes_nothing_forbidden(text: str) -> None:
    html = str(render_markdown(text))
    assert not FORBIDDEN.search(html)
    assert nh3.is_html(html) or not text.strip() or html


def test_common_markdown_is_rendered() -> None:
    html = render_markdown(
        "# Title\n\n1. one\n2. two\n\n- [x] done\n- [ ] open\n\n| a | b |\n|:-:|--|\n| 1 | 2 |\n\n"
        "~~gone~~ **bold** [Wick](https://wick.example) ![cat](https://e.example/cat.png)\n\n```python\nprint('hi')\n```\n"
    )
    for piece in (
        '<h1 dir="auto">Title</h1>',
        "<ol ",
        "☑ done",
        "☐ open",
        'align="center"',
        "<s>gone</s>",
        "<strong>bold</strong>",
        'target="_blank"',
        "noopener",
        ">cat</a>",
        "<span>python</span>",
        '<button type="button" class="save" value="code.py">Download</button>',
        '<button type="button" class="copy">Copy</button>',
        '<span class="nb">print</span>',
    ):
        assert piece in html


@pytest.mark.parametrize(
    "formula",
    ["$E=mc^2$", "\\(a < b\\)", "$$\n\\frac{a}{b}\n$$", "so\n\\[\nx_i\n\\]\nand", "a $$x$$ b"],
)
def test_formulas_become_mathml(formula: str) -> None:
    assert "<math" in render_markdown(formula)


@pytest.mark.parametrize(
    "text",
    [
        "It costs $5 and $10.",
        "$5-$10, US$5 and A$6, 5$ or 6$",
        "$5, or 6$",
        "$HOME/$USER",
        "$5 each, paid in $",
        "\\$a\\$",
        "`$x$`",
        "$$ never closed",
        f"${'x' * 2000}$",
        "$\\frac{$",
        "$\\foo{<b>}$",
    ],
)
def test_money_and_what_is_no_formula_stays_as_it_was_written(text: str) -> None:
    html = render_markdown(text)
    assert "<math" not in html
    assert re.sub(r"[\\`]", "", text) == re.sub(r"<[^>]*>|[\\`]", "", html).replace(
        "&lt;", "<"
    ).replace("&gt;", ">")


def test_unknown_languages_are_shown_as_they_are() -> None:
    assert "a &lt; b" in render_markdown("```klingon\na < b\n```")


def test_deep_nesting_ends() -> None:
    assert render_markdown("> " * 5000 + "x")
    assert render_markdown("- " * 2000 + "x")
    assert render_markdown("[" * 3000 + "x")


def test_escaped_text_keeps_carriage_returns() -> None:
    assert escape_text("a\r\nb<") == "a&#13;\nb&lt;"


@pytest.fixture
def bounds(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """To be set; nothing that was rendered within others is found again."""
    markdown.clear_cache()
    yield monkeypatch
    markdown.clear_cache()


def test_brackets_that_are_no_links_cost_so_much_and_no_more(bounds: pytest.MonkeyPatch) -> None:
    """The parser looks for the end of each through all that follows: minutes for 100,000."""
    link = "[a](https://e.example)"
    text = "[x ![y " * 50 + "\n\n" + link
    assert "<a href=" in render_markdown(text)
    bounds.setattr(links, "MAX_STEPS", 1000)
    markdown.clear_cache()
    html = render_markdown(text)
    assert html.count("[x ![y") == 50
    assert "[a](" in html
    assert ">a</a>" not in html
    assert render_markdown(f"{link} " * 200).count("<a href=") == 200


@pytest.mark.parametrize(
    "text",
    [
        *("[^1]: n\n\n" + "[^" * 45_000, "[" * 100_000, "![" * 50_000, "[a " * 33_000),
        *("[a][" * 25_000, "[" * 50_000 + "]" * 50_000, "[^1]: n\n\n" + ("[" * 100 + "\n\n") * 980),
    ],
    ids=["notes", "brackets", "images", "words", "labels", "pairs", "paragraphs"],
)
def test_no_text_has_more_looked_through_for_links(text: str) -> None:
    """The thread that renders holds the interpreter: 5 s of it before this was bounded."""
    environment: dict[str, Any] = {}
    looked = 0

    def count(state: StateInline) -> None:
        nonlocal looked
        looked += 1
        skip(state)

    parsing = make_parser()
    skip, parsing.inline.skipToken = parsing.inline.skipToken, count  # type: ignore[method-assign]
    parsing.parse(text, environment)
    assert looked <= links.MAX_STEPS
    assert environment["bracket_steps"] > -links.ADDRESS_STEPS


def test_no_text_has_more_addresses_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = 0

    def count(string: str, pos: int, maximum: int) -> Any:
        nonlocal looked
        looked += 1
        return find(string, pos, maximum)

    parsing = make_parser()
    find = parsing.helpers.parseLinkDestination
    monkeypatch.setattr(parsing.helpers, "parseLinkDestination", count)
    parsing.parse("[a](" * 25_000)
    assert looked <= links.MAX_STEPS / links.ADDRESS_STEPS
    many = "[a](http://b) " * 7000
    assert render_markdown(many).count('<a href="http://b"') == 7000


def test_a_long_text_full_of_brackets_is_within_the_bound() -> None:
    """Far more than anybody writes: links to the last, and citations that are none."""
    paragraph = "As [1], [2] and `a[0]` say [here](https://e.example), see x[i, j] or [0, 1). " * 60
    html = render_markdown((paragraph + "\n\n") * 20)
    assert html.count('<a href="https://e.example"') == 1200


def test_code_that_is_slow_to_colour_stays_black(bounds: pytest.MonkeyPatch) -> None:
    code = "```python\nif a < b: pass\n```\n"
    assert "<span" in render_markdown(code).partition("<pre")[2]
    bounds.setattr(markdown, "MAX_COLOUR_SECONDS", -1)
    markdown.clear_cache()
    html = render_markdown(code)
    assert "if a &lt; b: pass" in html
    assert "<span" not in html.partition("<pre")[2]


def test_very_long_markdown_is_shown_as_it_was_written(bounds: pytest.MonkeyPatch) -> None:
    bounds.setattr(markdown, "MAX_RENDERED_CHARS", 30_000)
    text = "*words* & more\n" * 2000
    assert "<em>words</em> &amp; more" in render_markdown(text)
    assert "*words* &amp; more" in render_markdown(text + "*words* & more\n" * 1)


async def test_a_renderer_warmed_up_in_a_thread_serves_the_event_loop() -> None:
    markdown.clear_cache()
    for cached in (markdown._parser, markdown._cleaner):
        cached.cache_clear()
    await asyncio.to_thread(markdown.warm_up)
    assert "<em>ready</em>" in render_markdown("It is *ready* **again**.")
