"""How Bluesky's hosts fail, in words for people that are the same each time, and how long to wait then. Pure."""

from collections.abc import Mapping

from services.ingest.sources.network import in_words, retry_after_s


class Failure(Exception):
    """A host can't be reached, refuses, or has stopped to send what it should."""

    def __init__(
        self, reason: str, *, at_least_s: float = 0.0, status: int | None = None, too_large: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        """What happened; the same words each time that it happens."""
        self.at_least_s = at_least_s
        """So many seconds the host asked to wait."""
        self.status = status
        """The HTTP status, where the host answered with one."""
        self.too_large = too_large
        """Whether a message was larger than we take."""


class BehindError(Failure):
    """A host's clock is behind, and has to be asked for an earlier moment."""


def of_status(status: int, headers: Mapping[str, str], *, now_ms: int) -> Failure:
    """The failure that an answer of this HTTP status is."""
    return Failure(
        f"it answers {status}", at_least_s=retry_after_s(headers.get("Retry-After", ""), now_ms), status=status
    )


def of_error(error: BaseException) -> Failure:
    """The failure that an error of the network is."""
    return error if isinstance(error, Failure) else Failure(in_words(error))
