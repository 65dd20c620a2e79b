// A page without a page, in Node.js: it has two subscriptions, shows what it is told, and says so when that is no news.
// Usage: node subscriber.mjs   then, one a line: `go <url>`, to another gateway; `show`; prints one JSON array a line.
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const WANTED = {
  nfl: { fields: ["text", "user.screen_name"], createQuery: { term: "nfl" } },
  links: { fields: ["urls"], createQuery: { term: "nfl", has_url: true } },
};
const pages = Object.fromEntries(Object.keys(WANTED).map((uid) => [uid, { documents: {}, since: undefined }]));
const print = (...line) => process.stdout.write(JSON.stringify(line) + "\n");
let socket, told;

function take(uid, event, payload) {
  const page = pages[uid];
  if (event === "gap" || event === "unfollow") return print(event, uid, payload);
  const held = page.documents[payload.id];
  const version = `${uid} ${payload.id} ${payload.mtime}`;
  if (told.has(version)) print("wrong", "twice on one connection", uid, event, payload);
  told.add(version);
  if ((event === "create") !== (held === undefined)) print("wrong", "held or not", uid, event, payload);
  else if (held && payload.mtime <= held.mtime) print("wrong", "no newer than what is held", uid, event, payload);
  if (event === "destroy") delete page.documents[payload.id];
  else page.documents[payload.id] = payload;
  page.since = Math.max(page.since ?? 0, payload.seq ?? 0);
  print(event, uid, payload.id);
}

async function subscribe(mine) {
  told = new Set();
  for (const [uid, wanted] of Object.entries(WANTED)) {
    const { documents, since } = pages[uid];
    const held = Object.fromEntries(Object.values(documents).map(({ id, mtime }) => [id, String(mtime)]));
    const request = { uid, collection: "tweet", ...wanted, documents: held, since };
    let answer;
    try {
      answer = await mine.emitWithAck("subscribe", request);
    } catch {
      return; // it is gone, and whoever comes after it asks anew
    }
    pages[uid].since ??= answer.seq;
    print("subscribed", uid, answer);
  }
  print("ready");
}

function go(url) {
  socket?.disconnect();
  const mine = socket = io(url, { transports: ["websocket"], forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 200 });
  mine.on("connect", () => subscribe(mine));
  for (const uid of Object.keys(WANTED)) {
    for (const event of ["create", "save", "destroy", "gap", "unfollow"]) {
      mine.on(`${uid}:tweet:${event}`, (payload) => take(uid, event, payload));
    }
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const [command, url] = line.split(" ");
  if (command === "go") go(url);
  else print("shows", pages);
}
socket?.disconnect();
