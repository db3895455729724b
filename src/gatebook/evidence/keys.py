"""Ed25519 keys: made, read from a file or from the environment, and never written to a run."""

import hashlib
import os
from collections.abc import MutableMapping
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, Key, SSlibKey

from gatebook.errors import ConfigurationError

KEY_VARIABLE = "GATEBOOK_SIGNING_KEY"


def keygen(path: Path) -> tuple[Path, str]:
    """Make a key pair: the private key into a new file that its owner alone may read, the public one beside it.

    Shape   the public key's file, and the key's id
    Errors  ConfigurationError when a file is there already or cannot be written
    """
    private = Ed25519PrivateKey.generate()
    public = path.with_name(f"{path.name}.pub")
    try:
        _write_new(path, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
        key = private.public_key()
        _write_new(public, key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644)
    except OSError as error:
        raise ConfigurationError(
            f"the key cannot be written: {error.strerror}",
            where=str(error.filename or path),
            next_step="name a new file in a folder that you may write",
        ) from error
    return public, _id(key)


def signer(path: Path | None = None) -> CryptoSigner:
    """What signs: the private key of a file, or else of the variable GATEBOOK_SIGNING_KEY, as PEM.

    Errors  ConfigurationError when there is none, or it is no Ed25519 key; the key itself is never named
    """
    if path is not None:
        return _signer(_read(path), where=str(path))
    text = os.environ.get(KEY_VARIABLE, "")
    if not text:
        raise ConfigurationError(
            "there is no key to sign with",
            where="command line",
            next_step=f"give --key, or put the private key as PEM into the variable {KEY_VARIABLE}",
        )
    return _signer(text.encode(), where=f"variable {KEY_VARIABLE}")


def take_signer(environment: MutableMapping[str, str] = os.environ) -> CryptoSigner | None:
    """The signer of the environment, taken out of it, so that no kernel inherits the key; None where there is none."""
    text = environment.pop(KEY_VARIABLE, "")
    return _signer(text.encode(), where=f"variable {KEY_VARIABLE}") if text else None


def public_key(path: Path) -> Key:
    """A public key in PEM.

    Errors  ConfigurationError when the file holds none, or not one for Ed25519
    """
    try:
        key = load_pem_public_key(_read(path))
        if isinstance(key, Ed25519PublicKey):
            return SSlibKey.from_crypto(key, keyid=_id(key))
    except (ValueError, UnsupportedAlgorithm):
        pass
    raise ConfigurationError(
        "the file holds no public Ed25519 key in PEM", where=str(path), next_step="give the file that ends in .pub"
    )


def _signer(text: bytes, *, where: str) -> CryptoSigner:
    try:
        private = load_pem_private_key(text, password=None)
        if isinstance(private, Ed25519PrivateKey):
            public = private.public_key()
            return CryptoSigner(private, SSlibKey.from_crypto(public, keyid=_id(public)))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        pass
    raise ConfigurationError(
        "there is no private Ed25519 key in PEM, without a passphrase",
        where=where,
        next_step="make one with `gatebook evidence keygen`",
    ) from None


def _id(key: Ed25519PublicKey) -> str:
    """SHA-256 of the public key's DER, as openssl and sha256sum give it."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"the key cannot be read: {error.strerror}", where=str(path), next_step="check the path"
        ) from error


def _write_new(path: Path, content: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
