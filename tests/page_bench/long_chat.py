"""Measures the server's time for the page of a long chat: `python -m
tests.page_bench.long_chat`.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from rich.console import Console

from app.config import Settings
from app.server import create_app
from app.web.render import markdown
from tests.long_chat import plant

LIMIT = 0.3
ROUNDS = 10


async def measure(count: int) -> list[float]:
    """Seconds for each of some requests; nothing of what was rendered for one helps the next."""
    seconds = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = Settings(data_dir=folder, models_dir=folder / "models", auto_pull=False)
        app = create_app(settings)
        async with app.test_app() as served:
            chat_id = await asyncio.to_thread(plant, settings.database, count)
            headers = {"Host": "localhost", "Accept-Encoding": "gzip"}
            for _ in range(ROUNDS):
                markdown.clear_cache()
                begun = time.perf_counter()
                answer = await served.test_client().get(f"/chats/{chat_id}", headers=headers)
                assert answer.status_code == 200
                seconds.append(time.perf_counter() - begun)
    return seconds


def main() -> None:
    for count in (10, 100, 500, 2000):
        seconds = asyncio.run(measure(count))
        Console().print(
            f"{count:5} messages: {1000 * statistics.median(seconds):.0f} ms, "
            f"at most {1000 * max(seconds):.0f} ms (aim {1000 * LIMIT:.0f} ms)"
        )


if __name__ == "__main__":
    main()
