"""Cut anywhere, a document ends as its full rendering, and what was finished never changes."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markupsafe import Markup, escape

from app.web.render.markdown import render_markdown
from app.web.render.streaming import OpenBlock, RenderCursor, StreamedMarkdown

WORDS = st.sampled_from(
    [
        "fox",
        "a *b",
        "c* d",
        "**bold**",
        "`x`",
        "`",
        "<b>",
        "&amp;",
        "[l](http://e.x)",
        "![i](http://e.x)",
        "~~no~~",
        "\\*",
        "$x^2$",
        "$5",
        "\\(a\\)",
        "$$",
        "שלום",
        "漢字",
        "e\u0301",
        "🦊",
        "|",
        "- [x]",
        "_",
        "[a]",
        "http://e.x",
        "\\[",
        "\\]",
        "#",
        "\u2028",
        "\x0b",
        "<sup>",
        "</sup>",
        "<kbd>k</kbd>",
        "<br>",
        "</details>",
        "**注意：**请",
        "https://e.x/a。",
        "$\\frac{1}{2}$",
        "[^1]",
    ]
)
SENTENCES = st.lists(WORDS, min_size=1, max_size=6).map(" ".join)
LINES = st.one_of(
    SENTENCES,
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["", " ", "  ", "   ", "    ", "\t", "      "]),
        st.sampled_from(
            [
                "",
                "# ",
                "## ",
                "#",
                "- ",
                "-",
                "* ",
                "+ ",
                "1. ",
                "2) ",
                "10. ",
                "> ",
                ">",
                "> > ",
                "> - ",
                "- - ",
                "- [ ] ",
                "- [x] ",
                "- > ",
                "1. ```",
                "- ```py",
                "<summary>",
                "<details><summary>",
            ]
        ),
        st.one_of(st.just(""), SENTENCES),
    ),
    st.sampled_from(
        [
            "",
            "",
            "",
            " ",
            "```",
            "```",
            "```python",
            "``` a`b",
            "````",
            "~~~",
            "~~~",
            "~~~ js",
            "  ```",
            "   ~~~",
            "\t```",
            "===",
            "---",
            "--",
            "-",
            "***",
            "| a | b |",
            "|---|:-:|",
            "- | -",
            "a | b",
            "| 1 | 2 |",
            "$$",
            "$$ x $$",
            "$$ x",
            "x $$",
            "\\[",
            "\\]",
            "\\[ y \\]",
            "<div>",
            "</div>",
            "<details>",
            "<details>",
            "</details>",
            "</details>",
            "<summary>s</summary>",
            "<summary>",
            "s</summary>",
            "<details><summary>s</summary>",
            "<details><summary>s</summary>x</details>",
            "> <details>",
            "- <details>",
            "\\begin{aligned} a &= b \\\\",
            "<!-- x",
            "-->",
            "    code",
            "  - nested",
            "   1. n",
        ]
    ),
)
DEFINITIONS = st.sampled_from(
    [
        *("[a]: http://e.x/1", "[a]:", "[a]: <x> 'title", "title'", "[fox]: /x"),
        *("[^1]: note", "[^1]: other", "    more", "- [^2]: inside", "see[^2]"),
    ]
)


def documents(lines: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    ends = st.sampled_from(["\n", "\n", "\n", "\n\n", "\r\n", "\r", "\n \n"])
    return (
        st.lists(st.tuples(lines, ends), max_size=14)
        .map(lambda pairs: "".join(line + end for line, end in pairs))
        .flatmap(lambda text: st.sampled_from([text, text.rstrip("\r\n")]))
    )


CUTS = st.lists(st.floats(0, 1), max_size=30)


class Page:
    """What a browser makes of the news."""

    def __init__(self) -> None:
        self.place = RenderCursor()
        self.finished: list[str] = []
        self.open = OpenBlock(Markup(""), "", Markup(""))

    def read(self, blocks: StreamedMarkdown) -> None:
        news = blocks.update_since(self.place)
        self.finished.append(news.finished)
        if news.opened is not None:
            self.open = news.opened
        else:
            self.open = OpenBlock(self.open.head, self.open.tail + news.tail, self.open.foot)
        self.place = blocks.cursor
        assert self.open == blocks.open
        assert "".join(self.finished) == blocks.finished

    @property
    def html(self) -> str:
        tail = escape(self.open.tail)
        return "".join([*self.finished, self.open.head, tail, self.open.foot])


def stream(text: str, cuts: list[float]) -> tuple[StreamedMarkdown, Page, bool]:
    """Two readers: one looks after every cut, the other now and then."""
    blocks, page, slow = StreamedMarkdown(7), Page(), Page()
    for number, cut in enumerate(sorted(int(cut * len(text)) for cut in cuts)):
        blocks.feed(text[:cut])
        page.read(blocks)
        if number % 3 == 0:
            slow.read(blocks)
    is_exact = blocks.finish(text)
    page.read(blocks)
    slow.read(blocks)
    assert page.html == slow.html
    return blocks, page, is_exact


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents(LINES), CUTS)
def test_any_cut_of_any_document_ends_in_the_full_rendering(text: str, cuts: list[float]) -> None:
    _, page, is_exact = stream(text, cuts)
    assert is_exact
    assert page.html == render_markdown(text, 7)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents(st.one_of(LINES, DEFINITIONS)), CUTS)
def test_a_definition_further_below_is_noticed_at_the_end(text: str, cuts: list[float]) -> None:
    _, page, is_exact = stream(text, cuts)
    assert is_exact == (page.html == render_markdown(text, 7))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents(LINES))
def test_any_text_streams_character_by_character(text: str) -> None:
    blocks, page = StreamedMarkdown(7), Page()
    for end in range(len(text) + 1):
        blocks.feed(text[:end])
        page.read(blocks)
    assert blocks.finish(text)
    page.read(blocks)
    assert page.html == render_markdown(text, 7)
