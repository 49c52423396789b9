"""Files encrypted by a passphrase in the age format (https://age-encryption.org/v1).

The programs `age` and `rage` read what is written here, and the other way around. Files are neither
held in memory nor written in the clear: what is written goes out in encrypted chunks of 64 KiB, and
what is read is decrypted from where it is asked for. Every chunk is authenticated, and so is the
end of the file.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import io
import os
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from app.background import background_executor
from app.errors import DecryptionFailed, InvalidPassphrase

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

ENDING: Final = ".age"
MEDIA_TYPE: Final = "application/age-encryption"
MIN_PASSPHRASE_CHARS: Final = 8
MAX_PASSPHRASE_BYTES: Final = 1024
WORK_FACTOR: Final = 18
"""Of scrypt, as a power of two, as `age` has it: 256 MB of memory and about a second for each try
at a passphrase."""
MAX_WORK_FACTOR: Final = 20
"""Of a file that is read: 1 GB of memory. A hostile one would take all that there is."""
CHUNK_BYTES: Final = 64 << 10

_MAGIC: Final = b"age-encryption.org/v1\n"
_ARMOR: Final = b"-----BEGIN AGE ENCRYPTED FILE-----"
_LABEL: Final = b"age-encryption.org/v1/scrypt"
_TAG_BYTES: Final = 16
_SEALED_BYTES: Final = CHUNK_BYTES + _TAG_BYTES
_MAX_HEADER_BYTES: Final = 512
_BLOCK_BYTES: Final = 128 * 8
"""What scrypt takes for each unit of work, with blocks of 8."""
_HEADER: Final = re.compile(
    rb"(?P<signed>age-encryption\.org/v1\n-> scrypt (?P<salt>[A-Za-z0-9+/]{22}) (?P<work>[1-9]\d?)"
    rb"\n(?P<key>[A-Za-z0-9+/]{43})\n---) (?P<mac>[A-Za-z0-9+/]{43})\n"
)
_DAMAGED: Final = "This encrypted file is damaged."
WRONG: Final = "Wrong passphrase."


def is_encrypted(start: bytes) -> bool:
    """Tell whether a file that begins so is one of age."""
    return start.startswith((_MAGIC, _ARMOR))


def is_encrypted_file(file: IO[bytes]) -> bool:
    """Tell whether this file is one of age. It is left at its beginning."""
    file.seek(0)
    start = file.read(len(_ARMOR))
    file.seek(0)
    return is_encrypted(start)


def check_passphrase(passphrase: str) -> None:
    """Raises InvalidPassphrase for one that is not to protect anything."""
    if len(passphrase) < MIN_PASSPHRASE_CHARS:
        raise InvalidPassphrase(
            f"Use a passphrase of at least {MIN_PASSPHRASE_CHARS} characters, such as a few words."
        )
    encode_passphrase(passphrase)


def read_passphrase(file: Path) -> str:
    """Read the passphrase in a file, which is all of its text but for the end of the line.

    Raises InvalidPassphrase.
    """
    try:
        with file.open("rb") as source:
            text = source.read(MAX_PASSPHRASE_BYTES + 3).decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise InvalidPassphrase(f"{file} with the passphrase cannot be read: {why}.") from error
    passphrase = text.removesuffix("\n").removesuffix("\r")
    if "\n" in passphrase or not passphrase:
        raise InvalidPassphrase(f"{file} must hold a passphrase on one line, and nothing else.")
    encode_passphrase(passphrase)
    return passphrase


def encode_passphrase(passphrase: str) -> bytes:
    """Raises InvalidPassphrase for one that is no text, or too long."""
    with suppress(UnicodeEncodeError):
        encoded = passphrase.encode()
        if len(encoded) <= MAX_PASSPHRASE_BYTES:
            return encoded
    raise InvalidPassphrase(f"A passphrase has at most {MAX_PASSPHRASE_BYTES:,} bytes of text.")


class EncryptedWriter(io.RawIOBase):
    """A file that encrypts what is written to it into another. Without `close`, it has no end.

    work_factor: of scrypt; tests take a small one.
    """

    def __init__(self, target: IO[bytes], passphrase: str, work_factor: int | None = None) -> None:
        """Takes a second. Raises InvalidPassphrase, DecryptionFailed."""
        super().__init__()
        check_passphrase(passphrase)
        self._target, self._buffer, self._count = target, bytearray(), 0
        work = WORK_FACTOR if work_factor is None else work_factor
        file_key, salt, nonce = os.urandom(16), os.urandom(16), os.urandom(16)
        wrapped = _aead(_wrapping_key(passphrase, salt, work)).encrypt(bytes(12), file_key, None)
        signed = b"%s-> scrypt %s %d\n%s\n---" % (_MAGIC, _unpadded(salt), work, _unpadded(wrapped))
        target.write(signed + b" " + _unpadded(_mac(file_key, signed)) + b"\n" + nonce)
        self._cipher = _aead(_hkdf(file_key, nonce, b"payload"))

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._buffer += view
        while len(self._buffer) > CHUNK_BYTES:  # the last one is written at the end
            self._seal(CHUNK_BYTES, is_last=False)
        return len(view)

    def finish(self) -> None:
        """Write the end of the file, and close this one; its target stays open."""
        self._seal(len(self._buffer), is_last=True)
        self.close()

    def _seal(self, size: int, *, is_last: bool) -> None:
        chunk = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._target.write(self._cipher.encrypt(_nonce(self._count, is_last=is_last), chunk, None))
        self._count += 1


class EncryptedReader(io.RawIOBase):
    """A file that decrypts another from where it is read."""

    def __init__(self, source: IO[bytes], passphrase: str) -> None:
        """Takes a second, or as long as the file's work factor says.

        Raises InvalidPassphrase for a wrong one, DecryptionFailed for a file that is damaged, was
        encrypted in another way, or takes too much work.
        """
        super().__init__()
        source.seek(0)
        found = _parsed(source.read(_MAX_HEADER_BYTES))
        file_key = _file_key(found, passphrase)
        start = found.end()
        source.seek(start)
        nonce = source.read(16)
        self._source, self._start, self._at = source, start + 16, 0
        self._cipher = _aead(_hkdf(file_key, nonce, b"payload"))
        sealed = source.seek(0, os.SEEK_END) - self._start
        self._chunks = -(-sealed // _SEALED_BYTES)
        self._size = sealed - self._chunks * _TAG_BYTES
        self._held, self._chunk = -1, b""
        if sealed < _TAG_BYTES or (sealed % _SEALED_BYTES) in range(1, _TAG_BYTES):
            raise DecryptionFailed(_DAMAGED)
        if not self._opened(self._chunks - 1) and self._chunks > 1:  # an end that was cut off
            raise DecryptionFailed(_DAMAGED)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("negative position")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        if self._at >= self._size or not view:
            return 0
        number, offset = divmod(self._at, CHUNK_BYTES)
        piece = self._opened(number)[offset : offset + len(view)]
        view[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def _opened(self, number: int) -> bytes:
        """Decrypt one chunk; the last one that was is kept. Raises DecryptionFailed."""
        from cryptography.exceptions import InvalidTag

        if number != self._held:
            self._source.seek(self._start + number * _SEALED_BYTES)
            sealed = self._source.read(_SEALED_BYTES)
            nonce = _nonce(number, is_last=number == self._chunks - 1)
            try:
                self._chunk = self._cipher.decrypt(nonce, sealed, None)
            except (InvalidTag, ValueError) as error:
                raise DecryptionFailed(_DAMAGED) from error
            self._held = number
        return self._chunk


def _parsed(start: bytes) -> re.Match[bytes]:
    """Parse the header of a file. Raises DecryptionFailed, a sentence."""
    found = _HEADER.match(start)
    if found is not None:
        if int(found["work"]) > MAX_WORK_FACTOR:
            raise DecryptionFailed(
                "This file takes too much work to decrypt: its scrypt work factor is"
                f" {int(found['work'])}, and the limit is {MAX_WORK_FACTOR}."
            )
        return found
    if start.startswith(_ARMOR):
        raise DecryptionFailed(
            "This encrypted file is armored (text). Encrypt it again without armor, or decrypt it"
            " with age first."
        )
    if start.startswith(_MAGIC) and not start.startswith(_MAGIC + b"-> scrypt "):
        raise DecryptionFailed(
            "This file was encrypted for a key, not by a passphrase. Decrypt it with age first."
        )
    raise DecryptionFailed(_DAMAGED if start.startswith(_MAGIC) else "This is no encrypted file.")


def _file_key(found: re.Match[bytes], passphrase: str) -> bytes:
    from cryptography.exceptions import InvalidTag

    wrapping = _wrapping_key(passphrase, _padded(found["salt"]), int(found["work"]))
    try:
        file_key = _aead(wrapping).decrypt(bytes(12), _padded(found["key"]), None)
    except InvalidTag as error:
        raise InvalidPassphrase(WRONG) from error
    if not hmac.compare_digest(_mac(file_key, found["signed"]), _padded(found["mac"])):
        raise DecryptionFailed(_DAMAGED)
    return file_key


def _wrapping_key(passphrase: str, salt: bytes, work_factor: int) -> bytes:
    """Stretch a passphrase: a second of work, and a kilobyte for each of 2 ** work_factor."""
    count = 1 << work_factor
    try:
        return hashlib.scrypt(
            encode_passphrase(passphrase),
            salt=_LABEL + salt,
            n=count,
            r=8,
            p=1,
            maxmem=_BLOCK_BYTES * (count + 1024),
            dklen=32,
        )
    except (MemoryError, ValueError) as error:
        size = count * _BLOCK_BYTES >> 20
        raise DecryptionFailed(
            f"A passphrase takes {size} MB of memory here, and there is less."
        ) from error


def _aead(key: bytes) -> ChaCha20Poly1305:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    return ChaCha20Poly1305(key)


def _hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), 32, salt or None, info).derive(key)


def _mac(file_key: bytes, signed: bytes) -> bytes:
    return hmac.digest(_hkdf(file_key, b"", b"header"), signed, "sha256")


def _nonce(count: int, *, is_last: bool) -> bytes:
    return count.to_bytes(11, "big") + bytes([is_last])


def _unpadded(data: bytes) -> bytes:
    return base64.b64encode(data).rstrip(b"=")


def _padded(text: bytes) -> bytes:
    return base64.b64decode(text + b"=" * (-len(text) % 4))


_KEYS: Final = background_executor("passphrase")
"""Deriving a key from a passphrase takes all of a core for a second, and much memory: one after the
other, by a thread that leaves the processor to others."""


async def encrypt_pieces(pieces: AsyncIterator[bytes], passphrase: str) -> AsyncIterator[bytes]:
    """Encrypt what comes in pieces, in pieces. Raises InvalidPassphrase."""
    check_passphrase(passphrase)
    sink = io.BytesIO()
    loop = asyncio.get_running_loop()
    writer = await loop.run_in_executor(_KEYS, EncryptedWriter, sink, passphrase)

    def taken() -> bytes:
        data = sink.getvalue()
        sink.seek(0)
        sink.truncate()
        return data

    async for piece in pieces:
        if len(piece) > CHUNK_BYTES:
            await asyncio.to_thread(writer.write, piece)
        else:
            writer.write(piece)
        if data := taken():
            yield data
    writer.finish()
    yield taken()
