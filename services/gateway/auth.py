"""Who may see what: JSON Web Tokens, and the rooms that they grant.

A token is a claim of whoever has the key; the gateway only reads it. What it grants holds for everything that shows
tweets, for sockets and for HTTP alike.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from services.gateway.settings import GatewaySettings
from services.gateway.signing import CheckingKey, checking_key
from shared.labels import FAMILIES, EnumerableFamily, Facets, Label, LabelError, is_pattern, parse_key

MOST_TOKEN_CHARACTERS = 8000
"""Longest token: what fits one line of an HTTP header, so that whatever a socket takes, HTTP takes too."""

MOST_ROOMS = 1000
"""Longest `rooms` claim."""

LEEWAY_S = 30.0
"""How far the clock of whoever makes the tokens may be ahead. A token ends when it says, without any leeway."""

LATEST = 253_402_300_800.0
"""The end of the year 9999, in Unix seconds: a later `exp` is no date."""


class DeniedError(Exception):
    """Whoever asks is not let in. `code` is for programs, `message` for people; neither repeats the token."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        """`token_missing`, `token_invalid` or `token_expired`."""
        self.message = message


@dataclass(frozen=True, slots=True)
class Grant:
    """What somebody may see, and until when."""

    expires_at: float | None = None
    """Unix seconds from which on it holds no more; None: never."""
    everything: bool = True
    families: frozenset[str] = frozenset()
    """Families of which every label is granted."""
    labels: frozenset[Label] = frozenset()
    """Labels that are granted one by one. `all` among them is the room of that name, and no other."""

    def allows(self, label: Label) -> bool:
        """Whether the tweets of `label` may be seen."""
        return self.everything or label in self.labels or label.family in self.families

    def allows_one_of(self, facets: Facets) -> bool:
        """Whether a tweet with these facets may be seen: it is in some room that is granted."""
        if self.everything or any(label.matches(facets) for label in self.labels):
            return True
        # A text has terms and words, whatever it is.
        return any(
            any(True for _ in family.values(facets)) if isinstance(family, EnumerableFamily) else bool(facets.text)
            for family in map(FAMILIES.__getitem__, self.families)
        )


EVERYTHING = Grant()
"""What everybody has where no token is asked for."""

TokenCheck = Callable[[object], Grant]
"""From a token, as it was sent, to what it grants; raises `DeniedError`."""


class Tokens:
    """Reads tokens that are signed with one key. A token has to have an `exp`: one for ever can't be taken back."""

    def __init__(
        self,
        key: CheckingKey,
        *,
        audience: str | None = None,
        issuer: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`audience` and `issuer` are what `aud` and `iss` have to be, if given. `now` is Unix seconds."""
        self._key = key
        self._audience = audience
        self._issuer = issuer
        self._now = now

    def grant(self, token: object) -> Grant:
        """What `token` grants. Raises `DeniedError` for one that is missing, expired or can't be trusted."""
        if token is None or token == "":
            raise DeniedError("token_missing", "a token is needed here")
        if not isinstance(token, str):
            raise _invalid("the token has to be a string")
        if len(token) > MOST_TOKEN_CHARACTERS:
            raise _invalid(f"the token is longer than {MOST_TOKEN_CHARACTERS} characters")
        claims = self._claims(token)
        expires_at = self._checked_times(claims)
        if "rooms" not in claims:
            return Grant(expires_at)
        return _limited(claims["rooms"], expires_at)

    def _claims(self, token: str) -> dict[str, Any]:
        """The claims, once signature, audience and issuer are right."""
        try:
            return jwt.decode(
                token,
                self._key.key,
                algorithms=[self._key.algorithm],
                audience=self._audience,
                issuer=self._issuer,
                # The times are checked here, each with its own leeway; who it is about is nothing to us.
                options={
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_sub": False,
                    "verify_jti": False,
                },
            )
        except jwt.InvalidAlgorithmError:
            raise _invalid(f"the token has to be signed with {self._key.algorithm}") from None
        except jwt.InvalidSignatureError:
            raise _invalid("the token's signature is not right") from None
        except jwt.MissingRequiredClaimError as error:
            raise _invalid(f"the token lacks the claim '{error.claim}'") from None
        except jwt.InvalidAudienceError:
            raise _invalid("the token is for another audience ('aud')") from None
        except jwt.InvalidIssuerError:
            raise _invalid("the token is of another issuer ('iss')") from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            # The last ones: nobody's garbage shall find a way that the library has overlooked.
            raise _invalid("this is no JSON Web Token") from None

    def _checked_times(self, claims: Mapping[str, Any]) -> float:
        """When the token expires, Unix seconds. Raises `DeniedError` if it has, or is not valid yet."""
        now = self._now()
        if "exp" not in claims:
            raise _invalid("the token lacks the claim 'exp'")
        expires_at = _seconds(claims, "exp")
        if expires_at <= now:
            raise DeniedError("token_expired", "the token has expired")
        for name in ("nbf", "iat"):
            if name in claims and _seconds(claims, name) > now + LEEWAY_S:
                raise _invalid(f"the token is not valid yet ('{name}')")
        return expires_at


def token_check(settings: GatewaySettings, *, now: Callable[[], float] = time.time) -> TokenCheck:
    """How this gateway lets people in. Raises `BadSettingError` for a key that can't be used."""
    if settings.auth == "none":
        return lambda token: EVERYTHING
    tokens = Tokens(
        checking_key(settings),
        audience=settings.jwt_audience or None,
        issuer=settings.jwt_issuer or None,
        now=now,
    )
    return tokens.grant


def socket_token(auth: object) -> object:
    """The token in the `auth` payload of a Socket.IO connection: `{token}`; None if there is none."""
    return auth.get("token") if isinstance(auth, dict) else None


def bearer_token(authorization: str | None) -> str | None:
    """The token in an `Authorization` header; None if there is none, or if it is of another scheme."""
    scheme, _, token = (authorization or "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _limited(rooms: object, expires_at: float) -> Grant:
    """The grant of a `rooms` claim. Raises `DeniedError` for one that can't be meant, naming the entry."""
    if not isinstance(rooms, list):
        raise _invalid("the token's claim 'rooms' has to be a list")
    if len(rooms) > MOST_ROOMS:
        raise _invalid(f"the token's claim 'rooms' has more than {MOST_ROOMS} entries")
    families: set[str] = set()
    labels: set[Label] = set()
    everything = False
    for number, entry in enumerate(rooms, start=1):
        try:
            if entry == "*":
                everything = True
            elif isinstance(entry, str) and entry.endswith(".*") and _has_rooms(entry[:-2], takes_value=True):
                families.add(entry[:-2])
            else:
                labels.add(_label(entry))
        except LabelError as error:
            what = f"{entry[:40]!a}" if isinstance(entry, str) else "which is no string"
            raise _invalid(f"the token's claim 'rooms', entry {number}, {what}: {error}") from None
    return Grant(expires_at, everything, frozenset(families), frozenset(labels))


def _label(entry: object) -> Label:
    if not isinstance(entry, str):
        raise LabelError("it takes labels such as term.nfl, tag.* or *")
    # A wildcard is for all of a family. `tag.n*` could only be misunderstood: as a pattern, or as a star.
    if "*" in entry or is_pattern(entry):
        raise LabelError("a pattern is a family and a star, such as tag.*, or a star alone")
    label = parse_key(entry)
    if not _has_rooms(label.family):
        raise LabelError(f"'{label.family}' has no rooms")
    return label


def _has_rooms(name: str, *, takes_value: bool = False) -> bool:
    family = FAMILIES.get(name)
    return family is not None and family.has_room and (family.takes_value or not takes_value)


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    """A time among the claims, Unix seconds. Raises `DeniedError` for what is none."""
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _invalid(f"the token's claim '{name}' has to be a number")
    # Written so that NaN, which Python's JSON knows, is refused too.
    if not -LATEST < value < LATEST:
        raise _invalid(f"the token's claim '{name}' is no date")
    return float(value)


def _invalid(message: str) -> DeniedError:
    return DeniedError("token_invalid", message)
