/**
 * Roost in your page: rooms and subscriptions that come back by themselves after a break, and then lack nothing.
 *
 *   <script src="https://roost.example/_/static/roost.js"></script>                 makes `roost`; in a module:
 *   import { roost, connect } from "https://roost.example/_/static/roost.mjs";
 *
 *   roost.room("nfl", { backfill: 50 }).on("tweet", (tweet) => …).on("update", …).on("destroy", ({ id }) => …);
 *   roost.collection("tweet").subscribe({ createQuery: { term: "nfl" }, fields: ["text"] }).on("create", …);
 */
{
  const here = globalThis.document?.currentScript?.src; // none in a module, where paths are relative to this file
  const parts = ["./vendor/socket.io.esm.min.js", "./resuming.js"].map((path) => (here ? new URL(path, here) : path));
  const CONNECTION = { transports: ["websocket", "polling"], tryAllTransports: true, reconnectionDelay: 500 };
  const [ANSWER_MS, RETRY_MS] = [20_000, 5_000]; // a gateway waits for its archive, but not so long
  const OF_ROOM = { __proto__: null, newTweet: "tweet", updateTweet: "update", destroyTweet: "destroy" };

  class Emitter extends EventTarget {
    on(event, listener) { this.addEventListener(event, ({ told }) => listener(told)); return this; }
  }
  const emit = (emitter, event, told) => emitter.dispatchEvent(Object.assign(new Event(event), { told }));

  /**
   * A room tells `tweet`, `update`, `destroy`, `asking`; a subscription `create`, `save`, `destroy`, and `unfollow`
   * with the `ids` of which it tells no more. Both: `begin` when they ask, on each connection; then `ready` with the
   * answer, or `refused` with `{code, message, again}`, `again` if it is asked again by itself; `gap`: some is lost.
   */
  class Following extends Emitter {
    #begun;
    constructor(begun) { super(); this.#begun = begun; }
    /** The page holds these, too, by id the `mtime`: a room tells from now on what becomes of them. */
    watch(documents) { this.#begun.then(({ resuming }) => resuming.watch(documents)); }
    /** Tell no more. */
    end() { this.#begun.then((one) => one.end()); }
  }

  /**
   * A connection. It tells `connect`; `away`, with `{code, message}` where it was refused, else `null`; `source` and
   * `status`. It comes back by itself; but where a token was refused, `reconnect()` when there is another.
   */
  class Roost extends Emitter {
    #url; #options; #opening; #socket; #retry; #uids = 0;
    #all = new Set(); // `{asked, name, resuming}` of all that is followed
    #early = []; // events of rooms whose names, as the gateway spells them, come with its answer
    constructor(url, options = {}) { super(); [this.#url, this.#options] = [url, options]; }
    get connected() { return this.#socket?.connected ?? false; }
    reconnect() { this.#socket?.disconnect().connect(); }
    close() { this.#socket?.disconnect(); clearTimeout(this.#retry); }
    /** A room, by what stands in its URL; `backfill` of its last tweets come first. `held` is as below. */
    room(room, { backfill, ...held } = {}) { return this.#follow({ asked: { room }, once: { backfill }, ...held }); }
    /**
     * A collection, with `subscribe({fields, createQuery, documents, from, since})`. The page has `documents`, by id
     * the `mtime`, from one `seq` to another. Functions are asked each time; who gives them sorts out repeats.
     */
    collection(collection) {
      const subscribe = ({ uid = `roost-${(this.#uids += 1)}`, fields, createQuery, ...held } = {}) =>
        this.#follow({ asked: { uid, collection }, once: { fields, createQuery }, ...held });
      return { subscribe };
    }
    #follow({ asked, ...rest }) {
      const begun = (this.#opening ??= this.#open()).then((Resuming) => {
        const one = { asked, end: () => this.#end(one) };
        const send = (request, answered) => this.#send(one, request, answered);
        one.resuming = new Resuming({ ...rest, asked, send, emit: (event, told) => emit(following, event, told) });
        for (const it of this.#all) if (asked.uid && it.asked.uid === asked.uid) this.#all.delete(it); // as a gateway does
        this.#all.add(one);
        if (this.connected) one.resuming.join();
        return one;
      });
      const following = new Following(begun);
      return following;
    }
    #send(one, request, answered) {
      this.#socket.timeout(ANSWER_MS).emit("subscribe", request, (late, answer) => {
        if (!this.connected) return;
        one.name ??= answer?.room; // a subscription has none
        if (!this.#all.has(one)) return this.#unsubscribe(one);
        for (const event of this.#early.splice(0)) this.#take(...event);
        answered(late ? null : answer);
      });
    }
    #end(one) {
      one.resuming.leave();
      if (this.#all.delete(one)) this.#unsubscribe(one);
    }
    #unsubscribe({ asked, name }) { // from a room if its name is known, and nobody else here is or may be in it
      const others = [...this.#all].filter((it) => !it.asked.uid && (it.name ?? name) === name);
      if (this.connected && (asked.uid || (name && others.length === 0))) this.#socket.emit("unsubscribe", asked);
    }
    async #open() {
      const [{ io }, { Resuming }] = await Promise.all(parts.map((path) => import(path)));
      const { auth, ...options } = this.#options; // of a function each connection gets what it gives then
      const tell = async (answer) => answer((await (typeof auth === "function" ? auth() : auth)) ?? {});
      const socket = (this.#socket = io(this.#url, { ...CONNECTION, ...options, auth: tell }));
      const away = ({ data, message }) => {
        for (const { resuming } of this.#all) resuming.leave();
        emit(this, "away", data?.code ? { code: data.code, message } : null);
        clearTimeout(this.#retry); // the library does not come back to a server that sent it away
        if (!socket.active && !data?.code?.startsWith("token_")) this.#retry = setTimeout(() => socket.connect(), RETRY_MS);
      };
      socket.on("disconnect", away).on("connect_error", away).onAny((...event) => this.#take(...event));
      socket.on("connect", () => {
        emit(this, "connect");
        for (const { resuming } of this.#all) resuming.join();
      });
      return Resuming;
    }
    #take(event, told, room) {
      const [uid, , what = OF_ROOM[event] ?? (room && event)] = event.split(":");
      const all = [...this.#all];
      const whose = all.filter(({ asked, name }) => (uid === event ? name === room : asked.uid === uid));
      if (!what) emit(this, event, told);
      else if (whose.length > 0) for (const { resuming } of whose) resuming.take(what, told);
      else if (all.some(({ asked, name }) => !asked.uid && !name)) this.#early.push([event, told, room]);
    }
  }

  const connect = (url, options) => new Roost(url, options);
  globalThis.roost = Object.assign(connect(here ? new URL(here).origin : globalThis.location?.origin), { connect });
}
