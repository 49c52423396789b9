"""The real voice model for tests and benchmarks, and speech for it."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock

from app.media.voice_catalogue import DEFAULT_VOICE_MODEL
from app.media.voice_models import VoiceModels

CACHE = Path(__file__).parents[1] / ".cache"


def store_with_whisper() -> Path:
    """The folder of a store with Whisper Base, pulled once; it is only to be read."""
    folder = CACHE / "voices"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / "voices.lock"):  # two processes may test side by side
        work = VoiceModels(folder).install(DEFAULT_VOICE_MODEL, lambda *step: None)
        with ThreadPoolExecutor(1) as thread:  # the test has a loop of its own
            thread.submit(asyncio.run, work).result()
    return folder


def whisper_folder() -> Path:
    """The folder of Whisper Base."""
    return VoiceModels(store_with_whisper()).get(DEFAULT_VOICE_MODEL).folder


def speak(text: str, folder: Path, voice: str = "en-us+f3") -> Path:
    """Let espeak-ng say `text` into a WAV file of 22,050 Hz; skip the test where it is missing."""
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not here (tests/install-browser.sh installs it on Debian)")
    path = folder / "speech.wav"
    command = ["espeak-ng", "-v", voice, "-s", "150", "-w", str(path), text]
    subprocess.run(command, check=True, timeout=60)
    return path


def with_voice(store: Path, folder: Path) -> Path:
    """Make a store in `folder` that has the models of another one, and Whisper Base."""
    shutil.copytree(store, folder, dirs_exist_ok=True)
    (folder / ".voice").symlink_to(store_with_whisper() / ".voice", target_is_directory=True)
    return folder
