"""`has_url`: tweets with a link."""

from shared.labels.family import Flag


class HasUrl(Flag):
    """The tweet contains a URL, as its source says (X: `entities.urls`)."""

    name = "has_url"
    facet = "has_url"
    aliases = ("url",)

    def holds(self, facet: bool) -> bool:  # noqa: D102
        return facet
