"""The table of generation parameters reaches every surface, and is the only place to add one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.models.parameters import (
    PARAMETERS,
    SAMPLING,
    SETTINGS,
    GenerationSettings,
    Parameter,
    Protocol,
    Sampling,
)

ROOT = Path(__file__).parents[2]
ANCHOR = "    repetition_window: int = _integer("
NEW_ROWS = """\
    verbosity: str | None = _choice(
        None, ("low", "high"), "Verbosity", "How much it says.", openai=_EXTENSION, ollama=_SAME
    )
    calm: bool | None = _flag(None, "Calm", "Stay calm.", openai=_EXTENSION, ollama=_SAME)
    top_z: int = _integer(
        0, (0, 9), "Top-z", "Consider z.", neutral=0, openai=_EXTENSION, ollama=WireField("z_top")
    )
"""
# Runs where `app` has these three rows more, and nothing else.
SURFACES = r"""
import argparse, json
import jinja2
import msgspec
from app.api.docs import openapi
from app.api.openai.chat import ChatRequest
from app.api.ollama.generate import OllamaOptions
from app.api.parameters import chosen_in
from app.cli import chat
from app.conversations.imports import third_party
from app.conversations.settings import ChatSettings, parse, parse_generation_settings, sanitize
from app.inference.protocol import Generate, from_line, to_line
from app.inference.remote.request import request_body
from app.models.model import Turn
from app.models.parameters import SETTINGS, GenerationSettings
from app.models.upstream import Upstream
from app.terminal.commands import completions
from app.web.pages import settings

WANTED = {"verbosity": "high", "calm": True, "top_z": 3}
ABOUT = {"verbosity": "How much it says.", "calm": "Stay calm.", "top_z": "Consider z."}
schemas = openapi()["components"]["schemas"]
for shape in ("ChatRequest", "CompletionRequest", "OllamaOptions", "SettingsObject"):
    for name, about in ABOUT.items():
        name = "z_top" if (shape, name) == ("OllamaOptions", "top_z") else name
        assert schemas[shape]["properties"][name]["description"] == about, (shape, name)
asked = {"model": "m", "messages": [{"role": "user", "content": "x"}], **WANTED}
assert msgspec.convert(asked, ChatRequest).chosen == WANTED
options = {"verbosity": "high", "calm": True, "z_top": 3}
assert chosen_in(msgspec.convert(options, OllamaOptions), "ollama") == WANTED
for wrong in ({"verbosity": "loud"}, {"top_z": 10}):
    try:
        msgspec.convert(asked | wrong, ChatRequest)
    except msgspec.ValidationError:
        continue
    raise AssertionError(wrong)

environment = jinja2.Environment(loader=jinja2.FileSystemLoader("templates"), autoescape=True)
html = environment.get_template("_chat_settings.html").render(
    main=[SETTINGS[name] for name in settings.MAIN_FIELDS], labels=settings.MAIN_FIELDS,
    advanced=[field for field in settings.CHAT_FIELDS if field.name not in settings.MAIN_FIELDS],
    values={"calm": "on"}, defaults={}, errors={}, kept={}, given={}, chat_id="c", model="m"
)
for name, about in ABOUT.items():
    assert f'name="{name}"' in html and about in html
assert '<option value="high">' in html and '<option value="on" selected>' in html
assert set(WANTED) <= {field.name for field in settings.SAMPLING}
chosen = ChatSettings(**WANTED)
assert parse({"verbosity": "high", "calm": "on", "top_z": "3"}, 9) == chosen

parser = argparse.ArgumentParser()
chat.add_parser(parser.add_subparsers())
words = ["chat", "--verbosity", "high", "--calm", "on", "--top-z", "3"]
given = chat._settings(parser.parse_args(words))
assert parse(given, 9) == chosen
help_ = parser._subparsers._group_actions[0].choices["chat"].format_help()
assert all(f"--{name.replace('_', '-')}" in help_ for name in WANTED)
assert {"/set calm", "/set top_z"} <= {text for text, _ in completions([], "/set ")}

assert sanitize(WANTED | {"temperature": 99}) == chosen
assert sanitize({"verbosity": "loud", "calm": "perhaps", "top_z": 10}) == ChatSettings()
entry = {"chat": {"params": options, "messages": []}}
assert sanitize(third_party.parse_open_webui(entry).settings) == chosen

made_with = chosen.merged_with(GenerationSettings())
assert parse_generation_settings(made_with.to_json()) == made_with
assert parse_generation_settings(made_with.to_json().replace("high", "loud")) is None
turns = (Turn("user", "x"),)
command = from_line(to_line(Generate(1, turns, made_with.sampling)))
assert command.sampling.verbosity == "high"
body = request_body(Upstream("http://box/v1", "m"), command, turns, 9, is_plain=False)
assert {name: body[name] for name in WANTED} == WANTED and body["z_top"] == 3
"""


def test_a_new_row_is_on_every_surface(tmp_path: Path) -> None:
    """Numbers, choices and switches: in forms, documents, options, imports and requests."""
    for folder in ("app", "templates", "migrations"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("*.pyc"))
    table = tmp_path / "app/models/parameters.py"
    text = table.read_text()
    assert text.count(ANCHOR) == 1
    table.write_text(text.replace(ANCHOR, NEW_ROWS + ANCHOR))
    command = [sys.executable, "-c", SURFACES]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("row", SETTINGS.values(), ids=lambda row: row.name)
def test_each_row_says_what_it_is_and_reads_what_it_writes(row: Parameter) -> None:
    assert row.label
    assert row.help.endswith(".")
    value = GenerationSettings(
        sampling=Sampling(seed=3), context_length=512, max_thought_tokens=99
    ).value(row.name)
    if row.is_number:
        assert row.parse(row.to_text(value)) == value
        with pytest.raises(ValueError, match=f"^{row.subject} must be a"):
            row.parse("a lot")


@pytest.mark.parametrize("protocol", ["openai", "ollama"])
def test_no_two_rows_have_one_name_in_a_protocol(protocol: Protocol) -> None:
    names = [wire.name for row in PARAMETERS.values() if (wire := row.wire(protocol))]
    assert len(set(names)) == len(names)


def test_parameters_are_named_nowhere_else() -> None:
    """But in the engine, and where a request to another server leaves out what has no effect."""
    allowed = {"models/parameters.py", "inference/runner/sampling.py"}
    found = {
        f"{path.relative_to(ROOT / 'app')}"
        for path in (ROOT / "app").rglob("*.py")
        if any(name in path.read_text() for name in ("min_p", "repeat_last_n", "frequency_penalty"))
    }
    assert found - allowed == {"inference/remote/request.py"}
    assert {"min_p", "seed"} <= SAMPLING.keys()
