"""`word.<word>`: tweets whose text contains the word by itself."""

from shared.labels.facets import Facets
from shared.labels.family import Family
from shared.labels.text import contains_word


class Word(Family):
    """A whole word of the folded text; `#nfl`, `@nfl` and `$nfl` contain the word "nfl"."""

    name = "word"

    def matches(self, value: str, facets: Facets) -> bool:  # noqa: D102
        return contains_word(facets.text, value)
