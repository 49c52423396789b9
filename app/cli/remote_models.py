"""`wick models add-remote`: a model that another server runs."""

from __future__ import annotations

import argparse
import asyncio

from app.config import Settings
from app.models.model import Model
from app.models.model_files import ASSUMED_CONTEXT
from app.models.store import ModelStore
from app.models.upstream import PARALLEL, Upstream


def add_remote_action(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    action = actions.add_parser(
        "add-remote",
        help="add a remote model: one of an OpenAI-compatible server",
        description="Add a model that another server runs: vLLM, llama-server, SGLang, Ollama, "
        "LM Studio, another Wick. Repeat --url, or use an existing NAME, to share the load.",
    )
    action.add_argument("name", metavar="NAME", help="its name in Wick")
    action.add_argument(
        "--url",
        action="append",
        required=True,
        help="address of the server, such as http://gpu:8000/v1 (repeatable)",
    )
    action.add_argument("--model", required=True, help="model ID on the server")
    action.add_argument(
        "--key-env",
        default="",
        metavar="VAR",
        help="environment variable holding the API key; only its name is stored",
    )
    action.add_argument(
        "--context",
        type=int,
        metavar="N",
        help="context window in tokens (default: ask the server)",
    )
    action.add_argument(
        "--parallel",
        type=int,
        default=PARALLEL,
        metavar="N",
        help=f"answers each server writes at once (default: {PARALLEL})",
    )
    action.add_argument("--title", help="display name")
    action.add_argument("--sees", action="store_true", help="it takes pictures")
    action.set_defaults(func=add_remote)


def add_remote(args: argparse.Namespace, settings: Settings) -> int:
    upstreams = [Upstream(url, args.model, args.key_env, args.parallel) for url in args.url]
    store = ModelStore(settings.models_dir)
    model = store.add_remote(
        *(args.name, upstreams), context=args.context, title=args.title, sees=args.sees or None
    )
    print(f"{model.title} is installed as {model.name}.")
    for line in asyncio.run(_check_server(model)):
        print(line)
    return 0


async def _check_server(model: Model) -> list[str]:
    """Report how its servers are just now. They may as well be started later."""
    # Here and not above: a client for HTTP, which few commands need.
    from app.inference.remote.health import check

    assert model.remote is not None  # noqa: S101 - it was just added
    upstreams = model.remote.upstreams
    lines = []
    for upstream, found in zip(
        upstreams, await asyncio.gather(*map(check, upstreams)), strict=True
    ):
        if found.problem:
            lines.append(f"Not ready yet: {found.problem}")
            continue
        context = model.remote.context or found.context
        room = f"{context:,} tokens" if context else f"{ASSUMED_CONTEXT:,} tokens assumed"
        lines.append(f"{upstream.host} is ready ({room}).")
        if found.others:
            lines.append(f"It lists no model “{upstream.model}”; it has {', '.join(found.others)}.")
    if hosts := model.remote.external_hosts:
        lines.append(f"What is written to this model is sent to {' and '.join(hosts)}.")
    return lines
