"""What a gateway can be told."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.settings import AmqpUrl, ServiceSettings, broker_of, private_port


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
    max_rooms: int = Field(
        default=10_000,
        ge=1,
        description="Open rooms at most, the empty ones that are still bound too; a subscription beyond is refused.",
    )
    max_rooms_per_client: int = Field(
        default=50, ge=1, description="Rooms that one connection is in at most; a subscription beyond is refused."
    )
    remembered_tweets: int = Field(
        default=50_000,
        ge=100,
        description="Tweets whose versions are remembered, so that edits and deletions find the rooms they are in.",
    )
