"""Ingest: reads one source and publishes what it yields, in batches, to the exchange `tweets.raw`."""
