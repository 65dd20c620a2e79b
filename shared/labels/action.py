"""`action.<action>`: changes of one kind, whatever they are about."""

from collections.abc import Iterable

from shared.events import Action
from shared.labels.family import EnumerableFamily, LabelError


class ActionFamily(EnumerableFamily):
    """Every `create`, `update` or `destroy`. Gateways bind the last two; no room shows them."""

    name = "action"
    facet = "action"
    has_room = False

    def canonical(self, value: str) -> str:  # noqa: D102
        folded = super().canonical(value)
        if folded not in list(Action):
            raise LabelError(f"'{folded}' is no action: they are {', '.join(Action)}")
        return folded

    def values_of(self, facet: str) -> Iterable[str]:  # noqa: D102
        return (facet,)
