"""What somebody asks for who subscribes to a collection. Pure."""

import re
from collections.abc import Mapping
from typing import NamedTuple, TypeGuard

from services.gateway.subscriptions import query
from services.gateway.subscriptions.collections import COLLECTIONS, Collection
from services.gateway.subscriptions.fields import Fields, UnknownFieldError
from services.gateway.subscriptions.interest import Wanted
from services.gateway.wishes import BadRequestError, read_documents, read_since

MAX_FIELDS = 50

_UID = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Request(NamedTuple):
    """One subscription."""

    uid: str
    """The client's name for it."""
    wanted: Wanted
    documents: Mapping[str, int]
    """What the page holds: by id the `mtime` of the version."""
    since: int | None
    """New documents above this `seq` that it does not hold, too."""


def is_subscription(request: object) -> TypeGuard[Mapping[str, object]]:
    """Whether a request means the subscription model, and not a room."""
    return isinstance(request, dict) and ("uid" in request or "collection" in request)


def read(request: Mapping[str, object], collections: Mapping[str, Collection] = COLLECTIONS) -> Request:
    """The subscription in a request; raises `BadRequestError`."""
    uid = request.get("uid")
    if not isinstance(uid, str) or not _UID.fullmatch(uid):
        raise BadRequestError("uid is your own name for the subscription: 1 to 64 letters, digits, _, - and .")
    name = request.get("collection")
    collection = collections.get(name) if isinstance(name, str) else None
    if collection is None:
        raise BadRequestError(f"collection is one of {', '.join(sorted(collections))}")
    asked = request.get("createQuery")
    try:
        wanted_query = None if asked is None else query.read(collection, asked)
        fields = _fields(collection, request.get("fields"))
    except (query.QueryError, UnknownFieldError) as error:
        raise BadRequestError(str(error)) from None
    return Request(
        uid,
        Wanted(collection, fields, wanted_query),
        read_documents(request.get("documents")),
        read_since(request.get("since")),
    )


def _fields(collection: Collection, asked: object) -> Fields:
    if asked is None:
        return Fields.of(collection, None)
    if not isinstance(asked, list) or len(asked) > MAX_FIELDS or not all(isinstance(one, str) for one in asked):
        raise BadRequestError(f'fields is a list of at most {MAX_FIELDS} dotted paths: ["text", "user.screen_name"]')
    return Fields.of(collection, asked)
