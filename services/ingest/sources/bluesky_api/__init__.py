"""What the source `bluesky` is made of: Jetstream's messages, the cursor, the authors' names, the reading of a host.

`stream` is where it comes together; `services.ingest.sources.bluesky` is the source.
"""
