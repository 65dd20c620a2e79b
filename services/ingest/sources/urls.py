"""Links in a text, for posts whose source does not say which links they have.

The rules are those that X publishes as twitter-text (version 3), rewritten: what X itself would link. A link
begins with `http://` or `https://`, or is a bare ASCII domain (`example.com/x`); its domain ends in a known
top-level domain, and no letter, digit, `@`, `#` or `$` stands before it, so that `a@b.com`, `@user.name`,
`#tag.com` and `1.2` are none. The list of top-level domains is linkify-it-py's. Its own rules are another
matter: they miss links that touch Chinese or Japanese text and find some in hashtags and cashtags.
"""

import re
from functools import cache
from typing import NamedTuple

from linkify_it.tlds import TLDS

MAX_URL_LENGTH = 4096
MAX_TCO_SLUG_LENGTH = 40

_LATIN = "\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u0253-\u0272\u0289\u028b\u02bb\u0300-\u036f\u1e00-\u1eff"
_CYRILLIC = "\u0400-\u04ff"
_NOT_BEFORE = f"(?<![a-z0-9{_LATIN}@＠$#＃])"
"""What may not stand directly before a link: it would be an address, a mention, a tag or a longer word."""

_PUNCTUATION = r"!'#%&()*+,\\\-./:;<=>?@\[\]^_{|}~$"
_DOMAIN_CHARACTER = rf"[^\s{_PUNCTUATION}\u202a-\u202e\ufffe\ufeff\uffff]"

_GENERAL = rf"[a-z0-9{_CYRILLIC}{_LATIN}!*';:=+,.$/%#\[\]\-\u2013_~@|&]"
_BALANCED = rf"\((?:{_GENERAL}+|{_GENERAL}*\({_GENERAL}+\){_GENERAL}*)\)"
_PATH = rf"/(?:{_GENERAL}|{_BALANCED})*"
_QUERY = r"\?[a-z0-9!?*'@();:&=+$/%#\[\]\-_.,~|]*"

_PATH_TAIL = "!*';:,.$%[]\u2013~@|&"
_QUERY_TAIL = "!?*'@();:+$%[].,~|"
"""What may stand in a path or a query but not end it: there it is punctuation of the sentence."""

_TCO = re.compile(r"https?://t\.co/([a-z0-9]+)", re.IGNORECASE)


class Link(NamedTuple):
    """A link and where in the text it stands: `text[start:end]`."""

    start: int
    end: int
    url: str
    """With its protocol; a bare domain gets `http://`, as X does it."""


@cache
def _pattern() -> re.Pattern[str]:
    """One link. Compiled at first use: most processes never need the thousands of top-level domains."""
    names = [name.lower() for name in TLDS]
    names += [name.encode().decode("idna") for name in names if name.startswith("xn--")]
    known = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    tld = rf"(?:{known})(?![a-z0-9@])"
    subdomain = rf"(?:{_DOMAIN_CHARACTER}(?:[_\-]*{_DOMAIN_CHARACTER})*\.)"
    label = rf"(?:{_DOMAIN_CHARACTER}(?:-*{_DOMAIN_CHARACTER})*\.)"
    ascii_label = rf"[a-z0-9{_LATIN}](?:[a-z0-9{_LATIN}\-]*[a-z0-9{_LATIN}])?\."
    return re.compile(
        rf"{_NOT_BEFORE}"
        rf"(?:(?P<protocol>https?://)(?P<host>{subdomain}*{label}{tld})"
        # A bare domain isn't the rest of something longer: of a path, a name, another domain.
        rf"|(?<![-_./])(?P<bare>(?:{ascii_label})+{tld}))"
        rf"(?P<port>:[0-9]+)?(?P<path>{_PATH})?(?P<query>{_QUERY})?",
        re.IGNORECASE,
    )


def find_links(text: str) -> list[Link]:
    """The links in `text`, in order, with their places."""
    if "." not in text:
        return []
    links = (_read(match) for match in _pattern().finditer(text))
    return [link for link in links if link is not None]


def find_urls(text: str) -> tuple[str, ...]:
    """The links in `text`, in order, each as often as it stands there."""
    return tuple(link.url for link in find_links(text))


def _read(match: re.Match[str]) -> Link | None:
    path = (match["path"] or "").rstrip(_PATH_TAIL)
    # A query belongs to the link only if nothing was cut off before it.
    query = (match["query"] or "").rstrip(_QUERY_TAIL) if path == (match["path"] or "") else ""
    raw = (match["protocol"] or "") + (match["host"] or match["bare"]) + (match["port"] or "") + path + query
    if tco := _TCO.match(raw):
        if len(tco[1]) > MAX_TCO_SLUG_LENGTH:
            return None
        raw = tco[0]
    if len(raw) > MAX_URL_LENGTH or not _is_host(match["host"] or match["bare"]):
        return None
    return Link(match.start(), match.start() + len(raw), raw if match["protocol"] else f"http://{raw}")


def _is_host(host: str) -> bool:
    """Whether the domain name system could hold this name: the lengths of its labels, valid Punycode."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True
