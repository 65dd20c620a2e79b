/**
 * The tweets of one room: which version of each is shown, which wait, and which are gone; and where some
 * are missing.
 *
 * Order is not promised by the server, versions are: of one id the greatest `(mtime, action)` wins,
 * and at equal `mtime` a destroy outranks an update outranks a create.
 */

import { Gap } from "./gap.js";
import { articleFor, revise } from "./tweet.js";

const SHOWN = 200;
const WAITING = 200;
const REMEMBERED = 4000;
const RANK = { create: 0, update: 1, destroy: 2 };
const FADE_MS = 220;
const GLIDE_MS = 350;
const GATHER_MS = 100;

const still = window.matchMedia("(prefers-reduced-motion: reduce)");

/** A map that forgets its oldest entries beyond a number of them. */
class Recent extends Map {
  set(key, value) {
    this.delete(key);
    super.set(key, value);
    if (this.size > REMEMBERED) this.delete(this.keys().next().value);
    return this;
  }
}

/** Puts tweets into a node, newest on top, in an animation frame and at most ten times a second. */
export class Feed {
  #root;
  #room;
  #held;
  #changed;
  #shown = new Map(); // oldest first: from ids to articles, and from gaps to theirs
  #waiting = new Map(); // in the order of arrival: from ids to tweets, and from gaps to themselves
  #seen = new Recent();
  #gone = new Recent();
  #overflow = false;
  #frame = 0;
  #last = 0;

  /**
   * `held()` tells whether new tweets are to wait; `changed(added)` is called after what is shown or
   * waits has changed, with the number of tweets newly shown.
   */
  constructor(root, { room, held, changed }) {
    this.#root = root;
    this.#room = room;
    this.#held = held;
    this.#changed = changed;
  }

  /** The number of tweets on the page. */
  get size() {
    return tweetsAmong(this.#shown);
  }

  /** How many tweets wait; `more` if so many came that the oldest were let go. */
  get waiting() {
    return { count: tweetsAmong(this.#waiting), more: this.#overflow };
  }

  /** Say what is to be marked in the tweets to come. */
  set room(room) {
    this.#room = room;
  }

  /** A tweet of this room, new or in another version; tells whether it is news. */
  add(tweet) {
    if (!this.#accept(tweet, RANK[tweet.action] ?? RANK.create)) return false;
    const article = this.#shown.get(tweet.id);
    if (article) this.#revise(article, tweet);
    else {
      this.#waiting.set(tweet.id, tweet);
      if (this.#waiting.size > WAITING) {
        this.#waiting.delete(this.#waiting.keys().next().value);
        this.#overflow = true;
      }
      this.kick();
    }
    return !article;
  }

  /** Another version of a tweet that is here; one of any other is none of this page's business. */
  update(tweet) {
    const article = this.#shown.get(tweet.id);
    const waits = this.#waiting.has(tweet.id);
    if (!(article || waits) || !this.#accept(tweet, RANK.update)) return;
    if (article) this.#revise(article, tweet);
    else this.#waiting.set(tweet.id, { ...tweet, action: "update" });
  }

  /** Between what has come and what will come tweets are missing: so many, `null` where nobody knows. */
  gap(missed) {
    const gap = new Gap(missed);
    const last = newestOf(this.#waiting);
    if (last instanceof Gap) last.add(gap);
    else this.#waiting.set(gap, gap);
    this.kick();
  }

  /** Take a tweet away, and remember that it went. */
  destroy({ id, mtime }) {
    if (!this.#accept({ id, mtime }, RANK.destroy)) return;
    this.#waiting.delete(id);
    const article = this.#shown.get(id);
    this.#shown.delete(id);
    if (article) {
      leave(article);
      this.#joinGaps();
    }
    this.#changed(0);
  }

  /** Show what waits with one of the next frames, unless it is held. */
  kick() {
    if (this.#frame !== 0) return;
    this.#frame = requestAnimationFrame((now) => {
      this.#frame = 0;
      if (this.#held()) this.#changed(0);
      else if (now - this.#last < GATHER_MS) this.kick();
      else this.release();
    });
  }

  /** Show what waits, now. */
  release() {
    let added = 0;
    let newest = newestOf(this.#shown);
    const fragment = document.createDocumentFragment();
    for (const [id, tweet] of this.#waiting) {
      this.#waiting.delete(id); // before all else: one that fails is not tried again
      const gap = id instanceof Gap;
      if (gap && newest instanceof Gap) {
        newest.add(id);
        continue;
      }
      const article = gap ? id.article : attempt(tweet, () => articleFor(tweet, this.#room));
      if (!article) continue;
      fragment.prepend(article);
      this.#shown.set(id, article);
      newest = id;
      if (!gap) added += 1;
    }
    this.#overflow = false;
    if (fragment.firstChild) {
      this.#insert(fragment);
      for (const [id, article] of this.#shown) {
        if (this.#shown.size <= SHOWN) break;
        this.#shown.delete(id);
        article.remove();
      }
    }
    this.#changed(added);
  }

  #revise(article, tweet) {
    attempt(tweet, () => revise(article, tweet, this.#room));
  }

  // Where the last tweet between two gaps has gone, they are one.
  #joinGaps() {
    let before = null;
    for (const [id, article] of this.#shown) {
      if (id instanceof Gap && before instanceof Gap) {
        before.add(id);
        this.#shown.delete(id);
        leave(article);
      } else before = id;
    }
  }

  // A tweet that comes alone moves the others down gently; a crowd just stands there.
  #insert(fragment) {
    const first = this.#root.firstElementChild;
    const now = performance.now();
    const gently = first && now - this.#last > GLIDE_MS && window.scrollY === 0 && !still.matches;
    this.#last = now;
    const before = gently ? first.offsetTop : 0;
    this.#root.prepend(fragment);
    if (!gently) return;
    const down = first.offsetTop - before;
    const glide = [{ transform: `translateY(${-down}px)` }, { transform: "none" }];
    for (const article of this.#root.children) {
      if (article.offsetTop - down > window.innerHeight) break; // out of sight before and after
      article.animate(glide, { duration: GLIDE_MS, easing: "ease-out" });
    }
  }

  #accept({ id, mtime }, rank) {
    const known = this.#gone.get(id) ?? this.#seen.get(id);
    if (known && (mtime < known.mtime || (mtime === known.mtime && rank <= known.rank))) return false;
    const [into, outOf] = rank === RANK.destroy ? [this.#gone, this.#seen] : [this.#seen, this.#gone];
    outOf.delete(id);
    into.set(id, { mtime, rank });
    return true;
  }
}

function tweetsAmong(entries) {
  let count = 0;
  for (const id of entries.keys()) if (!(id instanceof Gap)) count += 1;
  return count;
}

function newestOf(entries) {
  return [...entries.keys()].at(-1);
}

// A tweet that can not be shown must not keep the others from it.
function attempt(tweet, show) {
  try {
    return show();
  } catch (error) {
    console.debug(`tweet ${tweet.id} can not be shown:`, error);
    return null;
  }
}

function leave(article) {
  if (article.contains(document.activeElement)) {
    (article.nextElementSibling ?? article.previousElementSibling)?.focus();
  }
  delete article.dataset.id;
  if (still.matches) {
    article.remove();
    return;
  }
  article.inert = true;
  const fade = article.animate([{ opacity: 1 }, { opacity: 0 }], { duration: FADE_MS, fill: "forwards" });
  fade.finished.then(() => article.remove());
}
