from __future__ import annotations

from app.inference.protocol import CHARACTERS_PER_IMAGE, Generate, from_line, to_line
from app.models.model import Turn, TurnImage


def test_pictures_of_a_message_arrive_as_they_were_sent() -> None:
    images = (TurnImage("a" * 64, "/a.png", 640, 480), TurnImage("b" * 64, "/b.jpg", 9, 8, 4))
    request = Generate(1, (Turn("system", "Be brief."), Turn("user", "See this.", images=images)))
    assert from_line(to_line(request)) == request
    assert request.characters == len("Be brief.See this.") + 2 * CHARACTERS_PER_IMAGE


def test_messages_of_an_earlier_version_have_no_pictures() -> None:
    line = to_line(Generate(1, (Turn("user", "Hello."),))).replace(b', "images": []', b"")
    assert from_line(line) == Generate(1, (Turn("user", "Hello."),))
