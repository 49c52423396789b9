"""Dialogs of settings, of a model and of one chat, and what a user puts into them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Set
from dataclasses import replace
from typing import Any, Final

from quart import Blueprint, Response, request
from werkzeug.datastructures import MultiDict

from app.conversations.personas import settings_of
from app.conversations.settings import (
    MAX_ABOUT_CHARS,
    ChatSettings,
    parse,
    resolve,
    sanitize_text,
    written,
)
from app.db.folders import Folder
from app.db.personas import Persona
from app.errors import InvalidMessage, InvalidSettings, ModelError
from app.media.languages import SPEECH_LANGUAGES
from app.models import memory, parameters
from app.models.devices import gpus
from app.models.engines import (
    ENGINE_SETTINGS,
    LLAMA_CPP,
    EngineChoice,
    EngineSetting,
    available_engines,
)
from app.models.model import Model, ModelSettings, parse_gpu_layers
from app.models.parameters import (
    PARAMETERS,
    SETTINGS,
    THINKING,
    GenerationSettings,
    Parameter,
    Sampling,
)
from app.models.text.builtin_templates import (
    default_template_of,
    named_templates,
    thinking_parameters_of,
)
from app.web.addresses import row_id
from app.web.context import server_context, services_of
from app.web.render.chat import picker_options
from app.web.render.frame import render_page
from app.web.security.auth import owner_required
from app.web.security.identity import current_user

blueprint = Blueprint("settings", __name__)
MAX_PROMPT_CHARS: Final = 20_000
MIN_CONTEXT: Final = 128


SAMPLING: Final = tuple(row for row in parameters.SAMPLING.values() if row.is_setting)


def context_field(model: Model) -> Parameter:
    """The context size, within what the model was trained for."""
    what = "chat" if model.kind == "text" else "text"
    return replace(
        PARAMETERS["context_length"],
        help=f"How many tokens of a {what} the model can see, at most {model.context_length:,}. "
        + ("" if model.remote else "More needs more memory. Changing this reloads the model."),
        minimum=min(MIN_CONTEXT, model.context_length),
        maximum=model.context_length,
    )


def thinking_fields(model: Model) -> tuple[Parameter, ...]:
    """The fields about thinking that mean something to a model."""
    return tuple(PARAMETERS[name] for name in thinking_parameters_of(model))


def parse_settings(model: Model, form: Mapping[str, str]) -> tuple[ModelSettings, dict[str, str]]:
    """Parse the form; return its settings, and a sentence for every field that is wrong, by name.

    An empty field takes what the model's authors recommend; one that says what it said when the
    form was made stays as it was, byte for byte.
    """
    errors: dict[str, str] = {}
    texts = {name: sanitize_text(text) for name, text in form.items()}
    before, shown_before = model.settings, shown(model)
    same = {n for n, text in shown_before.items() if sanitize_text(text) == texts.get(n, "")}
    given: dict[str, Any] = {}
    for field in (*SAMPLING, context_field(model), *thinking_fields(model)):
        if field.name not in same and (text := texts.get(field.name, "").strip()):
            try:
                given[field.name] = field.parse(text)
            except ValueError as error:
                errors[field.name] = str(error)
    prompt = texts.get("system_prompt", "")
    prompt = prompt if prompt.strip() else ""
    if "system_prompt" in same:
        prompt = before.system_prompt
    elif len(prompt) > MAX_PROMPT_CHARS:
        errors["system_prompt"] = (
            f"Too long: {len(prompt):,} characters; the limit is {MAX_PROMPT_CHARS:,}."
        )
    template = before.template if "template" in same else texts.get("template") or None
    if "template" not in same and template is not None and template not in named_templates():
        errors["template"] = "No such chat template."
    context = given.pop("context_length", None)
    context = before.context_length if "context_length" in same else context
    engine = texts.get("engine") or before.engine
    if engine not in ENGINE_SETTINGS:
        errors["engine"] = "Wick has no engine of that name."
        engine = before.engine
    thinking = {
        name: getattr(before, name) if name in same else given.pop(name, None) for name in THINKING
    }
    sampling = _sampling(model, given, same)
    gpu_layers = before.gpu_layers
    if "gpu_layers" not in same:
        try:
            gpu_layers = parse_gpu_layers(texts.get("gpu_layers", ""))
        except ModelError as error:
            errors["gpu_layers"] = str(error)
    chosen = ModelSettings(
        prompt, sampling, context, template, engine, **thinking, gpu_layers=gpu_layers
    )
    return chosen, errors


def _sampling(model: Model, given: Mapping[str, Any], same: Set[str]) -> Sampling | None:
    """Apply the numbers given; what no field shows stays, too."""
    names = {field.name for field in SAMPLING}
    before = model.default_sampling
    if names <= same:
        return model.settings.sampling
    emptied = {name: getattr(model.sampling, name) for name in names - same}
    sampling = replace(before, **emptied | dict(given))
    return None if sampling == model.sampling else sampling


def shown(model: Model) -> dict[str, str]:
    """The texts of the form's fields: empty where nothing was chosen."""
    settings = model.settings
    texts = {"system_prompt": settings.system_prompt, "template": settings.template or ""}
    texts["engine"] = settings.engine
    texts["gpu_layers"] = "" if settings.gpu_layers is None else str(settings.gpu_layers)
    texts["context_length"] = str(settings.context_length or "")
    for name in THINKING:
        value = getattr(settings, name)
        texts[name] = "" if value is None else PARAMETERS[name].to_text(value)
    for field in SAMPLING:
        chosen = getattr(model.default_sampling, field.name)
        is_usual = chosen is None or chosen == getattr(model.sampling, field.name)
        texts[field.name] = "" if is_usual else field.to_text(chosen)
    return texts


@blueprint.get("/models/<name>/settings")
@owner_required
async def model_form(name: str) -> str:
    model = await asyncio.to_thread(server_context().store.get, name)
    return _render_model_form(model, shown(model), {})


@blueprint.post("/models/<name>/settings")
@owner_required
async def save_model_settings(name: str) -> Response:
    """Save the settings and close the dialog; else it says what is wrong."""
    context = server_context()
    model = await asyncio.to_thread(context.store.get, name)
    values = (await request.form).to_dict()
    settings, errors = ModelSettings(), dict[str, str]()
    if "reset" not in values:
        settings, errors = parse_settings(model, values)
    if errors:
        return Response(
            _render_model_form(model, values, errors), status=422, content_type="text/html"
        )
    await asyncio.to_thread(context.store.save_settings, name, settings)
    if _of_runner(model.settings) != _of_runner(settings):
        context.pool.settings_changed(name)
    context.hub.models_changed()
    return Response(context.fragments.closed_dialog() + context.fragments.notice(""))


@blueprint.post("/models/<name>/engine/<setting>")
@owner_required
async def choose_engine(name: str, setting: str) -> Response:
    """Change the engine that a model runs on. Raises ModelError for one that can't run it."""
    await asyncio.to_thread(server_context().store.set_engine, name, setting)
    _announce_change(name)
    return Response(status=204)


@blueprint.post("/models/<name>/gpu/<setting>")
@owner_required
async def choose_gpu_layers(name: str, setting: str) -> Response:
    """Change how many layers of a model a GPU may hold. Raises ModelError."""
    await asyncio.to_thread(server_context().store.set_gpu_layers, name, setting)
    _announce_change(name)
    return Response(status=204)


def _announce_change(name: str) -> None:
    """Tell the runner of a model and the open pages that what it runs with has changed."""
    context = server_context()
    context.pool.settings_changed(name)
    context.hub.models_changed()


def _of_runner(settings: ModelSettings) -> tuple[object, ...]:
    """Return what a runner was started with; the other settings go with each request."""
    return settings.context_length, settings.template, settings.engine, settings.gpu_layers


def _render_model_form(model: Model, values: Mapping[str, str], errors: Mapping[str, str]) -> str:
    settings = server_context().settings
    default = {f.name: default_text(f, getattr(model.sampling, f.name)) for f in SAMPLING}
    unchosen = replace(model, settings=ModelSettings())
    default["context_length"] = str(memory.context_length(unchosen, settings))
    return server_context().fragments.render(
        "_model_settings.html",
        model=model,
        values=values,
        errors=errors,
        defaults=default,
        numbers=_numbers(model),
        templates=named_templates(),
        default_template=_default_template(model),
        engines=engine_options(model),
        gpu_layers=_gpu_layers_field(model),
        automatic=None if model.remote else _automatic_engine(model),
        prompt_chars=MAX_PROMPT_CHARS,
    )


def _numbers(model: Model) -> tuple[Parameter, ...]:
    """Return the fields that mean something to a model; one made for search writes nothing."""
    if model.kind != "text":
        return (context_field(model),)
    return (*SAMPLING, context_field(model), *thinking_fields(model))


def _gpu_layers_field(model: Model) -> str | None:
    """Return what is taken without a choice; None where no GPU could hold layers of the model."""
    here = server_context()
    if LLAMA_CPP not in model.runs_on():
        return None
    if model.settings.gpu_layers is None and not gpus(here.pool.devices.devices):
        return None
    return "auto" if here.settings.gpu_layers is None else str(here.settings.gpu_layers)


def _automatic_engine(model: Model) -> EngineChoice:
    return replace(model, settings=ModelSettings()).engine_choice


def engine_options(model: Model) -> list[tuple[EngineSetting, str]]:
    """The engines to choose from, with what is said of them; none where there is no choice."""
    usable = [engine for engine in model.runs_on() if engine in available_engines()]
    if len(usable) < 2 and model.settings.engine in {"auto", *usable}:
        return []
    automatic = _automatic_engine(model)
    options: list[tuple[EngineSetting, str]] = [("auto", f"Automatic: {automatic.engine}")]
    options += [(engine, engine) for engine in usable]
    if model.settings.engine not in {"auto", *usable}:
        options.append((model.settings.engine, f"{model.settings.engine} (not available)"))
    return options


def _default_template(model: Model) -> str:
    """Name what is taken without a choice: a file without a template gets one that Wick knows."""
    named = (n.title for n in named_templates().values() if n.source == default_template_of(model))
    title = next(named, "")
    return f"Default: {title}" if title else "From the model file"


def default_text(field: Parameter, value: Any) -> str:
    """Return what an empty field means, to stand in it."""
    if value is None:
        return "any" if field.name == "seed" else ""
    return f"{value:g}" if field.kind == "number" else field.to_text(value)


# What holds for all chats of a user: most of it is kept by the browser, the rest is here.


@blueprint.get("/settings")
async def page() -> Response:
    context = server_context()
    return await render_page(
        "settings.html",
        has_accounts=context.settings.has_accounts,
        about=await context.chats.about(current_user()),
        about_chars=MAX_ABOUT_CHARS,
        server_voice=context.piper.voice,
        speech_languages=SPEECH_LANGUAGES,
    )


@blueprint.post("/settings/about")
async def save_about() -> str:
    """Save what goes into the system prompt of new chats."""
    context, user_id = server_context(), current_user()
    about = sanitize_text((await request.form).get("about", "")).strip()
    if len(about) > MAX_ABOUT_CHARS:
        raise InvalidMessage(
            f"This is {len(about):,} characters long; the limit is {MAX_ABOUT_CHARS:,}. Shorten it."
        )
    await context.chats.save_about(user_id, about)
    return context.fragments.notice("Saved.", is_done=True)


# The settings of one chat.

CHAT_FIELDS: Final = tuple(SETTINGS.values())
MAIN_FIELDS: Final = {
    "system_prompt": "Instructions (system prompt)",
    "temperature": "Creativity (temperature)",
    "max_tokens": "Maximum length",
    "think": "Thinking",
}
"""What most people look for comes first, under plain names; the rest is behind a fold."""
GIVEN: Final = ("model", "persona", "folder")
"""What a chat that has not begun will begin with; only its page knows."""


@blueprint.get("/chats/<chat_id>/settings")
async def chat_form(chat_id: str) -> str:
    await services_of(chat_id).chats.get(current_user(), chat_id)
    chosen = await services_of(chat_id).chats.settings(current_user(), chat_id)
    return await _render_chat_form(chat_id, request.args, written(chosen), {})


@blueprint.post("/chats/<chat_id>/settings")
async def save_chat_settings(chat_id: str) -> Response:
    """Save the settings and close the dialog; else it says what is wrong."""
    context, user_id = server_context(), current_user()
    await services_of(chat_id).chats.get(user_id, chat_id)
    form = await request.form
    values = form.to_dict()
    before = await services_of(chat_id).chats.settings(user_id, chat_id)
    try:
        chosen = (
            ChatSettings()
            if "reset" in values
            else parse(values, context.settings.message_chars, before)
        )
    except InvalidSettings as error:
        html = await _render_chat_form(chat_id, form, values, error.problems)
        return Response(html, status=error.status, content_type="text/html")
    await services_of(chat_id).chats.choose_settings(user_id, chat_id, chosen)
    fragments, is_changed = context.fragments, bool(chosen.overrides)
    button = fragments.render(
        "_settings_button.html", chat_id=chat_id, is_changed=is_changed, oob=True
    )
    text = "Saved for new answers." if is_changed else "This chat has the model's settings."
    return Response(fragments.closed_dialog() + button + fragments.notice(text, is_done=True))


def default_texts(default: GenerationSettings) -> dict[str, str]:
    """Return what empty fields mean, to stand in them.

    The model's own stop strings are added to those of the chat, so they are no default.
    """
    return {
        field.name: default_text(field, default.value(field.name))
        for field in CHAT_FIELDS
        if field.kind != "texts"
    }


async def _beginning(
    chat_id: str, given: MultiDict[str, str]
) -> tuple[str, Persona | None, Folder | None]:
    """Find the model of a chat, the persona that a new one begins with, and its folder."""
    context, user_id = server_context(), current_user()
    chat = await services_of(chat_id).chats.get(user_id, chat_id)
    _, model = await picker_options(context, chat, sanitize_text(given.get("model", "")))
    if chat is not None:
        return model, None, await context.folders.of_chat(user_id, chat_id)
    persona = await context.personas.find(user_id, given.get("persona", type=row_id))
    folder = await context.folders.find(user_id, given.get("folder", type=row_id))
    return model, persona, folder


async def _render_chat_form(
    chat_id: str,
    given: MultiDict[str, str],
    values: Mapping[str, str],
    errors: Mapping[str, str],
) -> str:
    """Render the dialog; `given`: what the page of a chat that has not begun holds for it."""
    context = server_context()
    model, persona, folder = await _beginning(chat_id, given)
    await context.model_names.load([model])
    names = {field.name for field in CHAT_FIELDS}
    try:
        known = await asyncio.to_thread(context.store.get, model)
        usual = resolve(context.settings, known)
        if folder is not None and folder.instructions:
            usual = usual.override({"system_prompt": folder.instructions})
        if persona is not None:
            usual = settings_of(persona).merged_with(usual)
        default = default_texts(usual)
        names -= set(THINKING) - set(thinking_parameters_of(known))
    except ModelError:  # there is none yet
        default = {}
    fields = [field for field in CHAT_FIELDS if field.name in names]
    advanced = [field for field in fields if field.name not in MAIN_FIELDS]
    return context.fragments.render(
        "_chat_settings.html",
        chat_id=chat_id,
        given={name: given[name] for name in GIVEN if given.get(name)},
        persona=persona,
        model=context.model_names.title(model),
        values=values,
        errors={field.name: errors[field.name] for field in CHAT_FIELDS if field.name in errors},
        defaults=default,
        main=[SETTINGS[name] for name in MAIN_FIELDS if name in names],
        labels=MAIN_FIELDS,
        advanced=advanced,
        is_advanced=any(values.get(f.name) or errors.get(f.name) for f in advanced),
        kept={name: values[name] for name in THINKING if name not in names and values.get(name)},
    )
