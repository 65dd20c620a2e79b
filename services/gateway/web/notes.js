/**
 * What sources say of themselves, one quiet line each: which one is away or rests, which one is being
 * asked for this room, with a countdown, and which one is not asked for it. Nothing when all is well.
 */

import { h } from "./dom.js";
import { sourceName } from "./tweet.js";

const LINES = 5;

/** Keeps the lines of a node that is a live region: what counts down is kept from being read aloud. */
export class Notes {
  #root;
  #room;
  #sources = new Map();
  #asking = new Map();
  #lines = new Map();

  constructor(root, room) {
    this.#root = root;
    this.#room = room;
  }

  /** Say what the room is called in the lines. */
  set room(room) {
    this.#room = room;
    this.draw();
  }

  /** How a source is: `{source, state, detail}`. */
  source({ source, state, detail }) {
    if (state === "away" || state === "spent") this.#sources.set(source, { state, detail });
    else this.#sources.delete(source);
    this.draw();
  }

  /** Seconds until a source that is asked for this room has to work; 0: no more asked, `null`: not asked. */
  asking({ source, seconds }) {
    if (seconds === 0) this.#asking.delete(source);
    else this.#asking.set(source, seconds === null ? null : performance.now() + seconds * 1000);
    this.draw();
  }

  /** Forget everything: the next server says it anew. */
  clear() {
    this.#sources.clear();
    this.#asking.clear();
    this.draw();
  }

  /** Bring the lines up to date; what has not changed is not touched. */
  draw() {
    const now = performance.now();
    for (const [source, until] of this.#asking) if (until !== null && until <= now) this.#asking.delete(source);
    const lines = new Map();
    for (const source of new Set([...this.#sources.keys(), ...this.#asking.keys()])) {
      if (lines.size < LINES) lines.set(source, this.#line(source));
    }
    for (const [source, { node }] of this.#lines) if (!lines.has(source)) node.remove();
    for (const [source, line] of lines) {
      const shown = this.#lines.get(source);
      if (shown?.key === line.key) lines.set(source, shown);
      else {
        line.node = h("p", { className: line.look }, ...line.make());
        if (shown) shown.node.replaceWith(line.node);
        else this.#root.append(line.node);
      }
      const left = lines.get(source).node.querySelector(".left");
      const text = left && seconds(Math.ceil((this.#asking.get(source) - now) / 1000));
      if (left && left.textContent !== text) left.textContent = text;
    }
    this.#lines = lines;
  }

  // `key` is all that a line says but for the seconds that are left.
  #line(source) {
    const name = sourceName(source);
    const { name: room } = this.#room;
    const wrong = this.#sources.get(source);
    if (wrong) {
      const says = wrong.state === "away" ? `${name} is away${wrong.detail ? `: ${wrong.detail}` : ""}`
        : `${name}: ${wrong.detail || "a budget is used up"}`;
      return { key: says, look: "wrong", make: () => [says] };
    }
    const until = this.#asking.get(source);
    const quoted = () => ["“", h("bdi", {}, room), "”"];
    if (until === null) {
      return {
        key: `not ${room}`,
        make: () => [`${name} is not asked for `, ...quoted(), ": shown is what comes anyway"],
      };
    }
    const first = seconds(Math.ceil((until - performance.now()) / 1000));
    return {
      key: `${until} ${room}`,
      make: () => [`Asking ${name} for `, ...quoted(), ": up to ",
        h("span", { className: "left", "aria-hidden": "true" }), h("span", { className: "unseen" }, first)],
    };
  }
}

function seconds(left) {
  return left < 100 ? `${left} s` : `${Math.ceil(left / 60)} min`;
}
