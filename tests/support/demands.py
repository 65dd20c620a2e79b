"""A demand as a snapshot leaves it."""

from collections.abc import Iterable

from shared.demand import Binding, Change, Demand


def become(demand: Demand, bindings: Iterable[Binding]) -> int:
    """Make `demand` exactly `bindings`; returns how many changes that takes."""
    target, current = set(bindings), demand.bindings()
    changes = [Change(True, binding) for binding in target - current]
    changes += [Change(False, binding) for binding in current - target]
    for change in changes:
        demand.apply(change)
    demand.note_known()
    return len(changes)
