"""`term.<string>`: tweets whose text contains the string anywhere."""

from shared.labels.facets import Facets
from shared.labels.family import Family


class Term(Family):
    """Any substring of the folded text: "nfl" is in "#NFLDraft" and in "inflation"."""

    name = "term"

    def matches(self, value: str, facets: Facets) -> bool:  # noqa: D102
        return value in facets.text
