import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.sources.hashtags import find_hashtags
from services.ingest.sources.urls import find_links, find_urls


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("read https://example.com/a today", ["https://example.com/a"]),
        ("read HTTP://EXAMPLE.COM today", ["HTTP://EXAMPLE.COM"]),
        ("https://a.example/1 https://a.example.com/2", ["https://a.example.com/2"]),
        ("two: http://a.com, and http://b.org/x?y=1#z", ["http://a.com", "http://b.org/x?y=1#z"]),
        ("twice http://a.com http://a.com", ["http://a.com", "http://a.com"]),
        ("port http://example.com:8080/x", ["http://example.com:8080/x"]),
        ("cyrillic http://example.com/Привет_мир", ["http://example.com/Привет_мир"]),
        ("http://münchen.de/bier", ["http://münchen.de/bier"]),
        ("http://пример.рф/x", ["http://пример.рф/x"]),
    ],
)
def test_links_with_a_protocol_are_found_as_they_stand(text: str, urls: list[str]) -> None:
    assert find_urls(text) == tuple(urls)


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("example.com/x", ["http://example.com/x"]),
        ("see www.example.co.uk for more", ["http://www.example.co.uk"]),
        ("bit.ly/abc and MLB.tv", ["http://bit.ly/abc", "http://MLB.tv"]),
        ("“example.com”", ["http://example.com"]),
        ("http:// example.com/path", ["http://example.com/path"]),
    ],
)
def test_a_bare_domain_counts_and_gets_a_protocol(text: str, urls: list[str]) -> None:
    assert find_urls(text) == tuple(urls)


@pytest.mark.parametrize(
    "text",
    [
        "@user.name",
        "mail a@b.com or first.last@example.co.uk",
        "version 1.2 costs 3.50",
        "192.168.0.1",
        "#tag.com $TVI.CA $example.com #http://example.com @http://example.com",
        "end.Of sentence",
        "archive.tar.bz2",
        "http://localhost/x http://no-tld",
        "http://-example.com http://example-.com http://ex_ample.com",
        "-example.com _example.com /example.com",
        "xhttp://example.com",
        "http://xn--はじめ.com/",
        "...",
        "",
    ],
)
def test_what_only_looks_like_a_link_is_none(text: str) -> None:
    assert find_urls(text) == ()


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("(http://example.com/a)", ["http://example.com/a"]),
        ("http://example.com/Film_(1999)", ["http://example.com/Film_(1999)"]),
        ("go to http://example.com/a...", ["http://example.com/a"]),
        ("is it http://example.com/?", ["http://example.com/"]),
        ("http://example.com/a!", ["http://example.com/a"]),
        ("http://t.co/AbC123's", ["http://t.co/AbC123"]),
        ("http://example.com-and-no-space", ["http://example.com"]),
    ],
)
def test_punctuation_of_the_sentence_stays_outside(text: str, urls: list[str]) -> None:
    assert find_urls(text) == tuple(urls)


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("これhttp://example.com/aを見て", ["http://example.com/a"]),
        ("東京example.comテスト", ["http://example.com"]),
        ("中文t.co/abc한국example.org", ["http://t.co/abc", "http://example.org"]),
        ("اقرأ https://example.com/خبر", ["https://example.com/"]),
    ],
)
def test_scripts_without_spaces_end_a_link(text: str, urls: list[str]) -> None:
    assert find_urls(text) == tuple(urls)


@given(st.text(alphabet="ahtp:/.@#-_ 日?()!comx1é") | st.text())
def test_a_link_is_a_piece_of_the_text_whatever_the_text(text: str) -> None:
    end = 0
    for link in find_links(text):
        piece = text[link.start : link.end]
        assert end <= link.start < link.end
        assert link.url in (piece, f"http://{piece}")
        end = link.end


@pytest.mark.parametrize("text", ["a." * 10_000, "http://x.com/" + "!" * 50_000, "http://x.com/" + "(a" * 20_000])
def test_no_text_keeps_it_busy(text: str) -> None:
    begin = time.perf_counter()
    find_urls(text)
    assert time.perf_counter() - begin < 5


@pytest.mark.parametrize(
    ("text", "hashtags"),
    [
        ("#NFLDraft tonight", ["NFLDraft"]),
        ("(#one)#two, #three. #four!", ["one", "two", "three", "four"]),
        ("#1st and #2 of #日本語。", ["1st", "日本語"]),
        ("#महात्मा #עַל #سلام_عليكم #Straße", ["महात्मा", "עַל", "سلام_عليكم", "Straße"]),
        ("＃全角", ["全角"]),
        ("a#b &#39; #️⃣ #", []),
        ("http://example.com/#top example.com/#top", []),
        ("#chain#chain", []),
    ],
)
def test_hashtags_are_found_as_x_finds_them(text: str, hashtags: list[str]) -> None:
    assert find_hashtags(text) == tuple(hashtags)
