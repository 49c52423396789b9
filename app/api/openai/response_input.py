"""Items of `/v1/responses` as turns: messages, thoughts, calls and their results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from app.api.openai.response_schemas import InputItem, InputPart
from app.api.pictures import SentPicture, from_url
from app.api.prompt_input import ROLES, CalledFunction, SentToolCall, turn
from app.api.thought_signatures import signed_thought
from app.errors import ApiError
from app.models.model import Turn

_TEXTS: Final = frozenset({"input_text", "output_text", "text", "summary_text", "reasoning_text"})


@dataclass(slots=True)
class _Answer:
    """Items in a row that one answer consisted of."""

    text: str = ""
    thought: str = ""
    calls: list[SentToolCall] = field(default_factory=list)


@dataclass(slots=True)
class ItemReader:
    """Makes turns of items. instructions: of this request alone."""

    instructions: str = ""
    pictures: list[SentPicture] = field(default_factory=list)
    _turns: list[Turn] = field(default_factory=list)
    _answer: _Answer | None = None

    def turns(self, items: Sequence[InputItem]) -> tuple[Turn, ...]:
        """Raises ApiError for items that no model here can read."""
        if self.instructions:
            self._turns.append(Turn("system", self.instructions))
        for number, item in enumerate(items):
            self._add(item, f"input[{number}]")
        self._end_answer()
        return tuple(self._turns)

    def _add(self, item: InputItem, param: str) -> None:
        match item.type or "message":
            case "message" if item.role == "assistant":
                answer = self._begin_answer()
                more = self._text(item.content, param)
                answer.text += f"\n\n{more}" if answer.text and more else more
            case "message":
                self._end_answer()
                role = item.role or ""
                place = len(self._turns)
                text = self._text(item.content, param, place if role == "user" else None)
                self._turns.append(turn(role, text, param=f"{param}.role"))
            case "reasoning":
                self._begin_answer().thought += _thought(item)
            case "function_call":
                called = CalledFunction(item.name or "", item.arguments or "{}")
                self._begin_answer().calls.append(SentToolCall(called, item.call_id))
            case "function_call_output":
                self._add_result(item, param)
            case other:
                known = ", ".join(ROLES)
                raise ApiError(
                    f"Models here read no “{other}” items, but messages ({known}), thoughts, and"
                    " calls of functions with their outputs.",
                    param=f"{param}.type",
                    code="unsupported_content",
                )

    def _add_result(self, item: InputItem, param: str) -> None:
        self._end_answer()
        shown = len(self.pictures)
        text = self._text(item.output, param, len(self._turns) + 1)
        result = replace(turn("tool", text), call_id=item.call_id or "")
        self._turns.append(result)
        if len(self.pictures) > shown:  # a result is text; its pictures stand behind it
            moved = [replace(one, place=0) for one in self.pictures[shown:]]
            self.pictures[shown:] = moved
            self._turns.append(turn("user", ""))

    def _begin_answer(self) -> _Answer:
        if self._answer is None:
            self._answer = _Answer()
        return self._answer

    def _end_answer(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            made = turn("assistant", answer.text, answer.calls)
            self._turns.append(replace(made, thought=answer.thought))

    def _text(
        self, content: str | Sequence[InputPart] | None, param: str, number: int | None = None
    ) -> str:
        """Join the parts of text. Pictures between them are added to those of turn `number`, where
        there may be some. Raises ApiError."""
        if content is None or isinstance(content, str):
            return content or ""
        text = ""
        for place, part in enumerate(content):
            where = f"{param}.content[{place}]"
            if part.type == "input_image" and part.image_url and number is not None:
                self.pictures.append(from_url(part.image_url, number, len(text), where))
            elif part.type in _TEXTS:
                text += ("\n" if text else "") + (part.text or "")
            elif part.type == "refusal":
                text += part.refusal or ""
            else:
                raise ApiError(
                    f"Models here read text, and pictures of users, and no “{part.type}”.",
                    param=where,
                    code="unsupported_content",
                )
        return text


def _thought(item: InputItem) -> str:
    """Return the thought of an item: its text, else its summary, else what was not shown."""
    parts = item.content if isinstance(item.content, list) else []
    text = "".join(part.text or "" for part in parts)
    text = text or "".join(part.text or "" for part in item.summary or ())
    return text or signed_thought(item.encrypted_content or "")
