"""Snapshot files: what is whole comes back as it was, everything else is removed and harmless."""

from __future__ import annotations

import dataclasses
import errno
import os
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from app.inference import kv_files
from app.inference.kv_files import chat_key
from app.inference.runner.kv.disk import PAUSE_SECONDS, DiskSnapshots
from app.inference.runner.kv.snapshot import Snapshot, SnapshotKey
from tests.inference.scripted_engine import ScriptedEngine

ORIGIN = SnapshotKey("m" * 32, "library", 1000)
RUNS = (("assistant\nyes", (5, 6, 7)), ("é🦊", (1,)))


def snapshot(chat: str = "chat", size: int = 20, seed: int = 0) -> Snapshot:
    tokens = np.array(random.Random(seed).choices(range(256), k=size), np.int32)
    return Snapshot(chat_key(chat), tokens, RUNS, tokens.view(np.uint8).copy())


def disk(folder: Path, budget: int = 1 << 20, origin: SnapshotKey = ORIGIN) -> DiskSnapshots:
    return DiskSnapshots(folder, origin, ScriptedEngine(), budget)


def file_of(folder: Path, chat: str = "chat") -> Path:
    return folder / ORIGIN.model / f"{chat_key(chat)}.kv"


def test_a_snapshot_comes_back_after_a_restart(tmp_path: Path) -> None:
    saved = snapshot()
    assert disk(tmp_path).save(saved)
    again = disk(tmp_path)
    entry = again.find(chat_key("chat"))
    assert entry is not None
    loaded = again.load(entry)
    assert loaded is not None
    assert np.array_equal(loaded.tokens, saved.tokens)
    assert np.array_equal(loaded.state, saved.state)
    assert (loaded.chat, loaded.token_runs, loaded.is_on_disk) == (saved.chat, RUNS, True)


def test_only_the_owner_of_the_files_may_read_them(tmp_path: Path) -> None:
    root = tmp_path / "kv"
    disk(root).save(snapshot())
    assert [path.stat().st_mode & 0o777 for path in (root, file_of(root).parent)] == [0o700] * 2
    assert file_of(root).stat().st_mode & 0o777 == 0o600


def test_a_chat_has_one_snapshot_and_what_is_nobodys_has_none(tmp_path: Path) -> None:
    kept = disk(tmp_path)
    assert kept.save(snapshot(seed=1))
    assert kept.save(snapshot(seed=2, size=30))
    assert not kept.save(snapshot(""))
    assert len(list(kv_files.files(tmp_path))) == len(kept.entries()) == 1


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 1 << random.Random(place).randrange(8)
    path.write_bytes(data)


def is_gone_and_useless(folder: Path, path: Path) -> bool:
    kept = disk(folder)
    for entry in kept.entries():
        assert kept.load(entry) is None
    return not os.path.lexists(path) and not kept.entries()


def test_a_snapshot_with_a_flipped_bit_is_removed(tmp_path: Path) -> None:
    disk(tmp_path).save(snapshot())
    path = file_of(tmp_path)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole)
        flip(path, place)
        assert is_gone_and_useless(tmp_path, path), place


def test_a_snapshot_of_another_length_is_removed(tmp_path: Path) -> None:
    disk(tmp_path).save(snapshot())
    path = file_of(tmp_path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert is_gone_and_useless(tmp_path, path), length
    path.write_bytes(whole + b"\0")
    assert is_gone_and_useless(tmp_path, path)


@pytest.mark.parametrize(
    "change",
    [{"model": "n" * 32}, {"library": "another build"}, {"context": 999}],
)
def test_a_snapshot_of_another_model_or_library_is_removed(
    tmp_path: Path, change: dict[str, object]
) -> None:
    other = dataclasses.replace(ORIGIN, **change)  # type: ignore[arg-type]
    disk(tmp_path, origin=other).save(snapshot())
    path = next(kv_files.files(tmp_path))
    file_of(tmp_path).parent.mkdir(exist_ok=True)
    path = path.rename(file_of(tmp_path))
    assert is_gone_and_useless(tmp_path, path)


@pytest.mark.parametrize("tokens", [[], [-1] * 20, [256] * 20, [2] * 1001])
def test_a_snapshot_with_impossible_tokens_is_removed(tmp_path: Path, tokens: list[int]) -> None:
    """Even with right checksums: whoever wrote it was not Wick as it is."""
    wrong = snapshot()
    wrong.tokens = np.array(tokens, np.int32)
    wrong.state = np.zeros(4 * len(tokens), np.uint8)
    disk(tmp_path).save(wrong)
    assert is_gone_and_useless(tmp_path, file_of(tmp_path))


def test_another_chats_file_under_this_name_is_removed(tmp_path: Path) -> None:
    disk(tmp_path).save(snapshot("mine"))
    path = file_of(tmp_path, "mine").rename(file_of(tmp_path, "yours"))
    assert is_gone_and_useless(tmp_path, path)


def link(path: Path) -> None:
    path.rename(path.parents[1] / "elsewhere")
    path.symlink_to(path.parents[1] / "elsewhere")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("replace", [link, pipe])
def test_a_link_or_pipe_is_removed_unopened(
    tmp_path: Path, replace: Callable[[Path], None]
) -> None:
    disk(tmp_path).save(snapshot())
    replace(file_of(tmp_path))
    assert is_gone_and_useless(tmp_path, file_of(tmp_path))


def test_a_folder_in_place_of_a_snapshot_breaks_nothing(tmp_path: Path) -> None:
    file_of(tmp_path).mkdir(parents=True)
    kept = disk(tmp_path)
    assert kept.entries() == []
    assert not kept.save(snapshot())


def test_a_snapshot_that_was_never_finished_is_removed(tmp_path: Path) -> None:
    part = file_of(tmp_path).with_suffix(".part")
    part.parent.mkdir()
    part.write_bytes(b"half")
    disk(tmp_path)
    assert not part.exists()


def test_damage_after_the_index_was_read_is_a_miss(tmp_path: Path) -> None:
    kept = disk(tmp_path)
    kept.save(snapshot())
    [entry] = kept.entries()
    flip(file_of(tmp_path), -1)
    assert kept.load(entry) is None
    assert not file_of(tmp_path).exists()
    assert kept.entries() == []


def test_a_file_that_another_deleted_is_a_miss(tmp_path: Path) -> None:
    kept = disk(tmp_path)
    kept.save(snapshot())
    [entry] = kept.entries()
    kv_files.delete(tmp_path, "chat")
    assert kept.load(entry) is None
    assert kept.entries() == []


@pytest.mark.parametrize("point", range(4))
def test_a_full_disk_costs_nothing_but_the_snapshot(tmp_path: Path, point: int) -> None:
    """At every write: the older snapshot of the chat stays good, no part is left."""
    calls, now = 0, 0.0

    def write(descriptor: int, data: memoryview) -> int:
        nonlocal calls
        calls += 1
        if calls > point:
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.write(descriptor, data[:100])

    disk(tmp_path).save(snapshot(seed=1))
    full = DiskSnapshots(
        tmp_path, ORIGIN, ScriptedEngine(), 1 << 20, write=write, clock=lambda: now
    )
    assert not full.save(snapshot(seed=2, size=200))
    assert [path.name for path in file_of(tmp_path).parent.iterdir()] == [file_of(tmp_path).name]
    [entry] = full.entries()
    assert full.load(entry) is not None
    before = calls
    assert not full.is_open
    assert not full.save(snapshot("other"))  # it does not try again at once
    assert calls == before
    now = PAUSE_SECONDS + 1
    assert full.is_open


def test_short_writes_are_continued(tmp_path: Path) -> None:
    kept = DiskSnapshots(
        tmp_path, ORIGIN, ScriptedEngine(), 1 << 20, write=lambda d, data: os.write(d, data[:7])
    )
    assert kept.save(snapshot())
    assert len(disk(tmp_path).entries()) == 1


def test_an_almost_full_disk_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.inference.runner.kv.disk.RESERVED_BYTES", 1 << 62)
    assert not disk(tmp_path).save(snapshot())
    assert list(kv_files.files(tmp_path)) == []


def test_older_snapshots_go_where_the_disk_lacks_what_stays_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = DiskSnapshots(tmp_path, ORIGIN, ScriptedEngine(), 1 << 20, keep_free=1 << 30)
    assert kept.save(snapshot("old"))
    size = next(kv_files.files(tmp_path)).stat().st_size

    def usage(_: object) -> SimpleNamespace:
        taken = sum(path.stat().st_size for path in kv_files.files(tmp_path))
        return SimpleNamespace(free=(1 << 30) + size - taken)

    monkeypatch.setattr("shutil.disk_usage", usage)
    assert kept.save(snapshot("new"))
    assert [file_of(tmp_path, chat).exists() for chat in ("old", "new")] == [False, True]


def age(path: Path, seconds: int) -> None:
    os.utime(path, (10**9 - seconds, 10**9 - seconds))


def test_the_least_recently_used_goes_first_over_all_models(tmp_path: Path) -> None:
    other = dataclasses.replace(ORIGIN, model="n" * 32)
    disk(tmp_path, origin=other).save(snapshot("old"))
    foreign = next(kv_files.files(tmp_path))
    size = foreign.stat().st_size
    kept = disk(tmp_path, budget=size * 3 + size // 2)
    for order, name in enumerate("ab"):
        kept.save(snapshot(name))
        age(file_of(tmp_path, name), 50 - order)
    age(foreign, 100)
    kept.save(snapshot("c"))
    assert not foreign.exists()
    entry = kept.find(chat_key("a"))
    assert entry is not None
    kept.load(entry)  # now used more recently than b
    kept.save(snapshot("d"))
    assert {e.chat for e in kept.entries()} == {chat_key(name) for name in "acd"}
    assert sum(path.stat().st_size for path in kv_files.files(tmp_path)) <= size * 4


def test_a_snapshot_larger_than_the_budget_destroys_nothing(tmp_path: Path) -> None:
    disk(tmp_path).save(snapshot("small"))
    assert not disk(tmp_path, budget=1000).save(snapshot("large", 900))
    assert file_of(tmp_path, "small").exists()


def test_deleted_chats_are_never_written_again(tmp_path: Path) -> None:
    kept = disk(tmp_path)
    kept.save(snapshot("gone"))
    kept.save(snapshot("stays"))
    kept.delete(chat_key("gone"))
    assert not kept.save(snapshot("gone"))
    assert list(kv_files.files(tmp_path)) == [file_of(tmp_path, "stays")]


def test_the_parent_deletes_without_a_runner(tmp_path: Path) -> None:
    for model in ("m" * 32, "n" * 32):
        kept = disk(tmp_path, origin=dataclasses.replace(ORIGIN, model=model))
        kept.save(snapshot("gone"))
        kept.save(snapshot("stays"))
    (tmp_path / ("m" * 32) / f"{chat_key('gone')}.part").touch()  # of a runner that was killed
    kv_files.delete(tmp_path, "gone")
    kv_files.delete(tmp_path, "")
    kv_files.delete(tmp_path / "nowhere", "gone")
    assert {path.stem for path in tmp_path.glob("*/*")} == {chat_key("stays")}
    assert len(list(kv_files.files(tmp_path))) == 2


def test_a_chat_deleted_while_its_snapshot_is_written_leaves_nothing(tmp_path: Path) -> None:
    def write(descriptor: int, data: memoryview) -> int:
        kv_files.delete(tmp_path, "gone")
        return os.write(descriptor, data)

    kept = DiskSnapshots(tmp_path, ORIGIN, ScriptedEngine(), 1 << 20, write=write)
    assert not kept.save(snapshot("gone"))
    assert list(file_of(tmp_path).parent.iterdir()) == []
    assert kept.is_open  # nothing is wrong with the disk
    assert kept.save(snapshot("stays"))


def test_snapshots_of_no_model_or_chat_are_purged(tmp_path: Path) -> None:
    for model in ("m" * 32, "n" * 32):
        kept = disk(tmp_path, origin=dataclasses.replace(ORIGIN, model=model))
        for chat in ("gone", "stays"):
            kept.save(snapshot(chat))
    (tmp_path / ("m" * 32) / f"{chat_key('stays')}.part").touch()
    assert kv_files.purge(tmp_path, {"m" * 32}, ["stays", "new"]) == 4
    assert list(tmp_path.glob("*/*")) == [file_of(tmp_path, "stays")]
    assert kv_files.purge(tmp_path / "nowhere", {"m" * 32}, []) == 0
    assert kv_files.purge(tmp_path, set(), ["stays"]) == 1


def test_names_tell_nobodys_chats() -> None:
    assert chat_key("") == ""
    assert "0123456789abcdef" not in chat_key("0123456789abcdef")
