"""The models page and its routes, on a real application with a tiny model."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from quart import Quart
from quart.typing import TestClientProtocol as Client

from app.config import Settings
from app.conversations.submission import Prompt
from app.errors import ModelNotFound
from app.models import engines, memory
from app.models.found import FoundModels
from app.models.install.install import ModelSource, Origins
from app.models.install.upload import UploadManifest
from app.models.model import ModelSettings
from app.models.model_files import save_model
from app.models.parameters import Sampling
from app.models.store import ModelStore
from app.server import create_app
from app.web.context import ServerContext
from app.web.pages.settings import shown
from tests.application import OWN, quick_passwords, sign_in
from tests.models.gguf.test_engine_support import header_of
from tests.models.test_found import into_ollama
from tests.models.test_model_builder import make_old
from tests.patience import PATIENCE, until
from tests.tiny_gguf import write_tiny_gguf
from tests.tiny_projectors import write_projector

PAGE = OWN | {"HX-Request": "true"}
TERMINAL = OWN | {"Accept": "text/plain"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    ModelStore(folder / "models").install(write_tiny_gguf(folder / "tiny.gguf"), "tiny")
    return folder


@pytest.fixture
def settings(tiny: Path, tmp_path: Path) -> Settings:
    shutil.copytree(tiny / "models", tmp_path / "models")
    return Settings(
        data_dir=tmp_path,
        models_dir=tmp_path / "models",
        auto_pull=False,
        threads=1,
        context=512,
        upload_mb=16_777_216,
    )


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[Quart]:
    app = create_app(settings)
    async with app.test_app():
        yield app


@pytest.fixture
def client(app: Quart) -> Client:
    return app.test_client()


def here(app: Quart) -> ServerContext:
    found: ServerContext = app.extensions["wick"]
    return found


async def text_of(answer: Any) -> str:
    text: str = await answer.get_data(as_text=True)
    return text


def worker_state(app: Quart, name: str = "tiny") -> str:
    return next((w.state for w in here(app).pool.statuses() if w.name == name), "idle")


async def test_the_page_shows_what_is_known_of_a_model(client: Client) -> None:
    html = await text_of(await client.get("/models", headers=OWN))
    for words in ("Tiny", "512 of 512 tokens", "F32", "cc0-1.0", "Not loaded", "needs "):
        assert words in html
    assert "SmolLM2 135M Instruct" in html  # to be had
    assert "<script>" not in html
    assert " style=" not in html


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("post", "/models/unheard-of/load"),
        ("post", "/models/unheard-of/unload"),
        ("post", "/models/unheard-of/default"),
        ("get", "/models/unheard-of/settings"),
        ("post", "/models/unheard-of/settings"),
        ("get", "/models/unheard-of/remove"),
        ("delete", "/models/unheard-of"),
        ("delete", "/models/..%2fmodels"),
        ("delete", "/models/.default"),
    ],
)
async def test_an_unknown_model_is_a_sentence(client: Client, method: str, path: str) -> None:
    answer = await getattr(client, method)(path, headers=PAGE)
    assert answer.status_code == 404
    if "%2f" not in path:
        html = await text_of(answer)
        assert 'id="notice"' in html
        assert "No model named" in html


async def test_a_terminal_gets_the_sentence_alone(client: Client) -> None:
    answer = await client.post("/models/unheard-of/load", headers=TERMINAL)
    assert (answer.status_code, answer.mimetype) == (404, "text/plain")
    assert await text_of(answer) == "No model named “unheard-of” is installed."


async def test_load_and_unload(app: Quart, client: Client) -> None:
    answer = await client.post("/models/tiny/load", headers=TERMINAL)
    assert answer.status_code == 204
    await until(lambda: worker_state(app) == "ready")
    assert "Ready" in await text_of(await client.get("/models", headers=OWN))
    report = await (await client.get("/models/report", headers=OWN)).get_json()
    listed = report["models"][0]
    assert (listed["name"], listed["state"], listed["line"]) == ("tiny", "ready", "Ready")
    assert listed["memory"] > memory.OVERHEAD_BYTES
    assert report["budget"] == memory.budget(here(app).settings)
    answer = await client.post("/models/tiny/unload", headers=TERMINAL)
    assert answer.status_code == 204
    await until(lambda: worker_state(app) == "idle")


async def test_a_default_is_remembered_and_begins_new_chats(
    app: Quart, client: Client, tiny: Path
) -> None:
    here(app).store.install(tiny / "tiny.gguf", "another")
    assert (await client.post("/models/tiny/default", headers=PAGE)).status_code == 204
    assert here(app).store.default() == "tiny"
    html = await text_of(await client.get("/", headers=OWN))
    assert 'value="tiny" selected' in html
    assert "Tiny (tiny) · not loaded · ctransformers" in html  # two of one title are told apart
    assert "Tiny (another) · not loaded" in html


async def test_a_model_is_removed(app: Quart, client: Client) -> None:
    html = await text_of(await client.get("/models/tiny/remove", headers=PAGE))
    assert "Remove Tiny?" in html
    assert (await client.delete("/models/tiny", headers=PAGE)).status_code == 204
    assert here(app).store.models() == []
    assert "No model installed yet" in await text_of(await client.get("/models", headers=OWN))


async def test_a_damaged_model_can_only_be_removed(app: Quart, client: Client) -> None:
    (here(app).store.root / "tiny" / "original.gguf").write_bytes(b"GGUF")
    html = await text_of(await client.get("/models", headers=OWN))
    assert "its weights are cut short" in html
    assert "/models/tiny/remove" in html
    assert "/models/tiny/load" not in html
    html = await text_of(await client.get("/models/tiny/remove", headers=PAGE))
    assert "Remove tiny?" in html
    assert (await client.delete("/models/tiny", headers=PAGE)).status_code == 204
    assert not (here(app).store.root / "tiny").exists()


@pytest.fixture
def both_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the libraries of both engines are installed."""
    monkeypatch.setattr(engines, "installed_engines", lambda: engines.ENGINES)


@pytest.mark.usefixtures("both_engines")
async def test_the_engine_is_named_with_the_reason_and_can_be_chosen(
    app: Quart, client: Client
) -> None:
    html = await text_of(await client.get("/models", headers=OWN))
    assert "ctransformers: usually faster with models this small" in html
    dialog = await text_of(await client.get("/models/tiny/settings", headers=PAGE))
    assert "Automatic takes ctransformers: usually faster with models this small" in dialog
    form = shown(here(app).store.get("tiny")) | {"engine": "llama.cpp"}
    assert (await client.post("/models/tiny/settings", headers=PAGE, form=form)).status_code == 200
    assert here(app).store.get("tiny").engine == "llama.cpp"
    assert "llama.cpp: you chose it" in await text_of(await client.get("/models", headers=OWN))
    await client.post("/models/tiny/engine/auto", headers=PAGE)
    assert here(app).store.get("tiny").settings.engine == "auto"
    wrong = await client.post("/models/tiny/engine/vllm", headers=PAGE)
    assert (wrong.status_code, "Choose one of auto" in await text_of(wrong)) == (422, True)
    form |= {"engine": "vllm"}
    wrong = await client.post("/models/tiny/settings", headers=PAGE, form=form)
    assert (wrong.status_code, "no engine of that name" in await text_of(wrong)) == (422, True)


@pytest.mark.usefixtures("both_engines")
async def test_an_embedding_model_is_not_offered_for_chats(
    app: Quart, client: Client, tmp_path: Path
) -> None:
    here(app).store.install(header_of(tmp_path / "e.gguf", "nomic-bert"), "words")
    assert "words" not in await text_of(await client.get("/", headers=OWN))
    listed = await (await client.get("/api/v1/models", headers=OWN)).get_json()
    assert listed["data"][-1]["name"] == "words"
    assert [model["kind"] for model in listed["data"]] == ["text", "embedding"]
    assert "embedding model" in await text_of(await client.get("/models", headers=OWN))
    body = {"model": "words", "messages": [{"role": "user", "content": "hello"}]}
    answer = await client.post("/v1/chat/completions", headers=OWN, json=body)
    assert (answer.status_code, "it can't chat" in await text_of(answer)) == (400, True)
    begun = await client.post("/api/v1/chats", headers=OWN, json={"text": "hello"})
    chat = (await begun.get_json())["chat"]["id"]
    answer = await client.post(f"/chats/{chat}/model", headers=PAGE, form={"model": "words"})
    assert (answer.status_code, "made for search" in await text_of(answer)) == (400, True)
    dialog = await text_of(await client.get("/models/words/settings", headers=PAGE))
    assert 'name="context_length"' in dialog
    assert not any(
        f'name="{name}"' in dialog for name in ("system_prompt", "temperature", "template")
    )
    saved = await client.post(
        "/models/words/settings", headers=PAGE, form={"context_length": "256"}
    )
    assert (saved.status_code, here(app).store.get("words").settings.context_length) == (200, 256)
    answer = await client.post("/models/words/default", headers=PAGE)
    assert answer.status_code == 422


async def test_one_engine_is_no_choice(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "installed_engines", lambda: ("ctransformers",))
    dialog = await text_of(await client.get("/models/tiny/settings", headers=PAGE))
    assert 'name="engine"' not in dialog
    assert "llama.cpp is not installed here" in await text_of(
        await client.get("/models", headers=OWN)
    )


async def test_the_picker_and_the_apis_name_the_engine(client: Client) -> None:
    chat = await text_of(await client.get("/", headers=OWN))
    assert "Tiny · not loaded · ctransformers" in chat
    for path, values in (
        ("/v1/models", {"data": [{"id": "tiny", "engine": "ctransformers"}]}),
        ("/v1/models/tiny", {"id": "tiny", "engine": "ctransformers"}),
        ("/api/v1/models", {"data": [{"name": "tiny", "engine": "ctransformers"}]}),
        ("/models/report", {"models": [{"name": "tiny", "engine": "ctransformers"}]}),
    ):
        content = json.loads(await text_of(await client.get(path, headers=OWN)))
        for key, value in values.items():
            expected, found = (
                (value[0], content[key][0]) if isinstance(value, list) else ({key: value}, content)
            )
            assert expected.items() <= found.items()


async def test_a_model_without_its_original_says_so(app: Quart, client: Client) -> None:
    assert "Download original" not in await text_of(await client.get("/models", headers=OWN))
    make_old(here(app).store.get("tiny"))
    html = await text_of(await client.get("/models", headers=OWN))
    assert "kept only a copy for ctransformers" in html
    assert 'hx-post="/models/tiny/pull"' in html


@pytest.mark.usefixtures("both_engines")
async def test_every_offer_says_what_it_takes_and_whether_it_fits(settings: Settings) -> None:
    app = create_app(replace(settings, model_memory_mb=6000, context=0))
    async with app.test_app():
        html = await text_of(await app.test_client().get("/models", headers=OWN))
    offers = {text.partition('"')[0]: text for text in html.split('id="offer-')[1:]}
    assert len(offers) >= 15
    small, large = offers["qwen3D5-4b"], offers["gpt-oss-20b"]
    assert "4 B parameters · 2.9 GB to download · 4.2 GB of memory for a chat of 32,768" in small
    assert "Fits this machine" in small
    assert "of memory for texts of 2,048 tokens" in offers["embeddinggemma-300m"]
    assert "Needs 13 GB of memory; models may use 6.3 GB here" in large
    names = list(offers)
    assert names.index("qwen3D5-4b") < names.index("granite-4D1-8b")  # what fits comes first


@pytest.mark.usefixtures("both_engines")
async def test_the_first_page_names_a_better_model(app: Quart, client: Client) -> None:
    async def better() -> str:
        html = await text_of(await client.get("/", headers=OWN))
        return html[html.index('id="better"') :].partition("</main>")[0].partition('id="foot"')[0]

    assert 'hx-post="/models/' in await better()
    assert "This computer can run a better model" in await better()
    large = replace(here(app).store.get("tiny"), parameters=3_000_000_000)
    save_model(large, large.folder)  # as after the download of one
    assert "better model" not in await better()


async def test_a_model_of_another_program_is_used_with_one_click(
    app: Quart, client: Client, tmp_path: Path
) -> None:
    assert 'id="found"' in await text_of(await client.get("/models", headers=OWN))
    into_ollama(tmp_path / ".ollama/models", write_tiny_gguf(tmp_path / "x.gguf", seed=9))
    here(app).found = FoundModels({}, tmp_path)
    html = await text_of(await client.get("/models", headers=OWN))
    assert "tiny:1b" in html
    (found,) = here(app).found.all()
    answer = await client.post(f"/models/found/{found.key}", headers=PAGE)
    assert answer.status_code == 204
    await until(lambda: not any(pull.is_running for pull in here(app).pulls.all()))
    assert here(app).store.get("tiny-1b").linked_from == "Ollama"
    html = await text_of(await client.get("/models", headers=OWN))
    assert f"found-{found.key}" not in html
    answer = await client.post("/models/found/0123456789abcdef", headers=PAGE)
    assert answer.status_code == 404


async def test_settings_are_saved_and_reset(app: Quart, client: Client) -> None:
    form = {
        "system_prompt": " Be brief.\r\nBe kind. ",
        "temperature": "0,25",
        "top_k": "5",
        "context_length": "256",
        "template": "chatml",
    }
    answer = await client.post("/models/tiny/settings", headers=PAGE, form=form)
    assert answer.status_code == 200
    saved = here(app).store.get("tiny").settings
    assert saved.system_prompt == " Be brief.\nBe kind. "
    assert saved.sampling is not None
    assert (saved.sampling.temperature, saved.sampling.top_k) == (0.25, 5)
    assert (saved.context_length, saved.template) == (256, "chatml")
    html = await text_of(await client.get("/models/tiny/settings", headers=PAGE))
    for words in ("Be brief.", 'value="0.25"', 'value="256"', 'value="chatml" selected'):
        assert words in html
    form["reset"] = "yes"
    await client.post("/models/tiny/settings", headers=PAGE, form=form)
    assert here(app).store.get("tiny").settings == type(saved)()


ODD_SAMPLING = Sampling(temperature=0.30000000000000004, seed=4294967295, repetition_window=9)


@pytest.mark.parametrize(
    "chosen",
    [
        ModelSettings(),
        ModelSettings("  two\r\nlines\r \n", Sampling(), 256, "gone"),
        ModelSettings(" ", ODD_SAMPLING, 100_000, "chatml"),
    ],
)
async def test_settings_that_are_saved_as_they_came_do_not_change(
    app: Quart, client: Client, chosen: ModelSettings
) -> None:
    store = here(app).store
    store.save_settings("tiny", chosen)
    kept = store.get("tiny").settings
    file = store.root / "tiny" / "settings.json"
    before = file.read_bytes()
    form = {
        name: re.sub("\r\n?|\n", "\r\n", text) for name, text in shown(store.get("tiny")).items()
    }
    await client.post("/models/tiny/settings", headers=PAGE, form=form)
    assert file.read_bytes() == before
    await client.post("/models/tiny/settings", headers=PAGE, form=form | {"top_k": "7"})
    changed = store.get("tiny").settings
    assert changed.sampling == replace(kept.sampling or store.get("tiny").sampling, top_k=7)


async def test_a_chat_shows_the_newest_of_failed_downloads(app: Quart, client: Client) -> None:
    for name in ("unheard-of-1", "unheard-of-2", "unheard-of-3"):
        here(app).pulls.try_start(name)
    html = await text_of(await client.get("/", headers=OWN))
    assert html.count('class="pull broken"') == 1
    assert "<strong>unheard-of-3</strong>" in html
    assert "2 more failed" in html


async def test_a_template_that_was_guessed_is_named(
    app: Quart, client: Client, tmp_path: Path
) -> None:
    source = write_tiny_gguf(tmp_path / "bare.gguf", **{"tokenizer.chat_template": None})  # type: ignore[arg-type]
    here(app).store.install(source, "bare")
    usual = {"tiny": "From the model file", "bare": "Default: ChatML"}
    for name, words in usual.items():
        assert words in await text_of(await client.get(f"/models/{name}/settings", headers=PAGE))


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("temperature", "hot", "The temperature must be a number from 0 to 5."),
        ("temperature", "nan", "The temperature must be a number from 0 to 5."),
        ("top_p", "0", "Top-p must be a number from 0.01 to 1."),
        ("top_k", "1.5", "Top-k must be a whole number from 0 to 1,000."),
        ("seed", "-1", "The seed must be a whole number from 0 to 4,294,967,295."),
        ("context_length", "513", "The context size must be a whole number from 128 to 512."),
        ("system_prompt", "x" * 20_001, "Too long: 20,001 characters; the limit is 20,000."),
        ("template", "nonsense", "No such chat template."),
    ],
)
async def test_wrong_settings_are_said_and_nothing_is_lost(
    app: Quart, client: Client, field: str, value: str, sentence: str
) -> None:
    form = {"system_prompt": "Keep <me>.", "min_p": "0.05"} | {field: value}
    answer = await client.post("/models/tiny/settings", headers=PAGE, form=form)
    assert answer.status_code == 422
    html = await text_of(answer)
    assert sentence.replace("'", "&#39;") in html
    assert 'value="0.05"' in html
    assert "Keep &lt;me&gt;." in html or field == "system_prompt"
    assert here(app).store.get("tiny").settings.sampling is None


async def test_a_pull_that_cannot_be_is_a_sentence(client: Client) -> None:
    for source in ("", "ftp://example.org/x.gguf", "hf:nothing", "unheard-of"):
        answer = await client.post("/models/pull", headers=PAGE, form={"source": source})
        assert answer.status_code in {404, 422, 502}, source
        assert 'id="notice"' in await text_of(answer)
    for action in ("cancel", "dismiss"):
        answer = await client.post(f"/models/unheard-of/{action}", headers=PAGE)
        assert answer.status_code in {204, 404, 422}


async def test_a_file_of_this_machine_is_imported(app: Quart, client: Client, tiny: Path) -> None:
    form = {"source": str(tiny / "tiny.gguf"), "name": "Mine"}
    answer = await client.post("/models/pull", headers=PAGE, form=form)
    assert answer.status_code == 200
    assert 'id="source-fields"' in await text_of(answer)  # empty again
    await until(lambda: "mine" in [model.name for model in here(app).store.models()])


async def test_files_are_imported_only_at_this_machine(settings: Settings, tiny: Path) -> None:
    app = create_app(replace(settings, host="0.0.0.0"), quick_passwords())
    async with app.test_app():
        owner = await sign_in(app, "anna")
        for source in (str(tiny / "tiny.gguf"), "tiny.gguf", "~/tiny.gguf", "./tiny.gguf"):
            answer = await owner.ask("POST", "/models/pull", form={"source": source})
            assert answer.status_code == 422, source
            assert "on the server" in await text_of(answer)


async def test_a_remote_user_reaches_nothing_that_this_machine_serves_to_itself(
    settings: Settings,
) -> None:
    app = create_app(replace(settings, host="0.0.0.0"), quick_passwords())
    async with app.test_app():
        owner = await sign_in(app, "anna")
        for host in ("127.0.0.1:9", "localhost.:9", "[::ffff:127.0.0.1]:9", "0.0.0.0:9", "[::]:9"):
            source = f"http://{host}/m.gguf"
            answer = await owner.ask("POST", "/models/pull", form={"source": source})
            assert answer.status_code == 422, source
            assert "on the server" in await text_of(answer)


async def test_an_upload_larger_than_other_bodies_is_installed(
    app: Quart, client: Client, tiny: Path
) -> None:
    data = (tiny / "tiny.gguf").read_bytes() + bytes(2 << 20)  # room behind the tensors
    answer = await client.put("/models/upload/Sent%20one.gguf", headers=TERMINAL, data=data)
    assert answer.status_code == 204, await text_of(answer)
    await until(lambda: "sent-one" in [model.name for model in here(app).store.models()])
    answer = await client.post(
        "/models/tiny/settings", headers=PAGE, form={"system_prompt": "x" * (2 << 20)}
    )
    assert answer.status_code == 413


async def test_an_upload_that_is_no_model_is_a_sentence(app: Quart, client: Client) -> None:
    for name, data in (("x.gguf", b"not a model"), ("x.gguf", b""), ("x.exe", b"GGUF")):
        answer = await client.put(f"/models/upload/{name}", headers=TERMINAL, data=data)
        assert answer.status_code in {422, 502}
        assert (await text_of(answer)).endswith(".")
    assert [model.name for model in here(app).store.models()] == ["tiny"]


async def test_the_choice_of_a_model_stays_with_a_chat(client: Client) -> None:
    form = {"model": "tiny"}
    answer = await client.post("/chats/0123456789abcdef/model", headers=PAGE, form=form)
    assert answer.status_code == 204
    for path, name in (("zzz", "tiny"), ("0123456789abcdef", "../x")):
        answer = await client.post(f"/chats/{path}/model", headers=PAGE, form={"model": name})
        assert answer.status_code == 404


async def test_everybody_who_looks_hears_of_a_change(
    app: Quart, client: Client, tiny: Path
) -> None:
    async with client.websocket("/models/live", headers=OWN) as one:
        await next_with(one, 'id="card-tiny"')
        async with client.websocket("/models/live", headers=OWN) as two:
            await next_with(two, 'id="card-tiny"')
            await client.post("/models/tiny/default", headers=PAGE)
            for tab in (one, two):
                frame = await next_with(tab, "Default")
                assert 'id="card-tiny"' in frame
                assert "source-fields" not in frame  # nobody's typing is touched
            # What a command of the terminal brings, too.
            ModelStore(here(app).store.root).install(tiny / "tiny.gguf", "brought")
            answer = await client.post("/models/brought/arrived", headers=TERMINAL)
            assert answer.status_code == 204
            for tab in (one, two):
                await next_with(tab, 'id="card-brought"')


async def next_with(tab: Any, words: str) -> str:
    """The next frame that has these words, whatever comes before it."""
    async with asyncio.timeout(PATIENCE):
        while words not in (frame := str(await tab.receive())):
            pass
    return frame


async def next_missing(tab: Any) -> str:
    """What the next frame that says anything of a missing model says of it."""
    frame = await next_with(tab, 'id="missing"')
    return frame[frame.index('id="missing"') :].partition("<select")[0]


async def test_the_model_chosen_for_a_new_chat_is_known(client: Client) -> None:
    path = f"/chats/{'d' * 16}"
    async with client.websocket(f"{path}/live", headers=OWN) as tab, asyncio.timeout(PATIENCE):
        for name, words in (
            ("smollm2-360m", "SmolLM2 360M Instruct</strong> is not"),
            ("tiny", ""),
        ):
            await client.post(f"{path}/model", headers=PAGE, form={"model": name})
            # What the page shows at first may still be under way.
            shown = await next_missing(tab)
            while ("is not" in shown) != bool(words):
                shown = await next_missing(tab)
            assert words in shown
            assert ("Download (271 MB)" in shown) == bool(words)


async def test_a_chat_keeps_a_model_that_has_gone_and_says_how_to_go_on(
    app: Quart, client: Client, tiny: Path
) -> None:
    state, chat_id = here(app), "c" * 16
    state.store.install(tiny / "tiny.gguf", "another", title="Another")
    Origins(state.store.root).keep("lost", ModelSource("hf:a/b/lost.gguf", "Lost & found", 9 << 20))
    await state.answers.submit(Prompt(1, chat_id, "Hello", "c1" * 8, "another"))
    await until(lambda: state.hub.stream_of_chat(chat_id) is None)
    for name, label, button in (
        ("lost", "Lost &amp; found · needs download", "/models/lost/pull"),
        ("smollm2-360m", "SmolLM2 360M Instruct · needs download", "/models/smollm2-360m/pull"),
        ("gpt-of-others", "gpt-of-others · not installed", 'href="/models"'),
    ):
        path = f"/chats/{chat_id}/model"
        assert (await client.post(path, headers=PAGE, form={"model": name})).status_code == 204
        html = await text_of(await client.get(f"/chats/{chat_id}", headers=OWN))
        assert f'value="{name}" selected>{label}<' in html
        missing = html[html.index('id="missing"') :].partition("<form")[0]
        assert button in missing
        assert 'data-chooses="tiny">Use Tiny instead<' in missing or "another" in missing
        with pytest.raises(ModelNotFound, match="is not installed"):
            await state.answers.submit(Prompt(1, chat_id, "Hello", "c2" * 8, name))


@pytest.mark.usefixtures("both_engines")
async def test_only_what_fits_the_memory_is_to_be_had(settings: Settings) -> None:
    app = create_app(replace(settings, model_memory_mb=1000))
    async with app.test_app():
        html = await text_of(await app.test_client().get("/", headers=OWN))
    picker = html[html.index('<select id="model"') :].partition("</select>")[0]
    assert 'value="tiny" selected' in picker
    assert picker.count("needs download") == 4
    assert 'label="Available to download"' in picker
    assert "llama-3-8b" not in picker


@pytest.mark.usefixtures("both_engines")
async def test_the_pickers_list_has_what_is_here_and_a_few_models_that_fit(
    settings: Settings,
) -> None:
    app = create_app(replace(settings, model_memory_mb=1000))
    async with app.test_app():
        client = app.test_client()
        html = await text_of(await client.get("/models/choices?model=tiny", headers=OWN))
        assert re.findall('data-chooses="(.*?)"', html) == ["tiny"]
        assert " fits<" in html
        offered = re.findall('hx-post="/models/(.*?)/pull"', html)
        assert 0 < len(offered) <= 4
        assert "llama-3-8b" not in html
        assert "Make default" in html
        await client.post("/models/tiny/default", headers=PAGE)
        html = await text_of(await client.get("/models/choices?model=smollm2-360m", headers=OWN))
        assert "Make default" not in html
        assert html.count('class="star"') == 1
        assert re.findall('hx-post="/models/(.*?)/pull"', html)[0] == "smollm2-360m"
        html = await text_of(await client.get("/models/choices?model=..%2Fx<b>", headers=OWN))
        assert "<b>" not in html


async def test_an_upload_is_refused_before_its_bytes_are_sent(
    app: Quart, client: Client, tiny: Path
) -> None:
    async def plan(*files: tuple[str, int]) -> tuple[int, str]:
        listed = [{"name": name, "size": size} for name, size in files]
        answer = await client.post("/models/uploads", headers=TERMINAL, json=listed)
        return answer.status_code, await text_of(answer)

    data = (tiny / "tiny.gguf").read_bytes()
    for files, sentence in (
        ([("tiny.gguf", 9)], "is already installed"),
        ([("x.gguf", 0)], "x.gguf is empty."),
        ([("x.gguf", 1 << 60)], "too large: the limit is 16,777,216 MB"),
        ([("x.gguf", 8 << 40)], "There is no room for the model"),
        ([("x-00001-of-00002.gguf", 9)], "x-00002-of-00002.gguf is missing"),
        ([], "Choose a GGUF file."),
    ):
        status, text = await plan(*files)
        assert status == 422
        assert sentence in text
    for nonsense in ("7", "[7]", '[{"name": 1}]', "{"):
        answer = await client.post("/models/uploads", headers=TERMINAL, data=nonsense)
        assert answer.status_code == 422
    status, text = await plan(("An own.gguf", len(data)))
    assert status == 200
    (one,) = json.loads(text)
    assert one["files"] == [0]
    answer = await client.put(one["address"], headers=TERMINAL, data=data)
    assert answer.status_code == 204, await text_of(answer)
    assert here(app).store.get("an-own")


async def test_a_projector_is_uploaded_to_a_model(
    app: Quart, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "installed_engines", lambda: engines.ENGINES)
    address = "/models/upload/projector/tiny"
    right = write_projector(tmp_path / "mmproj.gguf", "idefics3", width=64).read_bytes()
    wide = write_projector(tmp_path / "mmproj.gguf", "idefics3", width=80).read_bytes()
    html = await text_of(await client.get("/models", headers=OWN))
    assert "Pictures for Tiny" in html
    html = await text_of(await client.get("/models/tiny/projector", headers=PAGE))
    assert address in html
    assert "Remove projector" not in html
    for data, sentence in (
        (wide, "belongs to another model"),
        (right[:5000], "cut short"),
        (b"text", "not a GGUF file"),
        (b"", "Only part"),
    ):
        answer = await client.put(address, headers=TERMINAL, data=data)
        assert answer.status_code in (400, 422, 502)
        assert sentence in await text_of(answer)
    assert here(app).store.get("tiny").projector is None
    answer = await client.put(address, headers=TERMINAL, data=right)
    assert answer.status_code == 204, await text_of(answer)
    assert here(app).store.get("tiny").sees
    html = await text_of(await client.get("/models/tiny/projector", headers=PAGE))
    assert "Remove projector" in html
    assert (await client.delete(address, headers=PAGE)).status_code == 204
    assert here(app).store.get("tiny").projector is None


async def silence() -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""


async def test_why_an_upload_broke_off_can_be_asked(app: Quart, client: Client) -> None:
    address = "/models/upload/Broken.gguf"
    answer = await client.put(address, headers=TERMINAL, data=b"GGUF but not really")
    sentence = await text_of(answer)
    assert answer.status_code == 422
    answer = await client.get(address, headers=TERMINAL)
    assert (answer.status_code, await text_of(answer)) == (422, sentence)
    answer = await client.get("/models/upload/unheard-of.gguf", headers=TERMINAL)
    assert await text_of(answer) == "The upload was interrupted. Try again."
    sending = asyncio.create_task(
        here(app).pulls.receive(UploadManifest("Mine.gguf", (9,)), silence())
    )
    await until(lambda: here(app).pulls.get("mine") is not None)
    here(app).pulls.cancel("mine")
    await asyncio.wait([sending])
    answer = await client.get("/models/upload/Mine.gguf", headers=TERMINAL)
    assert await text_of(answer) == "The upload was cancelled."
    answer = await client.put(f"{address}?part=x", headers=TERMINAL, data=b"GGUF")
    assert "are invalid" in await text_of(answer)


async def test_the_dialog_of_a_chat_reads_its_model_once(
    app: Quart, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    here(app).store.save_settings("tiny", ModelSettings(sampling=Sampling(temperature=0.25)))
    await client.post(f"/chats/{'a' * 16}/model", headers=PAGE, form={"model": "tiny"})
    read, names = ModelStore.get, list[str]()

    def noted(self: ModelStore, name: str) -> Any:
        names.append(name)
        return read(self, name)

    monkeypatch.setattr(ModelStore, "get", noted)
    html = await text_of(await client.get(f"/chats/{'a' * 16}/settings", headers=PAGE))
    assert names == ["tiny"]
    assert 'placeholder="default 0.25"' in html


async def test_the_suggestions_of_a_new_chat_follow_its_model(
    app: Quart, client: Client, tiny: Path
) -> None:
    here(app).store.install(tiny / "tiny.gguf", "coder")
    assert "duplicate files" in await text_of(await client.get("/", headers=PAGE))
    path = f"/chats/{'a' * 16}"
    async with client.websocket(f"{path}/live?first=", headers=OWN) as socket:
        for name, words in (("tiny", "autumn rain"), ("coder", "duplicate files")):
            await client.post(f"{path}/model", headers=PAGE, form={"model": name})
            frame = await frame_with(socket, words)
            assert frame.count("data-starter") == 4
            assert 'id="message"' not in frame  # what is typed stays
        await client.post(f"{path}/model", headers=PAGE, form={"model": "tiny"})
        assert "autumn rain" in await frame_with(socket, 'id="suggestions"')


async def test_suggestions_of_a_persona_stay_whatever_model_is_chosen(
    app: Quart, client: Client, tiny: Path
) -> None:
    here(app).store.install(tiny / "tiny.gguf", "coder")
    form = {"name": "Editor", "starters": "Proofread:"}
    assert (await client.post("/personas", headers=PAGE, form=form)).status_code == 303
    path = f"/chats/{'a' * 16}"
    async with client.websocket(f"{path}/live?first=&persona=1", headers=OWN) as socket:
        await client.post(f"{path}/model", headers=PAGE, form={"model": "coder"})
        assert 'id="suggestions"' not in await frame_with(socket, 'id="picker"')


async def frame_with(socket: Any, words: str) -> str:
    """Return the next frame that has these words."""
    async with asyncio.timeout(PATIENCE):
        while words not in (frame := str(await socket.receive())):
            pass
    return frame
