/**
 * How much comes: a number a minute, and a wire with a bird for every few seconds in which a tweet
 * came; the more came, the bigger the bird.
 */

import { icon } from "./dom.js";

const PERCHES = 24;
const SECONDS = 5;
const MINUTE = 60 / SECONDS;
const WIDTH = 640;

/** Counts arrivals and draws them on a wire, an SVG of 640 units in width. */
export class Pace {
  #counts = new Map();
  #began = slot();
  #birds;
  #drawn = "";

  constructor(wire) {
    this.#birds = Array.from({ length: PERCHES }, () => icon("bird", { width: 22, height: 18, overflow: "visible" }));
    wire.append(...this.#birds);
    this.draw();
  }

  /** One tweet came. */
  note() {
    const now = slot();
    this.#counts.set(now, (this.#counts.get(now) ?? 0) + 1);
  }

  /** Tweets a minute over the last minute, or `null` until enough has been seen to tell. */
  perMinute() {
    const now = slot();
    const slots = Math.min(MINUTE, now - this.#began);
    if (slots < 2) return null;
    let sum = 0;
    for (let i = now - slots; i < now; i += 1) sum += this.#counts.get(i) ?? 0;
    return Math.round((sum * MINUTE) / slots);
  }

  /** Put the birds where they belong, the newest at the right. */
  draw() {
    const now = slot();
    for (const old of this.#counts.keys()) if (old <= now - PERCHES) this.#counts.delete(old);
    const counts = Array.from({ length: PERCHES }, (_, i) => this.#counts.get(now - PERCHES + 1 + i) ?? 0);
    const drawing = `${now}:${counts.map(size)}`;
    if (drawing === this.#drawn) return;
    this.#drawn = drawing;
    this.#birds.forEach((bird, i) => perch(bird, i, size(counts[i]), now - PERCHES + 1 + i));
  }
}

// A bird keeps its looks, which hang on its slot, while it moves along.
function perch(bird, place, grown, character) {
  const x = ((place + 0.5) / PERCHES) * WIDTH + ((character * 7) % 5) - 2;
  const t = x / WIDTH;
  const y = 29 * (1 - t) ** 2 + 2 * 43 * t * (1 - t) + 29 * t ** 2;
  const scale = [0, 0.62, 0.85, 1.08][grown];
  const way = (character * 13) % 7 < 3 ? -1 : 1;
  bird.setAttribute("class", grown === 0 ? "away" : `perched tone${character % 3}`);
  bird.setAttribute("transform", `translate(${x} ${y}) scale(${way * scale || 1} ${scale || 1}) translate(-11 -17)`);
}

function size(count) {
  if (count < 3) return Math.min(count, 1);
  return count < 25 ? 2 : 3;
}

function slot() {
  return Math.floor(Date.now() / (SECONDS * 1000));
}
