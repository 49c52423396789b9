from __future__ import annotations

from pathlib import Path

from app.conversations.hub import Hub
from app.models.install.install import ModelSource, Origins
from app.models.store import ModelStore
from app.web.render.model_names import ModelNames
from tests.tiny_gguf import write_tiny_gguf


async def test_models_have_one_title_also_after_they_have_gone(tmp_path: Path) -> None:
    store, hub = ModelStore(tmp_path / "models"), Hub()
    names = ModelNames(store, origins := Origins(store.root), hub)
    file = write_tiny_gguf(tmp_path / "tiny.gguf")
    store.install(file, "tiny")
    origins.keep("lost", ModelSource("", "Lost & found", 9))
    await names.load(["tiny", "lost", "smollm2-135m", "unheard-of", None])
    found = [names.title(name) for name in ("tiny", "lost", "smollm2-135m", "unheard-of", None)]
    assert found == ["Tiny", "Lost & found", "SmolLM2 135M Instruct", "unheard-of", ""]

    store.install(file, "second")
    await names.load(["tiny", "second"])
    assert [names.title("tiny"), names.title("second")] == ["Tiny (tiny)", "Tiny (second)"]

    store.remove("tiny")
    hub.models_changed()
    await names.load(["second"])
    assert [names.title("second"), names.title("tiny")] == ["Tiny", "Tiny (tiny)"]
