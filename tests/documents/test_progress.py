"""Which page a model reads, and what is said of the documents that it was given."""

from __future__ import annotations

from app.documents.given import GivenDocument, decode_given, describe_given, encode_given
from app.documents.pages import join_pages
from app.documents.progress import PageProgress, ReadDocument

TEXT = join_pages(["x" * 90] * 10)


def lines(progress: PageProgress, total: int = 1000) -> list[str]:
    return list(dict.fromkeys(progress.line(done, total) for done in range(total + 1)))


def test_pages_follow_each_other_between_what_stands_around_them() -> None:
    progress = PageProgress(["s" * 100, f"a.pdf:\n{TEXT}\n\nWhat?"], [ReadDocument("a", 10, TEXT)])
    assert lines(progress) == ["", *(f"Reading page {n} of 10" for n in range(1, 11))]
    assert progress.line(1000, 1000) == ""
    assert progress.line(0, 0) == ""


def test_several_documents_are_told_by_their_names() -> None:
    other = join_pages(["y" * 50] * 2, "Slide")
    documents = [ReadDocument("a.pdf", 10, TEXT), ReadDocument("b.pptx", 2, other)]
    seen = lines(PageProgress([TEXT, other], documents))
    assert seen[0] == "Reading page 1 of 10 of a.pdf"
    assert seen[-2] == "Reading slide 2 of 2 of b.pptx"


def test_what_is_not_in_the_prompt_is_not_told() -> None:
    assert lines(PageProgress(["other"], [ReadDocument("a.pdf", 10, TEXT)])) == [""]


def test_what_was_read_whole_is_said_in_pages() -> None:
    report = GivenDocument("a.pdf", 31, 31)
    letter = GivenDocument("b.rtf")
    assert describe_given([]) == ""
    assert describe_given([report]) == "Read whole: 31 pages"
    assert describe_given([letter]) == "Read whole: b.rtf"
    assert describe_given([report, letter]) == "Read whole: a.pdf (31 pages), b.rtf"
    part = GivenDocument("c.pdf", 310, 12)
    assert describe_given([part]) == "12 of 310 pages were given"
    assert (
        describe_given([letter, part]) == "Read whole: b.rtf. 12 of 310 pages of c.pdf were given"
    )


def test_what_is_stored_comes_back_and_what_is_damaged_does_not() -> None:
    given = (GivenDocument("a.pptx", 3, 3, "Slide"),)
    assert decode_given(encode_given(given)) == given
    assert encode_given(()) is None
    assert decode_given(None) == decode_given('[{"name": 5}]') == decode_given("[") == ()
