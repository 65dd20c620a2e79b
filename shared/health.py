"""What a service says of itself: whether it lives and whether it can do its work."""


class Health:
    """The one place where a service keeps its state for `/healthz` and `/readyz`.

    `parts` are what has to be there before the service can work, by a name that an operator understands.
    """

    def __init__(self, *parts: str) -> None:
        self._ready = dict.fromkeys(parts, False)
        self.draining = False
        """True from the signal to stop on: no new work, please."""

    def set(self, part: str, ready: bool) -> None:
        """`part` came or went."""
        if part not in self._ready:
            raise KeyError(part)
        self._ready[part] = ready

    @property
    def alive(self) -> bool:
        """Whether a load balancer should send people here."""
        return not self.draining

    @property
    def ready(self) -> bool:
        """Whether the service can do its work."""
        return self.alive and all(self._ready.values())

    def state(self) -> dict[str, bool]:
        """All parts, for `/readyz`."""
        return {**self._ready, "draining": self.draining}
