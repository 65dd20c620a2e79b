/** The page of one room: connects, subscribes, puts what comes into the feed, and catches up after a break. */

import { h } from "./dom.js";
import { Feed } from "./feed.js";
import { History } from "./history.js";
import { listen } from "./keys.js";
import { Notes } from "./notes.js";
import { Pace } from "./pace.js";
import { fromLabel, fromPath, pathFor } from "./room.js";
import { connect } from "./roost.mjs";
import { tick } from "./time.js";
import { TokenForm } from "./token.js";

const ANNOUNCE_MS = 10_000;
const POINTING_MS = 1_500;
const BACKFILL = 50;
const ASLEEP_MS = 90_000; // a hidden page's timers come once a minute; what takes longer was asleep

const at = (id) => document.getElementById(id);
const [root, status, pause, pending, empty, announcer] =
  ["feed", "status", "pause", "pending", "empty", "announce"].map(at);

let room = fromPath(location.pathname);
let joined = false;
let filling = null; // what is coming as long as there is no answer: the "first" tweets, or "missed" ones
let refusal = null;
let brokerLive = true;
let everConnected = false;
let paused = false;
let reading = false;
let pointingUntil = 0;
let unseen = 0;
let unannounced = 0;
let titleTimer = 0;
let beat = Date.now();

const pace = new Pace(at("wire"));
const notes = new Notes(at("notes"), room);
const token = new TokenForm(at("token"), () => roost.reconnect());
const held = () => filling !== null || waitsForReader() || performance.now() < pointingUntil;
const feed = new Feed(root, { room, held, changed });
const history = new History(feed, {
  list: root,
  below: at("older"),
  wanted: () => reading || !feed.full,
  headers: () => token.headers,
  added: (documents) => following.watch(documents),
});

// --- what the reader does -------------------------------------------------------------------

// New tweets wait while the reader says so, has scrolled into the feed or walks in it by keyboard.
// Under a moving pointer they wait too, without a word, so that no link slips away under it.
function waitsForReader() {
  const focus = document.activeElement;
  const walking = focus !== root && root.contains(focus) && focus.matches(":focus-visible");
  return paused || reading || walking;
}

function setPaused(value) {
  paused = value;
  pause.setAttribute("aria-pressed", String(paused));
  pause.textContent = paused ? "Resume" : "Pause";
  document.body.classList.toggle("paused", paused);
  everySecond();
  feed.kick();
}

function showWaiting(byKeyboard) {
  feed.release();
  window.scrollTo({ top: 0 });
  if (byKeyboard) root.querySelector("article")?.focus({ preventScroll: true });
  else if (root.contains(document.activeElement)) document.activeElement.blur();
}

pause.addEventListener("click", () => setPaused(!paused));
pending.addEventListener("click", (event) => showWaiting(event.detail === 0));
root.addEventListener("pointermove", (event) => {
  const moved = event.movementX !== 0 || event.movementY !== 0;
  if (event.pointerType === "mouse" && moved) pointingUntil = performance.now() + POINTING_MS;
}, { passive: true });
root.addEventListener("pointerleave", () => { pointingUntil = 0; });
root.addEventListener("focusout", () => feed.kick());
new IntersectionObserver((seen) => {
  reading = !seen.at(-1).isIntersecting; // a busy page hears of several at once, the oldest first
  feed.kick();
  history.kick();
}, { rootMargin: "-72px 0px 0px" }).observe(at("wire"));
const comingUp = new IntersectionObserver((seen) => {
  // Where some was put back, there may be more of it.
  if (seen.at(-1).isIntersecting && feed.lengthen()) lookUp();
}, { rootMargin: "1500px 0px 0px" });

function lookUp() {
  comingUp.unobserve(at("wire"));
  comingUp.observe(at("wire"));
}

lookUp();

at("goto").addEventListener("submit", (event) => {
  event.preventDefault();
  location.assign(pathFor(at("room-box").value));
});

listen(root, at("keys"), {
  pause: () => setPaused(!paused),
  showNew: () => showWaiting(root.contains(document.activeElement)),
  goTo: () => at("room-box").focus(),
});

document.addEventListener("visibilitychange", () => {
  unseen = 0;
  titled();
  feed.kick();
});

// --- what the page says ---------------------------------------------------------------------

function changed(added) {
  const { count, more } = feed.waiting;
  pending.hidden = filling === "first" || !(count > 0 ? waitsForReader() : reading && feed.long);
  if (!pending.hidden) pending.textContent = count > 0 ? `Show ${count}${more ? "+" : ""} new` : "Back to the newest";
  if (added > 0 && !document.hidden) announceLater(added);
  history.kick();
  said();
}

function announceLater(added) {
  if (unannounced === 0) {
    setTimeout(() => {
      announcer.textContent = `${unannounced} new ${unannounced === 1 ? "tweet" : "tweets"}`;
      unannounced = 0;
    }, ANNOUNCE_MS);
  }
  unannounced += added;
}

function state() {
  if (token.asks) return "locked";
  if (refusal) return "refused";
  if (!roost.connected) return everConnected ? "reconnecting" : "connecting";
  if (!joined) return everConnected && feed.size > 0 ? "reconnecting" : "connecting";
  return brokerLive ? "live" : "waiting";
}

const SAYS = {
  connecting: "Connecting…",
  live: "Live",
  reconnecting: "Reconnecting…",
  waiting: "Waiting for the stream",
  refused: "Not available",
  locked: "Token needed",
};

function said() {
  const now = state();
  if (status.dataset.state !== now) {
    status.dataset.state = now;
    status.textContent = SAYS[now];
    document.body.dataset.state = now;
  }
  const [title, hint] = {
    live: [room.empty, ["The first will appear here. Meanwhile try ", link("/nfl"), " or ", link("/url"), "."]],
    waiting: ["The stream is away", ["Tweets come again by themselves when it is back."]],
    refused: [refusal?.message ?? "", insteadOf(refusal ?? {})],
  }[now] ?? [];
  empty.hidden = title === undefined || (feed.size > 0 && now !== "refused") || feed.waiting.count > 0;
  if (!empty.hidden && at("empty-title").textContent !== title) {
    at("empty-title").textContent = title;
    at("empty-hint").replaceChildren(...hint);
  }
}

function insteadOf({ code, again }) {
  if (code === "not_allowed") {
    const ask = () => { token.ask(); said(); };
    return [h("button", { type: "button", className: "plain", onclick: ask }, "Use another token"), " or another room."];
  }
  if (!roost.connected || again) return ["It is tried again by itself."];
  return ["Try ", link("/nfl"), " or ", link("/url"), "."];
}

function link(path) {
  return h("a", { href: path }, path);
}

function named() {
  at("room").textContent = room.name;
  at("room").classList.toggle("long", [...room.name].length > 16);
  at("about").textContent = room.about;
  root.setAttribute("aria-label", `${room.about || room.name}, newest first`);
  for (const anchor of at("rooms").querySelectorAll("a")) {
    const here = fromPath(anchor.getAttribute("href"));
    if (here.name === room.name) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
  titled();
}

function titled() {
  titleTimer = 0;
  document.title = `${unseen > 0 ? `(${unseen}) ` : ""}${room.name} · Roost`;
}

function everySecond() {
  const slept = Date.now() - beat > ASLEEP_MS;
  beat = Date.now();
  if (slept && !token.asks) roost.reconnect(); // its network may have gone without a word
  if (document.hidden) return;
  tick(root);
  notes.draw();
  pace.draw();
  const rate = state() === "live" ? pace.perMinute() : null;
  at("pace").textContent = paused ? "paused" : rate === null ? "" : `${rate} a minute`;
  feed.kick();
}

// --- what the server sends ------------------------------------------------------------------

const roost = connect(location.origin, { auth: () => token.auth });
const following = roost.room(location.pathname.slice(1), {
  backfill: BACKFILL,
  documents: () => feed.documents,
  since: () => feed.newest,
});

// What was there before the reader stands there at once, whatever the reader does; what they missed is new.
function filled() {
  const what = filling;
  filling = null;
  if (what === "first") feed.release({ quietly: true });
  else if (what) feed.kick();
}

roost.on("connect", () => {
  everConnected = true;
  refusal = null;
  token.done();
  said();
});
// `refused` is why the server does not take the connection, if it has said so.
roost.on("away", (refused) => {
  joined = false;
  filled();
  refusal = refused;
  brokerLive = true; // until the next server says; its word may come before `connect` does
  notes.clear();
  if (refused?.code.startsWith("token_")) token.ask(refused);
  said();
});
roost.on("status", ({ live }) => {
  brokerLive = live;
  said();
});
roost.on("source", (source) => notes.source(source));

following.on("begin", () => {
  joined = false;
  filling = feed.newest === null ? "first" : "missed";
  said();
});
following.on("ready", ({ label }) => {
  joined = true;
  refusal = null;
  room = fromLabel(label);
  feed.room = room;
  notes.room = room;
  named();
  history.open(label);
  said();
  filled();
});
following.on("refused", (refused) => {
  joined = false;
  if (refused.code !== "late") refusal = refused;
  said();
  filled();
});
following.on("asking", (asking) => notes.asking(asking));
following.on("tweet", (tweet) => {
  if (!feed.add(tweet, { missed: filling === "missed" }) || filling === "first") return;
  if (filling === null) pace.note();
  if (!document.hidden) return;
  unseen += 1;
  titleTimer ||= setTimeout(titled, 300);
});
following.on("update", (tweet) => feed.update(tweet));
following.on("destroy", (tweet) => feed.destroy(tweet));
following.on("gap", ({ missed }) => feed.gap(missed));

window.addEventListener("pageshow", ({ persisted }) => persisted && roost.reconnect()); // as after sleep
window.history.scrollRestoration = "manual"; // other tweets stand there now

named();
setInterval(everySecond, 1000);
