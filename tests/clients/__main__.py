"""Runs the scripts of these clients, or of all: `python -m tests.clients [NAME ...]`."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Final

from tests.e2e.server import ROOT, Server
from tests.smollm2 import NAME, store_with_smollm2

SCRIPTS: Final = Path(__file__).with_name("scripts")
ENVIRONMENTS: Final = ROOT / ".cache" / "clients"
PYTHON: Final = {
    "openai": ("openai>=2,<3",),
    "ollama": ("ollama>=0.6,<0.7",),
    "langchain": ("langchain-openai", "langchain-ollama"),
    "litellm": ("litellm",),
    "instructor": ("instructor",),
    "pydantic_ai": ("pydantic-ai-slim[openai]",),
    "lm_eval": ("lm_eval[api]", "tokenizers"),
}
NODE: Final = {"ai_sdk": ("ai", "@ai-sdk/openai-compatible")}
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
    fell = 0
    with tempfile.TemporaryDirectory(prefix="wick-clients-") as folder:
        store = store_with_smollm2()
        server = Server(Path(folder), store, titles="off", threads=2)
        await server.start()
        try:
            for name, command in commands.items():
                words = [*command, server.origin, NAME, store / NAME]
                done = await asyncio.to_thread(
                    subprocess.run, words, check=False, timeout=SECONDS, cwd=ENVIRONMENTS
                )
                fell += done.returncode != 0
                print(name, "is well" if not done.returncode else "FELL", flush=True)
        finally:
            await server.stop()
    return fell


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
