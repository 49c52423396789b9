"""Measure voice to text: `python -m tests.bench.voice [WAV:TEXT-FILE ...]`; run nothing beside it.

Prints CPU seconds for each second of sound, wrong words of recordings whose text is known, how
soon the text of a short utterance is there, and the longest pause of an answer of SmolLM2's.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil

from tests.bench.pauses import answer_pauses, describe_pauses
from tests.e2e.server import Server
from tests.smollm2 import store_with_smollm2
from tests.whisper import speak, with_voice

SENTENCE = "Please write a short story about a dog and a cat, and a house by the sea."


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def wrong_words(heard: list[str], said: list[str]) -> int:
    """Count words to replace, insert and delete."""
    before = list(range(len(said) + 1))
    for row, word in enumerate(heard, 1):
        now = [row]
        for column, other in enumerate(said, 1):
            now.append(min(before[column] + 1, now[-1] + 1, before[column - 1] + (word != other)))
        before = now
    return before[-1]


def cpu_of_child(folder: Path) -> float:
    """CPU seconds of the media child that has the model in `folder`."""
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if "app.media.child.main" in command and str(folder) in " ".join(command):
            return float(sum(process.cpu_times()[:2]))
    return 0.0


async def write_down(http: httpx.AsyncClient, path: Path) -> dict[str, object]:
    form = {"model": "whisper-1", "response_format": "verbose_json"}
    files = {"file": (path.name, path.read_bytes())}
    answer = await http.post("/v1/audio/transcriptions", data=form, files=files)
    found: dict[str, object] = answer.raise_for_status().json()
    return found


async def measure(folder: Path, recordings: list[tuple[Path, str]]) -> None:
    (folder / "data").mkdir()
    store = with_voice(store_with_smollm2(), folder / "store")
    server = Server(folder / "data", store, threads=2)
    await server.start()
    headers = {"Authorization": "Bearer none"}
    async with httpx.AsyncClient(base_url=server.origin, timeout=240, headers=headers) as http:
        speech = speak(SENTENCE, folder)
        await write_down(http, speech)  # loads the model
        for path, said in [*recordings, (speech, SENTENCE)]:
            before, begun = cpu_of_child(folder), time.monotonic()
            made = await write_down(http, path)
            cpu = cpu_of_child(folder) - before
            seconds, heard = float(str(made["duration"])), words(str(made["text"]))
            wrong = wrong_words(heard, words(said)) / max(1, len(words(said)))
            print(
                f"{path.name}: {seconds:.1f} s, {cpu / seconds:.3f} CPU s a second, text after "
                f"{time.monotonic() - begun:.2f} s, {wrong:.1%} wrong words"
            )

        async def hear() -> None:
            await write_down(http, speech)

        for name, work in (("alone", None), ("beside dictation", hear)):
            print(f"answer {name}: {describe_pauses(await answer_pauses(http, work))}")
    await server.close()


def main() -> None:
    pairs = [one.split(":") for one in sys.argv[1:]]
    recordings = [(Path(sound), Path(text).read_text()) for sound, text in pairs]
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder), recordings))


if __name__ == "__main__":
    main()
