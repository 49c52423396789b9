"""One prompt and all its answers, side by side."""

from __future__ import annotations

from dataclasses import dataclass

from app.conversations.answer_state import MessageRef
from app.errors import MessageNotFound
from app.web.context import ServerContext
from app.web.render.messages import MessageView, ShownAnswer, present, shown


@dataclass(frozen=True, slots=True)
class Comparison:
    """A prompt and its answers at one moment. markers: how much of each running answer is in its
    view."""

    prompt: MessageView
    answers: list[MessageView]
    markers: dict[int, ShownAnswer]

    @property
    def is_running(self) -> bool:
        return any(answer.is_live for answer in self.answers)


async def load_comparison(context: ServerContext, ref: MessageRef) -> Comparison:
    """Read the prompt `ref` and its answers. Raises ChatNotFound or MessageNotFound."""
    branches = context.of(ref.chat_id).branches
    prompt = await branches.get(ref)
    if prompt.role != "user":
        raise MessageNotFound("Only answers to the same message can be compared.")
    for _ in range(2):  # an answer may end just between its reading and the look for its stream
        answers = await branches.answers_to(ref)
        await context.model_names.load(answer.model for answer in answers)
        streams = {a.id: s for a in answers if (s := context.hub.stream(a.id)) is not None}
        if not any(a.status == "queued" and a.id not in streams for a in answers):
            break
    live = {number: (s, context.renderers.blocks(s)) for number, s in streams.items()}
    titles = context.model_names.titles
    return Comparison(
        prompt=present(prompt, None),
        answers=[present(answer, live.get(answer.id), None, titles) for answer in answers],
        markers={number: shown(*answer) for number, answer in live.items()},
    )
