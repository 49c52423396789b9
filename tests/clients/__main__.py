"""Runs the scripts of these clients, or of all: `python -m tests.clients [NAME ...]`.

At the end stands the table of docs/clients.md: what was tried, in which version, and when.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Final

from tests.e2e.server import ROOT, Server
from tests.smollm2 import NAME, store_with_smollm2

SCRIPTS: Final = Path(__file__).with_name("scripts")
ENVIRONMENTS: Final = ROOT / ".cache" / "clients"
PYTHON: Final = {
    "anthropic": ("anthropic",),
    "openai": ("openai>=2,<3",),
    "openai_responses": ("openai>=2,<3",),
    "ollama": ("ollama>=0.6,<0.7",),
    "langchain": ("langchain-openai", "langchain-ollama"),
    "litellm": ("litellm",),
    "instructor": ("instructor",),
    "pydantic_ai": ("pydantic-ai-slim[openai]",),
    "smolagents": ("smolagents[openai]",),
    "llm": ("llm",),
    "aider": ("aider-chat",),
    "lm_eval": ("lm_eval[api]", "tokenizers"),
}
NODE: Final = {"ai_sdk": ("ai", "@ai-sdk/openai-compatible", "@ai-sdk/openai", "@ai-sdk/anthropic")}
SECONDS: Final = 600


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.clients", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join([*PYTHON, *NODE]))
    names = parser.parse_args().names or [*PYTHON, *NODE]
    if unknown := set(names) - PYTHON.keys() - NODE.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return asyncio.run(run(names))


async def run(names: list[str]) -> int:
    """The number of those that fell."""
    commands = {name: node(name) if name in NODE else python(name) for name in names}
    rows: list[tuple[str, str, bool]] = []
    with tempfile.TemporaryDirectory(prefix="wick-clients-") as folder:
        store = store_with_smollm2()
        server = Server(Path(folder), store, titles="off", threads=2)
        await server.start()
        try:
            for name, command in commands.items():
                words = [*command, server.origin, NAME, store / NAME]
                is_well = await _succeeds(words)
                rows.append((name, versions(name), is_well))
                print(name, "is well" if is_well else "FELL", flush=True)
        finally:
            await server.stop()
    print(f"\n| client | version | {datetime.now(UTC):%Y-%m-%d} |\n|---|---|---|")
    for name, found, is_well in rows:
        print(f"| {name} | {found} | {'works' if is_well else 'fails'} |")
    return sum(not is_well for _, _, is_well in rows)


async def _succeeds(words: list[str | Path]) -> bool:
    try:
        done = await asyncio.to_thread(
            subprocess.run, words, check=False, timeout=SECONDS, cwd=ENVIRONMENTS
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def versions(name: str) -> str:
    """The versions of a client's packages, as they are installed."""
    if name in NODE:
        folder = ENVIRONMENTS / name / "node_modules"
        found = {
            package: json.loads((folder / package / "package.json").read_text())["version"]
            for package in NODE[name]
        }
    else:
        packages = [re.split(r"[<>=\[]", package)[0] for package in PYTHON[name]]
        path = [str(folder) for folder in (ENVIRONMENTS / name).glob("lib/*/site-packages")]
        installed = {
            one.name.lower().replace("_", "-"): one.version
            for one in metadata.distributions(path=path)
        }
        found = {one: installed.get(one.replace("_", "-"), "?") for one in packages}
    return ", ".join(f"{package} {version}" for package, version in found.items())


def python(name: str) -> list[str | Path]:
    """The command of a client's script, whose environment is there afterwards."""
    folder = ENVIRONMENTS / name
    interpreter = folder / "bin" / "python"
    if not _is_made(folder, PYTHON[name]):
        venv.create(folder, with_pip=True, clear=True)
        pip = (interpreter, "-m", "pip", "install", "-qq", "--disable-pip-version-check")
        subprocess.run([*pip, *PYTHON[name]], check=True)
        _mark(folder, PYTHON[name])
    return [interpreter, SCRIPTS / f"{name}.py"]


def node(name: str) -> list[str | Path]:
    folder = ENVIRONMENTS / name
    if not _is_made(folder, NODE[name]):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true, "type": "module"}')
        flags = ("--no-audit", "--no-fund", "--ignore-scripts", "--silent")
        subprocess.run(["npm", "install", *flags, *NODE[name]], cwd=folder, check=True)
        _mark(folder, NODE[name])
    return ["node", Path(shutil.copy(SCRIPTS / f"{name}.mjs", folder))]


def _is_made(folder: Path, packages: tuple[str, ...]) -> bool:
    mark = folder / "packages.txt"
    return mark.is_file() and mark.read_text() == " ".join(packages)


def _mark(folder: Path, packages: tuple[str, ...]) -> None:
    (folder / "packages.txt").write_text(" ".join(packages))


if __name__ == "__main__":
    sys.exit(main())
