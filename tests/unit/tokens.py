"""Keys for tests, and tokens signed with them: honest ones, and ones that no library would make."""

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

NOW = 1_800_000_000.0
SECRET = "a secret of the operator, 32 bytes or more"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
P256 = ec.generate_private_key(ec.SECP256R1())
SIGNING: dict[str, Any] = {"HS256": SECRET, "RS256": RSA, "ES256": P256}
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def public_pem(key: PublicKey) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def private_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def token(algorithm: str = "HS256", /, *, headers: Any = None, **claims: Any) -> str:
    """A token that is valid for another minute, if `claims` don't say otherwise; None among them leaves one out."""
    whole = {"exp": NOW + 60} | claims
    body = {name: value for name, value in whole.items() if value is not None}
    return jwt.encode(body, SIGNING[algorithm], algorithm=algorithm, headers=headers)


def forged(header: object, claims: object, key: bytes) -> str:
    """A token as no library makes it: any header and any claims, signed with HMAC and SHA-256."""

    def part(value: object) -> bytes:
        raw = value if isinstance(value, bytes) else json.dumps(value).encode()
        return base64.urlsafe_b64encode(raw).rstrip(b"=")

    signed = part(header) + b"." + part(claims)
    return (signed + b"." + part(hmac.digest(key, signed, hashlib.sha256))).decode()
