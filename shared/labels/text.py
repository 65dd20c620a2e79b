"""How text is compared: one folding for terms and tweets, and what counts as the edge of a word."""

import unicodedata


def fold(text: str) -> str:
    """`text` case-folded and in NFC, so that texts which differ in case or composition alone are equal.

    This is the canonical caseless matching of Unicode (definition D145), recomposed: "STRASSE" and
    "Straße" fold to the same string. `fold(fold(x)) == fold(x)`.
    """
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


def is_word_character(character: str) -> bool:
    """Whether `character` continues a word: letters, digits, marks of any script, and `_`."""
    return character == "_" or unicodedata.category(character)[0] in "LNM"


def stands_alone(text: str, start: int, end: int) -> bool:
    """Whether `text[start:end]` is a whole word there: no word goes on over either of its edges."""
    if start > 0 and is_word_character(text[start]) and is_word_character(text[start - 1]):
        return False
    return end == len(text) or not (is_word_character(text[end - 1]) and is_word_character(text[end]))


def contains_word(text: str, word: str) -> bool:
    """Whether `word` occurs in `text` as a whole word. Both are folded already."""
    start = text.find(word)
    while start >= 0:
        if stands_alone(text, start, start + len(word)):
            return True
        start = text.find(word, start + 1)
    return False
