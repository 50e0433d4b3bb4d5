"""Signs requests to endpoints, so that they accept those of one runtime only.

An endpoint knows the public key. A request carries a JSON Web Token for its path, signed with the private key.

Source: `Restate's request identity <https://docs.restate.dev/services/security>`_.
"""

from __future__ import annotations

import base64
import json
import time
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from adapter.errors import DefinitionError

LIFETIME: Final = 60
"""Seconds for which a token is valid."""

ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

MAKE: Final = "make one with `openssl genpkey -algorithm ed25519 -out identity.pem`"


class Identity:
    """A private key that requests are signed with.

    Args:
        pem: The key, an ed25519 key in PEM.

    Raises:
        DefinitionError: If it is none.
    """

    def __init__(self, pem: bytes) -> None:
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise DefinitionError(f"the identity key is no private key in PEM without a password: {MAKE}") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise DefinitionError(f"the identity key is no ed25519 key: {MAKE}")
        self._key = key
        self.public: Final = "publickeyv1_" + base58(key.public_key().public_bytes_raw())
        """The public key, as SDKs take it."""

    def headers(self, path: str) -> dict[str, str]:
        """Return the headers that sign a request to a path of the protocol."""
        now = int(time.time())
        head = {"alg": "EdDSA", "kid": self.public, "typ": "JWT"}
        # A clock may be late by as much as a token is valid.
        claims = {"aud": path, "exp": now + LIFETIME, "iat": now, "nbf": now - LIFETIME}
        signed = ".".join(_encoded(json.dumps(part).encode()) for part in (head, claims))
        token = f"{signed}.{_encoded(self._key.sign(signed.encode()))}"
        return {"x-restate-signature-scheme": "v1", "x-restate-jwt-v1": token}


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def base58(data: bytes) -> str:
    """Return bytes in Bitcoin's base 58.

    >>> base58(b"\\x00Hello"), base58(bytes(2))
    ('19Ajdvzr', '11')
    """
    number, digits = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        digits = ALPHABET[digit] + digits
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + digits
