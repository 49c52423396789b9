"""The chat templates that Wick knows by name, for files that bring none or a wrong one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from app.models.model import Model
from app.models.parameters import THINKING
from app.models.text.thinking import thinking_parameters

if TYPE_CHECKING:
    from app.models.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class NamedTemplate:
    """Chat template with a `title` for display. `source` is Jinja; `stop`: texts that end an
    answer, where the model has no special token for that and would go on with the user's next
    question.
    """

    title: str
    source: str
    stop: tuple[str, ...] = ()


CHATML: Final = """\
{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] \
+ '<|im_end|>' + '\\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
LLAMA_2: Final = """\
{% set ns = namespace(system='') %}{% for message in messages %}\
{% if message['role'] == 'system' %}{% set ns.system = '<<SYS>>\\n' + message['content'] \
+ '\\n<</SYS>>\\n\\n' %}{% elif message['role'] == 'user' %}{{ bos_token + '[INST] ' + ns.system \
+ message['content'] | trim + ' [/INST]' }}{% set ns.system = '' %}\
{% else %}{{ ' ' + message['content'] | trim + ' ' + eos_token }}{% endif %}{% endfor %}"""
LLAMA_3: Final = """\
{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] \
+ '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}\
{% endif %}"""
ZEPHYR: Final = """\
{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] \
+ eos_token + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}\
{% endif %}"""
MISTRAL: Final = """\
{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' \
+ message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' ' \
+ message['content'] | trim + eos_token }}{% else %}\
{{ raise_exception('there is no system role') }}{% endif %}{% endfor %}"""
ALPACA: Final = """\
{% if messages[0]['role'] != 'system' %}{{ 'Below is an instruction that describes a task. \
Write a response that appropriately completes the request.\\n\\n' }}{% endif %}\
{% for message in messages %}{% if message['role'] == 'user' %}{{ '### Instruction:\\n' \
+ message['content'] | trim + '\\n\\n' }}{% elif message['role'] == 'assistant' %}\
{{ '### Response:\\n' + message['content'] | trim + eos_token + '\\n\\n' }}{% else %}\
{{ message['content'] | trim + '\\n\\n' }}{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ '### Response:\\n' }}{% endif %}"""
VICUNA: Final = """\
{% if messages[0]['role'] != 'system' %}{{ 'A chat between a curious user and an artificial \
intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user\\'s \
questions. ' }}{% endif %}{% for message in messages %}{% if message['role'] == 'user' %}\
{{ 'USER: ' + message['content'] | trim + ' ' }}{% elif message['role'] == 'assistant' %}\
{{ 'ASSISTANT: ' + message['content'] | trim + eos_token }}{% else %}\
{{ message['content'] | trim + ' ' }}{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"""
PLAIN: Final = """\
{% for message in messages %}{% if message['role'] == 'user' %}{{ 'User: ' + message['content'] \
+ '\\n' }}{% elif message['role'] == 'assistant' %}{{ 'Assistant: ' + message['content'] | trim \
+ eos_token + '\\n' }}{% else %}{{ message['content'] + '\\n\\n' }}{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"""

_NAMED: Final = {
    "chatml": NamedTemplate("ChatML (SmolLM, Hermes, OpenHermes)", CHATML),
    "llama-2": NamedTemplate("Llama 2 Chat", LLAMA_2),
    "llama-3": NamedTemplate("Llama 3 Instruct", LLAMA_3),
    "zephyr": NamedTemplate("Zephyr (TinyLlama Chat, StableLM)", ZEPHYR, ("<|user|>",)),
    "mistral": NamedTemplate("Mistral Instruct", MISTRAL),
    "alpaca": NamedTemplate(
        "Alpaca (### Instruction and ### Response)", ALPACA, ("### Instruction:", "### Response:")
    ),
    "vicuna": NamedTemplate("Vicuna (USER and ASSISTANT)", VICUNA, ("USER:",)),
    "plain": NamedTemplate("Plain text (User and Assistant)", PLAIN, ("\nUser:",)),
}
# Models installed by earlier versions keep this one; an answer's own space made two of one there.
_EARLIER: Final = {PLAIN.replace(" | trim", ""): PLAIN}
# What a vocabulary holds says more than a name: its tokens were made for one template.
_BY_TOKEN: Final = (
    ("<|im_start|>", "chatml"),
    ("<|start_header_id|>", "llama-3"),
    ("<|assistant|>", "zephyr"),
    ("[INST]", "mistral"),
)
_BY_NAME: Final = (
    (re.compile(r"vicuna|wizardlm|wizard-?math"), "vicuna"),
    (re.compile(r"alpaca|wizardcoder|instruct-?gpt"), "alpaca"),
    (re.compile(r"zephyr|tinyllama.*chat"), "zephyr"),
    (re.compile(r"mi[sx]tral.*instruct"), "mistral"),
    (re.compile(r"(llama-?2|codellama|llama-2).*(chat|instruct)"), "llama-2"),
)


def named_templates() -> dict[str, NamedTemplate]:
    """List the templates that a user can choose, by name."""
    return dict(_NAMED)


def guess_template(tokenizer: Tokenizer, title: str = "") -> str:
    """The name of the likeliest template for a model whose file brings none."""
    for token, name in _BY_TOKEN:
        if tokenizer.has_special(token):
            return name
    spelled = re.sub(r"[\s_]+", "-", title.lower())
    return next((name for form, name in _BY_NAME if form.search(spelled)), "plain")


def template_of(model: Model) -> str:
    """Return the source of a model's chat template: the one the user chose or the file's."""
    chosen = _NAMED.get(model.settings.template or "")
    return chosen.source if chosen else default_template_of(model)


def default_template_of(model: Model) -> str:
    """Return the source of the file's chat template, or of the one guessed for it."""
    return _EARLIER.get(model.chat_template, model.chat_template)


def thinking_parameters_of(model: Model) -> tuple[str, ...]:
    """The generation parameters about thinking that mean something to a model. What models of
    other servers know is not known."""
    if model.remote is not None:
        return THINKING
    return thinking_parameters(template_of(model))


def stops_of(model: Model) -> tuple[str, ...]:
    """List the texts that end an answer of `model`, besides its special tokens."""
    source = template_of(model)
    for named in _NAMED.values():
        if named.source == source:
            return named.stop
    # Files with such a template of their own need the same.
    return ("### Instruction:",) if "### Instruction:" in source else ()
