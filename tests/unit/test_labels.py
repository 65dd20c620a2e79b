"""Labels: one spelling each as routing key, URL and room, whatever people type."""

import unicodedata

import pytest
import yarl
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from shared.labels import FAMILIES, EnumerableFamily, Label, LabelError, parse_key, parse_path
from shared.labels.text import fold

AWKWARD = [
    *(".", "..", "...", "*", "#", "##", "/", "//", "%", "%2e", "%2E%2e", "%2F", "%25", "%zz", "?", "&", "+", "\\"),
    *(" ", "\t", "\n", "\r\n", "\x00", "\x1f", "\x7f", "\x85", "\u00a0", "\u2028", "\u3000", "\ufeff", "\u200d"),
    *("@", "@@", "@nfl", "#nfl", "$nfl", "tag/x", "tag/", "term.x", "lang.*", "'", '"', "<b>", "|", ":", "~"),
    *("all", "url", "URL", "has_url", "has_media", "term", "word", "tag", "from", "lang", "action"),
    *(
        "socket.io",
        "_",
        "favicon.ico",
        "robots.txt",
        "nfl",
        "NFL",
        "Straße",
        "STRASSE",
        "Ångström",
        "A\u030angstro\u0308m",
    ),
    *(
        "العربية",
        "שלום",
        "हिन्दी",
        "日本語",
        "👩\u200d👩\u200d👧",
        "🇩🇪",
        "ß",
        "ẞ",
        "İ",
        "ſ",
        "ﬁ",
        "ς",
        "\u0301",
        "\u0345",
    ),
]

anything = st.one_of(
    st.text(max_size=12),
    st.lists(st.one_of(st.sampled_from(AWKWARD), st.text(max_size=2)), max_size=4).map("".join),
)
values = st.sampled_from([name for name, family in FAMILIES.items() if family.takes_value and family.has_room])


def label_of(family: str, value: str) -> Label:
    """The label, where there is one: most texts are fine for most families."""
    try:
        return Label.of(family, value)
    except LabelError:
        assume(False)
        raise


class TestRoundTrips:
    @settings(deadline=None, max_examples=150)
    @given(family=values, value=anything)
    @example(family="term", value="a.b")
    @example(family="term", value="100%")
    @example(family="term", value="super bowl")
    @example(family="term", value="url")
    @example(family="term", value="..")
    @example(family="tag", value="..")
    @example(family="term", value="socket.io")
    @example(family="term", value="tag/x")
    @example(family="tag", value="##nfl")
    @example(family="tag", value="# #nfl")
    @example(family="from", value="@@nfl")
    def test_every_label_comes_back_from_its_key_its_url_and_its_room(self, family: str, value: str) -> None:
        label = label_of(family, value)
        assert parse_key(label.key) == label
        assert parse_path(label.url) == label
        assert parse_path(label.room) == label
        assert parse_path("/" + label.room) == label

    @pytest.mark.parametrize("label", [Label("all"), Label("has_url"), Label("has_media")])
    def test_labels_without_a_value_come_back_too(self, label: Label) -> None:
        assert parse_key(label.key) == parse_path(label.url) == parse_path(label.room) == label

    @pytest.mark.parametrize("action", ["create", "update", "destroy"])
    def test_actions_are_keys_and_no_rooms(self, action: str) -> None:
        assert parse_key(f"action.{action}") == Label("action", action)
        assert parse_path(f"action/{action}") == Label("term", f"action/{action}")

    @settings(deadline=None, max_examples=150)
    @given(family=values, value=anything)
    def test_canonical_spelling_is_canonical(self, family: str, value: str) -> None:
        label = label_of(family, value)
        assert Label.of(family, label.value) == label


class TestKeys:
    @settings(deadline=None, max_examples=150)
    @given(family=values, value=st.one_of(anything, st.text(min_size=30, max_size=110)))
    def test_a_key_is_two_words_of_plain_visible_text_that_amqp_can_carry(self, family: str, value: str) -> None:
        label = label_of(family, value)
        name, dot, word = label.key.partition(".")
        assert (name, dot) == (family, ".")
        assert word
        assert not set(word) & set(".*#")
        assert not any(character.isspace() or unicodedata.category(character) == "Cc" for character in word)
        assert len(label.key.encode()) <= 255
        assert 1 <= len(label.value) <= 100

    def test_the_longest_key_fits_and_one_byte_more_is_refused(self) -> None:
        assert len(Label.of("term", "é" * 100).key.encode()) == 205
        longest = "€" * 83 + "a"  # 3 bytes each, and 5 for `term.`
        assert len(Label.of("term", longest).key.encode()) == 255
        with pytest.raises(LabelError, match=r"too long.*256 of 255 bytes"):
            Label.of("term", longest + "a")

    def test_escapes_count_towards_the_length_of_a_key(self) -> None:
        with pytest.raises(LabelError, match="of 255 bytes"):
            Label.of("term", "." * 84)

    def test_two_keys_in_different_case_are_one_label(self) -> None:
        assert parse_key("term.NFL") == parse_key("term.nfl") == parse_key("term.n%66l")


class TestUrls:
    @settings(deadline=None, max_examples=150)
    @given(family=values, value=anything)
    @example(family="term", value=".")
    @example(family="term", value="..")
    @example(family="from", value="..")
    @example(family="term", value="%2e%2e")
    @example(family="term", value="a\\b")
    @example(family="term", value="//example.org")
    def test_a_url_reaches_the_server_as_it_is(self, family: str, value: str) -> None:
        """A browser resolves dot segments, cuts at `?` and `#`, and turns a backslash into a slash."""
        label = label_of(family, value)
        assert label.url.isascii()
        assert label.url.isprintable()
        assert not set(label.url) & set('?#\\ <>"')
        segments = [segment.lower().replace("%2e", ".") for segment in label.url.split("/")]
        assert not {".", ".."} & set(segments)
        here = yarl.URL("http://localhost:8080/some/room")
        assert here.join(yarl.URL(label.url, encoded=True)).raw_path == label.url
        assert parse_path(yarl.URL("http://localhost:8080" + label.url).raw_path) == label

    @settings(deadline=None)
    @given(family=values, value=anything)
    def test_a_term_never_takes_the_place_of_another_route(self, family: str, value: str) -> None:
        first = label_of(family, value).url.split("/")[1]
        assert first not in {"socket.io", "_", "favicon.ico", "robots.txt"}

    @pytest.mark.parametrize(
        ("path", "key", "url", "room"),
        [
            ("/", "all", "/", "all"),
            ("", "all", "/", "all"),
            ("/all", "all", "/", "all"),
            ("/url", "has_url", "/has_url", "has_url"),
            ("/URL/", "has_url", "/has_url", "has_url"),
            ("/has_url", "has_url", "/has_url", "has_url"),
            ("/has_media", "has_media", "/has_media", "has_media"),
            ("/nfl", "term.nfl", "/nfl", "nfl"),
            ("nfl", "term.nfl", "/nfl", "nfl"),
            ("/NFL", "term.nfl", "/nfl", "nfl"),
            ("/term/nfl", "term.nfl", "/nfl", "nfl"),
            ("/super%20bowl", "term.super%20bowl", "/super%20bowl", "super bowl"),
            ("super bowl", "term.super%20bowl", "/super%20bowl", "super bowl"),
            ("/c++", "term.c++", "/c++", "c++"),
            ("/100%", "term.100%25", "/100%25", "100%25"),
            ("/example.com", "term.example%2Ecom", "/example.com", "example.com"),
            ("/ac/dc", "term.ac/dc", "/ac%2Fdc", "ac%2Fdc"),
            ("/ac%2Fdc", "term.ac/dc", "/ac%2Fdc", "ac%2Fdc"),
            ("/%23nfl", "term.%23nfl", "/%23nfl", "#nfl"),
            ("/%F0%9F%8F%88", "term.🏈", "/%F0%9F%8F%88", "🏈"),
            ("/word/nfl", "word.nfl", "/word/nfl", "word/nfl"),
            ("/tag/NFL", "tag.nfl", "/tag/nfl", "tag/nfl"),
            ("/tag/%23NFL", "tag.nfl", "/tag/nfl", "tag/nfl"),
            ("/from/nfl", "from.nfl", "/from/nfl", "from/nfl"),
            ("/from/@nfl", "from.nfl", "/from/nfl", "from/nfl"),
            ("/lang/en", "lang.en", "/lang/en", "lang/en"),
            ("/term/word", "term.word", "/term/word", "term/word"),
            ("/word", "term.word", "/term/word", "term/word"),
            ("/tag/", "term.tag", "/term/tag", "term/tag"),
            ("/term/url", "term.url", "/term/url", "term/url"),
            ("/term/socket.io", "term.socket%2Eio", "/term/socket.io", "term/socket.io"),
            ("/term/_", "term._", "/term/_", "term/_"),
            ("/term/..", "term.%2E%2E", "/%20..", ".."),
            ("/all/of/it", "term.all/of/it", "/all%2Fof%2Fit", "all%2Fof%2Fit"),
        ],
    )
    def test_what_people_type(self, path: str, key: str, url: str, room: str) -> None:
        label = parse_path(path)
        assert (label.key, label.url, label.room) == (key, url, room)


class TestFolding:
    @settings(deadline=None, max_examples=150)
    @given(anything)
    def test_folding_twice_changes_nothing(self, text: str) -> None:
        assert fold(fold(text)) == fold(text)

    @settings(deadline=None, max_examples=150)
    @given(anything)
    def test_case_and_composition_make_no_difference(self, text: str) -> None:
        # The Turkish dotless i is the one letter whose capital is another letter's.
        assume("ı" not in text)
        decomposed = unicodedata.normalize("NFD", text)
        spellings = {unicodedata.normalize("NFC", text), decomposed, decomposed.upper(), decomposed.casefold()}
        assert {fold(spelling) for spelling in spellings} == {fold(text)}

    @settings(deadline=None)
    @given(family=values, value=anything, around=st.sampled_from(["", " ", "\t ", "\u3000"]))
    def test_every_spelling_is_one_label(self, family: str, value: str, around: str) -> None:
        assume("ı" not in value)
        label = label_of(family, value)
        shouted = unicodedata.normalize("NFD", label.value).upper()
        assert Label.of(family, f"{around}{shouted}{around}") == label

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("STRASSE", "Straße"),
            ("Café", "CAFE\u0301"),
            ("ΣΊΣΥΦΟΣ", "σίσυφος"),
            ("Ǆ", "ǅ"),
            ("한국", "\u1112\u1161\u11ab\u1100\u116e\u11a8"),
        ],
    )
    def test_words_that_people_write_in_two_ways(self, one: str, other: str) -> None:
        assert Label.of("term", one) == Label.of("term", other)
        assert Label.of("term", one).key == Label.of("term", other).key


class TestRefusals:
    @pytest.mark.parametrize(
        ("path", "reason"),
        [
            ("/" + "x" * 101, "longer than 100 characters"),
            ("/" + "🏈" * 100, "255 bytes"),
            ("/%20", "'term' needs a value, for example term/nfl"),
            ("/tag/%20", "'tag' needs a value, for example tag/nfl"),
            ("/tag/%23", "'tag' needs a value"),
            ("/from/@", "'from' needs a value"),
            ("/%ff", "not percent-encoded UTF-8"),
            ("/%ED%A0%80", "not percent-encoded UTF-8"),
            ("/tag/%C3", "not percent-encoded UTF-8"),
            ("/\ud83d", "."),
            ("/tag/x\udfff", "."),
        ],
    )
    def test_a_path_that_asks_for_nothing_is_refused_in_words_that_can_be_shown(self, path: str, reason: str) -> None:
        with pytest.raises(LabelError, match=reason) as refused:
            parse_path(path)
        message = str(refused.value)
        assert len(message) < 200
        assert message.encode().decode() == message

    @pytest.mark.parametrize(
        ("key", "reason"),
        [
            ("nfl", "'nfl' is no label: they are all, has_url"),
            ("", "is no label"),
            ("hashtag.nfl", "'hashtag' is no label"),
            ("term", "'term' needs a value"),
            ("term.", "'term' needs a value"),
            ("has_url.nfl", "'has_url' takes no value"),
            ("all.nfl", "'all' takes no value"),
            ("action.explode", "'explode' is no action: they are create, update, destroy"),
            ("term.%ff", "not percent-encoded UTF-8"),
        ],
    )
    def test_a_binding_that_nothing_can_match_is_refused_with_the_reason(self, key: str, reason: str) -> None:
        with pytest.raises(LabelError, match=reason):
            parse_key(key)

    @settings(deadline=None, max_examples=150)
    @given(st.one_of(anything, st.text(st.characters()), st.text(st.characters(categories=["Cs", "Lu"]), max_size=3)))
    def test_any_path_and_any_key_is_a_label_or_refused(self, text: str) -> None:
        for parse in (parse_path, parse_key):
            try:
                label = parse(text)
            except LabelError as refused:
                assert str(refused).encode()
            else:
                assert parse_key(label.key) == label


def test_every_family_is_named_by_its_file_and_explains_itself() -> None:
    for name, family in FAMILIES.items():
        assert family.name == name
        assert family.__doc__
        assert isinstance(family, EnumerableFamily) or name in {"term", "word"}
