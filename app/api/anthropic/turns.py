"""Messages of Anthropic's protocol as turns: their blocks of text, pictures, thoughts and tools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from app.api.anthropic.schemas import MessagesRequest, SentBlock, SentMessage, Source
from app.api.pictures import SentPicture, from_base64, from_url
from app.api.prompt_input import CalledFunction, SentToolCall, turn
from app.api.thought_signatures import signed_thought
from app.errors import ApiError
from app.models.model import Turn


@dataclass(slots=True)
class Conversation:
    """Turns of a request, and the pictures in them."""

    turns: list[Turn] = field(default_factory=list)
    pictures: list[SentPicture] = field(default_factory=list)

    @classmethod
    def of(cls, body: MessagesRequest) -> Conversation:
        """Read a request. Raises ApiError."""
        made = cls()
        if system := _plain_text(body.system or "", "system"):
            made.turns.append(turn("system", system))
        for number, message in enumerate(body.messages):
            made._add(message, f"messages.{number}")
        return made

    def _add(self, message: SentMessage, param: str) -> None:
        if isinstance(message.content, str):
            self.turns.append(turn(message.role, message.content, param=f"{param}.role"))
        elif message.role == "assistant":
            self.turns.append(_answer(message.content, param))
        elif message.role == "user":
            self._add_prompt(message.content, param)
        else:
            text = _plain_text(message.content, f"{param}.content")
            self.turns.append(turn(message.role, text, param=f"{param}.role"))

    def _add_prompt(self, blocks: Sequence[SentBlock], param: str) -> None:
        """Add results of tools, each a turn of its own, and what the user says beside them."""
        said: list[tuple[SentBlock, str]] = []
        for place, block in enumerate(blocks):
            where = f"{param}.content.{place}"
            if block.type == "tool_result":
                said += self._add_result(block, where)
            else:
                said.append((block, where))
        if not said:
            return
        number, text = len(self.turns), ""
        for block, where in said:
            if block.type == "image":
                self.pictures.append(_picture(block, number, len(text), where))
                continue
            more = _text(block, where)
            text += f"\n{more}" if text and more else more
        self.turns.append(turn("user", text))

    def _add_result(self, block: SentBlock, param: str) -> list[tuple[SentBlock, str]]:
        """Add the result of a tool; its pictures are returned, for the user's turn behind it."""
        content = block.content or ""
        blocks = [SentBlock("text", text=content)] if isinstance(content, str) else content
        pictures = [(one, param) for one in blocks if one.type == "image"]
        text = _plain_text([one for one in blocks if one.type != "image"], param)
        if block.is_error:
            text = f"Error: {text}"
        result = turn("tool", text)
        self.turns.append(replace(result, call_id=block.tool_use_id or ""))
        return pictures


def _answer(blocks: Sequence[SentBlock], param: str) -> Turn:
    text, thought, calls = "", "", list[SentToolCall]()
    for place, block in enumerate(blocks):
        if block.type == "thinking":
            thought += block.thinking or signed_thought(block.signature or "")
        elif block.type == "redacted_thinking":
            thought += signed_thought(block.data or "")
        elif block.type == "tool_use":
            given = block.input if isinstance(block.input, dict) else {}
            calls.append(SentToolCall(CalledFunction(block.name or "", given), block.id))
        else:
            text += _text(block, f"{param}.content.{place}")
    return replace(turn("assistant", text, calls), thought=thought)


def _plain_text(content: str | Sequence[SentBlock], param: str) -> str:
    if isinstance(content, str):
        return content
    texts = [_text(block, f"{param}.{place}") for place, block in enumerate(content)]
    return "\n".join(text for text in texts if text)


def _text(block: SentBlock, param: str) -> str:
    """Read a block of text, or a document that is one. Raises ApiError for any other."""
    if block.type == "text":
        return block.text or ""
    if block.type == "document" and block.source is not None and block.source.type == "text":
        head = f"# {block.title}\n\n" if block.title else ""
        return head + (block.source.data or "")
    if block.type == "search_result":
        inner = block.content if isinstance(block.content, list) else []
        return "\n".join([block.title or "", *(one.text or "" for one in inner)]).strip()
    what = "documents as text" if block.type == "document" else f"no “{block.type}”"
    raise ApiError(
        f"Models here read text and pictures in such a message, and {what}.",
        param=param,
        code="unsupported_content",
    )


def _picture(block: SentBlock, number: int, place: int, param: str) -> SentPicture:
    """Raises ApiError."""
    source = block.source or Source("")
    if source.type == "base64":
        return SentPicture(from_base64(source.data or "", param), number, place, param)
    if source.type == "url" and source.url:
        return from_url(source.url, number, place, param)
    raise ApiError("Send pictures as base64.", param=param, code="unsupported_content")
