"""`all`: every event."""

from shared.labels.facets import Facets
from shared.labels.family import Flag


class Everything(Flag):
    """Every tweet, its changes and its end."""

    name = "all"

    def holds(self, facets: Facets) -> bool:  # noqa: D102
        return True
