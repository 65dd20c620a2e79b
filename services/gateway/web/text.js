/**
 * A tweet's text as pieces: links, hashtags, mentions and what lies between, with the room's term
 * marked. Pure but for `textNodes`, which makes nodes of the pieces.
 */

import { h, web } from "./dom.js";

const LETTER = String.raw`\p{L}\p{M}\p{N}_`;
const LINK = String.raw`https?:\/\/[^\s<>"“”「」]+`;
// A hashtag has a letter in it, and "#" with a variation selector is an emoji.
const HASHTAG = String.raw`(?<![${LETTER}&\/])[#＃](?![\uFE0F\u20E3])(?=[\p{N}_]*[\p{L}\p{M}])[${LETTER}\u200C\u200D·]+`;
const MENTION_START = String.raw`(?<![\w@＠!#$%&*.\/])[@＠]`;
const MENTION = String.raw`${MENTION_START}[A-Za-z0-9_]{1,20}(?![\w@])`;
// On Bluesky a handle is a domain name, and what has no dot is none.
const DOMAIN = String.raw`(?:[a-z0-9](?:[a-z0-9\-]{0,61}[a-z0-9])?\.){1,10}[a-z](?:[a-z0-9\-]{0,61}[a-z0-9])?`;
const DOMAIN_MENTION = String.raw`${MENTION_START}${DOMAIN}(?![\w@\-]|\.[a-z0-9])`;
const SHORTENED = /^https?:\/\/t\.co\/\w+/i;
const ALL_SHORTENED = /https?:\/\/t\.co\/\w+/gi;
const SCHEME = /^https?:\/\//i;
// A link that the text has without its scheme stands for itself there, and not in a longer name.
const NAME = String.raw`\p{Script=Latin}\p{N}_`;
const BARE_START = String.raw`(?<![${NAME}@＠#＃$.\/\-])`;
const BARE_END = String.raw`(?![${NAME}@＠]|[.\/\-][${NAME}])`;
// What stands in a text for the rest of a link, as X and Bluesky write it.
const DOTS = /^(?:…|\.{3})/;
const ALL_DOTS = /…|\.{3}/g;
const MENTIONS = { __proto__: null, bsky: DOMAIN_MENTION };
const NOTHING = "(?!)";
const TOKENS = { __proto__: null, bsky: tokens(NOTHING, DOMAIN_MENTION) };
const TOKEN = tokens(NOTHING, MENTION);
const AFTER_LINK = ".,;:!?'’»…*。、！？）";
const SHOWN_LENGTH = 38;
// More than anybody writes; what a text has beyond stays plain, so that none can hold up the page.
const SCANNED = 25_000;
const LINKS = 200;
const MARKS = 200;
const BARE_LINKS = 30;
const BARE_LENGTH = 500;
const CUTS = 30;

/**
 * The pieces of a text, in order: `{text, start, href?, local?}`; `start` is where the piece stands
 * in the text, or -1 if something else is shown in its place. `urls` are the expanded links: they
 * are shown for the t.co links of the text if there are as many, and the text may have them without
 * `https://`, or only their beginning and dots for the rest. `origin`, the source of
 * the post, decides what a mention is.
 */
export function pieces(text, urls = [], origin = "") {
  const bare = withoutScheme(text, urls);
  const token = bare.size > 0 ? tokens([...bare.keys()].map(escaped).join("|"), MENTIONS[origin] ?? MENTION)
    : TOKENS[origin] ?? TOKEN;
  const expand = urls.length > 0 && text.match(ALL_SHORTENED)?.length === urls.length;
  const found = [];
  let end = 0;
  let nth = 0;
  let linked = 0;
  for (const { 0: whole, index, groups: { link, name, tag } } of text.slice(0, SCANNED).matchAll(token)) {
    if (linked === LINKS || index + whole.length === SCANNED) break;
    const [shortened] = SHORTENED.exec(link ?? "") ?? [];
    const source = link ? shortened ?? trimmed(link) : whole;
    const dots = (link && !shortened && DOTS.exec(text.slice(index + source.length, index + whole.length))?.[0]) || "";
    const uncut = dots ? begunWith(source, urls) : null;
    const target = expand && shortened ? urls[nth++] : uncut ?? source;
    const local = !(link || name);
    const href = local ? `/${tag ? "tag" : "from"}/${encodeURIComponent(whole.slice(1))}`
      : web(name ? bare.get(name.toLowerCase()) : target);
    if (href === null) continue;
    const shown = local ? source : brief(target);
    linked += 1;
    const within = source.indexOf(shown);
    if (index > end) found.push({ text: text.slice(end, index), start: end });
    found.push({ text: shown, start: within < 0 ? -1 : index + within, href, local });
    end = index + source.length + (uncut ? dots.length : 0);
  }
  if (end < text.length) found.push({ text: text.slice(end), start: end });
  return found;
}

/**
 * Where a term stands in a text, as [start, end) pairs of offsets, without regard to case; with
 * `whole` only where no letter, digit or underscore is next to it; no more than `MARKS` of them.
 * Nothing for a text that is not in NFC, whose offsets the folded text could not be led back to.
 */
export function occurrences(text, term, whole = false) {
  if (!term || text !== text.normalize("NFC")) return [];
  const [wanted] = fold(term);
  const [folded, origin] = fold(text);
  const found = [];
  for (let at = folded.indexOf(wanted); at >= 0; at = folded.indexOf(wanted, at + wanted.length)) {
    if (found.length === MARKS) break;
    const before = [...folded.slice(Math.max(0, at - 2), at)].at(-1) ?? "";
    const [after = ""] = folded.slice(at + wanted.length, at + wanted.length + 2);
    if (whole && (isLetter(before) || isLetter(after))) continue;
    found.push([origin[at], origin[at + wanted.length]]);
  }
  return found;
}

/** The nodes that show a text of a source, with links and with the room's term marked. */
export function textNodes(text, urls, room, origin) {
  const marked = room.family === "term" || room.family === "word"
    ? occurrences(text.slice(0, SCANNED), room.value, room.family === "word") : [];
  return pieces(text, urls, origin).map((piece) => {
    const shown = piece.start < 0 ? [piece.text] : mark(piece, marked);
    if (!piece.href) return h("span", {}, ...shown);
    if (piece.local) return h("a", { href: piece.href, dir: "auto" }, ...shown);
    return outward(piece.href, { title: piece.href, dir: "auto" }, ...shown);
  });
}

/** A link out of the site: in a new tab, telling the other side nothing. */
export function outward(href, properties, ...children) {
  return h("a", { href, target: "_blank", rel: "noopener noreferrer nofollow", ...properties }, ...children);
}

// What makes a link, a hashtag or a mention; `bare` is a pattern for links without a scheme.
function tokens(bare, mention) {
  const name = `${BARE_START}(?:${bare})${BARE_END}`;
  return new RegExp(`(?<link>${LINK})|(?<name>${name})|(?<tag>${HASHTAG})|${mention}`, "giu");
}

// Those of the expanded links that a text has without their scheme: as they stand there but in lower
// case, the longest first, with what they lead to.
function withoutScheme(text, urls) {
  const lower = text.toLowerCase();
  const forms = urls.slice(0, BARE_LINKS).filter((url) => SCHEME.test(url)).flatMap((url) => {
    const form = url.replace(SCHEME, "").toLowerCase();
    return [[form, url], [form.replace(/\/$/, ""), url]];
  });
  return new Map([...forms, ...cutShort(lower, forms)]
    .filter(([form]) => form.includes(".") && form.length <= BARE_LENGTH && lower.includes(form))
    .sort(([a], [b]) => b.length - a.length));
}

// Those of which a text has the host, the beginning of what follows, and dots; `forms` are in lower case.
function cutShort(lower, forms) {
  const found = [];
  let looked = 0;
  for (const { 0: dots, index } of lower.slice(0, SCANNED).matchAll(ALL_DOTS)) {
    looked += 1;
    if (looked > CUTS) break;
    const before = lower.slice(Math.max(0, index - BARE_LENGTH), index);
    const begun = new Map();
    for (const [form, url] of forms) {
      const host = form.slice(0, form.indexOf("/") + 1);
      const at = host ? before.lastIndexOf(host) : -1;
      const start = before.slice(at);
      if (at >= 0 && goesOn(form, start, host.length)) begun.set(url, start);
    }
    const [[url, start] = []] = begun;
    if (begun.size === 1) found.push([start + dots, url]);
  }
  return found;
}

// The one link that begins like this, with its whole host, and goes on: no two could be told apart.
function begunWith(start, urls) {
  const host = /^https?:\/\/[^/]+\//i.exec(start)?.[0].length ?? Infinity;
  const found = new Set(urls.slice(0, BARE_LINKS).filter((url) => goesOn(url.toLowerCase(), start.toLowerCase(), host)));
  return found.size === 1 ? [...found][0] : null;
}

function goesOn(whole, start, host) {
  return start.length > host && whole.length > start.length && whole.startsWith(start);
}

function escaped(text) {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
}

function mark({ text, start }, ranges) {
  const nodes = [];
  let done = 0;
  for (const [from, to] of ranges) {
    const [a, b] = [Math.max(from - start, done), Math.min(to - start, text.length)];
    if (a >= b) continue;
    nodes.push(text.slice(done, a), h("mark", {}, text.slice(a, b)));
    done = b;
  }
  return [...nodes, text.slice(done)].filter((part) => part !== "");
}

// Folding by code point: upper case and back brings "ß" to "ss" and "ς" to "σ" as case folding does.
// `origin` leads each offset of the folded text back to the code point that it came from.
function fold(text) {
  let folded = "";
  const origin = [];
  let at = 0;
  for (const character of text) {
    const lower = character === "ı" ? character : character.toUpperCase().toLowerCase();
    for (let i = 0; i < lower.length; i += 1) origin.push(at);
    folded += lower;
    at += character.length;
  }
  origin.push(at);
  return [folded, origin];
}

function isLetter(character) {
  return /^[\p{L}\p{M}\p{N}_]/u.test(character);
}

// Punctuation after a link is the sentence's, and so is a bracket that was not opened in the link.
function trimmed(link) {
  const others = AFTER_LINK + (/[([{]/.test(link) ? "" : ")]}");
  let end = link.length;
  while (others.includes(link[end - 1])) end -= 1;
  return link.slice(0, end);
}

function brief(address) {
  const bare = address.replace(/^https?:\/\/(www\.)?/i, "").replace(/\/$/, "");
  const characters = [...bare];
  return characters.length > SHOWN_LENGTH ? `${characters.slice(0, SHOWN_LENGTH - 1).join("")}…` : bare;
}
