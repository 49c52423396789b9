"""The hub: which answers run, who watches which chat, and what each watcher has yet to see.

It holds no frames: a subscription only remembers *that* something changed. Whoever owns it looks
at the present state when it is ready to, so a slow tab costs constant memory and delays nobody.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import Final

from app.conversations.answer_state import LiveAnswer

MAX_CHANGED: Final = 100


@dataclass(slots=True, eq=False)
class Subscription:
    """One open tab. The hub sets what is stale; the tab's sender clears it when it has shown it.

    wake: something is stale. urgent: it should be shown without waiting for more. messages: the
    list of messages changed. sidebar, models: those parts did; changed: ids of the chats that the
    sidebar's change is about, or reordered: too many. picked: the model chosen for the chat, which
    may be yet to begin. streams: ids of answers with news.
    closing: a WebSocket close code once the tab must go.
    """

    user_id: int
    chat_id: str
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    urgent: asyncio.Event = field(default_factory=asyncio.Event)
    messages: bool = False
    sidebar: bool = False
    changed: set[str] = field(default_factory=set)
    reordered: bool = False
    models: bool = False
    picked: str = ""
    streams: set[int] = field(default_factory=set)
    replies: list[str] = field(default_factory=list)
    closing: int | None = None

    def mark_chat_changed(self, chat_id: str) -> None:
        """The sidebar's change is about this chat, too; of more than MAX_CHANGED it need
        not say which."""
        self.changed.add(chat_id)
        if len(self.changed) > MAX_CHANGED:
            self.changed.clear()
            self.reordered = True

    def notify(self, *, urgent: bool = False) -> None:
        self.wake.set()
        if urgent:
            self.urgent.set()


class Hub:
    """Live streams by message id, and subscriptions. Everything is called in the event loop.

    models_version: rises when a model comes, goes or changes.
    """

    def __init__(self) -> None:
        self._streams: dict[int, LiveAnswer] = {}
        self._subscriptions: set[Subscription] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._epoch = secrets.token_hex(4)
        self._changes = 0
        self.models_version = 0

    @property
    def version(self) -> str:
        """Changes with every change of a list. Pages carry it, to learn whether they missed one."""
        return f"{self._epoch}-{self._changes}"

    @property
    def running(self) -> int:
        return len(self._streams)

    @property
    def watching(self) -> int:
        """Count the tabs that are connected."""
        return len(self._subscriptions)

    def add(self, stream: LiveAnswer) -> None:
        self._streams[stream.message_id] = stream
        self.chat_changed(stream.user_id, stream.chat_id)

    def remove(self, stream: LiveAnswer) -> None:
        if self._streams.get(stream.message_id) is stream:  # not of the same answer that goes on
            del self._streams[stream.message_id]
        self.chat_changed(stream.user_id, stream.chat_id)

    def discard(self, stream: LiveAnswer) -> None:
        """Remove the stream without notifying those who watch it: nothing has changed for them."""
        self._streams.pop(stream.message_id, None)

    def streams(self) -> list[LiveAnswer]:
        """List answers that have not ended, or are not saved yet."""
        return list(self._streams.values())

    def stream(self, message_id: int) -> LiveAnswer | None:
        return self._streams.get(message_id)

    def stream_of_chat(self, chat_id: str) -> LiveAnswer | None:
        """The answer that runs in this chat, if one does."""
        return next((s for s in self._streams.values() if s.chat_id == chat_id), None)

    def unfinished_count(self, user_id: int) -> int:
        """Answers in this user's chats that have not ended."""
        return sum(stream.user_id == user_id for stream in self._streams.values())

    def subscription_count(self, user_id: int) -> int:
        """Open pages of this user."""
        return sum(s.user_id == user_id for s in self._subscriptions)

    def running_chats(self, user_id: int) -> set[str]:
        return {s.chat_id for s in self._streams.values() if s.user_id == user_id}

    def subscribe(self, user_id: int, chat_id: str) -> Subscription:
        subscription = Subscription(user_id, chat_id)
        self._subscriptions.add(subscription)
        self._empty.clear()
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        self._subscriptions.discard(subscription)
        if not self._subscriptions:
            self._empty.set()

    def stream_changed(self, stream: LiveAnswer, *, urgent: bool) -> None:
        """Notify of more text (not urgent) or another status."""
        for subscription in self._subscriptions:
            if subscription.chat_id == stream.chat_id and subscription.user_id == stream.user_id:
                subscription.streams.add(stream.message_id)
                subscription.notify(urgent=urgent)

    def chat_changed(self, user_id: int, chat_id: str) -> None:
        """Messages came or ended, or the chat was renamed, deleted or restored."""
        self._changes += 1
        for subscription in self._subscriptions:
            if subscription.user_id == user_id:
                subscription.sidebar = True
                subscription.mark_chat_changed(chat_id)
                subscription.messages |= subscription.chat_id == chat_id
                subscription.notify(urgent=subscription.messages)

    def chats_changed(self, user_id: int) -> None:
        """Many chats came or went at once."""
        self._changes += 1
        for subscription in self._subscriptions:
            if subscription.user_id == user_id:
                subscription.sidebar = subscription.reordered = True
                subscription.messages = True
                subscription.notify()

    def folders_changed(self, user_id: int) -> None:
        """Folders came or went, or show their chats, or no more."""
        self._changes += 1
        for subscription in self._subscriptions:
            if subscription.user_id == user_id:
                subscription.sidebar = True
                subscription.notify()

    def is_open(self, user_id: int, chat_id: str) -> bool:
        """Tell whether any tab of this user shows this chat."""
        return any(s.user_id == user_id and s.chat_id == chat_id for s in self._subscriptions)

    def is_watched(self, chat_id: str) -> bool:
        """Tell whether anything shows this chat: a tab, or a program that follows an answer."""
        return any(s.chat_id == chat_id for s in self._subscriptions)

    def model_chosen(self, user_id: int, chat_id: str, name: str) -> None:
        """The next answer of this chat is to be by this model."""
        for subscription in self._subscriptions:
            if subscription.user_id == user_id and subscription.chat_id == chat_id:
                subscription.picked, subscription.models = name, True
                subscription.notify()

    def models_changed(self) -> None:
        """A model came, went, was loaded, or is on its way."""
        self._changes += 1
        self.models_version += 1
        for subscription in self._subscriptions:
            subscription.models = True
            subscription.notify()

    def close(self, code: int, user_id: int | None = None) -> None:
        """Close every tab, or those of one user, with this code."""
        for subscription in self._subscriptions:
            if user_id in {None, subscription.user_id}:
                subscription.closing = code
                subscription.notify(urgent=True)

    async def wait_until_empty(self) -> None:
        """Wait until no tab is left."""
        await self._empty.wait()
