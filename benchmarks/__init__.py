"""What Roost costs beside its peers: `python -m benchmarks.fanout`, `.connections`, `.slow`, `.cluster`."""
