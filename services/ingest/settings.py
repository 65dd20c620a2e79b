"""What ingest can be told."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.settings import AmqpUrl, ServiceSettings, broker_of, private_port


class IngestSettings(ServiceSettings):
    """Settings of ingest, from `ROOST_INGEST_…`."""

    model_config = SettingsConfigDict(env_prefix="ROOST_INGEST_", extra="ignore")

    amqp_url: AmqpUrl = broker_of("ingest")
    ops_port: int = private_port(9101)
    source: Literal["synthetic", "replay"] = Field(
        default="synthetic", description="Where tweets come from: made up on the spot, or read from a file."
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
    buffer_events: int = Field(
        default=20_000,
        ge=1,
        description="Events kept while the broker does not take them. Beyond it a source that can wait is not read "
        "on, and of one that can't the events are dropped and counted.",
    )
