"""Every metric of Roost's services, with its meaning. They are read at `/metrics` of the private port."""

from prometheus_client import Counter, Gauge, Histogram

# ingest
SOURCE_EVENTS = Counter("roost_source_events", "Events read from the source.", ["source"])
SOURCE_UNREADABLE = Counter(
    "roost_source_unreadable",
    "What the source sent and could not be read; it is skipped.",
    ["source", "reason"],
)
SOURCE_LIVE = Gauge(
    "roost_source_live", "1 while the source's origin sends, 0 while it is away or resting.", ["source"]
)
SOURCE_CONNECTS = Counter("roost_source_connects", "Attempts to connect to the source's origin.", ["source"])
SOURCE_REPEATED = Counter(
    "roost_source_repeated", "Events read once more after going back on a reconnect; they are dropped.", ["source"]
)
SOURCE_NOT_ASKED = Gauge(
    "roost_source_not_asked",
    "Labels that somebody wants and that the source can't be, or may not be, asked for; matched on what comes.",
    ["source"],
)
X_RULES = Gauge("roost_x_rules", "Rules of ours at X.")
X_POSTS_TODAY = Gauge(
    "roost_x_posts_today", "Posts of today's budget that are used; those set aside before a crash count too."
)
X_BUDGET = Gauge("roost_x_budget", "Posts that may be taken from X in one day (UTC).")
BLUESKY_HANDLES = Counter(
    "roost_bluesky_handles",
    "Authors looked up: hit (known already), found, failed (their DID is shown).",
    ["outcome"],
)
INGEST_ACTIVE = Gauge(
    "roost_ingest_active",
    "1 while this ingest has its source to itself, 0 while it waits for another one.",
)
INGEST_PUBLISHED = Counter("roost_ingest_published", "Events that the broker has confirmed.")
INGEST_REFUSED = Counter(
    "roost_ingest_refused_batches",
    "Batches that the broker refused (its queue is full); they are tried again.",
)
INGEST_DROPPED = Counter(
    "roost_ingest_dropped", "Events dropped because the broker did not take them and the source can't wait."
)
INGEST_BUFFERED = Gauge("roost_ingest_buffered", "Events read from the source and not yet confirmed.")

# router
ROUTER_RECEIVED = Counter("roost_router_received", "Events taken from router.raw and classified.")
ROUTER_PUBLISHED = Counter("roost_router_published", "Events published to the exchange tweets.")
ROUTER_MESSAGES = Counter("roost_router_messages", "Messages published to the exchange tweets.")
ROUTER_UNMATCHED = Counter("roost_router_unmatched", "Events that nobody asks for at present.")
ROUTER_DEAD = Counter("roost_router_dead_lettered", "Events that could not be read, sent to dead-letters.")
ROUTER_BY_HAND = Counter(
    "roost_router_by_hand",
    "Events of batches that belong to no chain: not from ingest but by hand (`make forget`, dead letters sent back),"
    " or documents of another collection. They count as received, too.",
)
ROUTER_REFUSED = Counter(
    "roost_router_refused_messages", "Messages that the full queue of some consumer refused; all others have them."
)
ROUTER_KEYS = Gauge("roost_router_wanted_keys", "Routing keys that somebody has bound.")
ROUTER_TERMS = Gauge("roost_router_terms", "Terms and words that texts are searched for.")
ROUTER_REFUSED_KEYS = Counter(
    "roost_router_refused_keys", "Bindings that ask for nothing Roost has, or for more terms than allowed."
)
ROUTER_CLASSIFY_SECONDS = Histogram(
    "roost_router_classify_seconds",
    "Time to classify what is taken in one turn: one raw batch, or several small ones.",
    buckets=(0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1),
)
DEMAND_DRIFT = Counter(
    "roost_demand_drift", "Bindings on which a new snapshot and what was known before it differed."
)
DEMAND_SNAPSHOT_SECONDS = Gauge("roost_demand_snapshot_seconds", "How long the last snapshot of bindings took.")

# gateway
GATEWAY_SOURCES = Gauge("roost_gateway_sources", "Sources that the gateway has heard of lately.")
GATEWAY_SOCKETS = Gauge("roost_gateway_sockets", "Browsers and other clients connected.")
GATEWAY_ROOMS = Gauge(
    "roost_gateway_rooms",
    "Open rooms: with members or subscriptions, or left by the last one not long ago and still bound.",
)
GATEWAY_SUBSCRIPTIONS = Gauge("roost_gateway_subscriptions", "Subscriptions to collections that clients have.")
GATEWAY_FOLLOWED = Gauge(
    "roost_gateway_followed",
    "Documents that are followed for subscriptions; one that was sent to all who have equal ones counts once.",
)
GATEWAY_LET_GO = Counter(
    "roost_gateway_let_go",
    "Documents that are followed no more, because there were too many; those who held them were told.",
)
GATEWAY_BINDINGS = Gauge("roost_gateway_bindings", "Labels that the gateway's queue is bound to.")
GATEWAY_RECEIVED = Counter("roost_gateway_received", "Events received from the broker.")
GATEWAY_OVERFLOWS = Counter(
    "roost_gateway_overflows",
    "How often rooms were told that the gateway's full queue had dropped tweets: at most once a second. How many"
    " were dropped the broker does not tell.",
)
GATEWAY_UNREADABLE = Counter("roost_gateway_unreadable", "Messages from the broker that could not be read.")
GATEWAY_DELIVERIES = Counter(
    "roost_gateway_deliveries",
    "Events sent to one room, or to equal subscriptions of one `uid`: a tweet for two rooms counts twice.",
    ["event"],
)
GATEWAY_FLUSHES = Counter("roost_gateway_flushes", "How often what waited for rooms was sent, all in one go.")
GATEWAY_GAPS = Counter("roost_gateway_gaps", "How often a client was told that something is missing (`gap`).")
GATEWAY_SKIPPED = Counter(
    "roost_gateway_skipped", "Tweets not sent to clients that do not keep up; a `gap` tells each how many."
)
GATEWAY_STALLED = Gauge("roost_gateway_stalled", "Clients that do not keep up and have tweets skipped at present.")
GATEWAY_CUT_OFF = Counter("roost_gateway_cut_off", "Clients cut off because they did not keep up for too long.")
GATEWAY_NOTHING_NEW = Counter(
    "roost_gateway_nothing_new",
    "Events that changed nothing in any room: copies, old versions, changes of tweets that were not shown here.",
)
GATEWAY_CLIENT_MISTAKES = Counter(
    "roost_gateway_client_mistakes", "Packets and HTTP requests of clients that could not be read."
)
GATEWAY_ARCHIVE = Gauge("roost_gateway_archive", "1 while the archive answers.")
GATEWAY_ASKED = Counter(
    "roost_gateway_asked",
    "What the archive was asked: tweets of a label, of several labels, states of ids; marks.",
    ["what"],
)
GATEWAY_FROM_ARCHIVE = Counter("roost_gateway_from_archive", "Tweets that rooms were given by the archive.")
GATEWAY_REFUSED = Counter("roost_gateway_refused", "Requests of clients that were refused.", ["code"])

# every service
LOOP_LAG_SECONDS = Histogram(
    "roost_loop_lag_seconds",
    "How much later than it could the event loop got to something, looked at a hundred times a second.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.5, 1, 3),
)
LOOP_LAG_WORST_SECONDS = Gauge("roost_loop_lag_worst_seconds", "The worst lag of the last minute.")
BROKER_CONNECTIONS = Gauge("roost_broker_connections", "Connections to the broker that the service has open.")
BROKER_LOSSES = Counter("roost_broker_losses", "How often the broker was lost or could not be reached.")

# archive
ARCHIVE_WRITTEN = Counter("roost_archive_written", "Events taken from archive.raw and written; copies count too.")
ARCHIVE_UNREADABLE = Counter(
    "roost_archive_unreadable", "What could not be read and is not kept; routers send it to dead-letters."
)
ARCHIVE_WRITE_SECONDS = Histogram(
    "roost_archive_write_seconds",
    "Time of one transaction: what has come while the one before it was under way.",
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3),
)
ARCHIVE_COMPLETE_TO = Gauge(
    "roost_archive_complete_to_seconds", "The newest seq in the archive, in seconds since the epoch."
)
ARCHIVE_ANSWERS = Counter("roost_archive_answers", "Queries: answered, or error.", ["outcome"])
ARCHIVE_QUERY_SECONDS = Histogram(
    "roost_archive_query_seconds",
    "Time to answer one query, from its arrival on.",
    buckets=(0.001, 0.003, 0.01, 0.02, 0.05, 0.1, 0.3, 1, 3),
)
ARCHIVE_BYTES = Gauge("roost_archive_bytes", "Bytes of the archive's files.")
ARCHIVE_FILES = Gauge("roost_archive_files", "Files of the archive.")
ARCHIVE_TWEETS = Gauge("roost_archive_tweets", "Tweets in the archive, about.")
ARCHIVE_OLDEST = Gauge(
    "roost_archive_oldest_seconds", "The oldest seq in the archive, in seconds since the epoch; 0 without any."
)
ARCHIVE_CORRUPT = Counter("roost_archive_corrupt", "Files that could not be read and were set aside.")
