/** Rooms in words: what a label or a URL asks for, and where a typed text leads. */

const PREFIXED = /^(term|word|tag|from|lang)\/(.+)$/su;
const NAMED = { "": "all", all: "all", url: "has_url", has_url: "has_url", has_media: "has_media" };
const RESERVED = new Set(["socket.io", "_", "favicon.ico", "robots.txt"]);

const FAMILIES = {
  __proto__: null,
  all: () => ["all", "Every tweet", "No tweet yet"],
  has_url: () => ["url", "Tweets with a link", "No tweet with a link yet"],
  has_media: () => ["media", "Tweets with a picture, a video or a GIF", "No tweet with a picture yet"],
  term: (v) => [v, `Tweets that contain “${v}”`, `No tweet with “${v}” yet`],
  word: (v) => [`word ${v}`, `Tweets with the whole word “${v}”`, `No tweet with the word “${v}” yet`],
  tag: (v) => [`#${v}`, `Tweets tagged #${v}`, `No tweet tagged #${v} yet`],
  from: (v) => [`@${v}`, `Tweets by @${v}`, `Nothing from @${v} yet`],
  lang: (v) => [language(v), `Tweets in ${language(v)}`, `No tweet in ${language(v)} yet`],
};

/** The room of a label such as `term.nfl`: `{family, value, name, about, empty}`. */
export function fromLabel(label) {
  const dot = label.indexOf(".");
  return dot < 0 ? room(label, "") : room(label.slice(0, dot), decode(label.slice(dot + 1)));
}

/** The room that a URL path asks for, as far as the page can tell before the server answers. */
export function fromPath(pathname) {
  const rest = pathname.slice(1);
  const [, family, value] = PREFIXED.exec(rest) ?? [];
  if (family) return room(family, decode(value));
  return Object.hasOwn(NAMED, rest) ? room(NAMED[rest], "") : room("term", decode(rest));
}

/** The URL path that a text typed into the room box leads to; always on this site. */
export function pathFor(typed) {
  const text = typed.trim();
  if (text.startsWith("/")) return asPath(text.replace(/^\/+/, ""));
  if (/^#[^\s#]+$/u.test(text)) return `/tag/${encodeURIComponent(text.slice(1))}`;
  if (/^@[^\s@]+$/u.test(text)) return `/from/${encodeURIComponent(text.slice(1))}`;
  if (PREFIXED.test(text)) return asPath(text);
  return RESERVED.has(text) ? `/term/${text}` : `/${encodeURIComponent(text)}`;
}

function room(family, value) {
  const [name, about, empty] = FAMILIES[family]?.(value) ?? [`${family} ${value}`, "", "Nothing here yet"];
  return { family, value, name, about, empty };
}

// What is escaped already stays so; what would end a path, or is no escape, becomes one.
function asPath(rest) {
  const escaped = rest.replace(/%(?![0-9a-f]{2})/gi, "%25").replace(/[?#\\]/g, encodeURIComponent);
  return `/${escaped}`;
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function language(code) {
  try {
    return new Intl.DisplayNames(["en"], { type: "language" }).of(code);
  } catch {
    return code;
  }
}
