"""What the source `x` is made of: X's payloads, its rules, its budget, its failures, and the reading of its stream.

`reading` is where it comes together; `services.ingest.sources.x` has the requests, by tweepy.
"""
