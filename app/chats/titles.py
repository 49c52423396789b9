"""What a chat is called."""

TITLE_CHARS = 60


def title_of(text: str) -> str:
    """The first words of a text, on one line, at most TITLE_CHARS long."""
    words = " ".join(text.split())
    if len(words) <= TITLE_CHARS:
        return words
    cut = words[: TITLE_CHARS - 1]
    return (cut.rsplit(" ", 1)[0] if " " in cut[TITLE_CHARS // 2 :] else cut) + "…"
