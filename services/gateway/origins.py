"""Which pages may connect: the origins that a browser names. Pure."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from yarl import URL

Policy = Literal["*"] | Callable[[str | None, Mapping[str, Any]], bool] | None
"""What python-engineio takes as `cors_allowed_origins`. (An empty list would switch its check off.)"""

ANY: Literal["*"] = "*"


def origins(text: str) -> frozenset[str]:
    """The origins that `text` lists, with commas between, each spelled as browsers do: `https://example.org`.

    `*` stands for all of them. Raises `ValueError` with a message that names the first that is none.
    """
    listed = [item.strip() for item in text.split(",") if item.strip()]
    if ANY in listed and len(listed) > 1:
        raise ValueError("'*' is any origin, so it stands alone")
    return frozenset(item if item == ANY else _origin(item) for item in listed)


def policy(text: str) -> Policy:
    """Who may connect beside requests that name no origin, as programs do: the gateway's own host and what is listed.

    With nothing listed that is the library's own check, with `*` there is none.
    """
    listed = origins(text)
    if not listed:
        return None
    if ANY in listed:
        return ANY

    def may(origin: str | None, environ: Mapping[str, Any]) -> bool:
        return origin in listed or (origin is not None and origin in _own(environ))

    return may


def _own(environ: Mapping[str, Any]) -> set[str]:
    """The origins that the gateway itself is reached at, as the request and the proxy before us have it."""
    host = str(environ.get("HTTP_HOST", ""))
    if not host:
        return set()
    scheme = str(environ.get("wsgi.url_scheme", ""))
    forwarded_host = str(environ.get("HTTP_X_FORWARDED_HOST", host)).partition(",")[0].strip()
    forwarded_scheme = str(environ.get("HTTP_X_FORWARDED_PROTO", scheme)).partition(",")[0].strip()
    return {f"{scheme}://{host}", f"{forwarded_scheme}://{forwarded_host}"}


def _origin(text: str) -> str:
    wanted = f"{text.rpartition('@')[2][:60]!a} is no origin such as https://example.org"
    try:
        url = URL(text)
        if url.scheme not in {"http", "https"} or not url.host or "*" in url.host or url.explicit_port == 0:
            raise ValueError(wanted)
        if url.user or url.password or url.path not in {"", "/"} or url.query_string or url.fragment:
            raise ValueError(f"{wanted}: scheme, host and perhaps a port")
        return str(url.origin())
    except ValueError as error:
        raise error if str(error).startswith(wanted) else ValueError(wanted) from None
