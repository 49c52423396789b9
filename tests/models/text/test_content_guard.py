"""Templates read contents as they are, and no content ever becomes a special token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import TemplateError
from app.models.model import Turn
from app.models.text.chat_template import ChatTemplate
from app.models.text.content_guard import ContentGuard, SpecialNames
from app.models.text.tokenizer import Tokenizer
from tests import tiny_gguf
from tests.models.conftest import make_tokenizer
from tests.models.text.test_chat_template import show
from tests.tiny_gguf import CHATML

NAMES = (
    *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>"),
    *("<a>", "a><b", "<<SYS>>", "[INST]", "[/INST]"),
)
CONTROL, USER_DEFINED = 3, 4
ONE = "{{ '<|im_start|>' }}{{ messages[0].content }}{{ '<|im_end|>' }}"
THOUGHTS = (
    "{% for m in messages %}{% set c = m['content'] %}"
    "{% if m['role']=='assistant' and '</think>' in c %}{% set c = c.split('</think>')[-1] %}"
    "{% endif %}[{{ m['role'] }}]{{ c }}{% endfor %}"
)


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A tokenizer with many special tokens, which overlap and look like each other."""
    return with_specials(tmp_path_factory.mktemp("rich"))


def with_specials(folder: Path) -> Tokenizer:
    vocabulary: dict[str, Any] = tiny_gguf.bpe_vocabulary()
    tokens = list(vocabulary["tokenizer.ggml.tokens"])
    kinds = list(vocabulary["tokenizer.ggml.token_type"])
    for name in NAMES:
        if name not in tokens:
            tokens.append(name)
            kinds.append(USER_DEFINED if "think" in name else CONTROL)
    keys = {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": kinds}
    return make_tokenizer(folder, "bpe", **keys)


def test_a_template_that_strips_thoughts_does(rich: Tokenizer) -> None:
    turns = [
        Turn("user", "q"),
        Turn("assistant", "<think>secret plan</think>visible"),
        Turn("user", "x</think>y"),
    ]
    text = ChatTemplate(THOUGHTS, rich).text(turns)
    assert text == "[user]q[assistant]visible[user]x</think>y"


def test_thoughts_that_stay_are_text(rich: Tokenizer) -> None:
    ids = ChatTemplate(CHATML, rich).encode([Turn("assistant", "<think>a</think>b")])
    assert show(rich, ids).startswith("<|im_start|>assistant\n<think>a</think>b<|im_end|>")
    assert [rich.special_text(i) for i in ids if i in rich.special_ids] == [
        *("<|im_start|>", "<|im_end|>", "<|im_start|>")
    ]


QUERIES = {
    "'<think>' in c": "True",
    "'<think>' not in c": "False",
    "c.startswith('<think>')": "True",
    "c.startswith(('x', '<think>'))": "True",
    "c.endswith('<|im_end|>')": "True",
    "c == messages[0].content": "True",
    "c != '<think> a </think>\\nb<|im_end|>'": "False",
    "c | length": "30",
    "c | count": "30",
    "c.split('</think>') | length": "2",
    "c.split('</think>')[0].split('<think>')[-1]": " a ",
    "c.split('</think>')[-1].lstrip('\\n')": "b<|im_end|>",
    "c.partition('</think>')[2] | trim": "b<|im_end|>",
    "c.find('</think>') > 0": "True",
    "c.count('<think>')": "1",
    "c.removeprefix('<think>')": " a </think>\nb<|im_end|>",
    "c.replace('<think>', '').replace('</think>', '')": " a \nb<|im_end|>",
    "c | replace('<|im_end|>', '')": "<think> a </think>\nb",
    "c | tojson": '"<think> a </think>\\nb<|im_end|>"',
    "c | tojson(ensure_ascii=True)": '"<think> a </think>\\nb<|im_end|>"',
    "c | upper": "<THINK> A </THINK>\nB<|IM_END|>",
    "(c | upper) | lower": "<think> a </think>\nb<|im_end|>",
    "c is string": "True",
}


@pytest.mark.parametrize("query", QUERIES)
def test_a_template_can_look_into_contents(rich: Tokenizer, query: str) -> None:
    source = f"{{% set c = messages[0].content %}}{{{{ {query} }}}}|{{{{ messages[0].content }}}}"
    content = "<think> a </think>\nb<|im_end|>"
    template = ChatTemplate(source, rich)
    assert template.text([Turn("user", content)]) == f"{QUERIES[query]}|{content}"
    assert not rich.special_ids & set(template.encode([Turn("user", content)]))


@pytest.mark.parametrize("content", ["start", "<|im_start", "im_start|>", "  <|im_start|> "])
@pytest.mark.parametrize("change", ["c", "c | trim", "c | lower", "c.strip()"])
def test_no_neighbour_completes_a_name(rich: Tokenizer, content: str, change: str) -> None:
    source = "{% set c = messages[0].content %}" + "".join(
        f"{before}{{{{ {change} }}}}{after} "
        for before in ("", "<|im_", "<|", "<")
        for after in ("", "|>", ">")
    )
    ids = ChatTemplate(source, rich).encode([Turn("user", content)])
    assert rich.special_ids & set(ids) == set()


def test_capitals_hide_no_name(rich: Tokenizer) -> None:
    template = ChatTemplate("{{ messages[0].content | lower }}", rich)
    assert not rich.special_ids & set(template.encode([Turn("user", "<|IM_START|><THINK>")]))


def test_break_characters_of_users_stay(rich: Tokenizer) -> None:
    everything = "".join(map(chr, range(0xE000, 0xF900))) + "<|im_end|>\\uE000"
    template = ChatTemplate(ONE, rich)
    assert show(rich, template.encode([Turn("user", everything)])) == (
        f"<|im_start|>{everything}<|im_end|>"
    )


def test_a_text_with_every_break_is_refused() -> None:
    text = "".join(chr(n) for r in (range(0xE000, 0xF900), range(0xF0000, 0xFFFFE)) for n in r)
    with pytest.raises(TemplateError, match="private-use"):
        ContentGuard(SpecialNames(["<a>"]), [text])


def test_structures_are_guarded_to_their_last_text() -> None:
    guard = ContentGuard(SpecialNames(["<a>"]), [])
    given_ = {"content": ["x<a>", {"text": "<a>", "n": 1}], "more": None}
    guarded = guard.guard(given_)
    assert "<a>" not in str(guarded)
    assert guard.text(str(guarded)) == str(given_)


def test_names_that_are_made_to_be_deep_are_found() -> None:
    names = SpecialNames("<" + "a" * count for count in range(1, 900))
    found = names.whole.search("x<" + "a" * 2000)
    assert found is not None
    assert found.group() == "<" + "a" * 899


pieces = st.one_of(
    st.sampled_from(NAMES),
    st.sampled_from(NAMES).flatmap(
        lambda name: st.integers(0, len(name)).flatmap(
            lambda cut: st.sampled_from([name[:cut], name[cut:]])
        )
    ),
    st.sampled_from([*"\ue000\ue001 \naé水'\"", "\\ue000", "{{ 1 }}"]),
    st.text(max_size=3),
)


def nested(parts: list[str], cut: int) -> str:
    """The second part put into the first, and the rest behind."""
    if len(parts) < 2:
        return "".join(parts)
    cut %= len(parts[0]) + 1
    return parts[0][:cut] + parts[1] + parts[0][cut:] + "".join(parts[2:])


contents = st.builds(nested, st.lists(pieces, max_size=8), st.integers(0, 20))


@given(contents, contents)
def test_contents_are_never_special_and_come_back_as_they_were(
    rich: Tokenizer, first: str, second: str
) -> None:
    turns = [Turn("user", first), Turn("assistant", second), Turn("user", second + first)]
    template = ChatTemplate(CHATML, rich)
    ids = template.encode(turns, opening=second)
    specials = [rich.special_text(i) for i in ids if i in rich.special_ids]
    assert specials == ["<|im_start|>", "<|im_end|>"] * 3 + ["<|im_start|>"]
    said = "".join(f"<|im_start|>{turn.role}\n{turn.content}<|im_end|>\n" for turn in turns)
    assert show(rich, ids) == f"{said}<|im_start|>assistant\n{second}"
    assert template.text(turns) == f"{said}<|im_start|>assistant\n"


@given(contents, st.sampled_from(["c | trim", "c | upper", "c | lower", "c | tojson", "c.strip()"]))
def test_no_change_that_templates_make_forges_one(
    rich: Tokenizer, content: str, change: str
) -> None:
    source = "{% set c = messages[0].content %}{{ " + change + " }}.{{ c }}"
    ids = ChatTemplate(source, rich).encode([Turn("user", content)])
    assert not rich.special_ids & set(ids)
