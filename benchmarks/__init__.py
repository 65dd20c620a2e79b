"""What Roost costs beside its peers, and by itself.

`python -m benchmarks.fanout`, `.connections`, `.slow`, `.subscriptions`, `.cluster`, `.archive`, `.matching`,
`.pipeline`, `.latency`, `.activation`.
"""
