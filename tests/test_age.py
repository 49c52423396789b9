"""Files by passphrase: whole or refused, and the same format as other programs write and read."""

from __future__ import annotations

import base64
import io
import os
import pty
import random
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pyrage
import pytest

from app import age
from app.errors import DecryptionFailed, InvalidPassphrase

WORDS = "four words in a row ä"
QUICK = 4


def sealed(data: bytes, work_factor: int = QUICK) -> bytes:
    file = io.BytesIO()
    writer = age.EncryptedWriter(file, WORDS, work_factor)
    for start in range(0, len(data), 7777):
        writer.write(data[start : start + 7777])
    writer.finish()
    return file.getvalue()


def opened(data: bytes, passphrase: str = WORDS) -> bytes:
    return age.EncryptedReader(io.BytesIO(data), passphrase).readall() or b""


SIZES = (0, 1, age.CHUNK_BYTES - 1, age.CHUNK_BYTES, age.CHUNK_BYTES + 1, 3 * age.CHUNK_BYTES)


@pytest.mark.parametrize("size", SIZES)
def test_another_library_reads_what_is_written(size: int) -> None:
    data = os.urandom(size)
    file = sealed(data)
    assert pyrage.passphrase.decrypt(file, WORDS) == data
    assert opened(file) == data
    assert age.is_encrypted_file(io.BytesIO(file))


def test_what_another_library_writes_is_read() -> None:
    data = os.urandom(200_000)
    assert opened(pyrage.passphrase.encrypt(data, WORDS)) == data


def at_terminal(command: list[str], folder: Path, *answers: str) -> int:
    """Run a program that asks at its terminal, and type these answers."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *command],
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        for answer in answers:
            while b"passphrase" not in os.read(ours, 1000):
                pass
            os.write(ours, answer.encode() + b"\n")
        return process.wait(60)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.mark.skipif(
    None in (shutil.which("age"), shutil.which("setsid")), reason="the program age is missing"
)
def test_the_program_age_reads_what_is_written_and_the_other_way_around(tmp_path: Path) -> None:
    data = os.urandom(100_000)
    (tmp_path / "ours.age").write_bytes(sealed(data, 10))
    (tmp_path / "plain").write_bytes(data)
    assert at_terminal(["age", "-d", "-o", "out", "ours.age"], tmp_path, WORDS) == 0
    assert (tmp_path / "out").read_bytes() == data
    command = ["age", "-p", "-o", "theirs.age", "plain"]
    assert at_terminal(command, tmp_path, WORDS, WORDS) == 0
    assert opened((tmp_path / "theirs.age").read_bytes()) == data


def test_any_place_can_be_read_first() -> None:
    data, chance = os.urandom(300_000), random.Random(3)
    reader = io.BufferedReader(age.EncryptedReader(io.BytesIO(sealed(data)), WORDS))
    assert reader.seek(0, os.SEEK_END) == len(data)
    for _ in range(50):
        start, size = chance.randrange(len(data)), chance.randrange(100_000)
        reader.seek(start)
        assert reader.read(size) == data[start : start + size]


def test_any_damage_is_found() -> None:
    file, chance = sealed(os.urandom(150_000)), random.Random(5)
    for _ in range(100):
        place = chance.randrange(len(file))
        damaged = bytearray(file)
        damaged[place] ^= 1 << chance.randrange(8)
        with pytest.raises((DecryptionFailed, InvalidPassphrase)):
            opened(bytes(damaged))


def test_a_cut_or_lengthened_file_is_found_at_once() -> None:
    file = sealed(os.urandom(3 * age.CHUNK_BYTES))
    chunk = age.CHUNK_BYTES + 16
    for cut in (
        1,
        15,
        16,
        17,
        chunk,
        chunk + 1,
        2 * chunk,
        3 * chunk,
        3 * chunk + 16,
        3 * chunk + 40,
    ):
        with pytest.raises(DecryptionFailed, match="damaged"):
            age.EncryptedReader(io.BytesIO(file[:-cut]), WORDS)
    with pytest.raises(DecryptionFailed, match="damaged"):
        age.EncryptedReader(io.BytesIO(file + b"more"), WORDS)
    with pytest.raises(DecryptionFailed, match="no encrypted file"):
        age.EncryptedReader(io.BytesIO(b""), WORDS)


def test_a_wrong_passphrase_is_told_from_damage() -> None:
    with pytest.raises(InvalidPassphrase, match="Wrong passphrase"):
        opened(sealed(b"words"), "other words in a row")


@pytest.mark.parametrize("work_factor", ["21", "40", "64", "99"])
def test_a_file_that_takes_too_much_work_is_refused_before_any(work_factor: str) -> None:
    head, rest = sealed(b"words").split(b" 4\n", 1)
    with pytest.raises(DecryptionFailed, match=f"{work_factor}, and the limit is 20"):
        opened(head + f" {work_factor}\n".encode() + rest)


@pytest.mark.parametrize("work_factor", ["0", "018", "+18", "1e1", "100", ""])
def test_a_work_factor_that_is_none_is_damage(work_factor: str) -> None:
    head, rest = sealed(b"words").split(b" 4\n", 1)
    with pytest.raises(DecryptionFailed, match="damaged"):
        opened(head + f" {work_factor}\n".encode() + rest)


def test_files_for_keys_and_armored_ones_are_named() -> None:
    for_key = pyrage.encrypt(b"words", [pyrage.x25519.Identity.generate().to_public()])
    with pytest.raises(DecryptionFailed, match="for a key"):
        opened(for_key)
    armored = (
        b"-----BEGIN AGE ENCRYPTED FILE-----\n"
        + base64.encodebytes(sealed(b"words"))
        + b"-----END AGE ENCRYPTED FILE-----\n"
    )
    assert age.is_encrypted(armored)
    with pytest.raises(DecryptionFailed, match="armored"):
        opened(armored)


def test_a_passphrase_in_a_file_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    for text in (f"{WORDS}\n", f"{WORDS}\r\n", WORDS):
        file.write_bytes(text.encode())
        assert age.read_passphrase(file) == WORDS
    for wrong in (b"", b"\n", b"two\nlines", b"\xff\xfe", b"x" * 2000):
        file.write_bytes(wrong)
        with pytest.raises(InvalidPassphrase):
            age.read_passphrase(file)
    with pytest.raises(InvalidPassphrase, match="cannot be read"):
        age.read_passphrase(tmp_path / "nothing")


@pytest.mark.parametrize("passphrase", ["", "short", "x" * 2000, "\ud800" * 9])
def test_a_passphrase_that_protects_nothing_is_refused(passphrase: str) -> None:
    with pytest.raises(InvalidPassphrase):
        age.EncryptedWriter(io.BytesIO(), passphrase)


async def test_pieces_are_encrypted_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(age, "WORK_FACTOR", QUICK)
    data = [os.urandom(size) for size in (10, 100_000, 0, 1_000_000, 3)]

    async def pieces() -> AsyncIterator[bytes]:
        for piece in data:
            yield piece

    made = [piece async for piece in age.encrypt_pieces(pieces(), WORDS)]
    assert len(made) >= 3
    assert opened(b"".join(made)) == b"".join(data)
