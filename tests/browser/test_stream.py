"""What a page shows of the stream: its own room's tweets, each in its newest version."""

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Stage
from tests.support.tweets import PHOTO, deleted, edited, tweet

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_two_tabs_on_two_urls_show_two_streams_of_one_source(stage: Stage) -> None:
    nfl, linked = await stage.open("/nfl"), await stage.open("/url")
    await stage.publish(
        tweet("the NFL"),
        tweet("neither of them"),
        tweet("a link", urls=("https://example.org/a",)),
        tweet("#NFLDraft and a link", urls=("https://example.org/b",), hashtags=("NFLDraft",)),
        tweet("inflation"),
    )
    await nfl.holds("the NFL", "#NFLDraft and a link", "inflation")
    await linked.holds("a link", "#NFLDraft and a link")
    await stage.publish(tweet("the last, nfl and a link", urls=("https://example.org/c",)))
    await nfl.holds("the NFL", "#NFLDraft and a link", "inflation", "the last, nfl and a link")
    await linked.holds("a link", "#NFLDraft and a link", "the last, nfl and a link")
    await expect(nfl.page).to_have_title("nfl · Roost")
    await expect(nfl.page.locator("#about")).to_have_text("Tweets that contain “nfl”")
    await expect(nfl.page.locator("nav [aria-current=page]")).to_have_text("nfl")
    await expect(linked.page.locator("nav [aria-current=page]")).to_have_text("url")


async def test_a_tweet_is_shown_with_its_author_its_links_its_media_and_its_time(stage: Stage) -> None:
    tab = await stage.open("/super bowl")
    post = tweet(
        "Super Bowl! https://t.co/abc #NFL @roost",
        urls=("https://example.org/the/whole/address",),
        hashtags=("NFL",),
        media=(PHOTO,),
        screen_name="wren",
        source="synthetic",
    )
    await stage.publish(post)
    article = tab.articles
    await expect(article.locator(".author")).to_have_text("Wren @wren")
    await expect(article.locator(".author")).to_have_attribute("href", "/from/wren")
    await expect(article.locator(".demo")).to_have_text("demo")
    await expect(article.locator(".when")).to_have_attribute("href", post.url)
    await expect(article.locator("time")).to_have_attribute("datetime", post.created_at)
    await expect(article.locator(".media li")).to_have_text("photoa bird")
    await expect(article.locator(".media a")).to_have_attribute("href", "https://example.org/photo.jpg")
    await expect(article.locator("mark")).to_have_text("Super Bowl")
    text = article.locator(".text")
    await expect(text).to_have_text("Super Bowl! example.org/the/whole/address #NFL @roost")
    links = [await link.get_attribute("href") for link in await text.locator("a").all()]
    assert links == ["https://example.org/the/whole/address", "/tag/NFL", "/from/roost"]
    outward = text.locator("a").first
    await expect(outward).to_have_attribute("target", "_blank")
    await expect(outward).to_have_attribute("rel", "noopener noreferrer nofollow")


async def test_links_are_links_without_their_scheme_too(stage: Stage) -> None:
    tab = await stage.open("/nfl")
    urls = ("http://www.example.org/a", "https://example.org/A/b?c=d", "http://example.org/", "http://nfl")
    text = "nfl: www.example.org/a, example.org (example.org/A/b?c=d). me@example.org example.org.uk myexample.org"
    await stage.publish(tweet(text, urls=urls))
    await tab.shows(text)
    links = [
        (await link.text_content(), await link.get_attribute("href")) for link in await tab.texts.locator("a").all()
    ]
    assert links == [
        ("www.example.org/a", "http://www.example.org/a"),
        ("example.org", "http://example.org/"),
        ("example.org/A/b?c=d", "https://example.org/A/b?c=d"),
    ]


async def test_an_edit_changes_a_tweet_where_it_stands_and_a_deletion_takes_it_away(stage: Stage) -> None:
    tab = await stage.open("/nyc")
    first, second, third = (tweet(f"nyc {number}") for number in ("one", "two", "three"))
    await stage.publish(first, second, third)
    await tab.shows("nyc three", "nyc two", "nyc one")
    await stage.publish(edited(second, "the city, which is no more named"))
    await tab.shows("nyc three", "the city, which is no more named", "nyc one")
    await expect(tab.articles.nth(1).locator(".edited")).to_have_text("edited")
    await expect(tab.page.locator(".edited")).to_have_count(1)
    await stage.publish(deleted(second))
    await tab.shows("nyc three", "nyc one")
    await stage.publish(second, deleted(first), deleted(third))
    await tab.shows()
    await expect(tab.page.locator("#empty-title")).to_have_text("No tweet with “nyc” yet")


async def test_a_room_without_tweets_says_so_until_the_first(stage: Stage) -> None:
    tab = await stage.open("/xyzzy")
    empty = tab.page.locator("#empty")
    await expect(empty).to_be_visible()
    await expect(tab.page.locator("#empty-title")).to_have_text("No tweet with “xyzzy” yet")
    assert [await link.get_attribute("href") for link in await empty.locator("a").all()] == ["/nfl", "/url"]
    await stage.publish(tweet("xyzzy: nothing happens"))
    await tab.shows("xyzzy: nothing happens")
    await expect(empty).to_be_hidden()


async def test_a_page_keeps_two_hundred_tweets(stage: Stage) -> None:
    tab = await stage.open("/")
    for tens in range(0, 260, 130):
        await stage.publish(*(tweet(f"number {tens + ones}") for ones in range(130)))
        await expect(tab.texts.first).to_have_text(f"number {tens + 129}")
    await tab.shows(*(f"number {number}" for number in range(259, 59, -1)))


async def test_any_string_can_be_a_room(stage: Stage) -> None:
    tab = await stage.open("/")
    for path, (name, text) in {
        "/%F0%9F%8F%88": ("🏈", "kick-off 🏈 now"),
        "/100%25": ("100%", "at 100% of it"),
        "/c%23": ("c#", "written in C#"),
        "/%20.": (".", "a full stop."),
        "/super%20bowl": ("super bowl", "the Super Bowl"),
        "/a/b*c": ("a/b*c", "see a/b*c there"),
        "/%D8%B3%D9%84%D8%A7%D9%85": ("سلام", "سلام دنیا"),
        "/STRASSE": ("strasse", "an der Straße"),
        "/word/nfl": ("word nfl", "the #NFL"),
        "/tag/v%C3%B6gel": ("#vögel", "#Vögel"),
        "/lang/de": ("German", "auf deutsch"),
        "/term/socket.io": ("socket.io", "socket.io it is"),
    }.items():
        await stage.visit(tab, path)
        await expect(tab.page.locator("#room")).to_have_text(name)
        await stage.publish(tweet("something else"), tweet(text, lang="de", hashtags=("Vögel",)))
        await expect(tab.texts.first).to_have_text(text)


async def test_a_room_that_can_not_be_says_why(stage: Stage) -> None:
    tab = await stage.open("/" + "x" * 101, status="Not available")
    await expect(tab.page.locator("#empty-title")).to_contain_text("100 characters")
    await expect(tab.page.locator("#empty a").first).to_have_attribute("href", "/nfl")
