"""The key decides how tokens are checked; one that can't be used is refused by the name of its setting alone."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.gateway.settings import GatewaySettings
from services.gateway.signing import CheckingKey, checking_key
from shared.settings import BadSettingError
from tests.unit.tokens import P256, RSA, SECRET, private_pem, public_pem


def key_of(folder: Path, content: bytes, field: str = "jwt_public_key_file") -> CheckingKey:
    path = folder / "key"
    path.write_bytes(content)
    return checking_key(GatewaySettings(auth="jwt", **{field: path}))  # type: ignore[arg-type]


def test_the_key_decides_on_the_algorithm(tmp_path: Path) -> None:
    assert key_of(tmp_path, public_pem(RSA.public_key())).algorithm == "RS256"
    assert key_of(tmp_path, public_pem(P256.public_key())).algorithm == "ES256"
    pkcs1 = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1)
    assert key_of(tmp_path, pkcs1).algorithm == "RS256"
    assert key_of(tmp_path, SECRET.encode(), "jwt_secret_file") == CheckingKey("HS256", SECRET.encode())


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_secret_in_a_file_is_the_one_in_the_variable(end: str, tmp_path: Path) -> None:
    key = key_of(tmp_path, SECRET.encode() + end.encode(), "jwt_secret_file")
    assert key == checking_key(GatewaySettings(auth="jwt", jwt_secret=SECRET))  # type: ignore[arg-type]
    assert SECRET not in repr(key)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (private_pem(RSA), "private key"),
        (private_pem(P256), "private key"),
        (public_pem(RSA.public_key()) + private_pem(RSA), "private key"),
        (b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "certificate"),
        (public_pem(ec.generate_private_key(ec.SECP384R1()).public_key()), "secp384r1"),
        (public_pem(ec.generate_private_key(ec.SECP256K1()).public_key()), "secp256k1"),
        (public_pem(ed25519.Ed25519PrivateKey.generate().public_key()), "neither an RSA key"),
        (public_pem(rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()), "1024 bits"),
        (b"-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n", "no public key in PEM form"),
        (SECRET.encode(), "no public key in PEM form"),
        (b"", "no public key in PEM form"),
        (b"x" * 100_000, "longer than any key"),
    ],
)
def test_any_other_key_is_refused_by_name(content: bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(BadSettingError, match=says) as refused:
        key_of(tmp_path, content)
    assert str(refused.value).startswith("ROOST_GATEWAY_JWT_PUBLIC_KEY_FILE: ")
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b" " * 40, "is empty"),
        (b"too short\n", "has 9 bytes and needs at least 32"),
        (public_pem(RSA.public_key()), "no secret"),
        (private_pem(P256), "no secret"),
        (b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGu3 me@example", "no secret"),
    ],
)
def test_any_other_secret_is_refused_by_name(content: bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(BadSettingError, match=says) as refused:
        key_of(tmp_path, content, "jwt_secret_file")
    assert str(refused.value).startswith("ROOST_GATEWAY_JWT_SECRET_FILE: ")
    assert content.decode().strip()[:9] not in str(refused.value) or not content.strip()


@pytest.mark.parametrize("path", ["/is/not/there", "/", "/dev/zero", "a-secret-in-the-wrong-variable\0", "x" * 5000])
@pytest.mark.parametrize("field", ["jwt_secret_file", "jwt_public_key_file"])
def test_a_file_that_can_not_be_read_is_not_repeated(path: str, field: str) -> None:
    with pytest.raises(BadSettingError) as refused:
        checking_key(GatewaySettings(auth="jwt", **{field: path}))  # type: ignore[arg-type]
    assert str(refused.value).startswith(f"ROOST_GATEWAY_{field.upper()}: ")
    assert path.strip("/")[:15] not in str(refused.value) or path == "/"
