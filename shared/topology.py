"""Names of what services share on the broker. `deploy/rabbitmq/definitions.json` declares what is durable."""

RAW_EXCHANGE = "tweets.raw"
"""Fanout: batches from ingest (`shared.raw`)."""

ROUTER_QUEUE = "router.raw"
"""The queue on `RAW_EXCHANGE` for which routers compete."""

TWEETS_EXCHANGE = "tweets"
"""Topic: classified tweets for everybody (`shared.feed`)."""

DEAD_EXCHANGE = "dead"
"""Fanout: messages that could not be read, with the header `reason`; they wait in the queue `dead-letters`."""

SOURCES_EXCHANGE = "sources"
"""Fanout: what each source says of itself (`shared.sources`)."""

OVERFLOW_EXCHANGE = "gateway.overflow"
"""Direct: what the full queue of a gateway dropped, under the name of that queue (`services.gateway.overflow`)."""

STATE_EXCHANGE = "ingest.state"
"""Direct: what an ingest has to have again after a restart, to the queue `ingest.state.<source>`."""

ARCHIVE_EXCHANGE = "archive"
"""Direct: what the archive is asked (`shared.history`), to the queues `ARCHIVE_QUEUE` and `QUERIES_QUEUE`."""

ARCHIVE_QUEUE = "archive.raw"
"""The archive's queue on `RAW_EXCHANGE`, with the marks of gateways between the batches. Durable: it holds what comes
while the archive is away; bounded: full it drops its oldest, for a slow archive must not stop the live stream."""

QUERIES_QUEUE = "archive.queries"
"""What gateways ask. Durable; what nobody answers expires in it."""

ANSWERS_EXCHANGE = "archive.answers"
"""Direct: what the archive answers, to the queue of the gateway that asked."""

EVENT_EXCHANGE = "amq.rabbitmq.event"
"""Topic, of the plugin rabbitmq_event_exchange: tells bindings that come and go."""
