"""Voice models in `wick models`: they lie in the same store, and write down what is said."""

from __future__ import annotations

import asyncio
import sys

from rich.console import Console

from app.cli.model_output import progress_reporter, voice_catalogue_table, voice_table
from app.config import Settings
from app.media.extras import EXTRAS, Extras
from app.media.voice_catalogue import VOICE_CATALOGUE
from app.media.voice_models import VoiceModels
from app.models.install.progress import ProgressTracker


def pull_voice_model(name: str, settings: Settings) -> int:
    """Download a voice model of the catalogue; say what else is missing."""
    try:
        with progress_reporter() as report:
            work = VoiceModels(settings.models_dir).install(name, ProgressTracker(report).report)
            model = asyncio.run(work)
    except KeyboardInterrupt:
        print("Stopped. Run the same command to continue the download.", file=sys.stderr)
        raise
    print(f"{model.title} is installed as {model.name}.")
    if not Extras().is_installed("voice"):
        print(f"It needs some libraries, too: {EXTRAS['voice'].command}")
    return 0


def print_voice_models(console: Console, settings: Settings) -> None:
    """Print the voice models that are here, if any."""
    models = VoiceModels(settings.models_dir)
    if found := models.installed():
        console.print(voice_table(found, models.chosen().name, width=console.width))


def print_voice_catalogue(console: Console) -> None:
    """Print the voice models that can be downloaded."""
    console.print(voice_catalogue_table(VOICE_CATALOGUE.values(), width=console.width))


def remove_voice_model(name: str, settings: Settings) -> bool:
    """Remove a voice model; return whether there is one of that name."""
    models = VoiceModels(settings.models_dir)
    if name not in {model.name for model in models.installed()}:
        return False
    models.remove(name)
    print(f"{name} is removed.")
    return True
