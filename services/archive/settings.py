"""What an archive can be told."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.settings import AmqpUrl, ServiceSettings, broker_of, private_port

MOST_HOURS = 1_000_000
"""More than anybody keeps anything; what is far beyond is no number of microseconds any more."""


class ArchiveSettings(ServiceSettings):
    """Settings of the archive, from `ROOST_ARCHIVE_…`."""

    model_config = SettingsConfigDict(env_prefix="ROOST_ARCHIVE_", extra="ignore")

    amqp_url: AmqpUrl = broker_of("archive")
    ops_port: int = private_port(9104)
    folder: Path = Field(default=Path("archive"), description="Where the tweets are kept; it is made if need be.")
    keep_hours: float = Field(
        default=24, gt=0, le=MOST_HOURS, allow_inf_nan=False, description="Hours after which a tweet is forgotten."
    )
    keep_bytes: int = Field(
        default=8 * 1024**3,
        ge=4 * 1024**2,
        description="Bytes on the disk at most; the oldest tweets go first.",
    )
    segment_minutes: float = Field(
        default=30,
        gt=0,
        le=MOST_HOURS * 60,
        allow_inf_nan=False,
        description="Minutes of tweets in one file; whole files are forgotten at once.",
    )
