"""`has_url`: tweets with a link."""

from shared.labels.facets import Facets
from shared.labels.family import Flag


class HasUrl(Flag):
    """The tweet contains a URL, as its source says (X: `entities.urls`)."""

    name = "has_url"
    aliases = ("url",)

    def holds(self, facets: Facets) -> bool:  # noqa: D102
        return facets.has_url
