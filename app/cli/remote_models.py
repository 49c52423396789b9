"""`wick models add-remote`: a model that another server holds."""

from __future__ import annotations

import argparse
import asyncio

from app.config import Settings
from app.models.model import Model
from app.models.remote import ASSUMED_CONTEXT
from app.models.shelf import ModelStore
from app.models.upstream import PARALLEL, Upstream


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    action = actions.add_parser(
        "add-remote",
        help="add a model of another server that speaks OpenAI's protocol",
        description="Add a model that another server holds: vLLM, llama-server, SGLang, Ollama, "
        "LM Studio, another Wick. The same NAME again, or several --url, share the work.",
    )
    action.add_argument("name", metavar="NAME", help="what Wick calls it")
    action.add_argument(
        "--url",
        action="append",
        required=True,
        help="the server's address, such as http://gpu:8000/v1; may be given more than once",
    )
    action.add_argument("--model", required=True, help="what the server calls it")
    action.add_argument(
        "--key-env",
        default="",
        metavar="VAR",
        help="the environment variable with the server's key; only its name is kept",
    )
    action.add_argument(
        "--context", type=int, metavar="N", help="tokens of its window (the server is asked)"
    )
    action.add_argument(
        "--parallel",
        type=int,
        default=PARALLEL,
        metavar="N",
        help=f"answers that each server makes at once (default {PARALLEL})",
    )
    action.add_argument("--title", help="what people see")
    action.set_defaults(func=add_remote)


def add_remote(args: argparse.Namespace, settings: Settings) -> int:
    upstreams = [Upstream(url, args.model, args.key_env, args.parallel) for url in args.url]
    store = ModelStore(settings.models_dir)
    model = store.add_remote(args.name, upstreams, context=args.context, title=args.title)
    print(f"{model.title} is on the shelf as {model.name}.")
    for line in asyncio.run(_check_server(model)):
        print(line)
    return 0


async def _check_server(model: Model) -> list[str]:
    """How its servers are just now. They may as well be started later."""
    # Here and not above: a client for HTTP, which few commands need.
    from app.models.remote_check import check

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
