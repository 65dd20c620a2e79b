// A Socket.IO client in Node.js: joins rooms and prints what it gets, one JSON array [event, payload, room] a line.
// Usage: node client.mjs <url> <transports, by comma> <room>…   with a token, if there is one, in TOKEN
import { io } from "socket.io-client";

const [url, transports, ...rooms] = process.argv.slice(2);
const auth = process.env.TOKEN ? { token: process.env.TOKEN } : undefined;
const socket = io(url, { transports: transports.split(","), auth, reconnectionDelay: 100 });
const print = (...line) => process.stdout.write(JSON.stringify(line) + "\n");

socket.on("connect", async () => {
  for (const room of rooms) print("subscribed", await socket.emitWithAck("subscribe", { room }), room);
  print("ready", socket.io.engine.transport.name, null);
});
for (const event of ["newTweet", "updateTweet", "destroyTweet"]) {
  socket.on(event, (tweet, room) => print(event, tweet, room));
}
socket.on("connect_error", (error) => print("error", error.message, error.data?.code ?? null));
process.on("SIGTERM", () => { socket.disconnect(); process.exit(0); });
