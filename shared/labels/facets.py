"""What classification needs to know of an event, and nothing else."""

from typing import NamedTuple

from shared.events import Action, Event, Tweet
from shared.labels.text import fold


class Facets(NamedTuple):
    """One event as the label families see it. Texts are folded (`shared.labels.text.fold`).

    A destroy has an action alone. This is also the form in which ingest sends them to the router, so
    the fields are what MessagePack can carry.
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
