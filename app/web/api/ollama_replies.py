"""Answers as Ollama's clients read them: whole, or a line for each piece while they are made."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.inference.completions import Completions
from app.inference.protocol import Delta, Failed, Finished, SampledToken, TokenLogprob
from app.inference.requests import Interrupted
from app.web.api import failures, streaming
from app.web.api.replies import reason_of

PARAM = "messages"


@dataclass(slots=True)
class OllamaReply:
    """One answer; `words`: what a text is called. It is to be made before the answer begins."""

    completions: Completions
    words: Callable[[str], dict[str, Any]]
    model: str
    path: str
    begun: float = field(default_factory=time.monotonic)

    async def whole(self) -> dict[str, Any]:
        """Raises ApiError."""
        text, tokens = "", list[SampledToken]()
        while True:
            match await self._next():
                case Delta() as delta:
                    text += delta.text
                    tokens += delta.tokens
                case Finished() as finished:
                    return self._end(text, tokens, finished)
                case Failed() | Interrupted() as failed:
                    raise failures.of_event(failed, PARAM)

    async def lines(self) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                match await self._next():
                    case Delta() as delta:
                        part = self._part(delta.text, delta.tokens)
                        yield streaming.line(part | {"done": False})
                    case Finished() as finished:
                        yield streaming.line(self._end("", (), finished))
                        return
                    case Failed() | Interrupted() as failed:
                        error = failures.of_event(failed, PARAM)
                        yield streaming.line(failures.body(error, self.path))
                        return
        finally:
            self.completions.cancel()

    async def _next(self) -> object:
        heard = await self.completions.next()
        return heard[1] if heard else None

    def _part(self, text: str, tokens: Sequence[SampledToken]) -> dict[str, Any]:
        part = {"model": self.model, "created_at": now(), **self.words(text)}
        return part | ({"logprobs": _logprobs(tokens)} if tokens else {})

    def _end(self, text: str, tokens: Sequence[SampledToken], finished: Finished) -> dict[str, Any]:
        total = time.monotonic() - self.begun
        waited = max(0.0, total - finished.prefill_seconds - finished.decode_seconds)
        ids = {"context": list(finished.ids)} if finished.ids else {}
        return self._part(text, tokens) | {
            **ids,
            "done": True,
            "done_reason": reason_of(finished),
            "total_duration": _nanoseconds(total),
            "load_duration": _nanoseconds(waited),  # in the queue, too
            "prompt_eval_count": finished.prompt_tokens,
            "prompt_eval_duration": _nanoseconds(finished.prefill_seconds),
            "eval_count": finished.completion_tokens,
            "eval_duration": _nanoseconds(finished.decode_seconds),
        }


def _logprobs(tokens: Sequence[SampledToken]) -> list[dict[str, Any]]:
    return [_likely(t) | {"top_logprobs": [_likely(o) for o in t.others]} for t in tokens]


def _likely(token: TokenLogprob) -> dict[str, Any]:
    text = bytes(token.data).decode("utf-8", "replace")
    return {"token": text, "logprob": token.logprob, "bytes": list(token.data)}


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def now() -> str:
    return rfc3339(time.time())


def rfc3339(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1e6):06d}Z"
