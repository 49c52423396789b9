"""Commands about answers: who gives them, how, and to what."""

from __future__ import annotations

import base64

from app.conversations.stop_strings import to_lines
from app.errors import ChatNotFound, InvalidMessage
from app.models.parameters import SETTINGS
from app.terminal.backend import MessageRecord
from app.terminal.format import apply_changes, describe_settings, resolve_model
from app.terminal.markdown import strip_control
from app.terminal.repl import Repl


async def model(talk: Repl, name: str) -> None:
    talk.models = await talk.backend.models()
    if not name:
        options = [(line.name, _label(line.title, line.name, line.state)) for line in talk.models]
        default = resolve_model(talk.models, talk.model)
        name = await talk.prompt.choose("Choose a model", options, default) or ""
        if not name:
            return
    name = resolve_model(talk.models, name)
    if talk.chat_id:
        await talk.backend.choose_model(talk.chat_id, name)
    talk.model = name
    talk.info(f"{name} answers from now on.")
    talk.warn_if_remote()


def _label(title: str, name: str, state: str) -> str:
    parts = [name, title if title != name else "", state]
    return strip_control(" · ".join(part for part in parts if part))


async def regenerate(talk: Repl, name: str) -> None:
    if name:
        talk.models = await talk.backend.models()
        name = resolve_model(talk.models, name)
    last = await _last(talk, "user")
    answer = await talk.backend.regenerate(talk.chat_id, last.id, name or talk.model)
    await talk.answer(answer)


async def edit(talk: Repl, text: str) -> None:
    """With the text on the line, or with the last question to be changed at the prompt."""
    last = await _last(talk, "user")
    if not text:
        try:
            text = await talk.prompt.read(last.text)
        except (EOFError, KeyboardInterrupt):
            talk.info("The question stays as it was.")
            return
    answer = await talk.backend.edit(talk.chat_id, last.id, text, talk.model)
    await talk.answer(answer)


async def continue_answer(talk: Repl, _: str) -> None:
    last = await _last(talk, "assistant")
    start = len(last.text.rstrip("\ufffd"))
    answer = await talk.backend.continue_answer(talk.chat_id, last.id)
    await talk.answer(answer, start)


async def copy(talk: Repl, _: str) -> None:
    """By the terminal itself (OSC 52), which works over ssh, too."""
    last = await _last(talk, "assistant")
    coded = base64.b64encode(last.text.encode()).decode()
    talk.console.file.write(f"\x1b]52;c;{coded}\x07")
    talk.console.file.flush()
    talk.info("The answer is on the clipboard, if your terminal allows that.")


async def settings(talk: Repl, _: str) -> None:
    lines = describe_settings(await talk.settings())
    for line in lines:
        talk.print(strip_control(line))
    if not lines:
        talk.info("Nothing was chosen for this chat: it has the defaults of its model.")


async def set_setting(talk: Repl, text: str) -> None:
    """`NAME VALUE`, with `-` for the default; a name alone tells what it is."""
    if not text:
        await settings(talk, "")
        talk.info(f"There are: {', '.join(SETTINGS)}.")
        return
    name, _, value = text.partition(" ")
    name, value = name.replace("-", "_").casefold(), value.strip()
    name = "system_prompt" if name == "system" else name
    if name not in SETTINGS:
        raise InvalidMessage(f"There is no setting “{name}”. There are: {', '.join(SETTINGS)}.")
    now = await talk.settings()
    if not value:
        chosen = now.overrides.get(name)
        talk.print(
            strip_control(f"{name}: {chosen if chosen is not None else 'the default of the model'}")
        )
        return
    await _choose(talk, name, "" if value == "-" else value)


async def _choose(talk: Repl, name: str, text: str) -> None:
    """As it stands in the form's field; an empty text is the default."""
    await talk.choose_settings(
        apply_changes(await talk.settings(), {name: text}, talk.longest_prompt)
    )
    talk.info(f"{name} is {'set' if text else 'the default'} from now on.")


async def system(talk: Repl, text: str) -> None:
    await set_setting(talk, f"system_prompt {text}".strip())


async def stop(talk: Repl, text: str) -> None:
    """One more text that ends answers; `-` for none."""
    if not text or text == "-":
        await set_setting(talk, f"stop {text}".strip())
        return
    now = to_lines((await talk.settings()).get("stop") or ())
    await _choose(talk, "stop", f"{now}\n{text}")


async def _last(talk: Repl, role: str) -> MessageRecord:
    opened = await talk.opened()
    found = next((message for message in reversed(opened.path) if message.role == role), None)
    if found is None:
        raise ChatNotFound("There is nothing of that kind in this chat.")
    return found
