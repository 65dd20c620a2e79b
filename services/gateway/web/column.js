/**
 * The articles of a feed, newest on top: how they come in, move and leave. Of a very long column the upper part is
 * taken out of the page while somebody reads far below.
 */

import { Gap } from "./gap.js";

const MOST = 2000;
const FADE_MS = 220;
const GLIDE_MS = 350;

const still = window.matchMedia("(prefers-reduced-motion: reduce)");
const anchored = CSS.supports("overflow-anchor", "auto");

/** The children of a node; one that fades away is none any more. */
export class Column {
  #root;
  #above = []; // parts that were taken out, the uppermost first
  #last = 0;

  constructor(root) {
    this.#root = root;
  }

  /** How many articles there are. */
  get length() {
    return this.#above.reduce((sum, part) => sum + part.childElementCount, this.#root.childElementCount);
  }

  /** The uppermost article, or `null`. */
  get newest() {
    return staying((this.#above[0] ?? this.#root).firstElementChild, "nextElementSibling");
  }

  /** The lowest article, or `null`. */
  get oldest() {
    return staying(this.#root.lastElementChild, "previousElementSibling");
  }

  /** When something came in last, on the clock of animation frames. */
  get last() {
    return this.#last;
  }

  /** New articles. One that comes alone moves the others down gently; a crowd just stands there. */
  putAbove(fragment) {
    this.restore();
    const first = this.#root.firstElementChild;
    const now = performance.now();
    const gently = first && now - this.#last > GLIDE_MS && window.scrollY === 0 && !still.matches;
    this.#last = now;
    const before = gently ? first.offsetTop : 0;
    this.#root.prepend(fragment);
    if (!gently) return;
    const down = first.offsetTop - before;
    if (down > window.innerHeight) return;
    const glide = [{ transform: `translateY(${-down}px)` }, { transform: "none" }];
    for (const article of this.#root.children) {
      if (article.offsetTop - down > window.innerHeight) break; // out of sight before and after
      article.animate(glide, { duration: GLIDE_MS, easing: "ease-out" });
    }
  }

  /** Older articles. Whoever reads is at the lower end then, so the upper half of too many can be taken out. */
  putBelow(fragment) {
    this.#root.append(fragment);
    const upper = this.#root.children[MOST / 2];
    if (this.#root.childElementCount <= MOST) return;
    const focus = document.activeElement;
    const walked = upper.compareDocumentPosition(focus) & Node.DOCUMENT_POSITION_PRECEDING;
    if (walked && focus !== this.#root && this.#root.contains(focus)) return;
    const range = document.createRange();
    range.setStart(this.#root, 0);
    range.setEndBefore(upper);
    keepingPlace(upper, () => this.#above.push(range.extractContents()));
  }

  /** Put back the part that was taken out last; tells whether there was one. */
  restoreOne() {
    const part = this.#above.pop();
    if (part) keepingPlace(this.#root.firstElementChild, () => this.#root.prepend(part));
    return part !== undefined;
  }

  /** Put back all that was taken out. */
  restore() {
    this.#root.prepend(...this.#above.splice(0));
  }

  /** Take away an article that is gone; two lines about gaps that meet then become one. */
  fade(article) {
    const newer = staying(article.previousElementSibling, "previousElementSibling");
    const older = staying(article.nextElementSibling, "nextElementSibling");
    leave(article);
    const [above, below] = [Gap.of(newer), Gap.of(older)];
    if (!above || !below) return;
    below.add(above);
    leave(newer);
  }

  /** Take away articles from the lower end until there are no more than `most`; yields each. */
  *shorten(most) {
    this.restore();
    while (this.#root.childElementCount > most) {
      const article = this.#root.lastElementChild;
      article.remove();
      yield article;
    }
  }
}

function staying(node, towards) {
  let at = node;
  while (at?.inert) at = at[towards];
  return at ?? null;
}

// What is read stays where it is on the screen. Most browsers see to that by themselves.
function keepingPlace(article, change) {
  if (anchored || !article) return change();
  const before = article.getBoundingClientRect().top;
  change();
  window.scrollBy(0, article.getBoundingClientRect().top - before);
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
