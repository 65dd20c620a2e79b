"""What a label family is. Each family has a file of its own beside this one."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

from shared.labels.facets import Facets
from shared.labels.text import fold

MAX_VALUE_CHARACTERS = 100
"""Longest value of a label, after folding."""


class LabelError(ValueError):
    """No label can be made of what was asked for; the message says why and can be shown to a person."""


class Family(ABC):
    """A kind of label: `term`, `tag`, `has_url`, … Families hold no state."""

    name: ClassVar[str]
    """First word of the routing key and first segment of the URL."""
    takes_value: ClassVar[bool] = True
    aliases: ClassVar[tuple[str, ...]] = ()
    """Other first segments of a URL that mean this family."""
    has_room: ClassVar[bool] = True
    """Whether a browser can ask for it; otherwise it is for consumers on the exchange alone."""

    sigils: ClassVar[str] = ""
    """Characters that people write before a value and that are no part of it: the `#` of a hashtag."""

    def canonical(self, value: str) -> str:
        """The one spelling of `value` by which labels of this family are compared.

        Raises `LabelError` where there is none.
        """
        folded = fold(value).strip()
        while folded and folded[0] in self.sigils:
            folded = folded[1:].strip()
        if not folded:
            raise LabelError(f"'{self.name}' needs a value, for example {self.name}/nfl")
        if len(folded) > MAX_VALUE_CHARACTERS:
            raise LabelError(f"'{folded[:20]}…' is longer than {MAX_VALUE_CHARACTERS} characters")
        return folded

    @abstractmethod
    def matches(self, value: str, facets: Facets) -> bool:
        """The definition of the family: whether an event with `facets` has the label of canonical `value`."""


class EnumerableFamily(Family):
    """A family of which an event's labels can be listed by looking at the event alone."""

    facet: ClassVar[str]
    """The field of `Facets` that tells an event's labels of this family."""

    @abstractmethod
    def values_of(self, facet: Any) -> Iterable[str]:  # noqa: ANN401 - the type of that field
        """The canonical values of the labels that an event has whose field is `facet`; `""` where none is taken."""

    def values(self, facets: Facets) -> Iterable[str]:
        """The canonical values of all labels of this family that an event has."""
        return self.values_of(getattr(facets, self.facet))

    def matches(self, value: str, facets: Facets) -> bool:  # noqa: D102
        return value in self.values(facets)


class Flag(EnumerableFamily):
    """A family without values: an event has its one label or has it not."""

    takes_value = False

    def canonical(self, value: str) -> str:  # noqa: D102
        if value:
            raise LabelError(f"'{self.name}' takes no value")
        return ""

    @abstractmethod
    def holds(self, facet: Any) -> bool:  # noqa: ANN401
        """Whether an event has the label whose field is `facet`."""

    def values_of(self, facet: Any) -> Iterable[str]:  # noqa: ANN401, D102
        return ("",) if self.holds(facet) else ()
