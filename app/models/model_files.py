"""What is kept beside a model's weights: what is known of it, and what a person chose for it."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from app.errors import ModelFileError
from app.models.model import Model, ModelSettings, Sampling
from app.models.remote import REMOTE, read_remote

log = logging.getLogger(__name__)

FILE: Final = "model.json"
SETTINGS: Final = "settings.json"
FORMAT: Final = 1


def save_model(model: Model, folder: Path) -> None:
    values = asdict(model)
    del values["folder"], values["name"], values["settings"], values["remote"]
    text = json.dumps({"format": FORMAT} | values, ensure_ascii=False, indent=2)
    (folder / FILE).write_text(text + "\n", encoding="utf-8")


def load_model(folder: Path) -> Model:
    """Read `model.json`; the GGUF file is not opened. Raises ModelFileError."""
    if (folder / REMOTE).is_file():
        return read_remote(folder, load_settings(folder))
    try:
        values: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if values.pop("format") != FORMAT:
            raise ModelFileError(f"The model {folder.name} was installed by another Wick version.")
        sampling = Sampling(**values.pop("sampling"))
        settings = load_settings(folder)
        model = Model(
            name=folder.name, folder=folder, sampling=sampling, settings=settings, **values
        )
        size = model.weights_path.stat().st_size
    except OSError as error:
        raise ModelFileError(
            f"The model {folder.name} is damaged: one of its files cannot be read."
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelFileError(
            f"The model {folder.name} is damaged: its {FILE} makes no sense."
        ) from error
    if size != model.size:
        raise ModelFileError(f"The model {folder.name} is damaged: its weights are cut short.")
    return model


def load_settings(folder: Path) -> ModelSettings:
    """What a person chose for the model in `folder`; a damaged file counts as nothing chosen."""
    try:
        values: dict[str, Any] = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        sampling = values.pop("sampling")
        return ModelSettings(sampling=None if sampling is None else Sampling(**sampling), **values)
    except FileNotFoundError:
        return ModelSettings()
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        log.warning("The settings of the model %s are damaged: %s.", folder.name, error)
        return ModelSettings()
