"""`all`: every event."""

from shared.labels.family import Flag


class Everything(Flag):
    """Every tweet, its changes and its end."""

    name = "all"
    facet = "action"  # which every event has

    def holds(self, facet: str) -> bool:  # noqa: D102
        return True
