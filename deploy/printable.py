"""Words of others on a terminal."""


def printable(text: object) -> str:
    """`text` on one line, without what would move a terminal's cursor, colour it or turn its writing round."""
    return "".join(character if character.isprintable() else " " for character in str(text))
