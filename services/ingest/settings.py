"""What ingest can be told."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from shared.settings import AmqpUrl, ManagementUrl, ServiceSettings, broker_of, private_port


class IngestSettings(ServiceSettings):
    """Settings of ingest, from `ROOST_INGEST_…`."""

    model_config = SettingsConfigDict(env_prefix="ROOST_INGEST_", extra="ignore")

    amqp_url: AmqpUrl = broker_of("ingest")
    ops_port: int = private_port(9101)
    source: Literal["synthetic", "replay", "bluesky", "x"] = Field(
        default="synthetic",
        description="Where tweets come from: made up on the spot, read from a file, live from Bluesky, live from X.",
    )
    rate: float = Field(default=20.0, gt=0, le=100_000, description="Source synthetic: tweets a second.")
    seed: int = Field(default=1, description="Source synthetic: the same seed makes the same tweets.")
    replay_path: Path | None = Field(
        default=None,
        description="Source replay: a file of JSON Lines, gzipped or not: X API v2 objects, or Roost's own events.",
    )
    replay_speed: float = Field(
        default=1.0, ge=0, description="Source replay: 1 is the pace of the file, 2 twice that, 0 as fast as it goes."
    )
    replay_loop: bool = Field(default=False, description="Source replay: start again at the end of the file.")
    bluesky_hosts: str = Field(
        default="wss://jetstream2.us-east.bsky.network,wss://jetstream2.us-west.bsky.network,"
        "wss://jetstream1.us-east.bsky.network,wss://jetstream1.us-west.bsky.network",
        description="Source bluesky: Jetstream hosts, tried in turn.",
    )
    bluesky_api: str = Field(
        default="https://public.api.bsky.app", description="Source bluesky: where the names of authors are looked up."
    )
    bluesky_catch_up_s: float = Field(
        default=86_400.0,
        ge=0,
        allow_inf_nan=False,
        description="Source bluesky: seconds to go back at most when ingest was away; what is older is left out.",
    )
    x_bearer_token: SecretStr | None = Field(default=None, description="Source x: the app's bearer token.")
    x_bearer_token_file: Path | None = Field(
        default=None, description="Source x: a file that holds the bearer token, if it is not in the variable."
    )
    x_rules: str = Field(
        default="",
        description="Source x: rules of the filtered stream, `;` between, or `demand`: made of what people watch.",
    )
    x_allow: str = Field(
        default="",
        description="Source x, rules `demand`: rooms that X may be asked for when somebody is there, "
        "as in a URL and with commas between: nfl, tag/ai, from/nasa, lang/en, url.",
    )
    x_min_bindings: int = Field(
        default=0,
        ge=0,
        description="Source x, rules `demand`: X is also asked for whatever at least so many queues are bound to; "
        "0 is never. One visitor can be on every gateway, so let it be more than there are gateways.",
    )
    x_budget: int = Field(
        default=10_000,
        ge=0,
        description="Source x: posts that may be taken in one day (UTC), at about half a cent each.",
    )
    x_api: str = Field(default="https://api.x.com", description="Source x: the address of X's API.")
    management_url: ManagementUrl = Field(
        default="http://ingest:ingest@localhost:15672",
        description="Source x, rules `demand`: RabbitMQ's management API, for snapshots of what people watch.",
    )
    buffer_events: int = Field(
        default=20_000,
        ge=1,
        description="Events kept while the broker does not take them. Beyond it a source that can wait is not read "
        "on, and of one that can't the events are dropped and counted.",
    )
