"""What a gateway can be told."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from services.gateway.addresses import Network, networks
from services.gateway.origins import origins
from shared.settings import AmqpUrl, ServiceSettings, broker_of, private_port, variable


def _lists_origins(value: str) -> str:
    origins(value)
    return value


def _lists_networks(value: str) -> str:
    networks(value)
    return value


def _or_none(value: object) -> object:
    # An empty variable is one that is not set; as a path it would be the working directory.
    return None if value == "" else value


Origins = Annotated[str, AfterValidator(_lists_origins)]
Networks = Annotated[str, AfterValidator(_lists_networks)]
SecretFile = Annotated[Path | None, BeforeValidator(_or_none)]


class GatewaySettings(ServiceSettings):
    """Settings of one gateway, from `ROOST_GATEWAY_…`."""

    model_config = SettingsConfigDict(env_prefix="ROOST_GATEWAY_", extra="ignore")

    amqp_url: AmqpUrl = broker_of("gateway")
    ops_port: int = private_port(9103)
    host: str = Field(default="127.0.0.1", description="Address of the public port: pages and Socket.IO.")
    port: int = Field(default=8080, ge=0, le=65535, description="The public port; 0 takes a free one.")
    drain_s: float = Field(
        default=0.0,
        ge=0,
        le=3,
        description="Seconds between failing /healthz and closing connections when stopping: "
        "a little more than the load balancer needs to notice.",
    )
    unbind_after_s: float = Field(
        default=30.0,
        ge=0,
        le=3600,
        description="Seconds for which a room stays bound when its last member has left.",
    )
    origins: Origins = Field(
        default="",
        description="Origins of pages that may connect and read `/_/api/…`, beside the gateway's own host, "
        "with commas between: https://example.org. `*` is any.",
    )
    trusted_proxies: Networks = Field(
        default="",
        description="Networks of the proxies before the gateway, with commas between: 10.0.0.0/8. "
        "Only what these say of a client's address (X-Forwarded-For) counts.",
    )
    max_connections_per_address: int = Field(
        default=200,
        ge=1,
        description="Connections of one address at most (of IPv6: one /64); another one is refused. "
        "All people behind one NAT share an address, and each open page is a connection.",
    )
    max_rooms: int = Field(
        default=10_000,
        ge=1,
        description="Open rooms at most, the empty ones that are still bound too; a request beyond is refused.",
    )
    max_rooms_per_client: int = Field(
        default=50, ge=1, description="Rooms that one connection is in at most; a request beyond is refused."
    )
    max_rooms_per_address: int = Field(
        default=200,
        ge=1,
        description="Rooms that all connections of one address are in at most, counted for each connection; "
        "a request beyond is refused.",
    )
    subscribes_per_s: float = Field(
        default=20.0,
        gt=0,
        le=100_000,
        allow_inf_nan=False,
        description="Subscriptions a second that one connection may ask for, after as many at once as it may have "
        "rooms; all of one address five times that. One beyond is refused.",
    )
    max_payload_bytes: int = Field(
        default=100_000,
        ge=1_000,
        description="Largest packet that a client may send, in bytes; a larger one ends its connection.",
    )
    send_buffer_bytes: int = Field(
        default=1_048_576,
        ge=65_536,
        description="Bytes that may wait for one connection; beyond them tweets to it are skipped until it has read.",
    )
    stalled_after_s: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        description="Seconds after which a connection that all the time has tweets skipped is ended.",
    )
    auth: Literal["none", "jwt"] = Field(
        default="none",
        description="Whether people need a token: `jwt` is a JSON Web Token, checked with one of these keys.",
    )
    jwt_secret: SecretStr | None = Field(
        default=None, description="The secret of tokens with HS256, at least 32 bytes."
    )
    jwt_secret_file: SecretFile = Field(
        default=None, description="A file that holds that secret, if it is not in the variable."
    )
    jwt_public_key_file: SecretFile = Field(
        default=None,
        description="A file with the public key (PEM) of tokens with RS256 (RSA, from 2048 bits) or ES256 (P-256).",
    )
    jwt_audience: str = Field(
        default="", description="What a token's `aud` has to name. Without it a token with an `aud` is refused."
    )
    jwt_issuer: str = Field(default="", description="What a token's `iss` has to be, if anything.")
    max_backfill: int = Field(
        default=200, ge=0, le=1_000, description="Tweets of a room's past that a client may ask for when it enters."
    )
    remembered_tweets: int = Field(
        default=100_000,
        ge=100,
        description="Tweets that are remembered, so that edits and deletions find the rooms they are in, and who "
        "enters a room where somebody is sees its last ones at once. 1 to 2 KB each.",
    )

    max_followed: int = Field(
        default=300_000,
        ge=100,
        description="Documents that are followed for all subscriptions together; the oldest are let go, and those "
        "who hold them are told so. 0.2 to 0.8 KB each.",
    )
    max_followed_each: int = Field(
        default=1_000,
        ge=10,
        description="Documents that one subscription follows of those that its page held when it came, and as many "
        "of those that it was sent since.",
    )
    queries_for_all: bool = Field(
        default=True,
        description="Whether a `createQuery` may name no label, so that every tweet has to be looked at.",
    )

    @property
    def proxies(self) -> tuple[Network, ...]:
        """The networks of `trusted_proxies`."""
        return networks(self.trusted_proxies)

    @model_validator(mode="after")
    def _one_key_for_tokens_and_none_without(self) -> Self:
        """A key that is not used, or one of two, would let somebody believe in a lock that is not there."""
        secret = self.jwt_secret.get_secret_value() if self.jwt_secret else ""
        given = {"jwt_secret": secret, "jwt_secret_file": self.jwt_secret_file}
        given["jwt_public_key_file"] = self.jwt_public_key_file
        name = {field: variable(type(self), field) for field in ("auth", *given)}
        named = [name[field] for field, value in given.items() if value]
        if self.auth == "jwt" and not named:
            *others, last = (name[field] for field in given)
            raise ValueError(f"{name['auth']}: jwt needs a key, in {', '.join(others)} or {last}")
        if len(named) > 1:
            raise ValueError(f"{named[0]}: only one key can be used, and there is {' and '.join(named[1:])} too")
        if named and self.auth == "none":
            raise ValueError(f"{named[0]}: is set, but {name['auth']} is none; {name['auth']}=jwt makes use of it")
        return self
