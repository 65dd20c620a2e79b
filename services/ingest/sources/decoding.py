"""From decoded JSON of others to our types."""

from typing import TypeVar

import msgspec

from shared.events import UnreadableError

T = TypeVar("T")


def convert(value: object, kind: type[T]) -> T:
    """`value`, made of what JSON has, as `kind`; fields that `kind` doesn't know are left out.

    Raises `UnreadableError`, which says where and how it differs.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise UnreadableError(str(error)) from None
