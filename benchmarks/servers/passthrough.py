"""A router that looks for nothing: it takes the same tweets out of known batches by their places in these.

    python -m benchmarks.servers.passthrough BATCHES

Everything else is the router's own: it follows the demand, takes batches from the queue, makes messages under the
same keys, publishes and acknowledges. What it can do a second the real one could do if it found terms for nothing.
"""

import sys
from pathlib import Path

from benchmarks.corpus import Batches
from services.router.app import RouterApp
from services.router.matcher import Matcher
from services.router.settings import RouterSettings
from shared.lifecycle import run
from shared.raw import Batch

_BEGINNING = 100
"""Bytes of the texts by which a batch is known, with their number."""


class PassThrough(Matcher):
    """Has the keys of all tweets beforehand."""

    def __init__(self, known: Batches) -> None:
        """Raises `ValueError` where two batches can't be told from each other."""
        super().__init__(max_terms=1)
        self._known = {_name(Batch(body)): keys for body, keys in zip(known.bodies, known.keys, strict=True)}
        if len(self._known) < len(known.bodies):
            raise ValueError("two batches begin alike")

    def want(self, key: str) -> None:
        """Nothing is looked for."""

    def unwant(self, key: str) -> None:
        """Nothing was looked for."""

    def keys_of(self, batch: Batch) -> dict[int, list[str]]:
        """The keys that the tweets of this batch are known to have."""
        return self._known[_name(batch)]


def _name(batch: Batch) -> tuple[int, bytes]:
    return len(batch.texts), batch.texts[:_BEGINNING]


if __name__ == "__main__":
    settings = RouterSettings()
    app = RouterApp(settings)
    app._matcher = PassThrough(Batches.load(Path(sys.argv[1])))
    run(app, settings, name="router")
