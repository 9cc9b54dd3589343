"""Keys that sign what crosses a diode.

A key file is one line, ``jianmen-key SCHEME ROLE BASE64``. The key decides the scheme, never the message: a message
that names another scheme is refused. Schemes:

* ``ed25519``: RFC 8032; the sending side alone can sign. Needs the extra ``sign`` (cryptography).
* ``hmac-sha256``: RFC 2104 with the standard library; whoever can check can also sign.
* ``hmac-sm3``: the same over SM3 (GB/T 32905-2016), where OpenSSL has it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from event.errors import ConfigError

SCHEMES = ("ed25519", "hmac-sha256", "hmac-sm3")
_MAGIC = "jianmen-key"
_HASH = {"ed25519": "sha256", "hmac-sha256": "sha256", "hmac-sm3": "sm3"}
_BYTES = 32


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """One key.

    Attributes:
        scheme: One of ``SCHEMES``.
        role: ``private`` signs, ``public`` checks, ``shared`` does both.
        secret: 32 bytes, never shown.
    """

    scheme: str
    role: Literal["private", "public", "shared"]
    secret: bytes

    def __repr__(self) -> str:
        return f"Key({self.scheme}, {self.role}, {self.id})"

    @property
    def id(self) -> str:
        """The same on both sides of the diode; 16 hex digits."""
        known = self.public().secret
        return hashlib.sha256(f"{_MAGIC} {self.scheme}".encode() + b"\0" + known).hexdigest()[:16]

    def digest(self, *parts: bytes) -> str:
        """Hash of the key's scheme over the parts put together, hex."""
        state = _hash(self.scheme)
        for part in parts:
            state.update(part)
        return state.hexdigest()

    def public(self) -> Key:
        """What the receiving side needs: the public half, or the shared key itself."""
        if self.role != "private":
            return self
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Key(
            self.scheme, "public", Ed25519PrivateKey.from_private_bytes(self.secret).public_key().public_bytes_raw()
        )

    def sign(self, message: bytes) -> str:
        """Signature, hex.

        Raises:
            ConfigError: The key is a public one.
        """
        if self.role == "public":
            raise ConfigError("a public key cannot sign", hint="name the private key, made by jianmen store key")
        if self.role == "shared":
            return hmac.new(self.secret, message, _HASH[self.scheme]).hexdigest()
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self.secret).sign(message).hex()

    def verifies(self, message: bytes, signature: str) -> bool:
        """Whether the signature is this key's over the message."""
        try:
            given = bytes.fromhex(signature)
        except ValueError:
            return False
        if self.role == "shared":
            return hmac.compare_digest(hmac.new(self.secret, message, _HASH[self.scheme]).digest(), given)
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.public().secret).verify(given, message)
        except InvalidSignature:
            return False
        return True


def generate(scheme: str = "ed25519") -> Key:
    """A new key that signs.

    Raises:
        ConfigError: The scheme is unknown or not available here.
    """
    _check(scheme)
    return Key(scheme, "private" if scheme == "ed25519" else "shared", secrets.token_bytes(_BYTES))


def write(key: Key, path: Path) -> None:
    """Write a key file; what can sign is for its owner alone.

    Raises:
        ConfigError: The file exists (a key is never overwritten) or cannot be written.
    """
    line = f"{_MAGIC} {key.scheme} {key.role} {base64.b64encode(key.secret).decode()}\n"
    try:
        handle = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644 if key.role == "public" else 0o600
        )
        with os.fdopen(handle, "w") as file:
            file.write(line)
    except FileExistsError:
        raise ConfigError("the key file exists, and a key is never overwritten", where=str(path)) from None
    except OSError as error:
        raise ConfigError(f"the key cannot be written: {error.strerror}", where=str(path)) from error


def read(path: Path) -> Key:
    """Read a key file.

    Raises:
        ConfigError: It is no key, its scheme is not available here, or others may read what can sign.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(1_024)
    except OSError as error:
        raise ConfigError(f"the key cannot be read: {error.strerror}", where=str(path)) from error
    words = text.decode("ascii", "replace").split()
    try:
        magic, scheme, role, coded = words
        secret = base64.b64decode(coded, validate=True)
    except (ValueError, binascii.Error):
        magic, scheme, role, secret = "", "", "", b""
    roles = ("private", "public") if scheme == "ed25519" else ("shared",)
    if magic != _MAGIC or scheme not in SCHEMES or role not in roles or len(secret) != _BYTES:
        raise ConfigError("not a key of this program", where=str(path), hint="jianmen store key makes one")
    if role != "public" and mode & 0o077:
        raise ConfigError("others can read this key", where=str(path), hint=f"chmod 600 {path}")
    _check(scheme)
    return Key(scheme, "private" if role == "private" else "public" if role == "public" else "shared", secret)


def _check(scheme: str) -> None:
    if scheme not in SCHEMES:
        raise ConfigError(f"unknown scheme {scheme!r}", hint="known: " + ", ".join(SCHEMES))
    if scheme == "ed25519":
        try:
            import cryptography.hazmat.primitives.asymmetric.ed25519  # noqa: F401
        except ImportError:
            raise ConfigError(
                "Ed25519 needs the package cryptography",
                hint="pip install 'jianmen[sign]', or use --scheme hmac-sha256",
            ) from None
    _hash(scheme)


def _hash(scheme: str) -> hashlib._Hash:
    try:
        return hashlib.new(_HASH[scheme])
    except ValueError:
        raise ConfigError(
            f"the OpenSSL of this machine has no {_HASH[scheme].upper()}", hint="use hmac-sha256"
        ) from None
