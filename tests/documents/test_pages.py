"""Marks of pages in the text of a document."""

from __future__ import annotations

from app.documents.kinds import count_pages
from app.documents.pages import join_pages, list_numbers, split_pages


def test_what_was_joined_is_split_at_the_same_places() -> None:
    pages = ["# One\n\nfirst", "", "third\n"]
    text = join_pages(pages)
    assert text == "[Page 1]\n# One\n\nfirst\n\n[Page 2]\n\n\n[Page 3]\nthird"
    assert split_pages(text) == [(1, "# One\n\nfirst"), (2, ""), (3, "third")]


def test_a_line_of_a_document_is_no_mark() -> None:
    text = join_pages(["see\n[Page 7]\nthere", "[Slide 2]"])
    assert split_pages(text) == [(1, "see\n [Page 7]\nthere"), (2, " [Slide 2]")]


def test_a_text_without_marks_is_one_page_without_a_number() -> None:
    assert split_pages("as it is") == [(0, "as it is")]


def test_slides_and_sheets_are_called_so() -> None:
    assert join_pages(["a", "b"], "Slide") == "[Slide 1]\na\n\n[Slide 2]\nb"
    assert count_pages(1, "application/pdf") == "1 page"
    assert count_pages(2, "application/epub+zip") == "2 chapters"


def test_a_sentence_lists_a_few_numbers() -> None:
    assert list_numbers([4]) == "4"
    assert list_numbers([1, 3, 7]) == "1, 3 and 7"
    assert list_numbers(range(1, 11)) == "1, 2, 3, 4, 5, 6 and 4 more"
