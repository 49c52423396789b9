from __future__ import annotations

from app.conversations.hub import Hub, LiveAnswer
from app.web.render.streaming import StreamRenderers


def test_an_answer_that_goes_on_begins_its_blocks_anew() -> None:
    hub = Hub()
    growing = StreamRenderers(hub)
    cut = LiveAnswer(5, "0123456789abcdef", 1, "tiny", text="one\n\ntwo")
    hub.add(cut)
    blocks = growing.blocks(cut)
    assert growing.blocks(cut) is blocks
    blocks.finish(cut.text)
    hub.remove(cut)
    again = LiveAnswer(5, "0123456789abcdef", 1, "tiny", text="one\n\ntwo")
    hub.add(again)
    anew = growing.blocks(again)
    assert anew is not blocks
    again.text += " and three"
    assert growing.blocks(again) is anew
