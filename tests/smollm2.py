"""The real model for tests and benchmarks: pulled once, as a person would, and kept in `.cache`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

from app.models.store import ModelStore

NAME = "smollm2-135m"


def original_of_smollm2() -> Path:
    """The file of SmolLM2-135M as its authors' package brings it."""
    model = ModelStore(store_with_smollm2("originals")).get(NAME)
    return model.original_paths[0]


def store_with_smollm2(name: str = "models") -> Path:
    """The folder of a store that holds SmolLM2-135M; it is only to be read."""
    folder = Path(__file__).parents[1] / ".cache" / name
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f"{name}.lock"):  # two processes may test side by side
        if NAME not in [model.name for model in ModelStore(folder).models()]:
            environment = os.environ | {"WICK_MODELS_DIR": str(folder)}
            command = [sys.executable, "-m", "app", "models", "pull", NAME]
            subprocess.run(command, env=environment, check=True)
    return folder
