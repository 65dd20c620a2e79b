/** Older tweets out of the archive, a page at a time, as the reader comes near the end of the feed. */

const LIMIT = 50;
const AHEAD = "0px 0px 1500px 0px";
const ANSWER_MS = 15_000;
const REST_MS = 30_000; // so long nothing is asked where there is no archive, or no answer
const WAIT_S = 5;
const MOST_WAIT_S = 60;

const SAYS = { failed: "Older tweets can’t be loaded now.", end: "This is where the archive begins." };

/** Fetches what is older than the feed's end, and keeps the lines below the feed that say how that goes. */
export class History {
  #feed;
  #list;
  #wanted;
  #headers;
  #added;
  #below;
  #says;
  #look; // observes whether the reader is near
  #near = false;
  #label = null;
  #state = "idle"; // or "loading", "failed", "absent"
  #served = false;
  #restsUntil = 0;

  /**
   * `list` is the node that the feed is in, `below` the one with the lines. `wanted()` tells whether older tweets
   * are to come at all, `headers()` what goes with each request; `added(documents)` is called with `[id, mtime]` of
   * those that have come.
   */
  constructor(feed, { list, below, wanted, headers, added }) {
    this.#feed = feed;
    this.#list = list;
    this.#wanted = wanted;
    this.#headers = headers;
    this.#added = added;
    this.#below = below;
    this.#says = below.querySelector("[role=status]");
    below.querySelector("button").addEventListener("click", ({ detail }) => {
      // By keyboard: the button goes from under the focus.
      if (detail === 0) list.lastElementChild?.focus({ preventScroll: true });
      this.#become("idle");
    });
    const look = new IntersectionObserver((seen) => this.#came(seen.at(-1).isIntersecting), { rootMargin: AHEAD });
    this.#look = () => {
      this.#near = false;
      look.unobserve(below);
      look.observe(below);
    };
    this.#look();
  }

  /** A gateway has let us into the room of a label: what could not be loaded may be there now. */
  open(label) {
    this.#label = label;
    this.#look(); // what came first has moved the end
    this.#become(this.#state === "loading" ? "loading" : "idle");
  }

  /** The feed has changed: load more where the reader is near its end, and say what there is to say. */
  kick() {
    const { before } = this.#feed;
    if (this.#state === "idle" && this.#near && this.#label !== null && before !== null && this.#wanted()) {
      this.#load(before);
    }
    this.#draw();
  }

  #came(near) {
    this.#near = near;
    const stuck = this.#state === "failed" || this.#state === "absent";
    this.#become(near && stuck && performance.now() > this.#restsUntil ? "idle" : this.#state);
  }

  #become(state) {
    this.#state = state;
    if (state === "failed" || state === "absent") this.#restsUntil = performance.now() + REST_MS;
    this.kick();
  }

  async #load(before) {
    this.#state = "loading";
    try {
      const page = await this.#ask(before);
      // What stood at the end may have been taken away meanwhile, and the place with it.
      if (page && before === this.#feed.before) {
        this.#look();
        this.#added(this.#feed.addOlder(page.tweets, page.before, page.whole));
      }
      this.#served ||= page !== null;
      this.#become(page ? "idle" : this.#served ? "failed" : "absent"); // one that was there is missed
    } catch (error) {
      console.debug("older tweets can not be loaded:", error);
      this.#become("failed");
    }
  }

  // A page, or `null` where there is no archive. Whoever asks too often is told how long to wait, and waits.
  async #ask(before) {
    const address = `/_/api/rooms/${encodeURIComponent(this.#label)}/tweets?limit=${LIMIT}&before=${encodeURIComponent(before)}`;
    for (;;) {
      const response = await fetch(address, { headers: this.#headers(), signal: AbortSignal.timeout(ANSWER_MS) });
      if (response.status === 429) {
        const seconds = Number(response.headers.get("Retry-After")) || WAIT_S;
        await new Promise((done) => { setTimeout(done, Math.min(seconds, MOST_WAIT_S) * 1000); });
        continue;
      }
      const answer = await response.json();
      if (response.status === 503 && answer.error?.code === "no_archive") return null;
      if (!response.ok) throw new Error(answer.error?.message ?? `status ${response.status}`);
      if (answer.before === before) throw new Error("the same page again");
      return answer;
    }
  }

  #draw() {
    const state = this.#state === "idle" && this.#feed.whole && this.#feed.size > 0 ? "end" : this.#state;
    const says = SAYS[state] ?? "";
    this.#list.setAttribute("aria-busy", String(state === "loading"));
    this.#below.dataset.state = state;
    if (this.#says.textContent !== says) this.#says.textContent = says;
  }
}
