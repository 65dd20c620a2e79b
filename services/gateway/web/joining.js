/**
 * How the page gets into its room, and what it says of itself: one without tweets gets the last ones; one that has
 * some says up to where, and which, and is sent what it missed, what has changed and what has gone. All of that
 * comes before the answer.
 */

const BACKFILL = 50;
const DOCUMENTS = 1000; // that a gateway takes at once, if they fit:
const DOCUMENTS_BYTES = 64_000; // a packet that is too large ends the connection
const VERSION_BYTES = 20; // of one document, beside its id
const ANSWER_MS = 10_000;
const RETRY_MS = 5_000;

const encoder = new TextEncoder();

/** Refusals of a room that pass by themselves. */
export const PASSING = new Set(["too_many_rooms", "too_fast"]);

/** Asks for the room of a path, and for what the feed lacks of it, on each connection. */
export class Joining {
  #socket;
  #feed;
  #room;
  #answered;
  #filling = null;
  #joined = false;
  #unsaid = []; // `[id, mtime]` of tweets on the page that this gateway does not know to be there
  #timer = 0;

  /** `answered(answer)` is called with each acknowledgement. */
  constructor(socket, feed, room, answered) {
    this.#socket = socket;
    this.#feed = feed;
    this.#room = room;
    this.#answered = answered;
  }

  /** What is coming as long as there is no answer: the "first" tweets, or "missed" ones; else `null`. */
  get filling() {
    return this.#filling;
  }

  /** Ask. */
  join() {
    const since = this.#feed.newest;
    this.#joined = false;
    this.#unsaid = this.#feed.documents.sort(([, one], [, other]) => other - one);
    this.#filling = since === null ? "first" : "missed";
    this.#ask(since === null ? { backfill: BACKFILL } : { since, documents: Object.fromEntries(this.#take()) }, (answer) => {
      this.#joined = Boolean(answer) && !answer.error;
      if (answer) this.#answered(answer);
      this.#fill();
      if (this.#joined) this.#say();
      else if (!answer) this.join();
      else if (PASSING.has(answer.error.code)) this.#later(() => this.join());
    });
  }

  /** Tweets that came from elsewhere, `[id, mtime]` each: what becomes of them is told to the page from then on. */
  watch(documents) {
    this.#unsaid.push(...documents);
    if (this.#joined) this.#say();
  }

  /** The connection is gone. What has come is shown. */
  leave() {
    clearTimeout(this.#timer);
    this.#joined = false;
    this.#fill();
  }

  #say() {
    if (this.#unsaid.length === 0) return;
    const documents = this.#take();
    this.#ask({ documents: Object.fromEntries(documents) }, (answer) => {
      if (!answer || PASSING.has(answer.error?.code)) {
        this.#unsaid.push(...documents);
        this.#later(() => this.#say());
      } else this.#say();
    });
  }

  #take() {
    let bytes = 0;
    const over = this.#unsaid.findIndex(([id], i) => {
      bytes += VERSION_BYTES + encoder.encode(id).length;
      return i === DOCUMENTS || bytes > DOCUMENTS_BYTES;
    });
    return this.#unsaid.splice(0, over < 0 ? this.#unsaid.length : Math.max(over, 1));
  }

  // `done` gets no answer where none has come in time, and is not called where the connection has gone.
  #ask(past, done) {
    clearTimeout(this.#timer);
    this.#socket.timeout(ANSWER_MS).emit("subscribe", { room: this.#room, ...past }, (late, answer) => {
      if (this.#socket.connected) done(late ? null : answer);
    });
  }

  #later(what) {
    this.#timer = setTimeout(() => this.#socket.connected && what(), RETRY_MS);
  }

  // What was there before the reader stands there at once, whatever the reader does; what they missed is new.
  #fill() {
    const filled = this.#filling;
    this.#filling = null;
    if (filled === "first") this.#feed.release({ quietly: true });
    else if (filled) this.#feed.kick();
  }
}
