"""What classification needs to know of an event, and nothing else."""

from typing import NamedTuple

import msgspec

from shared.events import Action, Document, Event, Tweet, UnreadableError
from shared.labels.text import fold


class Facets(NamedTuple):
    """One event as the label families see it. Texts are folded (`shared.labels.text.fold`).

    A destroy has an action alone. Ingest sends each field of all events of a batch as a column (`shared.raw`), so the
    fields are what MessagePack can carry.
    """

    action: str
    text: str = ""
    hashtags: tuple[str, ...] = ()
    screen_name: str = ""
    lang: str = ""
    has_url: bool = False
    has_media: bool = False

    @classmethod
    def of(cls, event: Event) -> "Facets":
        """The facets of `event`."""
        if not isinstance(event, Tweet):
            return cls(Action.DESTROY.value)
        return cls(
            action=event.action.value,
            text=fold(event.text),
            hashtags=tuple(fold(tag) for tag in event.hashtags),
            screen_name=fold(event.user.screen_name),
            lang=fold(event.lang),
            has_url=bool(event.urls),
            has_media=bool(event.media),
        )

    @classmethod
    def of_document(cls, document: Document) -> "Facets":
        """The facets of an event as consumers get it; raises `UnreadableError`."""
        if document.get("action") == Action.DESTROY:
            return cls(Action.DESTROY.value)
        try:
            return cls.of(msgspec.convert(document, Tweet))
        except (msgspec.ValidationError, RecursionError) as error:
            raise UnreadableError(f"not a tweet: {error}") from None
