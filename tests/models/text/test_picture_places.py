"""Pictures stand in a prompt where their messages have them, whatever the template is like."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import PromptRefused, TemplateError
from app.models.gguf.reader import read_header
from app.models.model import Turn, TurnImage, merge_system
from app.models.text.chat_template import ChatTemplate
from app.models.text.picture_places import MARK
from app.models.text.tokenizer import Tokenizer
from app.models.text.tokenizer_builder import save_tokenizer
from tests.tiny_gguf import CHATML
from tests.tiny_projectors import write_seeing_model

ROW = -5
START = "<|im_start|>"
QWEN = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SMOLVLM = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}"
    "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{ line['text'] }}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant:' }}{% endif %}"
)
TEXT_PARTS = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{{ part.text }}{% endfor %}<|im_end|>\n{% endfor %}"
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("seeing")
    save_tokenizer(read_header(write_seeing_model(folder / "m.gguf", "qwen2vl")), folder)
    return Tokenizer.load(folder)


def image(name: str = "a", place: int = 0) -> TurnImage:
    return TurnImage(name, f"/{name}.png", 8, 8, place)


def ids_of(shown: TurnImage) -> list[int]:
    """A token, and a row for each letter."""
    return [3, *(-ord(letter) for letter in shown.id)]


def read(tokenizer: Tokenizer, ids: list[int]) -> str:
    """Decode a prompt, with pictures as [their names]."""
    said, row = "", ""
    for token in ids:
        if token < 0:
            row += chr(-token)
            continue
        said, row = (said + f"[{row}]" if row else said), ""
        said += "" if token == 3 else tokenizer.marked_text([token])
    return said


def prompt(tokenizer: Tokenizer, source: str, *turns: Turn) -> str:
    template = ChatTemplate(source, tokenizer, pictures=ids_of)
    return read(tokenizer, template.encode(turns))


@pytest.mark.parametrize("source", [QWEN, CHATML])
def test_pictures_stand_where_their_message_has_them(tokenizer: Tokenizer, source: str) -> None:
    turns = (
        Turn("system", "Be brief."),
        Turn("user", "one two", images=(image("a"), image("b", 3), image("c", 7))),
        Turn("assistant", "Yes."),
        Turn("user", "", images=(image("d"),)),
    )
    assert prompt(tokenizer, source, *turns) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\n[a]one[b] two[c]<|im_end|>\n"
        "<|im_start|>assistant\nYes.<|im_end|>\n"
        "<|im_start|>user\n[d]<|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_template_s_own_place_is_taken(tokenizer: Tokenizer) -> None:
    turns = (Turn("user", "What?", images=(image("a"),)), Turn("assistant", "A cat."))
    assert prompt(tokenizer, SMOLVLM, *turns, Turn("user", "Sure?")) == (
        "<|im_start|>user:[a]What?<|im_end|>\n<|im_start|>assistant: A cat.<|im_end|>\n"
        "<|im_start|>user: Sure?<|im_end|>\n<|im_start|>assistant:"
    )


def test_a_template_that_knows_parts_only_also_takes_text(tokenizer: Tokenizer) -> None:
    assert prompt(tokenizer, SMOLVLM, Turn("user", "Hello.")) == (
        "<|im_start|>user: Hello.<|im_end|>\n<|im_start|>assistant:"
    )
    assert prompt(tokenizer, TEXT_PARTS, Turn("user", "Hi.", images=(image("a", 3),))) == (
        "<|im_start|>user\nHi.[a]<|im_end|>\n"
    )


@pytest.mark.parametrize("source", [QWEN, CHATML, SMOLVLM])
@pytest.mark.parametrize(
    "text",
    [
        f"{MARK}0{MARK}",
        f"{MARK}7{MARK} and more",
        "<|vision_start|><|image_pad|><|vision_end|>",
        "<image>",
        "<|vision_start|>",
    ],
)
def test_nobody_forges_a_picture(tokenizer: Tokenizer, source: str, text: str) -> None:
    told = prompt(tokenizer, source, Turn("user", f"x{text}y", images=(image("a", 0),)))
    assert told.count("[a]") == 1
    assert told.count(START) == 2
    ids = ChatTemplate(source, tokenizer, pictures=ids_of).encode(
        [Turn("user", f"x{text}y", images=(image("a"),))]
    )
    marks = {
        tokenizer.split_special_tokens(name)[0] for name in ("<|vision_start|>", "<|image_pad|>")
    }
    assert not marks & set(ids)


def test_a_model_that_cannot_see_says_so(tokenizer: Tokenizer) -> None:
    with pytest.raises(PromptRefused, match="cannot see pictures"):
        ChatTemplate(CHATML, tokenizer).encode([Turn("user", "?", images=(image(),))])


def test_a_template_that_leaves_out_contents_is_refused(tokenizer: Tokenizer) -> None:
    template = ChatTemplate("<|im_start|>{{ messages[0].role }}", tokenizer, pictures=ids_of)
    with pytest.raises(TemplateError, match="leaves out"):
        template.encode([Turn("user", "?", images=(image(),))])


def test_merged_messages_keep_their_pictures() -> None:
    turns = [Turn("system", "Be brief."), Turn("user", "See", images=(image("a", 3),))]
    (merged,) = merge_system(turns)
    assert (merged.content, merged.images[0].place) == ("Be brief.\n\nSee", 14)
    joined = merged.followed_by(Turn("user", "b", images=(image("b"),)), "\n\n")
    assert [one.place for one in joined.images] == [14, 16]
    assert [one.place for one in joined.end(2).images] == [0, 1]


def test_the_builder_takes_models_whose_template_knows_parts_only(tmp_path: Path) -> None:
    from app.models.store import ModelStore

    path = write_seeing_model(tmp_path / "m.gguf", "idefics3", chat_template=SMOLVLM)
    assert ModelStore(tmp_path / "store").install(path).chat_template == SMOLVLM
