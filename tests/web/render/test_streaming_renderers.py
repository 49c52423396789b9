from __future__ import annotations

from app.conversations.answer_state import LiveAnswer
from app.conversations.hub import Hub
from app.web.render.streaming import StreamRenderers


def test_an_answer_that_goes_on_begins_its_blocks_anew() -> None:
    hub = Hub()
    renderers = StreamRenderers(hub)
    cut = LiveAnswer(5, "0123456789abcdef", 1, "tiny", text="one\n\ntwo")
    hub.add(cut)
    blocks = renderers.blocks(cut)
    assert renderers.blocks(cut) is blocks
    blocks.finish(cut.text)
    hub.remove(cut)
    again = LiveAnswer(5, "0123456789abcdef", 1, "tiny", text="one\n\ntwo")
    hub.add(again)
    anew = renderers.blocks(again)
    assert anew is not blocks
    again.text += " and three"
    assert renderers.blocks(again) is anew
