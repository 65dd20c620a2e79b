/**
 * The tweets of one room: which are shown, which wait, and which are gone; where some are missing, and where the
 * older ones begin that are not on the page.
 */

import { Column } from "./column.js";
import { Gap } from "./gap.js";
import { articleFor, revise } from "./tweet.js";
import { RANK, Versions } from "./versions.js";

const SHOWN = 200;
const WAITING = 200;
const GATHER_MS = 100;

/** Puts tweets into a node, newest on top, in an animation frame and at most ten times a second. */
export class Feed {
  #column;
  #room;
  #held;
  #changed;
  #shown = new Map(); // from ids to `{article, seq}`
  #waiting = new Map(); // in the order of arrival: from ids to tweets, and from gaps to themselves
  #versions = new Versions();
  #overflow = null; // the place of the newest tweet that had to wait and was let go
  #newest = null; // the greatest `seq` that came
  #end = null; // the place where what is shown ends: the archive has what is older
  #whole = false; // whether nothing is older
  #frame = 0;

  /**
   * `held()` tells whether new tweets are to wait; `changed(added)` is called after what is shown or
   * waits has changed, with the number of tweets newly shown.
   */
  constructor(root, { room, held, changed }) {
    this.#column = new Column(root);
    this.#room = room;
    this.#held = held;
    this.#changed = changed;
  }

  /** The number of tweets on the page. */
  get size() {
    return this.#shown.size;
  }

  /** Whether there are as many as are kept for somebody who reads at the top. */
  get full() {
    return this.#column.length >= SHOWN;
  }

  /** Whether there are more, because somebody reads far below. */
  get long() {
    return this.#column.length > SHOWN;
  }

  /** How many tweets wait; `more` if so many came that the oldest were let go. */
  get waiting() {
    return { count: tweetsAmong(this.#waiting), more: this.#overflow !== null };
  }

  /** The greatest `seq` that came to this page, `null` before the first. */
  get newest() {
    return this.#newest;
  }

  /** `[id, mtime]` of each tweet that is shown or waits. */
  get documents() {
    return this.#versions.here;
  }

  /** The place before which tweets are not on the page, `seq,id`; `null` where none is known of. */
  get before() {
    return this.#whole || this.#end === null ? null : `${this.#end.seq},${this.#end.id}`;
  }

  /** Whether it is known that there is nothing older. */
  get whole() {
    return this.#whole;
  }

  /** Say what is to be marked in the tweets to come. */
  set room(room) {
    this.#room = room;
  }

  /** A tweet of this room, new or in another version, or one that was `missed`; tells whether it is news. */
  add(tweet, { missed = false } = {}) {
    this.#note(tweet);
    // A gateway tells a little more of the past than was asked for: some of it stands below, in the archive.
    if (missed && tweet.seq < Math.max(this.#end?.seq ?? 0, this.#overflow?.seq ?? 0)) return false;
    if (!this.#versions.accept(tweet, rank(tweet))) return false;
    const shown = this.#shown.get(tweet.id);
    if (shown) this.#revise(shown, tweet);
    else {
      // What comes first is where the page ends. A late one may be older, but what lies between is not here.
      this.#end ??= placeOf(tweet);
      this.#waiting.set(tweet.id, tweet);
      if (this.#waiting.size > WAITING) this.#letGoOldest();
      this.kick();
    }
    return !shown;
  }

  /** Another version of a tweet that is here; one of any other is none of this page's business. */
  update(tweet) {
    this.#note(tweet);
    const shown = this.#shown.get(tweet.id);
    const waits = this.#waiting.has(tweet.id);
    if (!(shown || waits) || !this.#versions.accept(tweet, RANK.update)) return;
    if (shown) this.#revise(shown, tweet);
    else this.#waiting.set(tweet.id, { ...tweet, action: "update" });
  }

  /** Between what has come and what will come tweets are missing: so many, `null` where nobody knows. */
  gap(missed) {
    const gap = new Gap(missed);
    const last = [...this.#waiting.keys()].at(-1);
    if (last instanceof Gap) last.add(gap);
    else this.#waiting.set(gap, gap);
    this.kick();
  }

  /** Take a tweet away, and remember that it went. */
  destroy({ id, mtime }) {
    if (!this.#versions.accept({ id, mtime }, RANK.destroy)) return;
    this.#waiting.delete(id);
    const shown = this.#shown.get(id);
    this.#shown.delete(id);
    if (shown) this.#column.fade(shown.article);
    this.#changed(0);
  }

  /**
   * What the archive has before `this.before`: tweets, newest first; the place where it goes on, `null` at its
   * beginning; and whether all of them are here. Returns `[id, mtime]` of those that the page had not.
   */
  addOlder(tweets, before, whole) {
    const fragment = document.createDocumentFragment();
    const added = [];
    for (const tweet of tweets) {
      if (!this.#versions.acceptAgain(tweet, rank(tweet))) continue;
      const article = this.#show(tweet);
      if (!article) continue;
      fragment.append(article);
      added.push([tweet.id, tweet.mtime]);
    }
    if (!whole) {
      const above = Gap.of(fragment.lastElementChild ?? this.#column.oldest);
      const gap = new Gap(null);
      if (above) above.add(gap);
      else fragment.append(gap.article);
    }
    this.#whole = before === null;
    if (!this.#whole) {
      const [seq, ...id] = before.split(",");
      this.#end = { seq: Number(seq), id: id.join(",") };
    }
    if (fragment.firstChild) this.#column.putBelow(fragment);
    this.#changed(0);
    return added;
  }

  /** Show what waits with one of the next frames, unless it is held. */
  kick() {
    if (this.#frame !== 0) return;
    this.#frame = requestAnimationFrame((now) => {
      this.#frame = 0;
      if (this.#held()) this.#changed(0);
      else if (now - this.#column.last < GATHER_MS) this.kick();
      else this.release();
    });
  }

  /** Show what waits, now; `quietly` where it is nothing that the reader has missed. */
  release({ quietly = false } = {}) {
    // Between what is shown and what waits some are missing then: they are older ones now, like all before.
    if (this.#overflow) this.#shorten(0);
    let added = 0;
    let newest = this.#column.newest;
    const fragment = document.createDocumentFragment();
    for (const [id, tweet] of this.#waiting) {
      this.#waiting.delete(id); // before all else: one that fails is not tried again
      const gap = id instanceof Gap;
      if (gap && Gap.of(newest)) {
        Gap.of(newest).add(id);
        continue;
      }
      const article = gap ? id.article : this.#show(tweet);
      if (!article) continue;
      fragment.prepend(article);
      newest = article;
      if (!gap) added += 1;
    }
    this.#reach(this.#overflow);
    this.#overflow = null;
    if (fragment.firstChild) this.#column.putAbove(fragment);
    this.#shorten(SHOWN);
    this.#changed(quietly ? 0 : added);
  }

  /** Whoever reads far below comes near the upper end: put back what was taken out there, if there is any. */
  lengthen() {
    return this.#column.restoreOne();
  }

  #note({ seq }) {
    if (Number.isSafeInteger(seq) && !(seq <= this.#newest)) this.#newest = seq;
  }

  #show(tweet) {
    const article = attempt(tweet, () => articleFor(tweet, this.#room));
    if (article) this.#shown.set(tweet.id, { article, place: placeOf(tweet) });
    else this.#versions.letGo(tweet.id);
    return article;
  }

  #revise({ article }, tweet) {
    attempt(tweet, () => revise(article, tweet, this.#room));
  }

  #letGoOldest() {
    const [[id, tweet]] = this.#waiting;
    this.#waiting.delete(id);
    if (id instanceof Gap) return;
    this.#versions.letGo(id);
    this.#overflow = later(this.#overflow, placeOf(tweet));
  }

  #shorten(most) {
    for (const article of this.#column.shorten(most)) {
      const shown = this.#shown.get(article.dataset.id);
      if (!shown) continue;
      this.#shown.delete(article.dataset.id);
      this.#versions.letGo(article.dataset.id);
      this.#reach(shown.place);
    }
  }

  // The tweet at a place is not on the page: it is one of the older ones.
  #reach(place) {
    if (place === null || (!this.#whole && this.#end?.seq > place.seq)) return;
    // As far as `seq` goes, one of another id may stand behind it.
    this.#end = { seq: place.seq + 1, id: place.id };
    this.#whole = false;
  }
}

function tweetsAmong(entries) {
  let count = 0;
  for (const id of entries.keys()) if (!(id instanceof Gap)) count += 1;
  return count;
}

function rank({ action }) {
  return RANK[action] ?? RANK.create;
}

function placeOf({ seq, id }) {
  return Number.isSafeInteger(seq) ? { seq, id } : null;
}

function later(one, other) {
  return one && (!other || one.seq >= other.seq) ? one : other;
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
