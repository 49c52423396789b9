"""Turns a conversation into token ids by the model's own chat template, so that none can be forged.

A template sees the contents as they are, but for the names of special tokens in them, which are
broken (`app/models/text/content_guard.py`). So whole names in what it renders are its own. Between
two special tokens, text and contents are tokenised as one piece, exactly as if the whole prompt had
been rendered and tokenised at once.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import Final

from jinja2 import TemplateError as JinjaError

from app.errors import PromptRefused, TemplateError, TooManyTokens
from app.models.model import Turn, TurnImage, merge_system
from app.models.text.builtin_templates import guess_template, named_templates
from app.models.text.content_guard import GUARD, ContentGuard
from app.models.text.picture_places import (
    PLACE,
    Part,
    is_complete,
    parts_of,
    render_as_parts,
    render_by_parts,
    with_marks,
)
from app.models.text.render_budget import METER, RENDER_SECONDS, RenderBudget
from app.models.text.template_sandbox import RefusedByTemplate, Sandbox, shorten_reason
from app.models.text.thinking import find_controls, find_format
from app.models.text.tokenizer import CHUNK_CHARS, Tokenizer
from app.models.text.tool_formats import HERMES, ToolFormat, find_tool_format
from app.models.text.tool_turns import (
    Message,
    ToolSupport,
    arrange_turns,
    describe_calls,
    describe_spec,
    probe_support,
    write_content,
)
from app.models.text.tools import ToolSpec

MAX_SOURCE_CHARS: Final = 100_000
MAX_OUTPUT_CHARS: Final = 4_000_000
CACHED_CHARS: Final = 2_000_000

PROBE: Final = "\ufdd0\ufdd1"
"""A content in place of another, to see whether a template looks at that at all."""
MAX_OVERFLOW_FACTOR: Final = 4
"""Times the tokens that a prompt may have: one with more is not tokenised to its end."""
CERTAIN_CHARS: Final = 24
"""Characters of a content that stand in a prompt by no accident."""
_Render = Callable[[Sequence[str]], str]
"""Renders the conversation with other contents."""


def fallback_template(tokenizer: Tokenizer, title: str = "") -> str:
    """The template for a file that brings none; `title`: what its model is called."""
    return named_templates()[guess_template(tokenizer, title)].source


class SystemPromptDropped(Exception):
    """The template passed over the system prompt without a word."""


class ChatTemplate:
    """The chat template of one model. Any thread may use it."""

    def __init__(
        self,
        source: str,
        tokenizer: Tokenizer,
        *,
        seconds: float = RENDER_SECONDS,
        most: int | None = None,
        permit: Callable[[], AbstractContextManager[object]] = nullcontext,
        pictures: Callable[[TurnImage], Sequence[int]] | None = None,
    ) -> None:
        """Compile `source`. Raises TemplateError if it is too long or no template.

        most: tokens that a prompt may have at all; `encode` and `encode_plain` raise TooManyTokens
        when it certainly has more, before it is rendered or tokenised to its end. permit: held
        while a long text is tokenised, so that this takes its turn with other work. pictures: makes
        the ids of a picture; None for a model that sees none.
        """
        if len(source) > MAX_SOURCE_CHARS:
            raise TemplateError("The model's chat template is too long.")
        self._tokenizer = tokenizer
        self._source = source
        self._seconds = seconds
        self._most = most
        self._permit = permit
        self._pictures = pictures
        self._refused = ("", 0)
        self._runs: OrderedDict[str, list[int]] = OrderedDict()
        self._cached = 0
        self._lock = threading.Lock()
        source = source or fallback_template(tokenizer)
        self.thinking = find_format(source, tokenizer.names.names)
        self.thinking_controls = find_controls(source)
        try:
            self._template = Sandbox().from_string(source)
        except (JinjaError, RecursionError, SyntaxError, MemoryError, ValueError) as error:
            raise TemplateError(
                f"The model's chat template is not valid: {shorten_reason(error)}."
            ) from error

    def encode(
        self,
        turns: Sequence[Turn],
        opening: str = "",
        spelled: Mapping[str, Sequence[int]] = MappingProxyType({}),
        *,
        thought: str = "",
        variables: Mapping[str, object] = MappingProxyType({}),
        tools: Sequence[ToolSpec] = (),
    ) -> list[int]:
        """Encode the prompt for the next answer; `opening`: how that answer already begins,
        `thought`: how the thought before it does.

        spelled: the ids that stand for certain texts between special tokens in this chat.
        variables: what the template gets beside the conversation. tools: what the model may call.

        Raises TemplateError if the template fails or cannot be followed, TooManyTokens, and
        PromptRefused for pictures that the model cannot see.
        """
        self._check(turns, opening + thought)
        guard, rendered = self._rendered(turns, variables, tools)
        shown = self._shown(turns, rendered)
        ids: list[int] = []
        run, passed = "", 0
        for part in self._tokenizer.split_special_tokens(rendered):
            if isinstance(part, str):
                run, *rest = PLACE.split(guard.text(part))
                passed += len(part)
                for number, text in zip(rest[::2], rest[1::2], strict=True):
                    ids += [*(spelled.get(run) or self._encode_run(run)), *shown[int(number)]]
                    run = text
                continue
            ids += spelled.get(run) or self._encode_run(run)
            ids.append(part)
            run = ""
            if self._most is not None and len(ids) > MAX_OVERFLOW_FACTOR * self._most:
                raise TooManyTokens(len(ids) * len(rendered) // max(1, passed))
        for part in self._continuation(rendered, thought, opening):
            if isinstance(part, str):
                run += part
                continue
            ids += [*(spelled.get(run) or self._encode_run(run)), part]
            run = ""
        ids += spelled.get(run) or self._encode_run(run)
        return self._with_bos(ids)

    def _shown(self, turns: Sequence[Turn], rendered: str) -> list[Sequence[int]]:
        """The ids of each picture, all of which stand in the prompt."""
        images = [image for turn in turns for image in turn.images]
        if not images:
            return []
        if self._pictures is None:
            what = "hear sound" if images[0].is_sound else "see pictures"
            raise PromptRefused(f"This model cannot {what}.")
        if not is_complete(rendered, len(images)):
            raise TemplateError("The model's chat template leaves out pictures.")
        return [self._pictures(image) for image in images]

    def closing_ids(self) -> list[int]:
        """The tokens that end a thought and begin the answer; none for a model without thoughts."""
        if self.thinking is None:
            return []
        parts = self._tokenizer.split_special_tokens(self.thinking.closing)
        return [
            token
            for part in parts
            for token in (
                [part] if isinstance(part, int) else self._tokenizer.encode_continuation(part)
            )
        ]

    def _continuation(self, rendered: str, thought: str, opening: str) -> list[int | str]:
        """Encode how the answer begins already: special tokens, and text between them."""
        known = self.thinking
        if known is None or not (thought or opening):
            return [opening]
        is_open = known.is_opened_by(rendered)
        split = self._tokenizer.split_special_tokens
        if not thought and not is_open:
            return [*split(known.answer), opening]
        parts = [*([] if is_open else split(known.opening)), thought]
        return [*parts, *split(known.closing), opening] if opening else parts

    def encode_plain(self, text: str, first: int | None = None) -> list[int]:
        """A prompt without a template. What the text says is never a special token.

        first: only so many of its tokens are wanted. Raises TooManyTokens.
        """
        if first is not None:
            text = self._tokenizer.beginning(text, first)
            ids = self._with_bos(self._tokenizer.encode(text))[:first]
        else:
            ids = self._with_bos(self._encode_run(text))
        # A model cannot go on from nothing.
        return ids or [self._tokenizer.bos_id or self._tokenizer.eos_id or 0]

    def text(
        self,
        turns: Sequence[Turn],
        variables: Mapping[str, object] = MappingProxyType({}),
        tools: Sequence[ToolSpec] = (),
    ) -> str:
        """Render the prompt as text, before its special tokens are found."""
        guard, rendered = self._rendered(turns, variables, tools)
        return guard.text(rendered)

    def _check(self, turns: Sequence[Turn], opening: str) -> None:
        """Reject a prompt that cannot fit, before it costs a rendering or a search for names."""
        if self._most is None:
            return
        longest = max([opening, *(turn.content for turn in turns)], key=len)
        if len(longest) > 4 * self._most:
            self._check_longest(longest, self._most)
        if len(turns) > self._most:
            raise TooManyTokens(len(turns))

    def _check_longest(self, text: str, most: int) -> None:
        """Several looks are taken at the same prompt: the text that was refused last is known."""
        refused, about = self._refused
        if text == refused:
            raise TooManyTokens(about)
        try:
            with self._permit():
                self._tokenizer.check_length(text, most)
        except TooManyTokens as error:
            self._refused = text, error.about
            raise

    def _with_bos(self, ids: list[int]) -> list[int]:
        bos = self._tokenizer.bos_id
        if bos is None or not self._tokenizer.adds_bos:
            return ids
        start = next((index for index, token in enumerate(ids) if token != bos), len(ids))
        return [bos, *ids[start:]]

    def _encode_run(self, text: str) -> list[int]:
        """The ids of text between special tokens; the same turns come again with every prompt."""
        if not text:
            return []
        with self._lock:
            if (known := self._runs.get(text)) is not None:
                self._runs.move_to_end(text)
                return known
        with self._permit() if len(text) > CHUNK_CHARS else nullcontext():
            if self._most is not None:
                self._tokenizer.check_length(text, self._most)
            ids = self._tokenizer.encode(text)
        with self._lock:
            if text not in self._runs:
                self._runs[text] = ids
                self._cached += len(text)
            while self._cached > CACHED_CHARS:
                self._cached -= len(self._runs.popitem(last=False)[0])
        return ids

    def _rendered(
        self,
        turns: Sequence[Turn],
        variables: Mapping[str, object],
        tools: Sequence[ToolSpec] = (),
    ) -> tuple[ContentGuard, str]:
        """The prompt as text with the names in its contents broken, and by what."""
        if tools or any(turn.is_tooling for turn in turns):
            turns = arrange_turns(turns, tools, self._tool_support, self.tool_format)
        try:
            return self._filled(turns, variables, tools)
        except (RefusedByTemplate, SystemPromptDropped):
            merged = merge_system(turns)
            if merged == list(turns):
                raise
            return self._filled(merged, variables, tools)

    @functools.cached_property
    def tool_format(self) -> ToolFormat:
        """Return how the model calls tools: as its family does, where its template knows them."""
        support = self._tool_support
        is_known = support.tools or support.calls
        return find_tool_format(self._source, self._tokenizer.names.names) if is_known else HERMES

    @functools.cached_property
    def _tool_support(self) -> ToolSupport:
        """Find out what the template writes of tools, once."""
        guard = self._guard_for([])

        def render(messages: Sequence[Message], tools: Sequence[Message]) -> str:
            return self._run(guard, messages, {}, tools)

        return probe_support(self._source, render)

    def _guard_for(self, texts: Sequence[str]) -> ContentGuard:
        names = self._tokenizer.names
        return ContentGuard(names, [*texts, self._source, *names.names])

    def _filled(
        self, turns: Sequence[Turn], variables: Mapping[str, object], tools: Sequence[ToolSpec]
    ) -> tuple[ContentGuard, str]:
        texts = [text for turn in turns for text in (turn.content, turn.thought)]
        calls = [
            text for turn in turns for call in turn.calls for text in (call.name, call.arguments)
        ]
        offered = [text for tool in tools for text in (tool.description, tool.parameters)]
        guard = self._guard_for([*texts, *calls, *offered])
        contents = [
            write_content(turn, self._tool_support, self.tool_format, guard.guard)
            if turn.calls
            else guard.guard(turn.content)
            for turn in turns
        ]
        described = [describe_spec(tool, guard.guard) for tool in tools]
        render = functools.partial(self._render, guard, turns, variables, described)
        if pictures := sum(len(turn.images) for turn in turns):
            parts = parts_of(turns, guard.guard)
            if (rendered := render_by_parts(render, parts, pictures)) is not None:
                return guard, rendered
            contents = with_marks(parts)
        rendered = render(contents)
        lost = self._lost(render, turns, contents, rendered)
        if "user" in lost:  # it may look for parts
            render = functools.partial(render_as_parts, render)
            rendered, lost = self._in_parts(render, turns, contents)
        if "system" in lost:
            raise SystemPromptDropped
        return guard, rendered

    def _in_parts(
        self, render: _Render, turns: Sequence[Turn], contents: Sequence[str]
    ) -> tuple[str, set[str]]:
        """Render each content as a part in a list. Raises TemplateError where that is lost, too."""
        lost = {"user"}
        with contextlib.suppress(TemplateError):
            rendered = render(contents)
            lost = self._lost(render, turns, contents, rendered)
        if "user" in lost:
            raise TemplateError(
                "The model's chat template leaves out messages, which Wick cannot follow."
            )
        return rendered, lost

    def _lost(
        self, render: _Render, turns: Sequence[Turn], contents: Sequence[str], rendered: str
    ) -> set[str]:
        """The roles whose contents the template passed over, and did not only change."""
        doubtful: dict[str, set[int]] = {}
        position = 0
        for index, (turn, content) in enumerate(zip(turns, contents, strict=True)):
            if turn.role == "assistant" or not (text := content.strip()):
                continue
            place = rendered.find(text, position)
            found = place >= 0 or text in rendered
            position = max(position, place)
            if not found or (turn.role == "system" and len(text) < CERTAIN_CHARS):
                doubtful.setdefault(turn.role, set()).add(index)
        return {
            role
            for role, indexes in doubtful.items()
            if self._passes_over(render, contents, indexes, rendered)
        }

    def _passes_over(
        self, render: _Render, contents: Sequence[str], indexes: set[int], rendered: str
    ) -> bool:
        """Tell whether other contents there make no difference."""
        others = [PROBE if index in indexes else text for index, text in enumerate(contents)]
        try:
            return render(others) == rendered
        except TemplateError:
            return False

    def _render(
        self,
        guard: ContentGuard,
        turns: Sequence[Turn],
        variables: Mapping[str, object],
        tools: Sequence[Message],
        contents: Sequence[str | list[Part]],
    ) -> str:
        messages: list[Message] = [
            {"role": turn.role, "content": content, **_thought(guard.guard(turn.thought))}
            | (describe_calls(turn, self._tool_support, guard.guard) if turn.is_tooling else {})
            for turn, content in zip(turns, contents, strict=True)
        ]
        is_told = bool(tools) and self._tool_support.tools
        return self._run(guard, messages, variables, tools if is_told else ())

    def _run(
        self,
        guard: ContentGuard,
        messages: Sequence[Message],
        variables: Mapping[str, object],
        tools: Sequence[Message],
    ) -> str:
        meter, guarding = METER.set(RenderBudget(self._seconds)), GUARD.set(guard)
        try:
            rendered = self._template.render(
                {
                    "messages": messages,
                    "add_generation_prompt": True,
                    "tools": list(tools) or None,
                    **({"xml_tools": list(tools)} if tools else {}),
                    "documents": None,
                    "bos_token": self._tokenizer.special_text(self._tokenizer.bos_id),
                    "eos_token": self._tokenizer.special_text(self._tokenizer.eos_id),
                    "pad_token": "",
                    "unk_token": "",
                    **variables,
                }
            )
        except TemplateError:
            raise
        except Exception as error:  # whatever a template's code can raise
            raise TemplateError(
                f"The model's chat template failed: {shorten_reason(error)}."
            ) from error
        finally:
            METER.reset(meter)
            GUARD.reset(guarding)
        if len(rendered) > MAX_OUTPUT_CHARS:
            raise TemplateError("The model's chat template grew too large.")
        return rendered


def _thought(text: str) -> dict[str, str]:
    """The fields under which templates look for what a model reasoned."""
    return {"reasoning_content": text, "thinking": text} if text else {}
