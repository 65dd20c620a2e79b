"""What the label families mean, and that the router's fast search agrees with it."""

import tracemalloc
from collections.abc import Iterable, Sequence

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.router import automata
from services.router.matcher import Matcher, TooManyTermsError
from shared import raw
from shared.events import Action, Destroy, UnreadableError
from shared.labels import FAMILIES, EnumerableFamily, Facets, Label, LabelError, is_pattern, parse_key, parse_path
from shared.labels.text import fold
from tests.support.tweets import PHOTO, tweet
from tests.unit.test_patterns import topic_matches

MANY = 1_000


def matches(path: str, text: str) -> bool:
    return parse_path(path).matches(Facets.of(tweet(text)))


class TestMeaning:
    @pytest.mark.parametrize(
        ("term", "text"),
        [
            ("nfl", "Watching the NFL tonight"),
            ("nfl", "#NFLDraft"),
            ("nfl", "inflation"),
            ("NFL", "nfl"),
            ("STRASSE", "In der Straße"),
            ("straße", "IN DER STRASSE"),
            ("café", "Cafe\u0301!"),
            ("super bowl", "the Super Bowl ad"),
            ("c++", "I like C++."),
            ("100%", "100% of it"),
            ("example.com/x", "see example.com/x?y"),
            ("#nfl", "go #NFL go"),
            ("مرحبا", "قال مرحبا للجميع"),
            ("👩", "👩\u200d👩\u200d👧"),
            ("日本", "日本語のツイート"),
        ],
    )
    def test_a_term_is_any_part_of_the_text_in_any_case(self, term: str, text: str) -> None:
        assert Label.of("term", term).matches(Facets.of(tweet(text)))

    @pytest.mark.parametrize(("term", "text"), [("nfl", "n f l"), ("nfl", ""), ("cafe", "café"), ("a b", "a  b")])
    def test_a_term_is_not_found_where_it_is_not(self, term: str, text: str) -> None:
        assert not Label.of("term", term).matches(Facets.of(tweet(text)))

    @pytest.mark.parametrize(
        ("word", "text"),
        [
            *(
                ("nfl", text)
                for text in ("NFL", "the nfl.", "#nfl", "@NFL", "$nfl", "(nfl)", "nfl’s", "nfl-draft", "🏈nfl🏈")
            ),
            ("nfl", "nflx inflation nfl!"),
            ("नमस्ते", "नमस्ते दुनिया"),
            ("#nfl", "go #nfl"),
            ("c++", "c++ and c"),
            ("super bowl", "a super bowl ad"),
            ("new_york", "new_york"),
            ("🏈", "x🏈y"),
        ],
    )
    def test_a_word_stands_by_itself(self, word: str, text: str) -> None:
        assert Label.of("word", word).matches(Facets.of(tweet(text)))

    @pytest.mark.parametrize(
        ("word", "text"),
        [
            *(("nfl", text) for text in ("nflx", "inflation", "NFLDraft", "nfl_draft", "_nfl", "nfl2", "2nfl")),
            ("नमस्त", "नमस्ते"),  # The vowel sign after it belongs to the word.
            ("cafe", "café"),
            ("super bowl", "super bowls"),
            ("هلا", "سهلا"),
        ],
    )
    def test_a_part_of_a_word_is_no_word(self, word: str, text: str) -> None:
        assert not Label.of("word", word).matches(Facets.of(tweet(text)))

    def test_what_is_beside_the_text(self) -> None:
        facets = Facets.of(
            tweet(
                "text", hashtags=("NFL",), lang="EN", screen_name="NFL", urls=("https://example.org",), media=(PHOTO,)
            )
        )
        for path in ("/", "/tag/nfl", "/from/@Nfl", "/lang/en", "/url", "/has_media"):
            assert parse_path(path).matches(facets), path
        for path in ("/tag/nf", "/from/nf", "/lang/de", "/nfl", "/word/nfl"):
            assert not parse_path(path).matches(facets), path

    def test_a_tweet_without_links_and_pictures(self) -> None:
        facets = Facets.of(tweet("https is a word", lang="und"))
        assert not parse_path("/url").matches(facets)
        assert not parse_path("/has_media").matches(facets)

    def test_the_end_of_a_tweet_says_nothing_of_what_it_was(self) -> None:
        facets = Facets.of(Destroy(id="x:1", mtime=1))
        having = [
            f"{name}.{value}" if family.takes_value else name
            for name, family in FAMILIES.items()
            if isinstance(family, EnumerableFamily)
            for value in family.values(facets)
        ]
        assert having == ["all", "action.destroy"]

    def test_an_update_can_be_asked_for(self) -> None:
        facets = Facets.of(tweet("text", action=Action.UPDATE))
        assert parse_key("action.update").matches(facets)
        assert not parse_key("action.create").matches(facets)


# So few letters that terms overlap, contain each other, and stand alone or within words.
letters = "aAbB #_é\u0301ß\u093f"
texts = st.text(letters, max_size=12)
names = st.sampled_from(["a", "B", "ab", "aé", "ß", "en"])
literals = st.one_of(
    st.builds(
        "{}.{}".format, st.sampled_from(["term", "word"]), st.text(letters.replace("#", ""), min_size=1, max_size=3)
    ),
    st.builds("{}.{}".format, st.sampled_from(["tag", "from", "lang", "term", "word"]), names),
    st.sampled_from(["all", "has_url", "has_media", "action.create", "action.UPDATE", "term.%61", "term.%41b"]),
)
broken = st.sampled_from(
    ["foo", "foo.bar", "term.", "term. ", "has_url.x", "action.x", "lang.%ff", "term." + "x" * 101]
)
wildcards = st.sampled_from(
    ["#", "*", "*.*", "lang.*", "tag.#", "term.*", "word.#", "*.en", "from.*", "action.*", "#.b"]
)
keys = st.one_of(literals, literals, literals, wildcards, broken)
facets_of_events = st.one_of(
    st.just(Facets.of(Destroy(id="x:1", mtime=1))),
    st.builds(
        lambda text, hashtags, author, lang, url, media, action: Facets.of(
            tweet(
                text,
                hashtags=tuple(hashtags),
                screen_name=author,
                lang=lang,
                urls=("https://example.org",) if url else (),
                media=(PHOTO,) if media else (),
                action=action,
            )
        ),
        texts,
        st.lists(names, max_size=3),
        names,
        names,
        st.booleans(),
        st.booleans(),
        st.sampled_from([Action.CREATE, Action.UPDATE]),
    ),
)


def label_or_none(key: str) -> Label | None:
    try:
        return parse_key(key)
    except LabelError:
        return None


def want_all(matcher: Matcher, wanted: list[str]) -> None:
    for key in wanted:
        try:
            matcher.want(key)
        except LabelError:
            assert label_or_none(key) is None


def batch_of(events: Iterable[Facets]) -> raw.Batch:
    return raw.Batch(raw.pack([raw.Entry(b"\x80", facets) for facets in events]))


def found_in_each(matcher: Matcher, events: Sequence[Facets]) -> list[set[str]]:
    """What the matcher finds in the events of a batch; that keys are sorted and named once is checked by the way."""
    by_place = matcher.keys_of(batch_of(events))
    assert all(keys and keys == sorted(set(keys)) for keys in by_place.values())
    assert set(by_place) <= set(range(len(events)))
    return [set(by_place.get(place, ())) for place in range(len(events))]


def found(matcher: Matcher, facets: Facets) -> set[str]:
    """What the matcher finds in one event."""
    [keys] = found_in_each(matcher, [facets])
    return keys


class TestMatcher:
    @settings(deadline=None, max_examples=200)
    @given(
        st.lists(st.one_of(literals, literals, broken), max_size=12, unique=True),
        st.lists(facets_of_events, max_size=5),
        st.sampled_from([1, 2, 3, 5, 7, 100]),
    )
    @example(["term.a", "term.ab", "term.b", "term.A"], [Facets("create", "abab")], 1)
    @example(["word.a", "word.ab", "term.b"], [Facets("create", "ab a"), Facets("create", "b a")], 2)
    @example(["word.ß", "term.éß"], [Facets("create", "éßéß")], 3)
    def test_it_finds_exactly_the_keys_whose_labels_each_event_has(
        self, wanted: list[str], events: list[Facets], window: int
    ) -> None:
        matcher = Matcher(max_terms=MANY)
        want_all(matcher, wanted)
        labels = {key: label for key in wanted if (label := label_or_none(key))}
        expected = [{key for key, label in labels.items() if label.matches(facets)} for facets in events]
        with pytest.MonkeyPatch.context() as patch:
            # So that strings, and characters of several bytes, lie across the edges of windows.
            patch.setattr(automata, "WINDOW_BYTES", window)
            assert found_in_each(matcher, events) == expected
            while matcher.improve(at_rest=True):
                pass
            assert found_in_each(matcher, events) == expected

    @settings(deadline=None, max_examples=150)
    @given(st.lists(keys, max_size=8, unique=True), facets_of_events)
    @example(["*.*", "lang.en"], Facets("create", "", (), "", "en"))
    def test_a_pattern_receives_every_listed_label_that_it_matches(self, wanted: list[str], facets: Facets) -> None:
        matcher = Matcher(max_terms=MANY)
        want_all(matcher, wanted)
        published = found(matcher, facets)
        literal = {key for key in wanted if not is_pattern(key)}
        for key in published:
            assert parse_key(key).matches(facets)
            assert key in literal or key == parse_key(key).key
        having = [
            Label.of(name, value).key
            for name, family in FAMILIES.items()
            if isinstance(family, EnumerableFamily)
            for value in family.values(facets)
        ]
        for pattern in set(wanted) - literal:
            if any(topic_matches(pattern, key) for key in having):
                assert any(topic_matches(pattern, key) for key in published), pattern

    @settings(deadline=None, max_examples=150)
    @given(st.lists(st.tuples(st.booleans(), keys), max_size=25), facets_of_events)
    def test_after_any_coming_and_going_it_is_as_if_new(
        self, changes: list[tuple[bool, str]], facets: Facets
    ) -> None:
        used = Matcher(max_terms=MANY)
        wanted: dict[str, None] = {}
        for coming, key in changes:
            if coming:
                wanted[key] = None
                want_all(used, [key])
            else:
                wanted.pop(key, None)
                used.unwant(key)
            fresh = Matcher(max_terms=MANY)
            want_all(fresh, list(wanted))
            assert found(used, facets) == found(fresh, facets)
            assert used.terms == fresh.terms

    def test_each_spelling_that_somebody_bound_gets_the_tweet(self) -> None:
        matcher = Matcher(max_terms=MANY)
        for key in ("term.NFL", "term.nfl", "word.nfl", "word.Nfl"):
            matcher.want(key)
        assert matcher.terms == 2
        assert found(matcher, Facets.of(tweet("nfl NFL nfl"))) == {"term.NFL", "term.nfl", "word.nfl", "word.Nfl"}
        matcher.unwant("term.nfl")
        assert found(matcher, Facets.of(tweet("inflation"))) == {"term.NFL"}

    def test_everything_is_one_key_and_not_one_per_label(self) -> None:
        matcher = Matcher(max_terms=MANY)
        matcher.want("#")
        assert found(matcher, Facets.of(tweet("text", hashtags=("a",)))) == {"all"}

    def test_searched_families_are_not_listed_for_a_pattern(self) -> None:
        matcher = Matcher(max_terms=MANY)
        matcher.want("term.*")
        assert found(matcher, Facets.of(tweet("nfl"))) == set()
        matcher.want("term.nfl")
        assert found(matcher, Facets.of(tweet("nfl"))) == {"term.nfl"}

    def test_a_hashtag_too_long_for_a_key_is_left_out_of_a_pattern(self) -> None:
        matcher = Matcher(max_terms=MANY)
        matcher.want("tag.*")
        assert found(matcher, Facets.of(tweet("text", hashtags=("x" * 300, "ok")))) == {"tag.ok"}

    def test_nothing_is_wanted_of_a_new_one(self) -> None:
        assert Matcher(max_terms=MANY).keys_of(batch_of([Facets.of(tweet("nfl", hashtags=("nfl",)))])) == {}

    def test_a_batch_of_nothing_has_nothing(self) -> None:
        matcher = Matcher(max_terms=MANY)
        want_all(matcher, ["#", "all", "term.a", "word.a", "lang.*"])
        assert matcher.keys_of(batch_of([])) == {}

    @pytest.mark.parametrize(
        "texts",
        [["na", "nfl"], ["nan", "fl"], ["a", "", "nan"], ["na" * 9, "nfl"]],
    )
    def test_a_term_is_not_made_of_the_end_of_one_text_and_the_beginning_of_the_next(self, texts: list[str]) -> None:
        matcher = Matcher(max_terms=MANY)
        want_all(matcher, ["term.an", "term.anfl", "term.nn", "term.nnfl", "term.nfl"])
        events = [Facets("create", text) for text in texts]
        assert found_in_each(matcher, events) == [
            {key for key in ("term.an", "term.anfl", "term.nn", "term.nnfl", "term.nfl") if key[5:] in text}
            for text in texts
        ]

    @pytest.mark.parametrize(
        "neighbour",
        ["🏈", "\u0301", "\u200d", "\ufe0f", "\U0001f3fd", "ß", "x", "_", "日", "́é", "\U000e0067", "\u093f", ".", ""],
    )
    def test_a_word_stands_alone_in_a_batch_as_it_does_by_itself(self, neighbour: str) -> None:
        matcher = Matcher(max_terms=MANY)
        wanted = ["word.nfl", "word.é", "word.🏈", "word.日本", "word.#nfl"]
        want_all(matcher, wanted)
        values = [parse_key(key).value for key in wanted]
        events = [
            Facets("create", fold(text))
            for value in values
            for text in (
                f"{neighbour}{value}",
                f"{value}{neighbour}",
                f"{neighbour}{value}{neighbour}",
                f"a{neighbour}{value}{neighbour}b",
                f"{neighbour}",
            )
        ]
        assert found_in_each(matcher, events) == [
            {key for key in wanted if parse_key(key).matches(facets)} for facets in events
        ]

    def test_at_the_border_of_two_texts_a_word_ends(self) -> None:
        matcher = Matcher(max_terms=MANY)
        want_all(matcher, ["word.nfl", "word.本"])
        events = [Facets("create", text) for text in ("x", "nfl", "x", "本", "本x", "x本", "nflx")]
        assert found_in_each(matcher, events) == [set(), {"word.nfl"}, set(), {"word.本"}, set(), set(), set()]

    def test_a_column_that_nobody_wants_may_be_of_anything_and_a_wanted_one_may_not(self) -> None:
        columns = msgpack.unpackb(raw.pack([raw.Entry(b"\x80", Facets.of(tweet("nfl"))) for _ in range(2)]))
        columns[6] = ["en", 7]
        batch = raw.Batch(msgpack.packb(columns))
        matcher = Matcher(max_terms=MANY)
        want_all(matcher, ["term.nfl", "from.somebody"])
        both = ["from.somebody", "term.nfl"]
        assert matcher.keys_of(batch) == {0: both, 1: both}
        matcher.want("lang.en")
        with pytest.raises(UnreadableError):
            matcher.keys_of(batch)
        matcher.unwant("lang.en")
        assert matcher.keys_of(batch) == {0: both, 1: both}


def test_a_long_text_of_nested_terms_is_searched_in_little_memory() -> None:
    matcher = Matcher(max_terms=1000)
    terms = {f"term.{'a' * length}" for length in range(1, 41)}
    for key in (*terms, "word.end", "term.a end"):
        matcher.want(key)
    events = [Facets("create", "a" * 7990 + " end"), Facets("create", "b" + "a" * 39)]
    tracemalloc.start()
    assert found_in_each(matcher, events) == [terms | {"word.end", "term.a end"}, terms - {f"term.{'a' * 40}"}]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30_000_000


class TestTheMostTerms:
    def test_a_term_too_many_waits_until_another_goes(self) -> None:
        matcher = Matcher(max_terms=2)
        matcher.want("term.a")
        matcher.want("word.b")
        with pytest.raises(TooManyTermsError, match="2 terms"):
            matcher.want("term.c")
        facets = Facets.of(tweet("a b c"))
        assert found(matcher, facets) == {"term.a", "word.b"}
        matcher.unwant("term.a")
        assert found(matcher, facets) == {"word.b", "term.c"}

    def test_another_spelling_of_a_term_that_is_searched_for_does_not_wait(self) -> None:
        matcher = Matcher(max_terms=1)
        matcher.want("term.nfl")
        matcher.want("term.NFL")
        assert found(matcher, Facets.of(tweet("nfl"))) == {"term.nfl", "term.NFL"}

    def test_labels_that_are_not_searched_for_are_not_counted(self) -> None:
        matcher = Matcher(max_terms=1)
        for key in ("term.a", "tag.a", "tag.b", "lang.en", "all", "term.*", "#"):
            matcher.want(key)
        assert matcher.terms == 1

    def test_who_goes_while_waiting_is_forgotten(self) -> None:
        matcher = Matcher(max_terms=1)
        matcher.want("term.a")
        with pytest.raises(TooManyTermsError):
            matcher.want("term.b")
        matcher.unwant("term.b")
        matcher.unwant("term.a")
        assert found(matcher, Facets.of(tweet("a b"))) == set()
        assert matcher.terms == 0

    def test_both_spellings_of_a_term_come_out_of_waiting(self) -> None:
        matcher = Matcher(max_terms=1)
        matcher.want("term.a")
        for key in ("term.nfl", "term.NFL"):
            with pytest.raises(TooManyTermsError):
                matcher.want(key)
        matcher.unwant("term.a")
        assert found(matcher, Facets.of(tweet("nfl"))) == {"term.nfl", "term.NFL"}

    def test_who_has_waited_longest_comes_first(self) -> None:
        matcher = Matcher(max_terms=1)
        matcher.want("term.a")
        for key in ("term.b", "term.c"):
            with pytest.raises(TooManyTermsError):
                matcher.want(key)
        matcher.unwant("term.a")
        assert found(matcher, Facets.of(tweet("a b c"))) == {"term.b"}

    @settings(deadline=None, max_examples=150)
    @given(
        st.integers(1, 3),
        st.lists(
            st.tuples(
                st.sampled_from([True, True, False]),
                st.sampled_from(["term.a", "term.A", "term.b", "term.B", "word.c", "term.d"]),
            ),
            min_size=4,
            max_size=20,
        ),
    )
    @example(1, [(True, "term.a"), (True, "term.b"), (True, "term.B"), (False, "term.a")])
    def test_places_are_never_left_empty_while_somebody_waits(
        self, most: int, changes: list[tuple[bool, str]]
    ) -> None:
        matcher = Matcher(max_terms=most)
        wanted: set[str] = set()
        for coming, key in changes:
            if coming:
                wanted.add(key)
                try:
                    matcher.want(key)
                except TooManyTermsError:
                    assert matcher.terms == most
            else:
                wanted.discard(key)
                matcher.unwant(key)
            labels = {parse_key(key) for key in wanted}
            assert matcher.terms == min(most, len(labels))
            got = found(matcher, Facets.of(tweet("a b c d")))
            searched = {parse_key(key) for key in got}
            assert len(searched) == matcher.terms
            assert got == {key for key in wanted if parse_key(key) in searched}
