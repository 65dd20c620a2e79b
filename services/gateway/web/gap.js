/** A place in the feed where tweets are missing, as a quiet line. */

import { h } from "./dom.js";

const gaps = new WeakMap();

/** So many tweets are missing, `null` where nobody knows how many. Its `article` stands in the feed. */
export class Gap {
  #missed = 0;
  #more = false;
  #line = h("p");
  article = h("article", { className: "gap", tabIndex: -1, "aria-label": "Tweets are missing" }, this.#line);

  /** The gap that an article of the feed stands for; `undefined` for a tweet's. */
  static of(article) {
    return gaps.get(article);
  }

  constructor(missed) {
    gaps.set(this.article, this);
    if (Number.isSafeInteger(missed) && missed > 0) this.#missed = missed;
    else this.#more = true;
    this.#say();
  }

  /** Take in another one that follows without a tweet between. */
  add(other) {
    this.#missed += other.#missed;
    this.#more ||= other.#more;
    this.#say();
  }

  #say() {
    const tweets = `${this.#missed} ${this.#missed === 1 ? "tweet" : "tweets"} could not be shown`;
    if (this.#missed === 0) this.#line.textContent = "Some tweets may be missing here";
    else this.#line.textContent = this.#more ? `${tweets}, maybe more` : tweets;
  }
}
