"""What a token grants, and every way in which somebody might try to have one taken that is none."""

import base64
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.auth import (
    EVERYTHING,
    LEEWAY_S,
    MOST_ROOMS,
    MOST_TOKEN_CHARACTERS,
    DeniedError,
    Grant,
    TokenCheck,
    Tokens,
    bearer_token,
    socket_token,
    token_check,
)
from services.gateway.settings import GatewaySettings
from services.gateway.signing import CheckingKey
from shared.labels import ALL, FAMILIES, Label, LabelError, parse_path
from tests.unit.tokens import NOW, P256, RSA, SECRET, SIGNING, forged, public_pem, token


def admitting(folder: Path, algorithm: str = "HS256", **settings: Any) -> TokenCheck:
    """A gateway's admission, set up as an operator does, at the time `NOW`."""
    if algorithm == "HS256":
        settings["jwt_secret"] = SECRET
    else:
        settings["jwt_public_key_file"] = folder / f"{algorithm}.pem"
        settings["jwt_public_key_file"].write_bytes(public_pem(SIGNING[algorithm].public_key()))
    return token_check(GatewaySettings(auth="jwt", **settings), now=lambda: NOW)


def denied(admit: TokenCheck, sent: object) -> str:
    """The code with which `sent` is refused; nothing of it is in the message."""
    with pytest.raises(DeniedError) as refused:
        admit(sent)
    assert len(refused.value.message.splitlines()) == 1
    if isinstance(sent, str) and len(sent) > 20:
        assert sent[:20] not in refused.value.message
    return refused.value.code


def labels(*paths: str) -> list[Label]:
    return [parse_path(path) for path in paths]


@pytest.mark.parametrize("algorithm", SIGNING)
class TestSigned:
    def test_a_token_lets_in_until_it_expires(self, algorithm: str, tmp_path: Path) -> None:
        admit = admitting(tmp_path, algorithm)
        assert admit(token(algorithm, sub=7, jti=8)) == Grant(expires_at=NOW + 60)
        assert admit(token(algorithm, exp=NOW + 0.5)).expires_at == NOW + 0.5
        assert denied(admit, token(algorithm, exp=NOW)) == "token_expired"
        assert denied(admit, token(algorithm, exp=NOW - 1)) == "token_expired"

    def test_no_other_algorithm_and_no_other_key_is_taken(self, algorithm: str, tmp_path: Path) -> None:
        admit = admitting(tmp_path, algorithm)
        for other in SIGNING:
            if other != algorithm:
                assert denied(admit, token(other)) == "token_invalid"
        keys: dict[str, Any] = {
            "HS256": SECRET + "!",
            "HS512": SECRET * 2,
            "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
            "RS512": RSA,
            "PS256": RSA,
            "ES256": ec.generate_private_key(ec.SECP256R1()),
        }
        for name, key in keys.items():
            assert denied(admit, jwt.encode({"exp": NOW + 60}, key, algorithm=name)) == "token_invalid"

    def test_nobody_signs_with_what_everybody_knows(self, algorithm: str, tmp_path: Path) -> None:
        admit = admitting(tmp_path, algorithm)
        claims = {"exp": NOW + 60}
        for key in (RSA, P256):
            pem = public_pem(key.public_key())
            der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            for known in (pem, pem.strip(), der, b""):
                for name in ("HS256", "RS256", "ES256", "hs256"):
                    assert denied(admit, forged({"alg": name, "typ": "JWT"}, claims, known)) == "token_invalid"

    def test_a_token_can_not_choose_how_it_is_checked(self, algorithm: str, tmp_path: Path) -> None:
        admit = admitting(tmp_path, algorithm)
        head, body, _ = token(algorithm).split(".")
        for name in ("none", "None", "NONE", "", None, [algorithm], {algorithm: 1}, 256):
            unsigned = base64.urlsafe_b64encode(json.dumps({"alg": name}).encode()).rstrip(b"=").decode()
            assert denied(admit, f"{unsigned}.{body}.") == "token_invalid"
        assert denied(admit, f"{head}.{body}.") == "token_invalid"
        own = ec.generate_private_key(ec.SECP256R1())
        jwk = json.loads(jwt.get_algorithm_by_name("ES256").to_jwk(own.public_key()))
        for headers in (
            {"jwk": jwk},
            {"jku": "https://evil.example/keys", "kid": "1"},
            {"x5u": "https://evil.example/cert"},
            {"kid": "../../../../dev/null"},
            {"kid": "' UNION SELECT 'key"},
        ):
            made = jwt.encode({"exp": NOW + 60}, own, algorithm="ES256", headers=headers)
            assert denied(admit, made) == "token_invalid"
            empty = forged({"alg": "HS256"} | headers, {"exp": NOW + 60}, b"")
            assert denied(admit, empty) == "token_invalid"

    def test_a_changed_token_is_none(self, algorithm: str, tmp_path: Path) -> None:
        admit = admitting(tmp_path, algorithm)
        head, _, signature = token(algorithm, rooms=["has_url"]).split(".")
        _, wider, _ = token(algorithm, rooms=["*"]).split(".")
        assert denied(admit, f"{head}.{wider}.{signature}") == "token_invalid"

    def test_which_key_an_honest_token_names_does_not_matter(self, algorithm: str, tmp_path: Path) -> None:
        assert admitting(tmp_path, algorithm)(token(algorithm, headers={"kid": "2026-01"})) == Grant(NOW + 60)


class TestTimes:
    def test_a_token_for_ever_is_none(self, tmp_path: Path) -> None:
        admit = admitting(tmp_path)
        with pytest.raises(DeniedError, match="lacks the claim 'exp'"):
            admit(token(exp=None))

    def test_clocks_may_differ_a_little_but_not_at_the_end(self, tmp_path: Path) -> None:
        admit = admitting(tmp_path)
        for claim in ("nbf", "iat"):
            assert admit(token(**{claim: NOW + LEEWAY_S})) == Grant(NOW + 60)
            with pytest.raises(DeniedError, match=f"not valid yet \\('{claim}'\\)"):
                admit(token(**{claim: NOW + LEEWAY_S + 1}))

    @pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
    @pytest.mark.parametrize(
        "value", ["NaN", "Infinity", "-Infinity", "1e999", "1e300", "9" * 400, '"1900000000"', "true", "null", "[1]"]
    )
    def test_a_time_that_is_none_is_no_time(self, claim: str, value: str, tmp_path: Path) -> None:
        claims = {"exp": str(NOW + 60)} | {claim: value}
        body = "{" + ",".join(f'"{name}":{text}' for name, text in claims.items()) + "}"
        sent = forged({"alg": "HS256"}, body.encode(), SECRET.encode())
        assert denied(admitting(tmp_path), sent) == "token_invalid"


class TestAudienceAndIssuer:
    def test_they_are_checked_where_they_are_set(self, tmp_path: Path) -> None:
        admit = admitting(tmp_path, jwt_audience="roost", jwt_issuer="https://id.example")
        right: dict[str, Any] = {"aud": "roost", "iss": "https://id.example"}
        assert admit(token(**right)) == Grant(NOW + 60)
        assert admit(token(**right | {"aud": ["other", "roost"]})) == Grant(NOW + 60)
        for claim in ("aud", "iss"):
            for wrong in (None, "roost2", "", ["x"], {"roost": 1}, 5):
                if claim == "iss" and wrong is not None and not isinstance(wrong, str):
                    sent = forged({"alg": "HS256"}, {"exp": NOW + 60} | right | {claim: wrong}, SECRET.encode())
                else:
                    sent = token(**right | {claim: wrong})
                assert denied(admit, sent) == "token_invalid"

    def test_a_token_for_somebody_else_is_refused_where_no_audience_is_set(self, tmp_path: Path) -> None:
        with pytest.raises(DeniedError, match="another audience"):
            admitting(tmp_path)(token(aud="billing"))
        assert admitting(tmp_path)(token(iss="anybody")) == Grant(NOW + 60)


class TestGarbage:
    @pytest.mark.parametrize("missing", [None, ""])
    def test_no_token_is_said_to_be_missing(self, missing: object, tmp_path: Path) -> None:
        assert denied(admitting(tmp_path), missing) == "token_missing"

    @pytest.mark.parametrize(
        "sent", [5, True, [], {}, b"a.b.c", " ", "a", "a.b", "a.b.c", "a.b.c.d", "…", "\ud800.a.b"]
    )
    def test_what_is_no_token_is_refused(self, sent: object, tmp_path: Path) -> None:
        assert denied(admitting(tmp_path), sent) == "token_invalid"

    @pytest.mark.parametrize("deep", [b"[" * 5000, b'{"a":' * 1000, b"5", b"null", b"[]", b'"exp"', b"{", b"\xff"])
    def test_json_that_is_no_object_or_has_no_end_is_refused(self, deep: bytes, tmp_path: Path) -> None:
        admit = admitting(tmp_path)
        assert denied(admit, forged(deep, {"exp": NOW + 60}, SECRET.encode())) == "token_invalid"
        assert denied(admit, forged({"alg": "HS256"}, deep, SECRET.encode())) == "token_invalid"

    @pytest.mark.parametrize("header", [{"b64": False, "crit": ["b64"]}, {"crit": ["exp"]}, {"kid": 5}, {"crit": []}])
    def test_headers_with_a_meaning_of_their_own_are_refused(self, header: dict[str, Any], tmp_path: Path) -> None:
        sent = forged({"alg": "HS256"} | header, {"exp": NOW + 60}, SECRET.encode())
        assert denied(admitting(tmp_path), sent) == "token_invalid"

    def test_a_huge_token_is_refused_without_being_read(self, tmp_path: Path) -> None:
        admit = admitting(tmp_path)
        with pytest.raises(DeniedError, match=f"longer than {MOST_TOKEN_CHARACTERS} characters"):
            admit(token(filler="x" * MOST_TOKEN_CHARACTERS))
        assert admit(token(filler="x" * 5000)) == Grant(NOW + 60)

    @given(st.text() | st.binary() | st.recursive(st.none(), st.lists))
    def test_nothing_else_is_raised(self, sent: object) -> None:
        tokens = Tokens(CheckingKey("HS256", SECRET.encode()), now=lambda: NOW)
        with pytest.raises(DeniedError):
            tokens.grant(sent)

    @given(st.dictionaries(st.sampled_from(["exp", "rooms", "nbf", "aud", "iss"]), st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )))  # fmt: skip
    def test_signed_garbage_is_refused_or_understood(self, claims: dict[str, Any]) -> None:
        tokens = Tokens(CheckingKey("HS256", SECRET.encode()), issuer="me", now=lambda: NOW)
        sent = forged({"alg": "HS256"}, claims, SECRET.encode())
        try:
            grant = tokens.grant(sent)
        except DeniedError:
            return
        assert grant.expires_at is not None
        assert grant.expires_at > NOW


class TestRooms:
    def granted(self, *rooms: object) -> Grant:
        return Tokens(CheckingKey("HS256", SECRET.encode()), now=lambda: NOW).grant(token(rooms=list(rooms)))

    def test_without_the_claim_everything_may_be_seen_and_with_an_empty_one_nothing(self, tmp_path: Path) -> None:
        free = admitting(tmp_path)(token())
        every = labels("", "nfl", "word/nfl", "tag/nfl", "from/nfl", "lang/en", "url", "has_media")
        assert all(free.allows(label) for label in every)
        assert not any(self.granted().allows(label) for label in every)

    def test_a_label_is_that_room_in_any_spelling_and_no_other(self) -> None:
        grant = self.granted("term.NFL", "tag.Straße", "term.super%20bowl", "term.node.js", "has_url", "from.@NASA")
        allowed = labels("nfl", "NFL", "term/nfl", "tag/STRASSE", "tag/#straße", "super bowl", "node.js", "url")
        assert all(grant.allows(label) for label in [*allowed, *labels("from/nasa")])
        refused = labels("", "nf", "nfl2", "word/nfl", "tag/nfl", "bowl", "has_media", "from/nas", "url/")[:-1]
        assert not any(grant.allows(label) for label in refused)

    def test_a_family_is_all_of_its_rooms_and_no_other_family(self) -> None:
        grant = self.granted("tag.*", "lang.en")
        assert all(grant.allows(label) for label in labels("tag/nfl", "tag/*", "tag/🏈", "lang/en"))
        assert not any(grant.allows(label) for label in labels("", "nfl", "lang/de", "from/nfl", "tag"))

    def test_all_is_the_room_of_every_tweet_and_a_star_every_room(self) -> None:
        assert self.granted("all").allows(ALL)
        assert not any(self.granted("all").allows(label) for label in labels("nfl", "tag/nfl", "url"))
        assert all(self.granted("*").allows(label) for label in labels("", "nfl", "tag/nfl", "url"))
        assert not self.granted("term.*", "word.*", "tag.*", "from.*", "lang.*").allows(ALL)

    @pytest.mark.parametrize(
        "entry",
        [
            "",
            "nfl",
            "#",
            "tag.#",
            "tag.",
            "tag",
            "tag.n*",
            "*.nfl",
            "has_url.*",
            "all.*",
            "has_url.x",
            "action.update",
            "action.*",
            "nothing.*",
            "TAG.*",
            "tag.*.*",
            "term." + "x" * 101,
            "term.%FF",
            "term.\ud800",
            "**",
            " *",
            5,
            None,
            True,
            ["tag.*"],
            {"tag": "*"},
        ],
    )
    def test_an_entry_that_can_not_be_meant_is_named(self, entry: object) -> None:
        with pytest.raises(DeniedError, match="claim 'rooms', entry 2") as refused:
            self.granted("tag.nfl", entry)
        assert refused.value.code == "token_invalid"
        assert len(refused.value.message) < 300
        assert refused.value.message.isascii() or isinstance(entry, str)

    @pytest.mark.parametrize("rooms", ["tag.nfl", "*", 5, True, {"tag.nfl": 1}, None])
    def test_the_claim_is_a_list_or_the_token_is_refused(self, rooms: object) -> None:
        sent = forged({"alg": "HS256"}, {"exp": NOW + 60, "rooms": rooms}, SECRET.encode())
        with pytest.raises(DeniedError, match="'rooms' has to be a list"):
            Tokens(CheckingKey("HS256", SECRET.encode()), now=lambda: NOW).grant(sent)

    def test_a_claim_has_an_end(self) -> None:
        assert self.granted(*["*"] * MOST_ROOMS).everything
        with pytest.raises(DeniedError, match=f"more than {MOST_ROOMS} entries"):
            self.granted(*["*"] * (MOST_ROOMS + 1))

    @given(st.sampled_from([name for name, family in FAMILIES.items() if family.has_room]), st.text(max_size=30))
    def test_the_key_of_any_room_grants_that_room(self, family: str, value: str) -> None:
        try:
            label = Label.of(family, value if FAMILIES[family].takes_value else "")
        except LabelError:
            return
        grant = self.granted(label.key)
        assert grant.allows(label)
        assert not grant.allows(Label.of("term", "something else altogether"))
        assert self.granted(f"{family}.*" if FAMILIES[family].takes_value else family).allows(label)


class TestWithout:
    def test_where_no_token_is_asked_for_none_is_looked_at(self) -> None:
        admit = token_check(GatewaySettings())
        for sent in (None, "", "garbage", token(exp=NOW - 1), 5):
            assert admit(sent) is EVERYTHING
        assert EVERYTHING.expires_at is None
        assert EVERYTHING.allows(ALL)

    @pytest.mark.parametrize(
        ("auth", "found"),
        [({"token": "t"}, "t"), ({"token": 5}, 5), ({}, None), (None, None), ("t", None), (["token"], None)],
    )
    def test_a_socket_has_its_token_in_the_auth_payload(self, auth: object, found: object) -> None:
        assert socket_token(auth) == found

    @pytest.mark.parametrize(
        ("header", "found"),
        [
            ("Bearer t", "t"),
            ("bearer  t ", "t"),
            ("Bearer", ""),
            ("Bearer a b", "a b"),
            ("Basic dXNlcjpwdw==", None),
            ("t", None),
            ("", None),
            (None, None),
        ],
    )
    def test_http_has_its_token_in_the_authorization_header(self, header: str | None, found: str | None) -> None:
        assert bearer_token(header) == found
