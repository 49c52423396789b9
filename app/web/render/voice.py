"""Voice to text as the models page shows it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from app.media.extras import EXTRAS
from app.media.protocol import UTTERANCE_SECONDS
from app.media.setup import SetupTask
from app.media.voice_catalogue import VOICE_CATALOGUE, estimate_seconds
from app.web.context import ServerContext

DOWNLOADS: Final = {"voice": 200, "ocr": 130}
"""MB of what is downloaded for an extra, about."""


@dataclass(frozen=True, slots=True)
class VoiceRow:
    """A voice model that is here, or can be downloaded. seconds: what an utterance of
    UTTERANCE_SECONDS takes here, measured or estimated by another model's; line: what its download
    does now."""

    name: str
    title: str
    about: str
    size: int
    is_installed: bool
    is_chosen: bool
    seconds: float | None = None
    is_measured: bool = False
    line: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class ExtraView:
    """An extra that is missing, or is being set up. task: that does it, or has failed to;
    download: MB of it, about."""

    key: str
    title: str
    command: str
    download: int
    task: SetupTask | None


@dataclass(frozen=True, slots=True)
class VoiceView:
    """State of voice to text and text in pictures. voice, ocr: what is to be set up, None where
    that is done; rows: the voice models then."""

    voice: ExtraView | None
    ocr: ExtraView | None
    rows: tuple[VoiceRow, ...]
    utterance: int = UTTERANCE_SECONDS


async def load_voice_view(context: ServerContext) -> VoiceView:
    media = context.media
    installed = {m.name: m for m in await asyncio.to_thread(media.voice_models.installed)}
    has_extra = media.extras.is_installed("voice")
    chosen = (await asyncio.to_thread(media.voice_models.chosen)).name if installed else ""
    tasks = {task.key: task for task in media.setup.all()}
    speeds = await asyncio.to_thread(media.voice_models.speeds)
    rows = []
    for name in [*VOICE_CATALOGUE, *(name for name in installed if name not in VOICE_CATALOGUE)]:
        entry, model, task = VOICE_CATALOGUE.get(name), installed.get(name), tasks.get(name)
        rows.append(
            VoiceRow(
                name,
                entry.title if entry else name,
                entry.about if entry else "Your own.",
                model.size if model else entry.size if entry else 0,
                is_installed=model is not None,
                is_chosen=name == chosen,
                seconds=speeds.get(name) or estimate_seconds(name, speeds),
                is_measured=name in speeds,
                line=task.line if task and task.is_running else "",
                error=task.error if task else "",
            )
        )
    is_ready = has_extra and bool(installed)
    return VoiceView(
        None if is_ready and "voice" not in tasks else _extra("voice", tasks),
        None if media.can_recognize and "ocr" not in tasks else _extra("ocr", tasks),
        tuple(rows) if is_ready else (),
    )


def _extra(key: str, tasks: dict[str, SetupTask]) -> ExtraView:
    extra = EXTRAS[key]
    return ExtraView(key, extra.title, extra.command, DOWNLOADS[key], tasks.get(key))
