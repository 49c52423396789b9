"""The words that parent and runner exchange: one JSON object a line, in both directions.

The parent writes commands to the runner's standard input; the runner writes events to a private
pipe (never to standard output, where native code may print). Both sides ignore fields they do not
know, and a line that is not JSON is an error of the sender.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Literal

from app.models.model import Turn, TurnImage
from app.models.parameters import Sampling
from app.models.text.thinking import Effort
from app.models.text.tools import ToolCall, ToolCallDelta, ToolSpec

MAX_CONTEXTS: Final = 56
"""Of one runner: a graph of the library lives in each, and around 60 of them abort it."""

MAX_CONCURRENT_TEXTS: Final = 32
"""Texts that a model for search works on: what many have in one step."""

CHARACTERS_PER_IMAGE: Final = 1024
"""That a picture counts for, where a prompt's length is estimated."""

FinishReason = Literal["stop", "length", "cancelled", "tool_calls"]
Tier = Literal["live", "shared", "ram", "disk", "none"]
"""Where a prompt's beginning came from: the context that held it, a copy of another that holds it,
a snapshot in memory or on the disk, or nowhere."""


# Commands, parent to runner.


@dataclass(frozen=True, slots=True)
class Generate:
    """Continue `turns` (oldest first, the last one from the user) with an answer.

    chat: whose KV cache this is, so that it lives and goes with its chat; empty for none, which
    also keeps it off the disk. Side work about a chat (a title) belongs to none.
    opening: how the answer begins already; it is not told again. context: a window smaller than
    the runner's, in tokens. text: the prompt as it is, without a template; then there are no
    turns. allow_truncation: whether the oldest turns may leave when not all fit the window.
    bias: what is added to the logits of some ids. top_logprobs: tell how likely each token was,
    and that many likely ones beside it; None tells nothing. schema: the answer is JSON that
    follows this JSON schema (itself as text). wants_embedding: no answer, but what the model makes
    of the prompt, as numbers. query: what `text` is compared with, whose relevance is then the only
    number. owner: whose request it is, in any words: of what others have read
    only the system prompt is taken. before: token ids that stand before the prompt. suffix: what is
    to follow the answer, which fills the gap between `text` and it. may_cut: of a last message, or
    a text, that is too long only the end counts. grammar: the answer follows this grammar, in
    Lark's or GBNF's notation. tells_prompt: tell how likely the tokens of the prompt were, and that
    of the answer's end. tells_ids: `Finished` has the token ids of the prompt and the answer.
    """

    id: int
    turns: tuple[Turn, ...]
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int = 1024
    stop: tuple[str, ...] = ()
    chat: str = ""
    opening: str = ""
    context: int | None = None
    text: str | None = None
    allow_truncation: bool = True
    bias: tuple[tuple[int, float], ...] = ()
    top_logprobs: int | None = None
    schema: str | None = None
    wants_embedding: bool = False
    query: str | None = None
    owner: str = ""
    before: tuple[int, ...] = ()
    suffix: str = ""
    may_cut: bool = False
    grammar: str | None = None
    tells_prompt: bool = False
    tells_ids: bool = False
    think: bool | None = None
    effort: Effort | None = None
    thought: str = ""
    max_thought_tokens: int | None = None
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: str = "auto"
    parallel_tool_calls: bool = True

    @property
    def offers_tools(self) -> bool:
        """Tell whether the answer may call tools."""
        return bool(self.tools) and self.tool_choice != "none"

    @property
    def must_call(self) -> bool:
        """Tell whether the answer has to call a tool."""
        return self.offers_tools and self.tool_choice != "auto"

    @property
    def callable_tools(self) -> tuple[ToolSpec, ...]:
        """The tools that may be called."""
        if not self.tool_choice.startswith("="):
            return self.tools
        return tuple(tool for tool in self.tools if tool.name == self.tool_choice[1:])

    @property
    def is_exact(self) -> bool:
        """Tell whether the same request must get the same answer, whatever was asked before.

        A chat goes on from what it holds instead, which is quicker.
        """
        is_greedy = self.sampling.temperature <= 0 or self.sampling.top_k == 1
        return (is_greedy or self.wants_embedding or self.tells_prompt) and not self.chat

    @property
    def characters(self) -> int:
        """Length of the prompt without its template; estimated where it has token ids."""
        text = len(self.text or "") + len(self.suffix) + len(self.query or "")
        text += 4 * len(self.before)
        text += CHARACTERS_PER_IMAGE * sum(len(turn.images) for turn in self.turns)
        text += sum(len(call.arguments) for turn in self.turns for call in turn.calls)
        text += sum(len(tool.description) + len(tool.parameters) for tool in self.tools)
        return sum(len(turn.content) + len(turn.thought) for turn in self.turns) + text


@dataclass(frozen=True, slots=True)
class Cancel:
    """End request `id` within one step, wherever it is. Unknown ids are ignored."""

    id: int


@dataclass(frozen=True, slots=True)
class DeleteCache:
    """Drop whatever is kept of `chat`, on the disk too, or of `owner`, in memory; neither comes
    again."""

    chat: str = ""
    owner: str = ""


@dataclass(frozen=True, slots=True)
class SetLimits:
    """Keep at most so many contexts, and so many megabytes of snapshots in memory, from now on.

    What is too much goes to the disk, or is lost.
    """

    contexts: int
    ram_mb: int


@dataclass(frozen=True, slots=True)
class Shutdown:
    """End: nothing more is answered, states are written to the disk for at most `seconds`."""

    seconds: float


Command = Generate | Cancel | DeleteCache | SetLimits | Shutdown


# Events, runner to parent. Those with an `id` belong to one request.


@dataclass(frozen=True, slots=True)
class Loaded:
    """The weights are in memory; up to `slots` requests run at once. `seconds` it took.

    Comes again when there are more or fewer slots: servers elsewhere come and go. gpu_layers: how
    many of `layers` are on devices beside the CPU, and devices: the bytes on each, by its name.
    """

    slots: int
    context_length: int
    seconds: float
    gpu_layers: int = 0
    layers: int = 0
    devices: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """The weights are being loaded: `done` from 0 to 1. Comes before Loaded or LoadFailed only."""

    done: float


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """The runner ends after this. `message` is a sentence for the person."""

    message: str


@dataclass(frozen=True, slots=True)
class Prefill:
    """The prompt is being read: `done` of `total` tokens, `cached` of them without work.

    `dropped`: how many of the oldest turns did not fit the window and are not seen by the model,
    but for those with documents; lost_documents: these are not seen either.
    """

    id: int
    done: int
    total: int
    cached: int
    dropped: int
    lost_documents: bool = False


@dataclass(frozen=True, slots=True)
class Stalled:
    """The request waits for something else than its turn; `detail` says for what, in words."""

    id: int
    detail: str


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token that could have come: its bytes, and the logarithm of how likely it was, None for
    the first of a prompt."""

    data: tuple[int, ...]
    logprob: float | None


@dataclass(frozen=True, slots=True)
class SampledToken(TokenLogprob):
    """The token that came; `others`: the likeliest ones, itself perhaps among them."""

    others: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """More text of the answer, or of the thought before it. The concatenation of all deltas is the
    answer.

    tokens: those made since the delta before, if they were asked for. Their bytes may run ahead
    of the text, of which half a character or the beginning of a stop is held back. count: how many
    were made since then, told or not. thought: more of what the model reasons before it answers.
    calls: more of the tools that it calls, whose markup is in no text.
    """

    id: int
    text: str
    tokens: tuple[SampledToken, ...] = ()
    count: int = 1
    thought: str = ""
    calls: tuple[ToolCallDelta, ...] = ()

    @classmethod
    def joined(cls, deltas: Sequence[Delta]) -> Delta:
        """One delta that says what all of these say, of one request and in this order."""
        return cls(
            deltas[0].id if deltas else 0,
            "".join(delta.text for delta in deltas),
            tuple(token for delta in deltas for token in delta.tokens),
            sum(delta.count for delta in deltas),
            "".join(delta.thought for delta in deltas),
            tuple(call for delta in deltas for call in delta.calls),
        )


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer ended. Times in seconds; token counts as evaluated by the engine.

    The opening of an answer that went on counts as prompt. context_length: tokens that the window
    of this request could hold; 0 when it never got one. embedding: of the prompt's last token, if
    it was asked for; so are ids. thought_tokens: those of completion_tokens that were no answer.
    stop: the stop string that ended it, empty where another thing did, or nobody knows.
    """

    id: int
    reason: FinishReason
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    prefill_seconds: float
    decode_seconds: float
    dropped: int
    tier: Tier = "none"
    context_length: int = 0
    embedding: tuple[float, ...] = ()
    ids: tuple[int, ...] = ()
    thought_tokens: int = 0
    stop: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """The request ended without a (whole) answer. `message` is a sentence for the person.

    status: of the error, as in HTTP. prompt_tokens, context_length: of a prompt that is too long,
    as far as they are known.
    """

    id: int
    message: str
    status: int = 500
    prompt_tokens: int = 0
    context_length: int = 0


@dataclass(frozen=True, slots=True)
class Aborted:
    """The answer broke off for a reason that is not its own; its text so far stays, and can go on.
    `message` is a sentence for the person."""

    id: int
    message: str


Event = Loaded | LoadProgress | LoadFailed | Prefill | Stalled | Delta | Finished | Failed | Aborted
_NAMES: dict[str, type[Command | Event]] = {
    cls.__name__.lower(): cls
    for cls in (
        Generate,
        Cancel,
        DeleteCache,
        SetLimits,
        Shutdown,
        Loaded,
        LoadProgress,
        LoadFailed,
        Prefill,
        Stalled,
        Delta,
        Finished,
        Failed,
        Aborted,
    )
}


def to_line(message: Command | Event) -> bytes:
    """One line of JSON, newline included. Text is ASCII-escaped, so a line is never cut inside."""
    return json.dumps({"type": type(message).__name__.lower(), **asdict(message)}).encode() + b"\n"


def from_line(line: bytes) -> Command | Event:
    """The message of one line. Raises ValueError for anything that is not one."""
    try:
        values: dict[str, Any] = json.loads(line)
        cls = _NAMES[values.pop("type")]
        known = {f.name for f in fields(cls)}
        values = {name: value for name, value in values.items() if name in known}
        if cls is Generate:
            values["turns"] = tuple(map(_turn, values["turns"]))
            values["sampling"] = Sampling(**values.get("sampling", {}))
            values["stop"] = tuple(values.get("stop", ()))
            values["bias"] = tuple((token, bias) for token, bias in values.get("bias", ()))
            values["before"] = tuple(values.get("before", ()))
            values["tools"] = tuple(ToolSpec(**tool) for tool in values.get("tools", ()))
        elif cls is Finished:
            values["embedding"] = tuple(values.get("embedding", ()))
            values["ids"] = tuple(values.get("ids", ()))
        elif cls is Delta:
            values["tokens"] = tuple(map(_token, values.get("tokens", ())))
            values["calls"] = tuple(ToolCallDelta(**call) for call in values.get("calls", ()))
        return cls(**values)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ValueError(f"not a message of the runner protocol: {line[:200]!r}") from error


def _turn(values: dict[str, Any]) -> Turn:
    images = tuple(TurnImage(**image) for image in values.pop("images", ()))
    calls = tuple(ToolCall(**call) for call in values.pop("calls", ()))
    return Turn(**values, images=images, calls=calls)


def _token(values: dict[str, Any]) -> SampledToken:
    others = (TokenLogprob(tuple(o["data"]), o["logprob"]) for o in values["others"])
    return SampledToken(tuple(values["data"]), values["logprob"], tuple(others))


def to_storable(text: str) -> str:
    """Replace what neither UTF-8 nor SQLite can hold: halves of characters, which JSON can name,
    and NUL."""
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return whole.replace("\0", "\ufffd")
