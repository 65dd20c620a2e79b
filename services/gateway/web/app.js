/** The page of one room: connects, subscribes, and puts what comes into the feed. */

import { h } from "./dom.js";
import { Feed } from "./feed.js";
import { listen } from "./keys.js";
import { Notes } from "./notes.js";
import { Pace } from "./pace.js";
import { fromLabel, fromPath, pathFor } from "./room.js";
import { tick } from "./time.js";
import { TokenForm } from "./token.js";
import { io } from "./vendor/socket.io.esm.min.js";

const ANSWER_MS = 10_000;
const ANNOUNCE_MS = 10_000;
const POINTING_MS = 1_500;
const RETRY_MS = 5_000;
const PASSING = new Set(["too_many_rooms", "too_fast"]); // refusals of a room that pass by themselves

const at = (id) => document.getElementById(id);
const [root, status, pause, pending, empty, announcer] =
  ["feed", "status", "pause", "pending", "empty", "announce"].map(at);

let room = fromPath(location.pathname);
let joined = false;
let refusal = null;
let brokerLive = true;
let everConnected = false;
let paused = false;
let reading = false;
let pointingUntil = 0;
let unseen = 0;
let unannounced = 0;
let titleTimer = 0;
let retryTimer = 0;

const pace = new Pace(at("wire"));
const notes = new Notes(at("notes"), room);
const token = new TokenForm(at("token"), () => socket.disconnect().connect());
const feed = new Feed(root, { room, held: () => waitsForReader() || performance.now() < pointingUntil, changed });

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
new IntersectionObserver(([{ isIntersecting }]) => {
  reading = !isIntersecting;
  feed.kick();
}, { rootMargin: "-72px 0px 0px" }).observe(at("wire"));

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
  pending.hidden = count === 0 || !waitsForReader();
  if (!pending.hidden) pending.textContent = `Show ${count}${more ? "+" : ""} new`;
  if (added > 0 && !document.hidden) announceLater(added);
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
  if (!socket.connected) return everConnected ? "reconnecting" : "connecting";
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
    refused: [refusal?.message ?? "", insteadOf(refusal?.code)],
  }[now] ?? [];
  empty.hidden = title === undefined || (feed.size > 0 && now !== "refused") || feed.waiting.count > 0;
  if (!empty.hidden && at("empty-title").textContent !== title) {
    at("empty-title").textContent = title;
    at("empty-hint").replaceChildren(...hint);
  }
}

function insteadOf(code) {
  if (code === "not_allowed") {
    const ask = () => { token.ask(); said(); };
    return [h("button", { type: "button", className: "plain", onclick: ask }, "Use another token"), " or another room."];
  }
  if (!socket.connected || PASSING.has(code)) return ["It is tried again by itself."];
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
  if (document.hidden) return;
  tick(root);
  notes.draw();
  pace.draw();
  const rate = state() === "live" ? pace.perMinute() : null;
  at("pace").textContent = paused ? "paused" : rate === null ? "" : `${rate} a minute`;
  feed.kick();
}

// --- what the server sends ------------------------------------------------------------------

const socket = io({
  transports: ["websocket", "polling"],
  tryAllTransports: true,
  reconnectionDelay: 500,
  reconnectionDelayMax: 5_000,
  auth: (answer) => answer(token.auth),
});

function subscribe() {
  clearTimeout(retryTimer);
  socket.timeout(ANSWER_MS).emit("subscribe", { room: location.pathname.slice(1) }, (late, answer) => {
    if (late) {
      if (socket.connected) subscribe();
      return;
    }
    refusal = answer.error ?? null;
    joined = !refusal;
    if (joined) {
      room = fromLabel(answer.label);
      feed.room = room;
      notes.room = room;
      named();
    } else if (PASSING.has(refusal.code)) {
      retryTimer = setTimeout(() => socket.connected && subscribe(), RETRY_MS);
    }
    said();
  });
}

// `error` has a code where the server has refused the connection, and says why.
function away(error) {
  joined = false;
  refusal = error?.data?.code ? { code: error.data.code, message: error.message } : null;
  brokerLive = true; // until the next server says; its word may come before `connect` does
  notes.clear();
  if (refusal?.code.startsWith("token_")) token.ask(refusal);
  said();
  // The library comes back by itself, but not to a server that sent it away.
  clearTimeout(retryTimer);
  if (!socket.active && !token.asks) retryTimer = setTimeout(() => socket.connect(), RETRY_MS);
}

socket.on("connect", () => {
  everConnected = true;
  refusal = null;
  token.done();
  subscribe();
  said();
});
socket.on("disconnect", () => away());
socket.on("connect_error", away);
socket.on("status", ({ live }) => {
  brokerLive = live;
  said();
});
socket.on("source", (source) => notes.source(source));
socket.on("asking", (asking) => notes.asking(asking));
socket.on("newTweet", (tweet) => {
  if (!feed.add(tweet)) return;
  pace.note();
  if (!document.hidden) return;
  unseen += 1;
  titleTimer ||= setTimeout(titled, 300);
});
socket.on("updateTweet", (tweet) => feed.update(tweet));
socket.on("destroyTweet", (tweet) => feed.destroy(tweet));
socket.on("gap", ({ missed }) => feed.gap(missed));

named();
setInterval(everySecond, 1000);
