"""The bench sees every character that a page would show, from the first on."""

from __future__ import annotations

from app.config import asset_dir
from app.conversations.answer_state import LiveAnswer
from app.web.render.fragments import Fragments
from app.web.render.messages import present_live
from app.web.render.streaming import StreamedMarkdown
from tests.page_bench.served import Shown

ANSWER = "Once *upon* a time\n\nthere was a fox.\n\n```python\nprint('fox')\n```\n\nThe end"
READ = "Once upon a timethere was a fox.pythonWrapDownloadCopyprint('fox')\nThe end"


def test_the_bench_counts_what_the_frames_of_an_answer_show() -> None:
    fragments = Fragments(asset_dir("templates"), asset_dir("static"))
    blocks, shown = StreamedMarkdown(), Shown()
    stream = LiveAnswer(1, "0123456789abcdef", 1, "tiny", "streaming", "Once")
    blocks.feed(stream.text)
    assert shown.read(fragments.message(present_live(stream, blocks), oob=True)) == len("Once")
    total, place = len("Once"), blocks.cursor
    for end in range(len("Once") + 1, len(ANSWER) + 1):
        stream.text = ANSWER[:end]
        blocks.feed(stream.text)
        frame, place = fragments.answer_update(1, blocks.update_since(place)), blocks.cursor
        total += shown.read(frame)
    assert total == shown.finished + shown.open
    assert total == len(READ)
