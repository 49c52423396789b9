"""The WebSocket of a chat page: prompts come in, updates go out."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from quart import Blueprint, websocket

from app.conversations.history import ContextUsage
from app.conversations.personas import starters_of
from app.conversations.settings import sanitize_text
from app.conversations.submission import Prompt
from app.errors import ChatError, WickError
from app.inference.kv_files import is_memory_only
from app.web.addresses import row_id
from app.web.context import server_context
from app.web.live.answers import AnswersConnection
from app.web.live.sidebar import SidebarUpdates, until_cursor
from app.web.render.chat import (
    ChatView,
    better_model,
    load_chat_view,
    missing_model,
    picker_options,
    suggested_models,
    suggested_starters,
)
from app.web.render.messages import (
    PAGE_SIZE,
    MessageHead,
    MessageView,
    ModelOption,
)
from app.web.render.warning import warning
from app.web.security.identity import current_user
from app.web.socket import serve

# What the composer sends over the socket, of which nothing is trusted.


_FILE_IDS: Final = re.compile(r"(?:[0-9]{1,15} ?){0,40}")
INVALID_MESSAGE = "Wick did not understand this message. Reload the page."


def parse(data: str | bytes) -> dict[str, object]:
    """Return what a form sent. Raises ChatError when it is not that."""
    try:
        values = json.loads(data)
    except (ValueError, TypeError, RecursionError) as error:  # TypeError: of an empty binary frame
        raise ChatError(INVALID_MESSAGE) from error
    if not isinstance(values, dict):
        raise ChatError(INVALID_MESSAGE)
    return values


def parse_prompt(values: Mapping[str, object], user_id: int, chat_id: str) -> Prompt:
    """The prompt in what the composer sent. Raises ChatError when there is none."""
    text, client_id, model = (values.get(name) for name in ("text", "client_id", "model"))
    if not isinstance(text, str) or not isinstance(client_id, str):
        raise ChatError(INVALID_MESSAGE)
    if not isinstance(model, str | None) or not 8 <= len(client_id) <= 64:
        raise ChatError(INVALID_MESSAGE)
    if not client_id.isalnum():
        raise ChatError(INVALID_MESSAGE)
    persona = values.get("persona") or ""
    if not isinstance(persona, str) or not _FILE_IDS.fullmatch(persona) or " " in persona:
        raise ChatError(INVALID_MESSAGE)
    folder = values.get("folder") or ""
    if not isinstance(folder, str) or not _FILE_IDS.fullmatch(folder) or " " in folder:
        raise ChatError(INVALID_MESSAGE)
    files = values.get("attachments") or ""
    if not isinstance(files, str) or not _FILE_IDS.fullmatch(files):
        raise ChatError(INVALID_MESSAGE)
    return Prompt(
        user_id=user_id,
        chat_id=chat_id,
        text=text,
        client_id=client_id,
        model=sanitize_text(model or ""),
        attachments=tuple(int(one) for one in files.split()),
        persona=int(persona) if persona else None,
        folder=int(folder) if folder else None,
    )


# The socket of a chat's page: prompts come in, and whatever changed goes out.


log = logging.getLogger(__name__)
blueprint = Blueprint("live", __name__)


@dataclass(slots=True)
class ChatConnection(AnswersConnection):
    """One open page: what it shows, and the ways to change it."""

    first: int | None = None
    wants_earlier: bool = False
    title: str = ""
    divider: int | None = None
    moves_divider: bool = False
    is_changed: bool | None = None
    """Whether its settings differ from the model's; None where that is not known yet."""
    tool_count: int | None = None
    """How many tools are on; None where that is not known yet."""
    actions: tuple[bool, bool] = (False, False)
    gauge: ContextUsage | None = None
    options: list[ModelOption] = field(default_factory=list)
    pulls: str = ""
    missing: str = ""
    better: str = ""
    full: str = ""
    chosen: str = ""
    preferred: str = ""
    """The model of the persona with which a new chat is to begin."""
    has_own_starters: bool = False
    """Whether that persona says itself what one could ask."""
    starters: tuple[str, ...] = ()

    # Out.

    async def initial_frame(self, version: str) -> str:
        await self.context.of(self.chat_id).chats.mark_read(self.user_id, self.chat_id)
        view = await load_chat_view(self.context, self.user_id, self.chat_id, self.first)
        if version != self.context.hub.version:
            frame = self._full_frame(view) + await self.sidebar.frame(whole=True)
            frame += await self._models()
        else:
            frame = self._running(view)
        frame += await self._settings()
        if view.chat is None and self.first is not None and is_memory_only(self.chat_id):
            frame += self.context.fragments.notice("This temporary chat has ended.")
        self._remember(view)
        return frame

    async def next_frame(self) -> str:
        subscription = self.subscription
        parts = list(subscription.replies)
        subscription.replies.clear()
        has_changes, subscription.messages = subscription.messages, False
        if has_changes:
            parts += [await self._changes(), await self._settings()]
        elif self.wants_earlier:
            self.wants_earlier = False
            parts.append(await self._earlier())
        if subscription.sidebar:
            subscription.sidebar = False
            parts.append(await self.sidebar.frame())
        if subscription.models:
            subscription.models = False
            parts.append(await self._models())
        if not has_changes:
            streams, subscription.streams = subscription.streams, set()
            parts += [self._progress(message_id) for message_id in streams]
            if self.moves_divider:
                parts.append(self.context.fragments.moved_divider(self.divider))
                self.moves_divider = False
        elif subscription.streams or self.wants_earlier:
            # In a frame of their own, so that no frame replaces one message twice.
            subscription.notify(urgent=True)
        if self.moves_divider:  # a moment later: with more text at once, the page would jump
            subscription.notify()
        return "".join(parts)

    async def _changes(self) -> str:
        """Messages that are new or have ended; everything, when another path is shown."""
        view = await load_chat_view(self.context, self.user_id, self.chat_id, self.first)
        shown, fragments = list(self.keys), self.context.fragments
        is_same = [v.id for v in view.views[: len(shown)]] == shown
        old, new = view.views[: len(shown)], view.views[len(shown) :]
        if not is_same or (view.divider != self.divider and view.divider in {v.id for v in new}):
            frame, self.moves_divider = self._full_frame(view), False
        else:
            self.moves_divider |= view.divider != self.divider
            changed = [v for v in old if v.key != self.keys[v.id]]
            frame = "".join(self._changed(v) for v in changed)
            frame += "".join(fragments.appended(v) for v in new)
            frame += self._frame_of(view)
            # What was not rendered now still shows its text only up to where it was.
            for v in (v for v in old if v not in changed and v.id in view.markers):
                if v.id in self.places:
                    view.markers[v.id] = self.places[v.id]
        ended = [v for v in view.views if v.id in self.places and not v.is_live]
        if view.is_running != self.actions[0]:
            frame += fragments.announcement(view.announcement)
        elif ended:  # and the next one begins at once
            frame += fragments.announcement(ended[-1].announcement)
        self._remember(view)
        return frame

    def _changed(self, view: MessageView) -> str:
        """A message anew; of one that has just ended only what is not on the page yet."""
        if view.id in self.places and not view.is_live:
            fragments, before = self.context.fragments, self.places[view.id]
            is_same = before.calls == view.calls and before.blocks.finish(view.tail)
            if is_same and bool(view.thought) == bool(before.thought):
                frame = ""
                if view.thought:
                    more = view.thought[before.thought :]
                    frame = fragments.thought_update(view.id, more, view.thought_label)
                rest = before.blocks.update_since(before.cursor)
                return frame + fragments.answer_finished(view, rest)
        return self.context.fragments.message(view, oob=True)

    def _full_frame(self, view: ChatView) -> str:
        log = self.context.fragments.log(view.views, view.divider, view.earlier)
        return log + self._frame_of(view, always=True)

    async def _earlier(self) -> str:
        """The messages before those that the page holds."""
        view = await load_chat_view(
            self.context, self.user_id, self.chat_id, self.first, more=PAGE_SIZE
        )
        ids = [v.id for v in view.views]
        if self.first not in ids or self.first == view.first:
            return ""  # another path is shown by now, which is news of its own; or there are none
        older = view.views[: ids.index(self.first)]
        self.keys = {v.id: v.key for v in older} | self.keys
        self.heads |= {v.id: MessageHead(v.model, v.sent_at) for v in older}
        self.first = view.first
        return self.context.fragments.prepended(older, view.divider, view.earlier)

    def _frame_of(self, view: ChatView, *, always: bool = False) -> str:
        """Render what stands around the messages and depends on them: title and buttons."""
        fragments, frame = self.context.fragments, ""
        if always or view.title != self.title:
            frame += fragments.heading(view.title)
        if always or (view.is_running, view.is_deleted) != self.actions:
            frame += fragments.actions(
                chat_id=self.chat_id,
                is_running=view.is_running,
                is_deleted=view.is_deleted,
                oob=True,
            )
        if always or view.gauge != self.gauge:
            frame += fragments.gauge(view.gauge)
        return frame

    def _running(self, view: ChatView) -> str:
        """Render only the answers that run, as they are now."""
        return "".join(self.context.fragments.message(v, oob=True) for v in view.views if v.is_live)

    def _remember(self, view: ChatView) -> None:
        self.title, self.divider, self.first = view.title, view.divider, view.first
        self.keys = {v.id: v.key for v in view.views}
        self.heads = {v.id: MessageHead(v.model, v.sent_at) for v in view.views}
        self.places = dict(view.markers)
        self.actions = (view.is_running, view.is_deleted)
        self.gauge = view.gauge

    async def _settings(self) -> str:
        """Render the buttons of settings and of tools, when another tab has changed these."""
        return await self._tools_button() + await self._settings_button()

    async def _tools_button(self) -> str:
        tools, before = self.context.of(self.chat_id).answers.tools, self.tool_count
        self.tool_count = count = len(await tools.chosen.chosen(self.user_id, self.chat_id))
        if before in {None, count}:
            return ""
        return self.context.fragments.render(
            "_tools_button.html", chat_id=self.chat_id, count=count, oob=True
        )

    async def _settings_button(self) -> str:
        context, before = self.context, self.is_changed
        chosen = await context.of(self.chat_id).chats.settings(self.user_id, self.chat_id)
        self.is_changed = bool(chosen.overrides)
        if before in {None, self.is_changed}:
            return ""
        return context.fragments.render(
            "_settings_button.html", chat_id=self.chat_id, is_changed=self.is_changed, oob=True
        )

    async def _models(self) -> str:
        """Render how far pulls are; of the picker only what changed, to leave a choice alone."""
        context, frame = self.context, ""
        chat = await context.of(self.chat_id).chats.get(self.user_id, self.chat_id)
        is_usual = chat is None and any(option.state == "here" for option in self.options)
        first = self.preferred if chat is None else ""
        picked = self.subscription.picked or (self.chosen if is_usual else first)
        options, self.chosen = await picker_options(context, chat, picked)
        lacking = await missing_model(context, options, self.chosen)
        offers = [] if lacking else await suggested_models(context)
        pulls = context.fragments.pulls(context.pulls.all(), offers, oob=True)
        if pulls != self.pulls:
            frame, self.pulls = pulls, pulls
        if (missing := context.fragments.missing(lacking, oob=True)) != self.missing:
            frame, self.missing = frame + missing, missing
        better = context.fragments.better(await better_model(context), oob=True)
        if better != self.better:
            frame, self.better = frame + better, better
        if (full := context.fragments.full(warning(context), oob=True)) != self.full:
            frame, self.full = frame + full, full
        if chat is None and self.first is None and not self.has_own_starters:
            frame += await self._suggestions()
        before = {option.name: option for option in self.options}
        if [(o.name, o.state) for o in options] != [(o.name, o.state) for o in self.options]:
            frame += context.fragments.picker(self.chat_id, options, self.chosen, oob=True)
        else:
            changed = [option for option in options if option != before[option.name]]
            frame += "".join(context.fragments.option(option) for option in changed)
        self.options = options
        return frame

    async def _suggestions(self) -> str:
        """Render what fits the chosen model, when that is not what the page of a new chat shows."""
        starters = await suggested_starters(self.context, self.chosen)
        if starters == self.starters:
            return ""
        self.starters = starters
        return self.context.fragments.suggestions(starters)

    # In.

    async def on_message(self, data: str | bytes) -> None:
        client_id = ""
        try:
            values = parse(data)
            if "earlier" in values:
                self._on_load_earlier(values["earlier"])
                return
            prompt = parse_prompt(values, self.user_id, self.chat_id)
            client_id = prompt.client_id
            await self.context.of(self.chat_id).answers.submit(prompt)
        except WickError as error:
            self._reply(client_id, accepted=False, text=str(error))
        except Exception:
            log.exception("A message could not be handled.")
            self._reply(client_id, accepted=False, text="Something went wrong inside Wick.")
        else:
            self._reply(client_id, accepted=True, text="")

    def rejection_frame(self, data: str | bytes, sentence: str) -> str:
        client_id = ""
        with contextlib.suppress(ChatError):
            client_id = parse_prompt(parse(data), self.user_id, self.chat_id).client_id
        return self._reply_to(client_id, accepted=False, text=sentence)

    def _on_load_earlier(self, before: object) -> None:
        """The user scrolls to what stands before the messages that the page holds."""
        if before == str(self.first):  # it may be asked twice before the answer is there
            self.wants_earlier = True
            self.subscription.notify(urgent=True)

    def _reply(self, client_id: str, *, accepted: bool, text: str) -> None:
        reply = self._reply_to(client_id, accepted=accepted, text=text)
        self.subscription.replies.append(reply)
        self.subscription.notify(urgent=True)

    def _reply_to(self, client_id: str, *, accepted: bool, text: str) -> str:
        fragments = self.context.fragments
        reply = fragments.submission_result(
            client_id, accepted=accepted, next_id=secrets.token_hex(16)
        )
        return reply + fragments.notice(text)


@blueprint.websocket("/chats/<chat_id>/live")
async def live(chat_id: str) -> None:
    context, user_id = server_context(), current_user()
    subscription = context.hub.subscribe(user_id, chat_id)
    first = websocket.args.get("first", type=row_id)
    updates = SidebarUpdates(context, subscription, until_cursor())
    tab = ChatConnection(context, user_id, chat_id, subscription, updates, first=first)
    persona = await context.personas.find(user_id, websocket.args.get("persona", type=row_id))
    folder = await context.folders.find(user_id, websocket.args.get("folder", type=row_id))
    tab.preferred = (persona.model if persona else "") or (folder.model if folder else "")
    tab.has_own_starters = persona is not None and bool(starters_of(persona))
    await serve(context.hub, tab)
