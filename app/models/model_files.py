"""Files beside a model's weights: metadata, settings, and the upstreams of a remote model."""

from __future__ import annotations

import contextlib
import json
import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from app.errors import ModelError, ModelFileError
from app.models.engines import CTRANSFORMERS, ENGINE_SETTINGS, ENGINES, Engine, EngineSpeed
from app.models.gguf.kv_layout import KvLayout
from app.models.gguf.weight_layout import WeightLayout
from app.models.model import Model, ModelSettings, Projector
from app.models.parameters import SAMPLING, Sampling
from app.models.upstream import RemoteModel, Upstream, merge_upstreams, validate_context

log = logging.getLogger(__name__)

FILE: Final = "model.json"
TOKENIZER_FILE: Final = "tokenizer.json"
SETTINGS: Final = "settings.json"
SPEEDS: Final = "engine.json"
ADAPTED_FORMAT: Final = 1
"""Of models that were installed before original files were kept."""
FORMAT: Final = 2
REMOTE: Final = "remote.json"
REMOTE_FORMAT: Final = 1
ASSUMED_CONTEXT: Final = 4096
"""Tokens of a window that neither the user nor the server has named."""
DEFAULT_TEMPLATE_SETTINGS: Final = Sampling(
    **{name: row.neutral for name, row in SAMPLING.items() if row.neutral is not None},
    repetition_window=64,
)
"""What is chosen unless a user chooses: the rest is left to the server, which knows its model."""


def save_model(model: Model, folder: Path) -> None:
    (folder / FILE).write_text(serialize_model(model) + "\n", encoding="utf-8")


def serialize_model(model: Model) -> str:
    """Write `model.json`."""
    values = asdict(model)
    for name in ("folder", "name", "settings", "remote", "speeds"):
        del values[name]
    return json.dumps({"format": FORMAT} | values, ensure_ascii=False, indent=2)


def load_model(folder: Path) -> Model:
    """Read `model.json`; the GGUF file is not opened. Raises ModelFileError."""
    if (folder / REMOTE).is_file():
        return _load_remote(folder, load_settings(folder))
    try:
        values: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if values.pop("format") not in (ADAPTED_FORMAT, FORMAT):
            raise ModelFileError(f"The model {folder.name} was installed by another Wick version.")
        sampling = Sampling(**values.pop("sampling"))
        kv, layout = values.pop("kv", None), values.pop("layout", None)
        projector = values.pop("projector", None)
        for name in {"engines", "files"} & values.keys():
            values[name] = tuple(values[name])
        if not {*values.get("engines", [CTRANSFORMERS])} <= {*ENGINES}:
            raise ValueError("it names an engine that there is not")
        model = Model(
            name=folder.name,
            folder=folder,
            sampling=sampling,
            settings=load_settings(folder),
            kv=KvLayout(**kv) if kv else None,
            layout=_layout(layout) if layout else None,
            speeds=load_speeds(folder),
            projector=_projector(folder, Projector(**projector)) if projector else None,
            **values,
        )
    except OSError as error:
        raise ModelFileError(
            f"The model {folder.name} is damaged: one of its files cannot be read."
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelFileError(
            f"The model {folder.name} is damaged: its {FILE} makes no sense."
        ) from error
    return _check_weights(model)


def _layout(values: dict[str, Any]) -> WeightLayout:
    layers = tuple(int(size) for size in values["layers"])
    return WeightLayout(layers, int(values["input"]), int(values["output"]))


def _projector(folder: Path, projector: Projector) -> Projector | None:
    """Return the projector if its file is whole; without one a model answers, but sees nothing."""
    with contextlib.suppress(OSError):
        if (folder / projector.file).stat().st_size == projector.size:
            return projector
    log.warning("The projector of the model %s is gone, or cut short.", folder.name)
    return None


def _check_weights(model: Model) -> Model:
    """The model, if its weights are there: the files as they came, or the copy made of them.

    Raises ModelFileError.
    """
    try:
        sizes = [path.stat().st_size for path in model.original_paths or [model.weights_path]]
    except OSError as error:
        if adapted := _without_originals(model):
            return adapted
        raise ModelFileError(_missing(model)) from error
    if sum(sizes) != model.size:
        raise ModelFileError(f"The model {model.name} is damaged: its weights are cut short.")
    return model


def _without_originals(model: Model) -> Model | None:
    """Return the model as an earlier version would have installed it, if the copy is there."""
    try:
        size = model.weights_path.stat().st_size
    except OSError:
        return None
    if not model.files or size != model.adapted_size:
        return None
    return replace(model, files=(), size=size, engines=(CTRANSFORMERS,))


def _missing(model: Model) -> str:
    if model.linked_from:
        return (
            f"The file of {model.title} is gone: it belonged to {model.linked_from}, which seems "
            "to have deleted it."
        )
    return f"The model {model.name} is damaged: one of its files cannot be read."


def load_speeds(folder: Path) -> dict[Engine, EngineSpeed]:
    """Load the speeds measured of the model in `folder`; a damaged file counts as none."""
    try:
        values: dict[str, Any] = json.loads((folder / SPEEDS).read_text(encoding="utf-8"))
        speeds = {
            engine: EngineSpeed(float(values[engine]["decode"]), float(values[engine]["prompt"]))
            for engine in ENGINES
            if engine in values
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        log.warning("What was measured of the model %s is damaged: %s.", folder.name, error)
        return {}
    return {engine: speed for engine, speed in speeds.items() if speed.is_sound}


def load_measured_gpu(folder: Path) -> str:
    """Load the names of the GPUs that the speeds of the model in `folder` were measured with."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        return str(json.loads((folder / SPEEDS).read_text(encoding="utf-8"))["gpu"])
    return ""


def load_settings(folder: Path) -> ModelSettings:
    """Load the settings of the model in `folder`; a damaged file counts as none."""
    try:
        values: dict[str, Any] = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        sampling = values.pop("sampling")
        if values.get("engine", "auto") not in ENGINE_SETTINGS:
            raise ValueError("it names an engine that there is not")
        if not is_gpu_layers(values.get("gpu_layers")):
            raise ValueError("it names no number of layers")
        return ModelSettings(sampling=None if sampling is None else Sampling(**sampling), **values)
    except FileNotFoundError:
        return ModelSettings()
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        log.warning("The settings of the model %s are damaged: %s.", folder.name, error)
        return ModelSettings()


def is_gpu_layers(value: object) -> bool:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value in (None, "auto") or (is_number and int(str(value)) >= 0)


def serialize_remote(title: str, remote: RemoteModel) -> str:
    """Write the text of `remote.json`."""
    values = {"format": REMOTE_FORMAT, "title": title} | asdict(remote)
    return json.dumps(values, ensure_ascii=False, indent=2)


def _load_remote(folder: Path, settings: ModelSettings) -> Model:
    """Read `remote.json`. Raises ModelFileError."""
    try:
        values: dict[str, Any] = json.loads((folder / REMOTE).read_text(encoding="utf-8"))
        if values["format"] != REMOTE_FORMAT:
            raise ModelFileError(f"The model {folder.name} was added by another Wick version.")
        upstreams = [Upstream(**upstream) for upstream in values["upstreams"]]
        remote = replace(
            merge_upstreams(None, upstreams, values["context"]),
            found=values["found"],
            sees=values.get("sees", False) is True,
        )
        title = str(values["title"])
        validate_context(remote.found)
    except OSError as error:
        raise ModelFileError(
            f"The model {folder.name} is damaged: its {REMOTE} cannot be read."
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, ModelError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(
            f"The model {folder.name} is damaged: its {REMOTE} makes no sense."
        ) from error
    return Model(
        name=folder.name,
        folder=folder,
        title=title,
        architecture="remote",
        parameters=0,
        quantisation="",
        context_length=remote.context or remote.found or ASSUMED_CONTEXT,
        size=0,
        digest="",
        kv_bytes_per_token=0,
        chat_template="",
        sampling=DEFAULT_TEMPLATE_SETTINGS,
        settings=settings,
        remote=remote,
    )
