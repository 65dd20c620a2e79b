/**
 * What makes a room or a subscription of `roost.js` whole: on each connection it says what the page holds, it asks
 * again where it was refused for a while, and it keeps from the page what that has been told already.
 */

import { isNews, RANK, Recent } from "./versions.js";

const DOCUMENTS = 1000; // that a gateway takes at once, if they fit:
const DOCUMENTS_BYTES = 64_000; // a packet that is too large ends the connection
const VERSION_BYTES = 20; // of one document, beside its id
const RETRY_MS = 5_000;
const LATE = "late";
const PASSING = new Set(["too_many_rooms", "too_fast", LATE]); // refusals that pass by themselves

const encoder = new TextEncoder();

/** What something new is called where it is there already. */
const AGAIN = { __proto__: null, create: "save", tweet: "update" };

/** The versions of documents that a page was told of, by id, and the greatest `seq`. */
class Held {
  #versions = new Recent();
  #from; // the `seq` of the oldest: what is older than the page is none of its business

  constructor(documents, from, since) {
    this.since = Number(since ?? 0);
    this.#from = from;
    this.add(documents);
  }

  /** `[id, mtime]` of each that the page has. */
  get documents() {
    return Array.from(this.#versions).flatMap(([id, { mtime, rank }]) => (rank < RANK.destroy ? [[id, mtime]] : []));
  }

  /** The page has these, too. */
  add(documents) {
    for (const [id, mtime] of documents) this.#versions.set(id, { mtime: Number(mtime), rank: RANK.create });
  }

  /** Of these the page is told no more. */
  letGo(ids) {
    for (const id of ids) this.#versions.set(id, { mtime: this.#versions.get(id)?.mtime ?? 0, rank: RANK.destroy });
  }

  /** All up to this `seq` has been told, if the gateway says one. */
  complete(seq) {
    if (seq > this.since) this.since = seq;
    if (seq !== undefined && seq !== null) this.#from ??= seq + 1;
  }

  /** The event as which the page is to be told of it, if it is news; else `null`. */
  accept(event, { id, seq, mtime = Infinity, action }, catchingUp) {
    const version = { mtime, rank: Math.max(RANK[event], RANK[action] ?? 0) };
    const known = this.#versions.get(id);
    if (seq > this.since) this.since = seq;
    if (!isNews(version, known)) return null;
    if (!known && event in AGAIN) {
      // A gateway tells a little more of the past than was asked for.
      if (catchingUp && seq < this.#from) return null;
      if (!(this.#from <= seq)) this.#from = seq;
    }
    this.#versions.set(id, version);
    // More may be held than could be named: a change of such a one comes as something new.
    return (known?.rank < RANK.destroy && AGAIN[event]) || event;
  }
}

/** One room or subscription, on one connection after the other. */
export class Resuming {
  #asked;
  #once;
  #theirs = null;
  #held = null;
  #send;
  #emit;
  #unsaid = []; // `[id, mtime]` of documents on the page that this gateway does not know to be there
  #joined = false;
  #timer = 0;

  /**
   * `asked` goes with each request and `once` with the first of a connection. The page begins with `documents`, from
   * one `seq` to another, which is kept up to date here. Or `documents` and `since` are functions that tell it each
   * time: then whoever gave them keeps it, and sorts out repeats. `send(request, answered)` calls back with the
   * answer, or with `null` where none came in time, but not where the connection has gone meanwhile.
   */
  constructor({ asked, once, documents, from, since, send, emit }) {
    [this.#asked, this.#once, this.#send, this.#emit] = [asked, once, send, emit];
    if ([documents, since].some((one) => typeof one === "function")) this.#theirs = { documents, since };
    else this.#held = new Held(pairs(documents), from, since);
  }

  /** There is a new connection. */
  join() {
    this.leave();
    this.#emit("begin");
    const { documents, since } = this.#held ?? this.#theirs;
    this.#unsaid = pairs(value(documents)).sort(([, one], [, other]) => other - one);
    this.#ask({ ...this.#once, since: value(since) || undefined }, () => this.join(), (answer) => {
      this.#joined = !answer.error;
      this.#held?.complete(answer.seq);
      this.#emit(answer.error ? "refused" : "ready", answer.error ?? answer);
    });
  }

  /** The connection is gone, or nobody wants this any more. */
  leave() {
    clearTimeout(this.#timer);
    this.#joined = false;
  }

  /** The page holds these, too, `{id: mtime}` or a list of `[id, mtime]`: a room tells what becomes of them. */
  watch(documents) {
    this.#held?.add(pairs(documents));
    this.#unsaid.push(...pairs(documents));
    if (this.#joined) this.#say();
  }

  /** The gateway says this. */
  take(event, told) {
    if (event === "unfollow") this.#held?.letGo(told.ids);
    const news = this.#held && event in RANK ? this.#held.accept(event, told, !this.#joined) : event;
    if (news) this.#emit(news, told);
  }

  // A room is told of what did not fit in further requests; a subscription has but one.
  #say() {
    if (this.#unsaid.length === 0) return;
    if (this.#asked.uid) this.take("unfollow", { ids: this.#unsaid.splice(0).map(([id]) => id) });
    else this.#ask({}, () => this.#say());
  }

  #ask(more, again, answered = () => {}) {
    clearTimeout(this.#timer);
    const documents = this.#portion();
    this.#send({ ...this.#asked, ...more, documents: Object.fromEntries(documents) }, (answer) => {
      const { error } = answer ?? { error: { code: LATE, message: "no answer has come yet" } };
      if (error) error.again = PASSING.has(error.code);
      answered(error ? { error } : answer);
      if (error?.again) {
        this.#unsaid.push(...documents);
        this.#timer = setTimeout(again, error.code === LATE ? 0 : RETRY_MS);
      } else if (this.#joined) this.#say();
    });
  }

  // As many of the unsaid as one request can carry.
  #portion() {
    let bytes = 0;
    const over = this.#unsaid.findIndex(([id], i) => {
      bytes += VERSION_BYTES + encoder.encode(id).length;
      return i === DOCUMENTS || bytes > DOCUMENTS_BYTES;
    });
    return this.#unsaid.splice(0, over < 0 ? this.#unsaid.length : Math.max(over, 1));
  }
}

function pairs(documents) {
  return Array.isArray(documents) ? [...documents] : Object.entries(documents ?? {});
}

function value(one) {
  return typeof one === "function" ? one() : one;
}
