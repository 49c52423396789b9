"""Commands about answers: who gives them, how, and to what."""

from __future__ import annotations

import base64

from app.chats.stop_strings import to_lines
from app.errors import ChatNotFound, InvalidMessage
from app.terminal.backend import Said
from app.terminal.choices import SETTINGS, changed, choice_of, described
from app.terminal.markdown import plain
from app.terminal.talk import Talk


async def model(talk: Talk, name: str) -> None:
    talk.models = await talk.backend.models()
    if not name:
        options = [(line.name, _label(line.title, line.name, line.state)) for line in talk.models]
        default = choice_of(talk.models, talk.model)
        name = await talk.prompt.choose("Who is to answer?", options, default) or ""
        if not name:
            return
    name = choice_of(talk.models, name)
    if talk.chat_id:
        await talk.backend.choose_model(talk.chat_id, name)
    talk.model = name
    talk.note(f"{name} answers from now on.")
    talk.promise()


def _label(title: str, name: str, state: str) -> str:
    parts = [name, title if title != name else "", state]
    return plain(" · ".join(part for part in parts if part))


async def again(talk: Talk, name: str) -> None:
    if name:
        talk.models = await talk.backend.models()
        name = choice_of(talk.models, name)
    last = await _last(talk, "user")
    answer = await talk.backend.again(talk.chat_id, last.id, name or talk.model)
    await talk.answer(answer)


async def edit(talk: Talk, text: str) -> None:
    """With the text on the line, or with the last question to be changed at the prompt."""
    last = await _last(talk, "user")
    if not text:
        try:
            text = await talk.prompt.read(last.text)
        except (EOFError, KeyboardInterrupt):
            talk.note("The question stays as it was.")
            return
    answer = await talk.backend.edit(talk.chat_id, last.id, text, talk.model)
    await talk.answer(answer)


async def go_on(talk: Talk, _: str) -> None:
    last = await _last(talk, "assistant")
    start = len(last.text.rstrip("\ufffd"))
    answer = await talk.backend.go_on(talk.chat_id, last.id)
    await talk.answer(answer, start)


async def copy(talk: Talk, _: str) -> None:
    """By the terminal itself (OSC 52), which works over ssh, too."""
    last = await _last(talk, "assistant")
    coded = base64.b64encode(last.text.encode()).decode()
    talk.console.file.write(f"\x1b]52;c;{coded}\x07")
    talk.console.file.flush()
    talk.note("The answer is on the clipboard, if your terminal allows that.")


async def settings(talk: Talk, _: str) -> None:
    lines = described(await talk.settings())
    for line in lines:
        talk.say(plain(line))
    if not lines:
        talk.note("Nothing was chosen for this chat: it has the defaults of its model.")


async def put(talk: Talk, text: str) -> None:
    """`NAME VALUE`, with `-` for the default; a name alone tells what it is."""
    if not text:
        await settings(talk, "")
        talk.note(f"There are: {', '.join(SETTINGS)}.")
        return
    name, _, value = text.partition(" ")
    name, value = name.replace("-", "_").casefold(), value.strip()
    name = "system_prompt" if name == "system" else name
    if name not in SETTINGS:
        raise InvalidMessage(f"There is no setting “{name}”. There are: {', '.join(SETTINGS)}.")
    now = await talk.settings()
    if not value:
        chosen = now.chosen.get(name)
        talk.say(plain(f"{name}: {chosen if chosen is not None else 'the default of the model'}"))
        return
    await _choose(talk, name, "" if value == "-" else value)


async def _choose(talk: Talk, name: str, text: str) -> None:
    """As it stands in the form's field; an empty text is the default."""
    await talk.choose_settings(changed(await talk.settings(), {name: text}, talk.longest_prompt))
    talk.note(f"{name} is {'set' if text else 'the default'} from now on.")


async def system(talk: Talk, text: str) -> None:
    await put(talk, f"system_prompt {text}".strip())


async def stop(talk: Talk, text: str) -> None:
    """One more text that ends answers; `-` for none."""
    if not text or text == "-":
        await put(talk, f"stop {text}".strip())
        return
    now = to_lines((await talk.settings()).stop or ())
    await _choose(talk, "stop", f"{now}\n{text}")


async def _last(talk: Talk, role: str) -> Said:
    opened = await talk.opened()
    found = next((message for message in reversed(opened.path) if message.role == role), None)
    if found is None:
        raise ChatNotFound("There is nothing of that kind in this chat.")
    return found
