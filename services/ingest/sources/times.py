"""Moments, as sources write them and as events carry them."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def iso(milliseconds: int) -> str:
    """`2021-04-01T15:52:31.000Z` for milliseconds since the epoch.

    Raises ValueError for a moment before the year 1 or after 9999; `parse_iso` gives none.
    """
    try:
        moment = _EPOCH + milliseconds * _MILLISECOND
    except OverflowError:
        raise ValueError(f"{milliseconds} ms since the epoch is in no year that can be written") from None
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def parse_iso(text: str) -> int:
    """Milliseconds since the epoch of an ISO 8601 moment. One without a zone is in UTC.

    Raises ValueError for anything else, and for a moment that is in the years 1 to 9999 in its own zone alone.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return (moment.astimezone(UTC) - _EPOCH) // _MILLISECOND
    except OverflowError:
        raise ValueError("not in a year that can be written in UTC") from None
