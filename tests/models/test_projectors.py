"""Projectors are found beside models, chosen among several, checked, and kept."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from app.errors import ModelError, ModelFileError, ModelUnsupported, PullError
from app.models.found import FoundModels, find_models
from app.models.install import install, ollama
from app.models.install.huggingface import choose_projector
from app.models.install.ollama import PROJECTOR
from app.models.install.projector import pull_projector
from app.models.projectors import find_beside, ranked, read_projector
from app.models.store import ModelStore
from tests.models.install.test_huggingface import hub
from tests.models.install.test_huggingface_repository import GB, decode, list_files
from tests.models.install.test_ollama import layer, publish
from tests.models.stub_server import Stub
from tests.models.test_found import into_ollama
from tests.tiny_architectures import Weights
from tests.tiny_gguf import encode
from tests.tiny_projectors import PROJECTORS, TINY, write_projector

__all__ = ["hub"]


@pytest.fixture
def mmproj(tmp_path: Path) -> Path:
    folder = tmp_path / "projector"
    folder.mkdir()
    return write_projector(folder / "mmproj-Tiny-f16.gguf", "idefics3", width=64)


@pytest.mark.parametrize(
    ("names", "model", "best"),
    [
        (["mmproj-F32.gguf", "mmproj-BF16.gguf", "mmproj-F16.gguf"], "Any-Q4_K_M.gguf", "F16"),
        (["mmproj-X-2B-Q8_0.gguf", "mmproj-X-2B-bf16.gguf"], "X-2B-Q4_K_M.gguf", "Q8_0"),
        (["mmproj-X-7B-f16.gguf", "mmproj-X-2B-Q8_0.gguf"], "X-2B-Q4_K_M.gguf", "X-2B-Q8_0"),
        (["gemma-4-E2B-it-mmproj.gguf", "o.gguf"], "gemma-4-E2B_q4_0-it.gguf", "mmproj"),
        (["mmproj-model-f16.gguf"], "X-00001-of-00002.gguf", "model-f16"),
        (["X-Q4_0.gguf", "mmproj.txt"], "X-Q8_0.gguf", None),
    ],
)
def test_the_projector_of_a_model_is_known_by_its_name(
    names: list[str], model: str, best: str | None
) -> None:
    found = ranked(names, model)
    assert best in found[0] if best else found == []


def test_the_projector_that_fits_is_chosen() -> None:
    sizes = {
        "M-Q4_0.gguf": 2.0,
        "mmproj-F16.gguf": 1.2,
        "mmproj-Q8_0.gguf": 0.6,
        "a/mmproj.gguf": 9,
    }
    files = decode([{"rfilename": name, "size": int(n * GB)} for name, n in sizes.items()])
    chosen = {
        left: choose_projector(files, "M-Q4_0.gguf", int(left * GB)) for left in (0, 2, 1.2, 1)
    }
    assert chosen == {0: "mmproj-F16.gguf", 2: "mmproj-F16.gguf", 1.2: "mmproj-Q8_0.gguf", 1: None}
    assert choose_projector(files, "a/M.gguf", 0) == "a/mmproj.gguf"
    assert choose_projector(files, "b/M.gguf", 0) == "mmproj-F16.gguf"


def test_beside_several_models_it_must_be_named_after_one(tmp_path: Path, tiny: Path) -> None:
    for name in ("Some-7B-Q4_0.gguf", "mmproj-model-f16.gguf", "mmproj-Some-7B-f16.gguf"):
        shutil.copyfile(tiny, tmp_path / name)
    shutil.move(tiny, tmp_path / "Other-Q4_0.gguf")
    found = find_beside(tmp_path / "Some-7B-Q4_0.gguf")
    assert found == tmp_path / "mmproj-Some-7B-f16.gguf"
    assert find_beside(tmp_path / "Other-Q4_0.gguf") is None
    assert find_beside(tmp_path / "nowhere" / "x.gguf") is None


@pytest.mark.usefixtures("both_engines")
async def test_a_folder_is_imported_with_its_projector(
    store: ModelStore, tiny: Path, mmproj: Path
) -> None:
    shutil.move(tiny, mmproj.parent / "Tiny-Q8_0.gguf")
    order = install.resolve_local(str(mmproj.parent), store)
    model = await install.pull(order, store, lambda _: None)
    assert model.sees
    assert model.projector is not None
    assert model.projector.digest == hashlib.sha256(mmproj.read_bytes()).hexdigest()
    assert store.get(model.name) == model
    assert model.size + model.projector.size == model.loaded_size
    store.remove(model.name)


@pytest.mark.usefixtures("both_engines")
async def test_a_projector_comes_with_a_pull(
    hub: Stub, store: ModelStore, tiny: Path, mmproj: Path
) -> None:
    shown, data = mmproj.read_bytes(), tiny.read_bytes()
    list_files(hub, {"Tiny-Q4_K_M.gguf": data, "mmproj-F16.gguf": shown, "mmproj-F32.gguf": b"x"})
    for source, name in (("hf:who/what", "a"), ("hf:who/what/Tiny-Q4_K_M.gguf", "b")):
        model = await install.pull(install.resolve(source, store, name), store, lambda _: None)
        assert model.sees
        assert model.projector_path is not None
        assert model.projector_path.read_bytes() == shown


@pytest.mark.usefixtures("both_engines")
async def test_a_projector_comes_with_a_model_of_ollama(
    web: Stub, store: ModelStore, tiny: Path, mmproj: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ollama, "REGISTRY", web.url)
    shown = mmproj.read_bytes()
    publish(web, tiny.read_bytes(), layer(shown, PROJECTOR))
    web.files[f"/v2/library/tiny/blobs/sha256:{hashlib.sha256(shown).hexdigest()}"] = shown
    order = install.resolve("ollama:tiny:1b", store)
    model = await install.pull(order, store, lambda _: None)
    assert model.projector_path is not None
    assert model.projector_path.read_bytes() == shown


@pytest.mark.usefixtures("both_engines")
async def test_a_projector_of_another_program_is_only_linked(
    store: ModelStore, tiny: Path, mmproj: Path, tmp_path: Path
) -> None:
    folder = tmp_path / ".ollama/models"
    into_ollama(folder, tiny)
    digest = hashlib.sha256(mmproj.read_bytes()).hexdigest()
    blob = folder / "blobs" / f"sha256-{digest}"
    shutil.copyfile(mmproj, blob)
    manifest = folder / "manifests/registry.ollama.ai/library/tiny/1b"
    values = json.loads(manifest.read_text())
    values["layers"].append(layer(mmproj.read_bytes(), PROJECTOR))
    manifest.write_text(json.dumps(values))
    (found,) = FoundModels({}, tmp_path).all()
    model = await install.pull(install.resolve_found(found, store), store, lambda _: None)
    assert model.sees
    assert model.projector_path is not None
    assert model.projector_path.samefile(blob)


def test_a_projector_in_a_folder_of_another_program_is_found(
    tmp_path: Path, tiny: Path, mmproj: Path
) -> None:
    studio = tmp_path / ".lmstudio/models/who/Some-GGUF"
    studio.mkdir(parents=True)
    shutil.copyfile(tiny, studio / "Some-Q8_0.gguf")
    shutil.copyfile(mmproj, studio / "mmproj-Some-F16.gguf")
    (found,) = find_models({}, tmp_path)
    assert found.projector == studio / "mmproj-Some-F16.gguf"


def test_what_is_no_projector_is_refused(
    store: ModelStore, tiny: Path, mmproj: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelUnsupported, match="no projector"):
        store.install(tiny, "m", projector=tiny)
    cut = tmp_path / "mmproj-cut.gguf"
    for size in (10, 500, 20_000):
        cut.write_bytes(mmproj.read_bytes()[:size])
        with pytest.raises(ModelFileError):
            read_projector(cut)
    assert store.models() == []


@pytest.mark.parametrize(
    "wrong", [{"patch_size": 0}, {"image_size": 1 << 30}, {"block_count": 1 << 20}]
)
def test_sizes_that_no_projector_has_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    values, tensors = PROJECTORS["gemma3"](Weights(1), 64, TINY)
    values |= {f"clip.vision.{name}": value for name, value in wrong.items()}
    path = tmp_path / "mmproj.gguf"
    path.write_bytes(encode(values, tensors))
    with pytest.raises(ModelFileError, match="damaged"):
        read_projector(path)


@pytest.mark.usefixtures("both_engines")
async def test_a_model_that_is_installed_gets_a_projector(
    store: ModelStore, tiny: Path, mmproj: Path, tmp_path: Path
) -> None:
    before = store.install(tiny, "m")
    assert before.projector is None
    one = await pull_projector(str(mmproj), store, "m", print)
    assert one.sees
    assert one.projector is not None
    assert one.projector.digest == hashlib.sha256(mmproj.read_bytes()).hexdigest()
    other = write_projector(tmp_path / "mmproj-other.gguf", "idefics3", width=64, seed=2)
    two = await pull_projector(str(other), store, "m", print)
    assert two.projector_path is not None
    assert two.projector_path.read_bytes() == other.read_bytes()
    assert len(list(two.folder.glob("mmproj*"))) == 1
    assert await pull_projector(str(mmproj.parent), store, "m", print) == one  # in a folder
    assert store.remove_projector("m") == before
    assert not list(before.folder.glob("mmproj*"))
    with pytest.raises(ModelError, match="has no projector"):
        store.remove_projector("m")


@pytest.mark.usefixtures("both_engines")
async def test_a_projector_comes_from_the_hub(
    hub: Stub, store: ModelStore, tiny: Path, mmproj: Path
) -> None:
    shown = mmproj.read_bytes()
    list_files(hub, {"mmproj-F16.gguf": shown, "mmproj-F32.gguf": b"x", "Tiny-Q4_0.gguf": b"x"})
    for source in ("hf:who/what", "hf:who/what/mmproj-F16.gguf"):
        store.install(tiny, "m")
        model = await pull_projector(source, store, "m", print)
        assert model.projector_path is not None
        assert model.projector_path.read_bytes() == shown
        store.remove("m")
    list_files(hub, {"Tiny-Q4_0.gguf": b"x"})
    store.install(tiny, "m")
    with pytest.raises(PullError, match="no projector"):
        await pull_projector("hf:who/what", store, "m", print)


@pytest.mark.usefixtures("both_engines")
async def test_a_projector_of_another_model_is_refused(
    store: ModelStore, tiny: Path, tmp_path: Path
) -> None:
    before = store.install(tiny, "m")
    wide = write_projector(tmp_path / "mmproj-wide.gguf", "idefics3", width=80)
    for wrong, sentence in (
        (wide, "belongs to another model than Tiny, whose rows have 64 numbers"),
        (tiny, "no projector"),
        (tmp_path / "nowhere.gguf", "nowhere"),
        (tmp_path / "models", "no projector for Tiny"),
    ):
        with pytest.raises(ModelError, match=sentence):
            await pull_projector(str(wrong), store, "m", print)
    assert store.get("m") == before
    assert not list(before.folder.glob("mmproj*"))
