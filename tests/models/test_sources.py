"""Sources of models as users write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import PullRefused
from app.models.gguf.reader import model_stem
from app.models.install.install import resolve_local
from app.models.sources import (
    HubRepoSpec,
    HubSpec,
    LocalSpec,
    OllamaSpec,
    PypiSpec,
    Spec,
    WebSpec,
    all_shards,
    parse_spec,
)
from app.models.store import ModelStore
from app.net import leads_here

DIGEST = "ab" * 32


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("pypi:a-b==1.0.1/c/d.gguf", PypiSpec("a-b", "1.0.1", "c/d.gguf")),
        (f"pypi:a==1/d.gguf#sha256={DIGEST}", PypiSpec("a", "1", "d.gguf", DIGEST)),
        ("hf:who/what-GGUF/m.Q4_K_M.gguf", HubSpec("who/what-GGUF", "m.Q4_K_M.gguf")),
        ("HF:who/what/sub/m.gguf@v1.0", HubSpec("who/what", "sub/m.gguf", "v1.0")),
        ("hf://who/what/m.gguf@refs/pr/1", HubSpec("who/what", "m.gguf", "refs/pr/1")),
        (" https://x.org/a/m.gguf?k=1 ", WebSpec("https://x.org/a/m.gguf?k=1")),
        (f"https://x.org/m.GGUF#sha256={DIGEST.upper()}", WebSpec("https://x.org/m.GGUF", DIGEST)),
        ("http://127.0.0.1:80/m.gguf", WebSpec("http://127.0.0.1:80/m.gguf")),
        ("http://[::1]/m.gguf", WebSpec("http://[::1]/m.gguf")),
        ("/no/such/m.gguf", LocalSpec(Path("/no/such/m.gguf"))),
    ],
)
def test_sources(text: str, spec: object) -> None:
    assert parse_spec(text) == spec


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "Say where"),
        ("gpt-7", "source Wick recognizes"),
        ("ftp://x.org/m.gguf", "cannot fetch from"),
        ("pypi:a/d.gguf", "not complete"),
        ("pypi:a==1 --index-url=evil/d.gguf", "not complete"),
        ("pypi:a==1/../d.gguf", "not the path"),
        ("hf:what/m.gguf", "not complete"),
        ("hf:a/b/../m.gguf", "not the path"),
        ("hf:../../m.gguf", "not the name"),
        ("hf:a/b/m.bin", "not complete"),
        ("https:m.gguf", "not a web address"),
        ("https://[x/m.gguf", "not a web address"),
        ("https://a..b/m.gguf", "not a web address"),
        ("https://xn--a/m.gguf", "not a web address"),
        ("https://x.org:99999/m.gguf", "not a web address"),
        ("https://x.org/m.zip", "must end in .gguf"),
        ("https://u:p@x.org/m.gguf", "password"),
        ("http://x.org/m.gguf", "https only"),
        ("https://x.org/a%2f..%2f..%5cm.gguf", "not the path"),
        ("https://x.org/m.gguf#sha256=12", "64 hexadecimal"),
        (f"https://x.org/m-00001-of-00002.gguf#sha256={DIGEST}", "split into several"),
        ("https://x.org/m-00003-of-00002.gguf", "not the name of a part"),
        ("hf:a/b/m-00001-of-99999.gguf", "not the name of a part"),
        ("https://x.org/m.gguf\r\nX: y", "Say where"),
        ("https://x.org/a%00b.gguf", "control characters"),
        ("hf:a/b/m\x7f.gguf", "control characters"),
        ("~nosuchperson/x.gguf", "not the path of a file here"),
        ("x" * 1_900, "source Wick recognizes"),
    ],
)
def test_invalid_sources_are_refused_in_words(text: str, sentence: str) -> None:
    with pytest.raises(PullRefused, match=sentence):
        parse_spec(text)


@pytest.mark.parametrize(
    "host", ["localhost.", "::ffff:127.0.0.1", "0.0.0.0", "::", "::1", "127.9.9.9", "LOCALHOST"]
)
def test_hosts_of_this_machine(host: str) -> None:
    assert leads_here(host)


@pytest.mark.parametrize("host", [None, "", "example.org", "10.0.0.1", "::ffff:10.0.0.1"])
def test_other_hosts_are_not_this_machine(host: str | None) -> None:
    assert not leads_here(host)


@pytest.mark.parametrize("path", ["~nosuchperson/x.gguf", "/" + "x" * 1_900 + ".gguf"])
def test_paths_that_cannot_be_are_refused_when_they_are_looked_for(
    path: str, tmp_path: Path
) -> None:
    with pytest.raises(PullRefused):
        resolve_local(path, ModelStore(tmp_path))


def test_an_existing_folder_is_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    assert parse_spec("models") == LocalSpec(tmp_path / "models")


def test_parts_of_a_split_model() -> None:
    files = ["m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"]
    assert all_shards("m-00002-of-00003.gguf") == files
    assert all_shards("m.gguf") == ["m.gguf"]
    assert [model_stem(name) for name in ("m-00002-of-00003.gguf", "m.Q4.gguf")] == ["m", "m.Q4"]


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("hf:who/what-GGUF", HubRepoSpec("who/what-GGUF")),
        ("hf:who/what-GGUF:Q4_K_M", HubRepoSpec("who/what-GGUF", "Q4_K_M")),
        ("hf:who/what:q8_0@v1.0", HubRepoSpec("who/what", "q8_0", "v1.0")),
        ("hf.co/who/what", HubRepoSpec("who/what")),
        ("hf.co/who/what:IQ4_XS", HubRepoSpec("who/what", "IQ4_XS")),
        ("https://huggingface.co/who/what", HubRepoSpec("who/what")),
        ("huggingface.co/who/what/tree/main", HubRepoSpec("who/what", None, "main")),
        (
            "https://huggingface.co/who/what/blob/main/a/m.gguf",
            HubSpec("who/what", "a/m.gguf", "main"),
        ),
        ("ollama:qwen3", OllamaSpec("qwen3")),
        ("ollama:qwen3:4b", OllamaSpec("qwen3", "4b")),
        ("ollama:who/what:7b-q4_0", OllamaSpec("what", "7b-q4_0", "who")),
    ],
)
def test_models_as_other_programs_name_them(text: str, spec: Spec) -> None:
    assert parse_spec(text) == spec
    assert parse_spec(text, check_disk=False) == spec


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("hf:who", "hf:OWNER/REPO"),
        ("hf:who/..", "not complete"),
        ("hf:who/what:", "not complete"),
        ("hf:who/what#sha256=" + "0" * 64, "name the file"),
        ("ollama:", "Say where|not complete"),
        ("ollama:a/b/c", "not complete"),
        ("ollama:../x", "not complete"),
    ],
)
def test_names_that_are_not_complete(text: str, match: str) -> None:
    with pytest.raises(PullRefused, match=match):
        parse_spec(text)


def test_a_repository_gives_the_model_its_name() -> None:
    names = {
        "hf:unsloth/Qwen3.5-4B-GGUF": "Qwen3.5-4B",
        "hf:who/What-gguf:Q8_0": "What-Q8_0",
        "ollama:qwen3:4b": "qwen3-4b",
        "ollama:qwen3": "qwen3",
    }
    assert {text: parse_spec(text).file for text in names} == names
