"""What a router can be told."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.settings import AmqpUrl, ManagementUrl, ServiceSettings, broker_of, private_port


class RouterSettings(ServiceSettings):
    """Settings of one router, from `ROOST_ROUTER_…`."""

    model_config = SettingsConfigDict(env_prefix="ROOST_ROUTER_", extra="ignore")

    amqp_url: AmqpUrl = broker_of("router")
    ops_port: int = private_port(9102)
    management_url: ManagementUrl = Field(
        default="http://router:router@localhost:15672",
        description="RabbitMQ's management API, from which the router takes its snapshots of bindings.",
    )
    prefetch: int = Field(
        default=32, ge=1, le=1000, description="Raw batches that one router works on at the same time."
    )
    max_terms: int = Field(
        default=100_000, ge=1, description="Terms and words searched for at most; bindings beyond it get nothing."
    )
