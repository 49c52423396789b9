"""Selection of the turns that the model sees when not all of them fit its window."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from app.errors import PromptTooLong, TooManyTokens
from app.models.model import Turn

Encode = Callable[[Sequence[Turn]], list[int]]
_KEEP = 0.6  # of the limit stays when turns must leave
_CUT = 0.98  # of the characters that should fit stay when a message is cut


@dataclass(frozen=True, slots=True)
class FittedPrompt:
    """tokens: the whole prompt; dropped: how many of the oldest turns it leaves out; window: how
    many tokens it and the answer may have together, None for as many as the context holds; shared:
    how many of the first tokens are the system prompt's; kept: its turns; lost_documents: whether
    also turns that were to stay are left out."""

    tokens: list[int]
    dropped: int
    window: int | None = None
    shared: int = 0
    kept: Sequence[Turn] = ()
    lost_documents: bool = False


def answer_reserve(max_tokens: int, context_length: int) -> int:
    """Tokens kept free for the answer: never more than a quarter of the window."""
    return max(1, min(max_tokens, context_length // 4))


def fit(turns: Sequence[Turn], encode: Encode, limit: int) -> FittedPrompt:
    """The newest turns whose prompt has at most `limit` tokens. System turns always stay.

    A user's turn leaves together with its answers. When turns must leave, enough of them leave to
    come down to 60 % of the limit, and the same history always loses the same turns: so the
    beginning of the prompt, and with it the KV cache, stays the same for many turns of a chat.
    Turns with documents stay in their place while all others leave, and leave last.
    Raises PromptTooLong when the newest message alone does not fit.
    """
    if not turns:
        raise ValueError("a prompt needs at least one turn")
    _check_system(turns, limit)
    early = _surplus(turns, limit)
    whole = turns
    turns = without_oldest(turns, early)
    tokens, size = _encoded(encode, turns)
    if size <= limit:
        return FittedPrompt(tokens, early, kept=turns)
    window = _Window(turns, encode)
    start = window.start(limit)
    while True:
        kept = window.from_exchange(start)
        tokens, size = _encoded(encode, kept)
        if size <= limit:
            dropped = 0 if len(kept) == len(whole) else len(whole) - window.length_from(start)
            return FittedPrompt(tokens, dropped, kept=kept)
        if start >= len(window.exchanges) - 1:
            if any(turn.stays for turn in whole):
                free = [replace(turn, stays=False) for turn in whole]
                return replace(fit(free, encode, limit), lost_documents=True)
            raise PromptTooLong(
                f"This message is about {size:,} tokens long; "
                f"the model can read {limit:,} at once. Shorten it.",
                size,
            )
        start += 1  # a template whose parts do not simply add up


def fit_exact(encode: Callable[[], list[int]], limit: int) -> FittedPrompt:
    """Encode a prompt from which nothing may leave. Raises PromptTooLong."""
    try:
        tokens = encode()
    except TooManyTokens as error:
        raise _too_long("about ", error.about, limit) from None
    if len(tokens) > limit:
        raise _too_long("", len(tokens), limit)
    return FittedPrompt(tokens, 0)


def _too_long(about: str, tokens: int, limit: int) -> PromptTooLong:
    return PromptTooLong(
        f"This prompt is {about}{tokens:,} tokens long; the model can read {limit:,} at once. "
        "Shorten it.",
        tokens,
    )


def _encoded(encode: Encode, turns: Sequence[Turn]) -> tuple[list[int], int]:
    """The tokens and how many they are; none but their number when they are far too many."""
    try:
        tokens = encode(turns)
    except TooManyTokens as error:
        return [], error.about
    return tokens, len(tokens)


def _check_system(turns: Sequence[Turn], limit: int) -> None:
    """Check system turns, which never leave: each is a token at least. Raises PromptTooLong."""
    count = sum(turn.role == "system" for turn in turns)
    if count > limit:
        raise _too_long("at least ", count, limit)


def _surplus(turns: Sequence[Turn], limit: int) -> int:
    """Count the oldest turns that leave unread, since each is a token at least.

    Rounded up, so that a chat that grows loses some only now and then.
    """
    others = [turn for turn in turns if turn.role != "system"]
    if len(others) <= limit:
        return 0
    some = max(1, limit // 2)
    least = -(-(len(others) - limit) // some) * some
    last = len(others) - 1
    return next((i for i in range(min(least, last), last) if others[i].role == "user"), last)


def fit_cut(turns: Sequence[Turn], encode: Encode, limit: int) -> FittedPrompt:
    """The end of the newest message, for one that does not fit, behind the system turns.

    Raises PromptTooLong when those leave no room for it.
    """
    system, last = [turn for turn in turns if turn.role == "system"], turns[-1]
    if _encoded(encode, [*system, replace(last.end(0), content=".")])[1] > limit:
        what = "The system prompt leaves"
        if last.images:
            what = "Its recordings leave" if last.images[0].is_sound else "Its pictures leave"
        raise PromptTooLong(f"{what} no room for a message.")
    kept = last
    while True:
        tokens, size = _encoded(encode, [*system, kept])
        if size <= limit:
            return FittedPrompt(tokens, len(turns) - len(system) - 1)
        kept = kept.end(max(1, int(len(kept.content) * limit / size * _CUT)))


def fit_continuation(
    turns: Sequence[Turn], encode: Encode, encode_opened: Encode, limit: int, max_tokens: int
) -> FittedPrompt:
    """Fit the prompt of an answer that has begun. `encode_opened` writes its beginning too.

    It goes on behind the very prompt it began with, which the KV cache still holds, as long as
    that leaves it some room: at most `max_tokens`. Else further turns leave.
    """
    fitted = fit(turns, encode, limit)
    tokens, size = _encoded(encode_opened, fitted.kept)
    if size <= max_tokens:
        return replace(fitted, tokens=tokens)
    try:
        return fit(turns, encode_opened, limit)
    except PromptTooLong:
        raise PromptTooLong(
            f"This answer and its question fill the {max_tokens:,} tokens that the model can "
            "read at once, so it cannot go on."
        ) from None


def without_oldest(turns: Sequence[Turn], count: int) -> list[Turn]:
    """Drop the `count` oldest turns; system turns stay, and documents with their answers."""
    others = (i for i, turn in enumerate(turns) if turn.role != "system")
    oldest = set(itertools.islice(others, count))
    for exchange in _exchanges(turns) if oldest else ():
        if _stays(turns, exchange):
            oldest -= set(exchange)
    return [turn for i, turn in enumerate(turns) if i not in oldest]


class _Window:
    """The conversation as exchanges (a user's turn and what follows it) and their weights."""

    def __init__(self, turns: Sequence[Turn], encode: Encode) -> None:
        self._turns = turns
        self._encode = encode
        self._system = [i for i, turn in enumerate(turns) if turn.role == "system"]
        self.exchanges = _exchanges(turns)
        self._shared = self._measure_shared()

    def from_exchange(self, start: int) -> list[Turn]:
        """List system turns, and the others from that exchange on, in their order."""
        staying = [one for one in self.exchanges[:start] if _stays(self._turns, one)]
        kept = {index for exchange in [*staying, *self.exchanges[start:]] for index in exchange}
        return [t for i, t in enumerate(self._turns) if i in kept or t.role == "system"]

    def length_from(self, start: int) -> int:
        """Count system turns, and the others from that exchange on."""
        return len(self._system) + sum(map(len, self.exchanges[start:]))

    def start(self, limit: int) -> int:
        """The first exchange that stays, found by living the chat again from its first message."""
        start, total, staying = 0, self._shared, 0
        weights: list[int] = []
        for number, exchange in enumerate(self.exchanges):
            asked = self._weight(exchange[:1])  # at that time the answer was not yet there
            if total + asked > limit:
                aim = staying + (limit - staying) * _KEEP
                while start < number and total + asked > aim:
                    total -= 0 if _stays(self._turns, self.exchanges[start]) else weights[start]
                    start += 1
            weights.append(self._weight(exchange))
            total += weights[-1]
            staying += weights[-1] if _stays(self._turns, exchange) else 0
        return start

    def _weight(self, exchange: Sequence[int]) -> int:
        return self._size(exchange) - self._shared

    def _size(self, indexes: Sequence[int]) -> int:
        wanted = sorted([*self._system, *indexes])
        return _encoded(self._encode, [self._turns[index] for index in wanted])[1]

    def _measure_shared(self) -> int:
        """Tokens that every prompt has once: system turns, and what the template puts around."""
        if len(self.exchanges) < 2:
            return 0
        first, second = self.exchanges[:2]
        return max(0, self._size(first) + self._size(second) - self._size([*first, *second]))


def _stays(turns: Sequence[Turn], exchange: Sequence[int]) -> bool:
    return any(turns[index].stays for index in exchange)


def _exchanges(turns: Sequence[Turn]) -> list[list[int]]:
    """The indexes of the turns, system turns aside, each group beginning at a user's turn."""
    groups: list[list[int]] = []
    for index, turn in enumerate(turns):
        if turn.role == "system":
            continue
        if turn.role == "user" or not groups:
            groups.append([])
        groups[-1].append(index)
    return groups
