"""Ask ten questions about a PDF of 30 pages: `python -m tests.documents.bench STORE MODEL`.

Chromium prints the PDF. A server of its own reads it and answers; it is started anew before the
sixth question. What is counted is what the engine had to read for each question (tokens of the
prompt that were not cached), and how long the first token took. A last question is asked in a new
chat about the same file. STORE: the folder of a model store that has MODEL.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

import httpx

from tests.e2e.server import Server

QUESTIONS: Final = 10
ANSWER_TOKENS: Final = 24
RESTART_BEFORE: Final = 6
POLL_SECONDS: Final = 0.2
TIMEOUT_SECONDS: Final = 900
THINGS: Final = (
    *("The harbour office", "A keeper of the lamp", "The northern pier", "The ferry to Skarn"),
    *("An old barometer", "The night watch", "The rope store", "Captain Lind", "The winter storm"),
)
ACTS: Final = ("was moved", "is painted", "was measured", "is kept", "was repaired", "was sold")
SECTION: Final = '<section style="break-after: page">'
PLACES: Final = ("beside the well", "in the third shed", "on the east quay", "under the stairs")


def print_report(folder: Path, pages: int) -> bytes:
    """Write a report in which each page has a number of its own, and let Chromium print it."""
    chance = random.Random(7)
    sections = []
    for page in range(1, pages + 1):
        sentences = [
            f"{chance.choice(THINGS)} {chance.choice(ACTS)} {chance.choice(PLACES)}"
            for _ in range(17)
        ]
        sentences.insert(9, f"The register of page {page} has the number {1000 + page * 37}")
        text = ". ".join(sentences)
        sections.append(
            f"<section style='break-after: page'><h2>Part {page}</h2><p>{text}.</p></section>"
        )
    (folder / "report.html").write_text(f"<meta charset=utf-8>{''.join(sections)}")
    subprocess.run(
        [
            *("chromium", "--headless", "--no-sandbox", "--no-pdf-header-footer"),
            *(f"--print-to-pdf={folder / 'report.pdf'}", str(folder / "report.html")),
        ],
        check=True,
        capture_output=True,
    )
    return (folder / "report.pdf").read_bytes()


class Person:
    """Someone who asks over the API."""

    def __init__(self, server: Server, model: str) -> None:
        self._server, self._model = server, model

    async def ask(self, chat: str, text: str, files: list[int]) -> dict[str, Any]:
        """Ask in a chat, a new one without its id, and return the whole answer."""
        address = f"{self._server.origin}/api/v1/chats"
        async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS) as client:
            body: dict[str, Any] = {"text": text, "attachments": files, "model": self._model}
            if chat:
                asked = await client.post(f"{address}/{chat}/messages", json=body)
            else:
                body["settings"] = {"max_tokens": ANSWER_TOKENS, "temperature": 0}
                asked = await client.post(address, json=body)
            asked.raise_for_status()
            submitted = asked.json()
            chat, wanted = submitted["chat"]["id"], submitted["answer"]["id"]
            async with asyncio.timeout(TIMEOUT_SECONDS):
                while True:
                    messages = (await client.get(f"{address}/{chat}/messages")).json()["data"]
                    answer: dict[str, Any] = next(m for m in messages if m["id"] == wanted)
                    if answer["status"] not in {"queued", "loading", "prefill", "streaming"}:
                        return answer
                    await asyncio.sleep(POLL_SECONDS)

    async def upload(self, data: bytes) -> dict[str, Any]:
        async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS) as client:
            address = f"{self._server.origin}/api/v1/files?name=report.pdf&model={self._model}"
            file: dict[str, Any] = (await client.post(address, content=data)).json()
            return file


def report(name: str, answer: dict[str, Any], first: int) -> int:
    """Print what a question has cost; return the tokens that were evaluated."""
    prompt, cached = answer["prompt_tokens"], answer["cached_tokens"] or 0
    share = 100 * (prompt - cached) / (first or prompt)
    print(
        f"{name:28} prompt {prompt:6,}  evaluated {prompt - cached:6,}  {share:5.1f} %"
        f"  first token {answer['first_token_seconds']:6.2f} s  dropped {answer['dropped']}"
        f"  {answer['text'][:60]!r}",
        flush=True,
    )
    return int(prompt - cached)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pages", type=int, default=30)
    parser.add_argument("--context", type=int, default=8192)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="documents-bench-") as name:
        folder = Path(name)
        data = print_report(folder, given.pages)
        (folder / "data").mkdir()
        settings = {"threads": given.threads, "context": given.context, "titles": "off"}
        server = Server(folder / "data", given.store, **settings)
        await server.start()
        try:
            await ask_all(server, given.model, data)
        finally:
            await server.stop()


async def ask_all(server: Server, model: str, data: bytes) -> None:
    person = Person(server, model)
    file = await person.upload(data)
    print(f"{model}: {file['pages']} pages, {file['tokens']:,} tokens")
    chat, first, files = "", 0, [file["id"]]
    for number in range(1, QUESTIONS + 1):
        if number == RESTART_BEFORE:
            await server.stop()
            await server.start()
        page = 1 + (number * 7) % file["pages"]
        answer = await person.ask(chat, f"Which number has the register of page {page}?", files)
        chat, files = answer["chat_id"], []
        where = " (after a restart)" if number == RESTART_BEFORE else ""
        evaluated = report(f"question {number}{where}", answer, first)
        first = first or evaluated
    file = await person.upload(data)
    answer = await person.ask("", "What is this report about?", [file["id"]])
    report("the same file in a new chat", answer, first)


if __name__ == "__main__":
    asyncio.run(main())
