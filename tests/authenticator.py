"""A device with passkeys, in software: it makes keys and signs as WebAuthn wants, or nearly so."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass, field, replace
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40
RECOGNIZED = PRESENT | VERIFIED


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Authenticator:
    """A device with one passkey. count: of its signatures; None for a device that doesn't count."""

    origin: str
    count: int | None = 0
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    user_handle: bytes = b""
    rp_id: str = ""
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    def create(self, options: str, flags: int = RECOGNIZED, **changed: Any) -> str:
        """What a browser answers to the options of a new passkey. changed: of its client data."""
        given = json.loads(options)
        self.user_handle, self.rp_id = decode(given["user"]["id"]), given["rp"]["id"]
        point = self.key.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: point.x.to_bytes(32), -3: point.y.to_bytes(32)}
        data = self._data(flags | ATTESTED) + bytes(16) + len(self.credential_id).to_bytes(2)
        data += self.credential_id + cbor2.dumps(cose)
        return self._answer(
            clientDataJSON=self._client_data("webauthn.create", given["challenge"], changed),
            attestationObject=cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data}),
        )

    def get(self, options: str, flags: int = RECOGNIZED, **changed: Any) -> str:
        """What a browser answers to the options of a login."""
        given = json.loads(options)
        client_data = self._client_data("webauthn.get", given["challenge"], changed)
        data = self._data(flags)
        signed = data + hashlib.sha256(client_data).digest()
        return self._answer(
            clientDataJSON=client_data,
            authenticatorData=data,
            signature=self.key.sign(signed, ec.ECDSA(SHA256())),
            userHandle=self.user_handle,
        )

    def clone(self, **changed: Any) -> Authenticator:
        return replace(self, **changed)

    def _data(self, flags: int) -> bytes:
        if self.count is not None:
            self.count += 1
        host = hashlib.sha256(self.rp_id.encode()).digest()
        return host + bytes([flags]) + (self.count or 0).to_bytes(4)

    def _client_data(self, kind: str, challenge: str, changed: dict[str, Any]) -> bytes:
        client_data = {
            "type": kind,
            "challenge": challenge,
            "origin": self.origin,
            "crossOrigin": False,
        }
        return json.dumps(client_data | changed).encode()

    def _answer(self, **response: bytes) -> str:
        return json.dumps(
            {
                "id": encode(self.credential_id),
                "rawId": encode(self.credential_id),
                "type": "public-key",
                "response": {name: encode(data) for name, data in response.items()},
                "clientExtensionResults": {},
            }
        )
