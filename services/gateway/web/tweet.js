/** One tweet as an article. What a tweet contains becomes text, never markup. */

import { h, icon, web } from "./dom.js";
import { outward, textNodes } from "./text.js";
import { timeNode } from "./time.js";

const SOURCES = { __proto__: null, x: "X", bsky: "Bluesky", synthetic: "demo" };
const MEDIA = { __proto__: null, video: ["video", "video"], animated_gif: ["gif", "GIF"] };
const PHOTO = ["photo", "photo"];
// Codes for "no language", "unknown" and the like: they are no language to read a text aloud in.
const NO_LANGUAGE = /^(und|zxx|mul|mis|art|q[a-t][a-z])(-|$)/i;
// A handle that is no name but a number of the network's own; a few letters of it tell enough.
const DID = /^did:[a-z]+:./;
const DID_LENGTH = 16;
const TINTS = 6;

/** What the page calls a source of tweets; one that it does not know goes by its own name. */
export function sourceName(origin) {
  return SOURCES[origin] ?? origin;
}

/** A new article for a tweet, as it looks in the given room. */
export function articleFor(tweet, room) {
  const article = h("article", { tabIndex: -1, "data-id": tweet.id });
  fill(article, tweet, room, tweet.action === "update");
  return article;
}

/** Show a newer version of the tweet in the article that it has. */
export function revise(article, tweet, room) {
  const focused = article.contains(document.activeElement);
  fill(article, tweet, room, true);
  if (focused) article.focus({ preventScroll: true });
  article.classList.remove("revised");
  void article.offsetWidth; // lets the animation start again for a second edit
  article.classList.add("revised");
}

function fill(article, tweet, room, edited) {
  const user = tweet.user ?? {};
  const handle = words(user.screen_name);
  const called = brief(handle);
  const name = words(user.name) || called || "somebody";
  const post = web(tweet.url);
  const time = timeNode(words(tweet.created_at));
  const origin = words(tweet.source);
  const source = sourceName(origin);
  const urls = Array.isArray(tweet.urls) ? tweet.urls.map(words) : [];
  const author = handle ? { href: `/from/${encodeURIComponent(handle)}`, title: called === handle ? null : `@${handle}` } : {};
  article.setAttribute("aria-label", `${name}${handle ? `, @${called}` : ""}`);
  article.replaceChildren(
    avatar(words(user.avatar), name, handle),
    h("div", { className: "by" },
      h(handle ? "a" : "span", { className: "author", ...author },
        h("bdi", { className: "name" }, name), " ",
        handle ? h("span", { className: "handle" }, `@${called}`) : null),
      h("span", { className: "meta" },
        edited ? h("span", { className: "edited" }, "edited") : null,
        source ? h("span", { className: origin === "synthetic" ? "demo" : "source" }, source) : null,
        time && post ? outward(post, { className: "when" }, time) : time)),
    h("p", { className: "text", dir: "auto", lang: language(words(tweet.lang)) },
      ...textNodes(words(tweet.text), urls, room, origin)),
    ...mediaList(tweet.media, post),
  );
}

// A document may say anything: what is no text where one should be is left out.
function words(value) {
  return typeof value === "string" || typeof value === "number" ? String(value) : "";
}

function brief(handle) {
  return DID.test(handle) && handle.length > DID_LENGTH ? `${handle.slice(0, DID_LENGTH)}…` : handle;
}

function avatar(address, name, handle) {
  const [initial = ""] = name.match(/[\p{L}\p{N}]/u) ?? handle;
  const look = `avatar tint${tint(handle || name)}`;
  const box = h("span", { className: look, "aria-hidden": "true" }, initial.toUpperCase());
  if (/^(\/[^/\\]|https:)/.test(address)) {
    const image = h("img", { alt: "", width: 44, height: 44, loading: "lazy", referrerPolicy: "no-referrer" });
    image.addEventListener("error", () => image.remove());
    image.src = address;
    box.append(image);
  }
  return box;
}

function mediaList(media, post) {
  if (!Array.isArray(media) || media.length === 0) return [];
  return [h("ul", { className: "media" }, ...media.slice(0, 8).map((medium) => {
    const [symbol, word] = MEDIA[words(medium?.type)] ?? PHOTO;
    const alt = words(medium?.alt);
    const href = web(medium?.url) ?? post;
    const shown = [icon(symbol), h("span", { className: "kind" }, word),
      alt ? h("span", { className: "alt", dir: "auto" }, alt) : null];
    return h("li", {}, href ? outward(href, { title: alt || undefined }, ...shown) : h("span", {}, ...shown));
  }))];
}

function language(code) {
  if (!code || NO_LANGUAGE.test(code)) return undefined;
  try {
    return Intl.getCanonicalLocales(code)[0];
  } catch {
    return undefined;
  }
}

function tint(text) {
  let sum = 0;
  for (const character of text) sum = (sum * 31 + character.codePointAt(0)) % 9973;
  return sum % TINTS;
}
