/**
 * Which version of a document is news, and which versions of its tweets the page has heard of. Of one id the greatest
 * `(mtime, rank)` wins: order is not promised by the server.
 */

const REMEMBERED = 4000;

/** What an event or an action counts at equal `mtime`: that a document is gone most, that it is new least. */
export const RANK = { __proto__: null, create: 0, tweet: 0, save: 1, update: 1, destroy: 2 };

/** Whether a version, `{mtime, rank}`, is news to whom another one is known, or none. */
export function isNews({ mtime, rank }, known) {
  return !(known && (mtime < known.mtime || (mtime === known.mtime && rank <= known.rank)));
}

/** A map that forgets its oldest entries beyond a number of them. */
export class Recent extends Map {
  set(key, value) {
    this.delete(key);
    super.set(key, value);
    if (this.size > REMEMBERED) this.delete(this.keys().next().value);
    return this;
  }
}

/** Remembers every tweet that is on the page, and for a while those that went from it. */
export class Versions {
  #here = new Map();
  #left = new Recent();
  #gone = new Recent();

  /** Whether a version is news; if so it is the newest from now on, and its tweet on the page unless it is a destroy. */
  accept({ id, mtime }, rank) {
    const known = this.#gone.get(id) ?? this.#here.get(id) ?? this.#left.get(id);
    if (!isNews({ mtime, rank }, known)) return false;
    for (const map of [this.#here, this.#left, this.#gone]) map.delete(id);
    (rank === RANK.destroy ? this.#gone : this.#here).set(id, { mtime, rank });
    return true;
  }

  /** The same for a tweet out of the archive: one that the page had and let go is welcome again. */
  acceptAgain(tweet, rank) {
    if (this.#here.has(tweet.id)) return false;
    this.#left.delete(tweet.id);
    return this.accept(tweet, rank);
  }

  /** A tweet is on the page no more, though it is not gone. */
  letGo(id) {
    const version = this.#here.get(id);
    if (version && this.#here.delete(id)) this.#left.set(id, version);
  }

  /** `[id, mtime]` of each tweet that is on the page. */
  get here() {
    return Array.from(this.#here, ([id, { mtime }]) => [id, mtime]);
  }
}
