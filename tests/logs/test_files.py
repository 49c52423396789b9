"""Files of the log: bounded, private, read and followed over rotations."""

from __future__ import annotations

import os
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from app.logs.files import FILE, FOLDER, OLD_FILES, LogFile, LogReader, log_files
from app.logs.lines import LogLine, to_json

AT = datetime(2026, 11, 29, tzinfo=UTC)


def line(number: int) -> LogLine:
    return LogLine(AT, "info", "app", f"line {number}", facts={"padding": "x" * 50})


def messages(folder: Path) -> list[str]:
    with closing(LogReader(folder)) as reader:
        return [found.message for found in reader.read()]


def test_files_are_bounded_and_private_and_keep_the_newest(tmp_path: Path) -> None:
    with closing(LogFile(tmp_path, max_bytes=20_000)) as file:
        for number in range(1000):
            file.write(line(number))
    files = log_files(tmp_path)
    assert len(files) == OLD_FILES + 1
    assert sum(path.stat().st_size for path in files) <= 20_000
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert (tmp_path / FOLDER).stat().st_mode & 0o077 == 0
    found = messages(tmp_path)
    assert found == [f"line {number}" for number in range(1000 - len(found), 1000)]


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    with closing(LogFile(tmp_path, 1 << 20)) as file:
        file.write(line(1))
    path = tmp_path / FOLDER / FILE
    with path.open("a") as rest:
        rest.write(to_json(line(2))[:20] + "\n" + to_json(line(3)) + "\n" + to_json(line(4))[:9])
    assert messages(tmp_path) == ["line 1", "line 3"]


def test_what_is_written_is_followed_over_rotations_and_seen_once(tmp_path: Path) -> None:
    with closing(LogFile(tmp_path, 2000)) as file, closing(LogReader(tmp_path)) as reader:
        file.write(line(0))
        assert [found.message for found in reader.read()] == ["line 0"]
        written = iter(range(1, 30))
        following = reader.follow(wait=lambda _: file.write(line(next(written))))
        assert [next(following).message for _ in range(29)] == [f"line {n}" for n in range(1, 30)]
    assert len(log_files(tmp_path)) > 2


def test_half_a_line_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    path, text = tmp_path / FOLDER / FILE, to_json(line(1)) + "\n"
    parts = iter([text[:10], text[10:30], text[30:]])

    def append(_: float) -> None:
        with path.open("a") as file:
            file.write(next(parts))

    with closing(LogReader(tmp_path)) as reader:  # from before there is a file
        assert list(reader.read()) == []
        assert next(reader.follow(append)) == line(1)


def test_a_full_disk_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / FILE).symlink_to("/dev/full")
    with closing(LogFile(tmp_path, 1 << 20)) as file:
        file.write(line(1))
    assert os.path.lexists(tmp_path / FOLDER / FILE)
