"""Answers of a chat: submitted, queued per chat and in the model's queue, stopped, withdrawn."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from dataclasses import replace

import aiosqlite

from app.background import BackgroundTasks
from app.config import Settings
from app.conversations.answer_recorder import AnswerRecorder, Measurements
from app.conversations.answer_state import AnswerRef, LiveAnswer
from app.conversations.attachments import check_unsent
from app.conversations.chat_queue import ChatQueue
from app.conversations.document_fit import DocumentFitter
from app.conversations.given_documents import page_progress
from app.conversations.history import instruct, to_turns
from app.conversations.hub import Hub
from app.conversations.personas import settings_of
from app.conversations.pictures import Pictures
from app.conversations.settings import (
    ChatSettings,
    introduce,
    parse_generation_settings,
    parse_stored,
    resolve,
    system_turns,
)
from app.conversations.storage_quota import StorageQuota
from app.conversations.submission import (
    AnswerRequest,
    Prompt,
    Save,
    SavedAnswer,
    save_prompt,
    to_ref,
    validate_text,
)
from app.conversations.titles import TitleGenerator, TitleMode
from app.conversations.tool_calls import MAX_CALLS, call_turns, end_of, parse_calls
from app.conversations.tool_loop import ToolLoop, after_restart
from app.db import attachments, branches, folders, messages, personas, preferences, unfinished
from app.db import chats as db_chats
from app.db.attachments import Attachment
from app.db.connection import Database
from app.db.messages import Message
from app.disk_reserve import Reserve
from app.errors import (
    ChatNotFound,
    ModelError,
    ModelNotFound,
    RequestError,
    WickError,
    WrongModelKind,
    not_for_chats,
)
from app.inference.kv_files import is_memory_only
from app.inference.protocol import Generate
from app.inference.queue import Request
from app.inference.worker_pool import WorkerPool
from app.models.catalogue import CATALOGUE
from app.models.install.pulls import PullManager
from app.models.model import TurnImage
from app.models.parameters import GenerationSettings, Sampling
from app.models.store import ModelStore
from app.tools.toolbox import Toolbox

# Asking for answers: a prompt is saved, waits its turn in its chat, then in the model's queue.


log = logging.getLogger(__name__)


class AnswerService:
    """The verbs submit, stop and take back. Every one reaches only its user's own chats."""

    def __init__(
        self,
        settings: Settings,
        db: Database,
        store: ModelStore,
        pulls: PullManager,
        pool: WorkerPool,
        hub: Hub,
        reserve: Reserve,
        titles: TitleMode,
        pictures: Pictures,
        fitter: DocumentFitter,
        toolbox: Toolbox,
        *,
        are_temporary: bool = False,
        owner_db: Database | None = None,
        storage: StorageQuota,
    ) -> None:
        """owner_db: where users' preferences are, when that is another than of their chats."""
        self._owner_db = owner_db or db
        self._settings = settings
        self._pictures = pictures
        self._fitter = fitter
        self._are_temporary = are_temporary
        self._db = db
        self._store = store
        self._pulls = pulls
        self._pool = pool
        self._hub = hub
        self._reserve = reserve
        self._storage = storage
        self._pending = ChatQueue()
        self._is_closed = False
        self._titles = TitleGenerator(titles, db, store, pool, hub)
        self.tasks = BackgroundTasks()
        self.tools = ToolLoop(db, hub, toolbox, self.tasks, self._generate, settings.tool_seconds)

    async def submit(self, prompt: Prompt) -> AnswerRef:
        """Save the prompt with its empty answer, then queue the request.

        Both are on the disk when this returns, and it goes on when its caller is cancelled. While
        the chat owes an earlier answer, the request waits for that. The same `client_id` again
        changes nothing, and returns the answer that there is. Raises InvalidMessage, ChatNotFound,
        ChatBusy, ModelNotFound, QueueFull, LimitReached, MessageNotFound, ShuttingDown or
        StoreError, and then has saved nothing.
        """
        return await self.tasks.run_shielded(self._submit(prompt), f"submit to {prompt.chat_id}")

    async def _submit(self, prompt: Prompt) -> AnswerRef:
        text = self.validate_prompt(prompt.text, is_optional=bool(prompt.attachments))
        await check_unsent(self._db, prompt.user_id, prompt.attachments)
        request = AnswerRequest(
            prompt.user_id,
            prompt.chat_id,
            prompt.model,
            prompt.client_id,
            prompt.persona,
            folder=prompt.folder,
        )

        return await self._answer(
            request, lambda c, made_with: save_prompt(c, prompt, text, made_with)
        )

    async def request_answer(
        self, request: AnswerRequest, save: Save, *, instead: bool = False
    ) -> AnswerRef:
        """Let `save` write down what is to be answered, then queue the request.

        instead: what is on its way in this chat is stopped. Else everything that `submit` says
        holds here too.
        """
        return await self.tasks.run_shielded(
            self._answer(request, save, instead=instead), f"answer in {request.chat_id}"
        )

    async def _answer(
        self, request: AnswerRequest, save: Save, *, instead: bool = False
    ) -> AnswerRef:
        self._reserve.check()
        await self._storage.check(request.user_id)
        chat_id, user_id, client_id = request.chat_id, request.user_id, request.client_id
        if is_memory_only(chat_id) != self._are_temporary:
            raise ChatNotFound
        if await db_chats.owner(self._db, chat_id) not in {None, user_id}:
            raise ChatNotFound
        if client_id and (
            row := await messages.find_submission(self._db, user_id, chat_id, client_id)
        ):
            return to_ref(chat_id, row)
        with self._pool.admit(request.model, user_id):
            saved = await self._enqueue(request, save, instead=instead)
        if saved.is_new:
            await self._start_next(chat_id)
        return saved.ref

    async def _enqueue(self, request: AnswerRequest, save: Save, *, instead: bool) -> SavedAnswer:
        """Save the answer and put it into its chat's queue, when it is new."""
        chat_id, model = request.chat_id, request.model
        chosen, is_new = await self._chosen(request)
        default = self.resolve_settings(model)
        folder = await folders.of_chat(self._db, request.user_id, chat_id, request.folder)
        if folder is not None and folder.instructions:
            default = default.override({"system_prompt": folder.instructions})
        about = await preferences.get_about(self._owner_db, request.user_id)
        resolved = introduce((request.chosen or chosen).merged_with(default), about)
        made_with = replace(resolved, instruction=request.instruction).to_json()

        async def save_all(connection: aiosqlite.Connection) -> SavedAnswer:
            saved = await save(connection, made_with)
            if saved.is_new:
                await self._storage.check_counts(connection, request.user_id, chat_id)
            if is_new:
                kept, now = chosen.to_json(), time.time()
                await db_chats.put_settings(connection, request.user_id, chat_id, kept, now)
            return saved

        saved = await self._db.write(save_all)
        if not saved.is_new:
            return saved
        if instead:  # at once: a prompt that is submitted from now on is not meant
            self._stop_all(request.user_id, chat_id)
        stream = LiveAnswer(
            *(saved.ref.answer_id, chat_id, request.user_id, model),
            text=saved.text,
            prompt_id=saved.ref.prompt_id,
        )
        self._add(stream, saved.earlier)
        return saved

    async def _chosen(self, request: AnswerRequest) -> tuple[ChatSettings, bool]:
        """The settings of the chat, and whether a persona, with which it begins, is new in them."""
        user_id, chat_id = request.user_id, request.chat_id
        chosen = parse_stored(await db_chats.get_settings(self._db, user_id, chat_id))
        if request.persona is None or await db_chats.owner(self._db, chat_id) is not None:
            return chosen, False
        persona = await personas.get(self._db, user_id, request.persona)
        if persona is None:
            return chosen, False
        return ChatSettings(**{**settings_of(persona).overrides, **chosen.overrides}), True

    def _add(self, stream: LiveAnswer, earlier: Message | None) -> None:
        """Add an answer to the end of its chat's queue."""
        if self._is_closed:  # just now: it is on the disk, and waits there for the next start
            return
        stream.is_pending = self._pending.is_taken(stream)
        if earlier is not None:
            stream.calls = after_restart(parse_calls(earlier.calls))
            stream.thought = earlier.thought or ""
            stream.thought_seconds = earlier.thought_seconds or 0.0
        self._pending.add(
            AnswerRecorder(
                *(stream, self._db, self._hub, self.tasks, self._ended, self.tools.begin),
                previous_run=Measurements.of(earlier) if earlier is not None else None,
            )
        )
        self._hub.add(stream)

    async def requeue(self) -> None:
        """Queue again, at start, what had not begun when Wick ended, in its old order.

        It was accepted then, so neither limits nor full queues turn it away now."""
        owed = await unfinished.list_queued(self._db)
        for user_id, message in owed:
            stream = LiveAnswer(
                *(message.id, message.chat_id, user_id, message.model or ""),
                text=message.text,
                prompt_id=message.parent_id,
            )
            self._add(stream, message if message.is_said or message.thought else None)
        for chat_id in [message.chat_id for _, message in owed]:  # some of them begin together
            self.tasks.spawn(self._start_next(chat_id), f"go on in {chat_id}")
        if owed:
            log.info("%d questions that waited when Wick ended wait again.", len(owed))

    async def _start_next(self, chat_id: str) -> None:
        """Hand the chat's next request to its model, unless an earlier one is being answered."""
        if self._is_closed or (answer := self._pending.activate_next(chat_id)) is None:
            return
        stream = answer.stream
        stream.is_pending = False
        self._hub.chat_changed(stream.user_id, chat_id)
        if any(call.status == "asking" for call in stream.calls):
            self.tools.restore(answer)
        else:
            await self._generate(answer)

    async def _generate(self, answer: AnswerRecorder) -> None:
        """Hand an answer to its model: from its beginning, or from where it was cut or had called
        tools."""
        stream, chat_id = answer.stream, answer.stream.chat_id
        try:
            default = self.resolve_settings(stream.model)
            path = await messages.load_path(self._db, stream.user_id, chat_id, stream.message_id)
            if not path:
                raise ChatNotFound("This chat is gone.")
            made_with = parse_generation_settings(path[-1].settings) or default
            fit = await self._fitter.fit(stream.user_id, path, made_with)
            files = [f.id for m in path for f in m.attachments if f.id not in fit.lines]
            texts = await attachments.texts(self._db, stream.user_id, files) if files else {}
            images = await self._images(stream.model, path) if files else {}
            tools = await self.tools.offered(stream.user_id, chat_id)
        except WickError as error:
            answer.end_without_run("failed", str(error))
            return
        except BaseException:
            answer.end_without_run("failed", "Something went wrong inside Wick.")
            raise
        history = to_turns(path[:-1], texts, images, lines=fit.lines, passages=fit.before)
        turns = instruct(history, made_with.instruction)
        answer.path, answer.searched = path[:-1], fit.lines.keys()
        answer.progress = page_progress(path, [turn.content for turn in turns], texts)
        turns += call_turns(stream.text, stream.thought, stream.calls)
        text_place, thought_place = end_of(stream.calls)
        command = Generate(
            id=stream.message_id,
            turns=(*fit.with_folder(system_turns(made_with)), *turns),
            sampling=made_with.sampling,
            max_tokens=made_with.max_tokens,
            stop=made_with.stop,
            chat=chat_id,
            opening=stream.text[text_place:],
            thought=stream.thought[thought_place:],
            context=made_with.context_length,
            think=made_with.think,
            effort=made_with.reasoning_effort,
            max_thought_tokens=made_with.max_thought_tokens,
            tools=tuple(tool.spec for tool in tools.values()),
            tool_choice="auto" if len(stream.calls) < MAX_CALLS else "none",
        )
        if answer.is_postponed:
            return
        if answer.is_cancelled:  # stopped while its conversation was being read
            answer.end_without_run("stopped", None)
            return
        try:
            request = Request(command, stream.user_id, answer.on_event, origin=answer.origin)
            self._pool.worker(stream.model).submit(request)
        except RequestError as error:
            answer.end_without_run("interrupted", str(error))

    async def _images(self, model: str, path: Sequence[Message]) -> dict[int, TurnImage]:
        """Map ids of attachments to the pictures and sounds that this model is given."""
        with contextlib.suppress(ModelError):
            found = await asyncio.to_thread(self._store.get, model)
            if found.sees or found.hears:
                files = [file for message in path for file in message.attachments]
                return await self._pictures.images(files, sees=found.sees, hears=found.hears)
        return {}

    def _ended(self, answer: AnswerRecorder) -> None:
        self._pending.deactivate(answer)
        if not self._is_closed:
            self.tasks.spawn(self._after_answer(answer), f"after {answer.stream.message_id}")

    async def _after_answer(self, answer: AnswerRecorder) -> None:
        await self._start_next(answer.stream.chat_id)
        await self._titles.maybe_generate(answer.stream, self.tasks)

    async def make_title(self, user_id: int, chat_id: str, path: Sequence[Message]) -> None:
        """Have a title made for a chat that has come into being with its messages."""
        if len(path) > 1:
            await self._titles.generate(user_id, chat_id, path, self.tasks)

    async def stop(self, user_id: int, chat_id: str) -> None:
        """End the answers that are being made in this chat; their text so far stays."""
        self._stop(user_id, chat_id)

    def _stop(self, user_id: int, chat_id: str) -> None:
        for answer in self._pending.active(chat_id):
            if answer.stream.user_id == user_id:
                answer.is_cancelled = True
                if self.tools.stop(answer.stream.message_id):
                    answer.end_without_run("stopped", None)
                    continue
                self._pool.cancel(answer.stream.model, answer.stream.message_id)

    async def stop_all(self, user_id: int, chat_id: str) -> None:
        """Stop the running answer, and end what waits in this chat without one."""
        if await self._owns(user_id, chat_id):
            self._stop_all(user_id, chat_id)

    def _stop_all(self, user_id: int, chat_id: str) -> None:
        for answer in self._pending.clear(chat_id):
            answer.end_without_run("stopped", None)
        self._stop(user_id, chat_id)

    async def withdraw(
        self, user_id: int, chat_id: str, answer_id: int
    ) -> tuple[str, list[Attachment]]:
        """Remove a message that still waits for its turn in its chat. Its text and its files.

        Raises ChatNotFound when nothing of that kind waits there.
        """
        owned = await self._owns(user_id, chat_id)
        path = await messages.load_path(self._db, user_id, chat_id, answer_id)
        files = path[-2].attachments if len(path) > 1 else ()
        answer = self._pending.remove(chat_id, answer_id) if owned else None
        if answer is None:
            raise ChatNotFound("Can't withdraw: the model is already answering.")

        async def remove(connection: aiosqlite.Connection) -> str:
            text, before = await messages.withdraw(connection, user_id, answer_id)
            leaf = await branches.newest_leaf(connection, user_id, chat_id, before)
            await db_chats.rewind(connection, user_id, chat_id, answer_id, leaf)
            return text

        try:
            text = await self.tasks.run_shielded(self._db.write(remove), f"take back {answer_id}")
        except Exception:
            self._pending.requeue(answer)
            await self._start_next(chat_id)  # its turn may have come meanwhile
            raise
        self._hub.remove(answer.stream)
        return text, list(files)

    def close(self) -> None:
        """Hand nothing on any more; what has not begun waits for the next start."""
        self._is_closed = True
        self.tools.close()
        for answer in self._pending.all():
            if answer.postpone():
                self._hub.discard(answer.stream)
        self.tasks.spawn(self._db.write(unfinished.reset_restart_counts), "forget deaths")

    async def _owns(self, user_id: int, chat_id: str) -> bool:
        return await db_chats.owner(self._db, chat_id) == user_id

    def validate_prompt(self, text: str, *, is_optional: bool = False) -> str:
        """A prompt, made fit for keeping. Raises InvalidMessage."""
        return validate_text(text, self._settings.message_chars, is_optional=is_optional)

    def resolve_settings(self, name: str, *, chats: bool = True) -> GenerationSettings:
        """Resolve what this model answers with now. Raises ModelNotFound, or another ModelError.

        chats: whether it is to write an answer, which not every model can.
        """
        if any(pull.name == name and pull.is_running for pull in self._pulls.all()):
            known = CATALOGUE.get(name)
            return GenerationSettings(
                sampling=known.sampling if known else Sampling(),
                max_tokens=self._settings.max_tokens,
            )
        if not name:
            raise ModelNotFound("No model installed yet.")
        try:
            model = self._store.get(name)
        except ModelNotFound as error:
            raise ModelNotFound(
                f"“{name}” is not installed. Download it, or choose another model."
            ) from error
        if chats and model.kind != "text":
            raise WrongModelKind(not_for_chats(model.title, model.kind))
        return resolve(self._settings, model)
