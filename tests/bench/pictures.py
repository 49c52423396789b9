"""Measure a running answer while pictures are encoded: `python -m tests.bench.pictures [KIND ...]`.

SmolLM2 writes a long answer, then somebody else shows it pictures. The projectors have random
weights and real sizes: `tiles` as SmolVLM's (17 tiles of 64 rows, one after another), `whole` with
as many rows as Gemma's (256, which see each other). Prints the gaps between the answer's tokens.
Run nothing beside it.
"""

from __future__ import annotations

import asyncio
import statistics
import struct
import sys
import tempfile
import time
from pathlib import Path

from app.inference.process import RunnerOptions, RunnerProcess
from app.inference.protocol import Delta, Failed, Finished, Generate
from app.models.gguf.reader import read_header
from app.models.model import Model, Turn, TurnImage
from app.models.parameters import Sampling
from app.models.store import ModelStore
from tests.inference.seeing import picture
from tests.smollm2 import original_of_smollm2
from tests.tiny_projectors import EncoderSize, write_projector

WIDTH = 576
SIZES = {
    "tiles": ("idefics3", EncoderSize(512, 16, 768, 3072, 12, 6, 4)),
    "whole": ("gemma3", EncoderSize(512, 16, 768, 3072, 12, 6, 2)),
}
RENAMED = {"<repo_name>": "<fake_token_around_image>", "<reponame>": "<global-img>"}
"""Tokens of SmolLM2's that nothing uses, and what the projector of tiles looks for."""
WARM_TOKENS, MAX_TOKENS = 40, 8000
PICTURES = 1_000_000
"""Number of the request with pictures."""
SECONDS = 200.0


def seeing_smollm2(folder: Path, name: str) -> Model:
    """Install SmolLM2 with a random projector."""
    kind, size = SIZES[name]
    weights = folder / f"{name}.gguf"
    weights.write_bytes(with_marks(original_of_smollm2()))
    projector = write_projector(folder / f"mmproj-{name}.gguf", kind, width=WIDTH, size=size)
    return ModelStore(folder / "store").install(weights, name, projector=projector)


def with_marks(path: Path) -> bytes:
    """Write a model's file with other names for some of its tokens."""
    header = read_header(path)
    data = path.read_bytes()
    head = data[: header.data_offset]
    for old, new in RENAMED.items():
        before = struct.pack("<Q", len(old)) + old.encode()
        assert head.count(before) == 1, old
        head = head.replace(before, struct.pack("<Q", len(new)) + new.encode())
    last = header.tensors[-1]
    end = head.rindex(last.name.encode()) + len(last.name) + 8 * len(last.shape) + 16
    end += -end % header.alignment
    return head[:end].ljust(end, b"\0") + data[header.data_offset :]


async def gaps_beside(model: Model, folder: Path, pictures: list[TurnImage]) -> None:
    """Show pictures while an answer is written; print the gaps between its tokens."""
    options = RunnerOptions(
        permits=folder / "permits",
        threads=2,
        slots=3,
        context=8192,
        kv_memory_mb=1024,
        kv_ram_mb=64,
        kv_disk_mb=0,
        kv_folder=folder / "kv",
        gather_ms=0,
    )
    runner = await RunnerProcess.start(model, options)
    before, meanwhile = list[float](), list[float]()
    number, last, shown = 0, 0.0, 0.0

    def answer() -> None:
        turns = (Turn("user", "Tell me a long story about the sea."),)
        bias = tuple((token, -100.0) for token in range(17))  # it is not to end soon
        runner.send(Generate(number, turns, Sampling(0.8), MAX_TOKENS, chat="a", bias=bias))

    answer()
    async for event in runner.events():
        now = time.monotonic()
        assert not isinstance(event, Failed), event.message
        if isinstance(event, Delta) and event.id == number:
            if last:
                (meanwhile if shown else before).append(now - last)
            last = now
            if len(before) >= WARM_TOKENS and not shown:
                shown = now
                turn = Turn("user", "What is this?", images=tuple(pictures))
                runner.send(Generate(PICTURES, (turn,), Sampling(0.8), 1, chat="b"))
        if isinstance(event, Finished) and event.id == PICTURES:
            print(f"  {event.prompt_tokens} tokens read after {now - shown:.1f} s")
            break
        if isinstance(event, Finished):
            number, last = number + 1, 0.0
            answer()
    await runner.kill()
    print_gaps("alone", before)
    print_gaps("meanwhile", meanwhile)


def print_gaps(when: str, gaps: list[float]) -> None:
    longest = ", ".join(f"{1000 * gap:.0f}" for gap in sorted(gaps)[:-6:-1])
    median = 1000 * statistics.median(gaps)
    print(f"  {when}: {len(gaps)} tokens, median {median:.0f} ms, longest {longest} ms")


async def measure(folder: Path, names: list[str]) -> None:
    for name in names:
        model = seeing_smollm2(folder, name)
        pictures = [picture(seed, 640, 480) for seed in range(1 if name == "tiles" else 3)]
        print(f"{name}: {len(pictures)} pictures")
        await asyncio.wait_for(gaps_beside(model, folder, pictures), SECONDS)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder), sys.argv[1:] or list(SIZES)))


if __name__ == "__main__":
    main()
