"""Markdown as models write it: tags, details, footnotes, bare links, emphasis beside CJK."""

from __future__ import annotations

import re

import pytest

from app.web.render.markdown import render_markdown
from app.web.render.streaming import StreamedMarkdown


def inside(text: str) -> str:
    """The HTML of one paragraph."""
    shown = str(render_markdown(text)).replace('<p dir="auto">', "").removesuffix("</p>")
    return re.sub(r' target="_blank" rel="[^"]*"', "", shown).replace("<br>\n", "<br>")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("H<sub>2</sub>O", "H<sub>2</sub>O"),
        ("x<SUP>2</SUP>", "x<sup>2</sup>"),
        ("<kbd>Ctrl</kbd>+<kbd>C</kbd>", "<kbd>Ctrl</kbd>+<kbd>C</kbd>"),
        ("<mark>a *b* `c`</mark>", "<mark>a <em>b</em> <code>c</code></mark>"),
        ("a<br>b<br/>c<br />d", "a<br>b<br>c<br>d"),
        ("<sup>a<sub>b</sub></sup>", "<sup>a<sub>b</sub></sup>"),
        ("<sup>open", "&lt;sup&gt;open"),
        ("close</sup>", "close&lt;/sup&gt;"),
        ("<sup>a<sub>b</sup>c</sub>", "<sup>a&lt;sub&gt;b</sup>c&lt;/sub&gt;"),
        ("*a <sup>b* c</sup>", "<em>a &lt;sup&gt;b</em> c&lt;/sup&gt;"),
        ("<sup>a **b</sup> c**", "&lt;sup&gt;a <strong>b&lt;/sup&gt; c</strong>"),
        ("<sup>`</sup>`</sup>", "<sup><code>&lt;/sup&gt;</code></sup>"),
        ("[a <sub>b](https://e.x) c</sub>", None),
        ("<sup class=x>a</sup>", "&lt;sup class=x&gt;a&lt;/sup&gt;"),
        ("<b>a</b> <u>b</u> <div>", "&lt;b&gt;a&lt;/b&gt; &lt;u&gt;b&lt;/u&gt; &lt;div&gt;"),
        ("**注意：**请", "<strong>注意：</strong>请"),
        ("**「強調」**です", "<strong>「強調」</strong>です"),
        ("これは**「強調」**です", "これは<strong>「強調」</strong>です"),
        ("先**重点。**后", "先<strong>重点。</strong>后"),
        ("안녕**(강조)**은", "안녕<strong>(강조)</strong>은"),
        ("*「斜体」*の", "<em>「斜体」</em>の"),
        ("**A（b）**和", "<strong>A（b）</strong>和"),
        ("2 * 3 * 4", "2 * 3 * 4"),
        ("snake_case_name", "snake_case_name"),
        ("**a**b *c*", "<strong>a</strong>b <em>c</em>"),
        ("see https://e.x/a_b_c.", 'see <a href="https://e.x/a_b_c">https://e.x/a_b_c</a>.'),
        ("(http://e.x/a_(b))", '(<a href="http://e.x/a_(b)">http://e.x/a_(b)</a>)'),
        ("见https://e.x/路。好", '见<a href="https://e.x/%E8%B7%AF">https://e.x/路</a>。好'),
        ("https://e.x，好", '<a href="https://e.x">https://e.x</a>，好'),
        ("（https://e.x/a）", '（<a href="https://e.x/a">https://e.x/a</a>）'),
        ("**https://e.x**", '<strong><a href="https://e.x">https://e.x</a></strong>'),
        ("mailto:a@e.org", '<a href="mailto:a@e.org">mailto:a@e.org</a>'),
        (
            "http://127.0.0.1:8000/x",
            '<a href="http://127.0.0.1:8000/x">http://127.0.0.1:8000/x</a>',
        ),
        ("ftp://e.x a@e.x www.e.x README.md", "ftp://e.x a@e.x www.e.x README.md"),
        ("javascript:alert(1) xhttps://e.x", "javascript:alert(1) xhttps://e.x"),
        ("`https://e.x`", "<code>https://e.x</code>"),
        ("[https://e.x](https://e.y)", '<a href="https://e.y">https://e.x</a>'),
        ("https://e.x/" + "a" * 3000, "https://e.x/" + "a" * 3000),
        ("not a note [^1] or [^a-z]", "not a note [^1] or [^a-z]"),
    ],
)
def test_extensions_in_a_line(text: str, shown: str | None) -> None:
    if shown is None:
        assert "<sub>" not in render_markdown(text)
    else:
        assert inside(text) == shown


def test_a_line_breaks_in_a_cell() -> None:
    assert "<td>a<br>\nb</td>" in render_markdown("| x |\n|---|\n| a<br>b |")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "<details>\n<summary>A **b**</summary>\n\n- c\n\n</details>\n\nd",
            "<details><summary>A <strong>b</strong></summary><ul><li>c</li></ul></details><p>d</p>",
        ),
        (
            "<details><summary>A</summary>b</details>",
            "<details><summary>A</summary><p>b</p></details>",
        ),
        ("<details>\n<summary>\nA\n</summary>\nb\n</details>",
         "<details><summary>A</summary><p>b</p></details>"),
        ("<details>\na\n</details>", "<details><p>a</p></details>"),
        ("<details>\na\n\nb", '<details open=""><p>a</p><p>b</p></details>'),
        (
            "<details>\n<details>\na\n</details>\nb\n</details>\nc",
            "<details><details><p>a</p></details><p>b</p></details><p>c</p>",
        ),
        ("> <details>\n> a\n\nb",
         '<blockquote><details open=""><p>a</p></details></blockquote><p>b</p>'),
        ("</details>\n\na", "<p>&lt;/details&gt;</p><p>a</p>"),
        ("<details open>\na", "<p>&lt;details open&gt;a</p>"),
        ("a <details> b", "<p>a &lt;details&gt; b</p>"),
        ("<summary>a</summary>", "<p>&lt;summary&gt;a&lt;/summary&gt;</p>"),
    ],
)  # fmt: skip
def test_details(text: str, shown: str) -> None:
    assert re.sub(r' dir="auto"|\n', "", render_markdown(text)) == shown


def test_code_in_details_may_show_their_end() -> None:
    html = render_markdown("<details>\n\n```\n</details>\n```\n\nx\n</details>\n\ny")
    assert html.count("<details") == 1
    assert html.endswith('</details><p dir="auto">y</p>')


def test_a_reference_leads_to_its_note() -> None:
    text = "a[^1] b[^x.y]\n\n[^1]: *One*\n[^x.y]: Two\n\n    more\n\n[^1]: again"
    html = render_markdown(text, 5)
    assert '<sup class="reference"><a href="#m5-note-1">1</a></sup>' in html
    assert html.count('id="m5-note-1"') == 1
    links = re.findall(r'href="#([^"]*)"', html)
    assert [html.count(f'id="{one}"') for one in links] == [1, 1]
    assert set(re.findall(r' id="([^"]*)"', html)).isdisjoint(
        re.findall(r' id="([^"]*)"', render_markdown(text, 6))
    )
    assert "id=" not in render_markdown(text)


def test_a_note_stays_where_it_was_written_while_the_answer_grows() -> None:
    blocks, text = StreamedMarkdown(5), "[^1]: Note\n\nSee[^1].\n\nSee[^1] again.\n\n"
    for end in range(len(text) + 1):
        blocks.feed(text[:end])
    assert blocks.finish(text)
    assert blocks.finished.count('href="#m5-note-1"') == 2


@pytest.mark.parametrize(
    "text",
    [
        "<sup>" * 16_000, "<sup>" * 8000 + "</sub>" * 8000, "<sup></sup>" * 8000,
        "<details>\n" * 9000, "<details>\n\n" * 8000 + "</details>\n" * 100, "[^1]: " * 16_000,
        "[^1]: x\n\n" + "[^" * 45_000, "[^1]: x\n\n" + "[^1]" * 20_000, "http://" * 13_000,
        "https://e.x/(" * 7000,
        "https:" * 16_000,
        "https://" + "a." * 45_000, "https://e.x/" + "a" * 90_000,
        "mailto:a@" * 10_000, "**注" * 30_000, "注**「" * 25_000, "*「" * 45_000, "$$\n\n" * 24_000,
        "$$\nx\n\n" * 16_000, "$x" * 45_000, "\\(" * 45_000,
        "$(((((((((((((((((((((((((x$ " * 3000, "$\\sqrt{x}$ " * 8000, "- <details>\n" * 8000,
        "> " * 90 + "<details>\n" * 5000, "<details><summary>" * 5000,
    ],
)  # fmt: skip
def test_no_extension_takes_long(text: str) -> None:
    assert render_markdown(text[:100_000])
