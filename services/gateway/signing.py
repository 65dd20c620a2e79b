"""The key that tokens are checked with. The kind of key decides on the one algorithm, never the token's header."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from services.gateway.settings import GatewaySettings
from shared.settings import BadSettingError, variable

MIN_SECRET_BYTES = 32
"""As long as the hash of HS256. (A short secret can be guessed by whoever has one token.)"""

MIN_RSA_BITS = 2048

MOST_BYTES = 65_536
"""No key is as long as that; it keeps the wrong file from being read."""

_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")

SECRET = variable(GatewaySettings, "jwt_secret")
SECRET_FILE = variable(GatewaySettings, "jwt_secret_file")
PUBLIC_KEY_FILE = variable(GatewaySettings, "jwt_public_key_file")


@dataclass(frozen=True, slots=True)
class CheckingKey:
    """A key and the one algorithm that tokens are checked with. Its repr does not show the key."""

    algorithm: str
    """`HS256`, `RS256` or `ES256`."""
    key: bytes | RSAPublicKey | EllipticCurvePublicKey = field(repr=False)


def checking_key(settings: GatewaySettings) -> CheckingKey:
    """The key that the settings name. Raises `BadSettingError` for one that can't be used, without any of it."""
    if settings.jwt_public_key_file is not None:
        return _public_key(_read(settings.jwt_public_key_file, PUBLIC_KEY_FILE))
    if settings.jwt_secret_file is not None:
        # Most programs end a file with a line break, which is no part of the secret.
        content = _read(settings.jwt_secret_file, SECRET_FILE)
        return _secret(content.removesuffix(b"\n").removesuffix(b"\r"), SECRET_FILE)
    given = settings.jwt_secret.get_secret_value() if settings.jwt_secret else ""
    return _secret(given.encode("utf-8", "surrogateescape"), SECRET)


def _secret(secret: bytes, setting: str) -> CheckingKey:
    if not secret.strip():
        raise BadSettingError(f"{setting}: is empty")
    if len(secret) < MIN_SECRET_BYTES:
        raise BadSettingError(
            f"{setting}: has {len(secret)} bytes and needs at least {MIN_SECRET_BYTES}: openssl rand -base64 48"
        )
    try:
        # The library refuses what looks like a key, a certificate or a JWK: whoever has a public key could sign with
        # it, if it were taken for a secret.
        return CheckingKey("HS256", jwt.get_algorithm_by_name("HS256").prepare_key(secret))
    except jwt.InvalidKeyError:
        raise BadSettingError(
            f"{setting}: is a key or a certificate and no secret; {PUBLIC_KEY_FILE} takes a public key"
        ) from None


def _public_key(pem: bytes) -> CheckingKey:
    kinds = {kind.decode() for kind in _PEM.findall(pem)}
    if any("PRIVATE KEY" in kind for kind in kinds):
        raise BadSettingError(
            f"{PUBLIC_KEY_FILE}: holds a private key, which belongs to whoever makes the tokens; "
            "its public key: openssl pkey -in private.pem -pubout"
        )
    if any("CERTIFICATE" in kind for kind in kinds):
        raise BadSettingError(
            f"{PUBLIC_KEY_FILE}: holds a certificate; its public key: openssl x509 -in cert.pem -noout -pubkey"
        )
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise BadSettingError(f"{PUBLIC_KEY_FILE}: holds no public key in PEM form") from None
    if isinstance(key, RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            raise BadSettingError(
                f"{PUBLIC_KEY_FILE}: the RSA key has {key.key_size} bits and needs at least {MIN_RSA_BITS}"
            )
        return CheckingKey("RS256", key)
    if isinstance(key, EllipticCurvePublicKey):
        if not isinstance(key.curve, SECP256R1):
            raise BadSettingError(
                f"{PUBLIC_KEY_FILE}: the key is on the curve {key.curve.name}, and ES256 needs P-256 (prime256v1)"
            )
        return CheckingKey("ES256", key)
    raise BadSettingError(f"{PUBLIC_KEY_FILE}: is neither an RSA key (RS256) nor a P-256 one (ES256)")


def _read(path: Path, setting: str) -> bytes:
    """The file's content. The name is not repeated in errors: it may be the secret, put into the wrong variable."""
    try:
        # Something else than a file, a pipe say, might never end.
        if path.exists() and not path.is_file():
            raise BadSettingError(f"{setting}: is no file")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "it is no file's name"
        raise BadSettingError(f"{setting}: the file can't be read: {reason}") from None
    if len(content) > MOST_BYTES:
        raise BadSettingError(f"{setting}: the file is longer than any key")
    return content
