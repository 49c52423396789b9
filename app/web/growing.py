"""The answers that run, as blocks: each is parsed once, however many tabs look at it."""

from __future__ import annotations

from app.chats.hub import Hub
from app.chats.streams import LiveAnswer
from app.web.blocks import StreamedMarkdown


class StreamRenderers:
    """Blocks by message id, for as long as the hub knows their streams."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._blocks: dict[int, tuple[LiveAnswer, StreamedMarkdown]] = {}

    def blocks(self, stream: LiveAnswer) -> StreamedMarkdown:
        """Fed with all the text that there is. An answer that goes on begins anew."""
        known, blocks = self._blocks.get(
            stream.message_id, (None, StreamedMarkdown(stream.message_id))
        )
        if known is not stream:
            ended = [number for number in self._blocks if self._hub.stream(number) is None]
            for number in ended:
                del self._blocks[number]
            blocks = StreamedMarkdown(stream.message_id)
            self._blocks[stream.message_id] = (stream, blocks)
        blocks.feed(stream.text)
        return blocks
