"""What the archive says of itself, for `make status`: its metrics as a line for people."""

import time
from collections.abc import Callable

from deploy.figures import values

Ask = Callable[[str], str | None]
"""The body of a path of the archive's private port; None where it does not answer with 200."""

HEAD = "history  "
"""What the line begins with, in line with the others of `make status`."""

METRICS = ("tweets", "bytes", "files", "oldest_seconds")
"""Those of the metrics `roost_archive_…` that the line tells."""
_UNITS = ("bytes", "KB", "MB", "GB")


def is_ready(ask: Ask) -> bool:
    """Whether the archive says that it can do its work."""
    return ask("/readyz") is not None


def line(ask: Ask) -> str:
    """How much the archive has and how far back it goes."""
    said = ask("/metrics")
    if said is None:
        return f"{HEAD}the archive does not answer"
    known = values(said)
    tweets, size, files, oldest = (known.get(f"roost_archive_{name}", 0.0) for name in METRICS)
    kept = f"{HEAD}{tweets:,.0f} tweet{_s(tweets)}, {_size(size)} in {files:.0f} file{_s(files)}"
    return f"{kept}, back to {_moment(oldest)}" if oldest else kept


def _s(number: float) -> str:
    return "" if number == 1 else "s"


def _size(number: float) -> str:
    unit = 0
    while number >= 1000 and unit < len(_UNITS) - 1:
        number /= 1000
        unit += 1
    return f"{number:.1f} {_UNITS[unit]}" if unit else f"{number:.0f} bytes"


def _moment(seconds: float) -> str:
    """A moment, in seconds since the epoch: its time here, and how long ago it was."""
    minutes = max(0, int(time.time() - seconds) // 60)
    ago = f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
    return f"{time.strftime('%Y-%m-%d %H:%M', time.localtime(seconds))} ({ago} ago)"
