"""A version has a key of each lookup of every label that it has: what the archive looks up it finds."""

from hypothesis import example, given
from hypothesis import strategies as st

from services.archive.keys import Lookup, keys_of, lookups
from shared.labels import Facets, Label

texts = st.text(alphabet="abé日 #!_\x03", max_size=14)


def met(lookup: Lookup, keys: set[str]) -> bool:
    first, last = lookup.range
    return lookup.prefix in keys if lookup.whole else any(first <= key <= last for key in keys)


@given(text=texts, cut=st.tuples(st.integers(0, 14), st.integers(1, 8)))
@example(text="ab a", cut=(1, 3))
@example(text="ab a b", cut=(1, 5))
@example(text="a b", cut=(0, 3))
def test_every_string_in_a_text_is_looked_up_where_the_text_is(text: str, cut: tuple[int, int]) -> None:
    begin, length = cut
    string = text[begin : begin + length].strip()
    if string:
        label = Label.of("term", string)
        wanted = lookups(label)
        assert wanted
        keys = keys_of(Facets("create", text))
        assert all(met(lookup, keys) for lookup in wanted), wanted


def test_two_words_are_looked_up_by_what_stands_between_them() -> None:
    [between] = {lookup.prefix for lookup in lookups(Label.of("term", "the cat")) or ()} - {
        "the",
        "he ",
        " ca",
        "cat",
    }
    assert between in keys_of(Facets("create", "see the cats"))
    assert between not in keys_of(Facets("create", "the fat cat: here come the owls"))


def test_of_a_word_with_one_letter_all_words_that_begin_with_it_are_looked_up() -> None:
    wanted = lookups(Label.of("term", "vitamin c")) or []
    for text in ("vitamin c", "vitamin c!", "my vitamin cocktail", "vitamin cé x"):
        assert all(met(lookup, keys_of(Facets("create", text))) for lookup in wanted), text
    other = keys_of(Facets("create", "vitamin d and vitamin e"))
    assert [lookup.whole for lookup in wanted if not met(lookup, other)] == [False], "only what stands at the space"


def test_what_ends_one_character_after_a_space_is_looked_up_by_all_that_go_on_from_there() -> None:
    (lookup,) = lookups(Label.of("term", "e c")) or []
    assert not lookup.whole
    assert met(lookup, keys_of(Facets("create", "the cat"))) and met(lookup, keys_of(Facets("create", "be c")))
    assert not met(lookup, keys_of(Facets("create", "see the dog")))
