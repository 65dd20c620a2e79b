// The peer in JavaScript: Socket.IO 4.8 on Node.js, with its defaults (ws, no compression of messages).
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { Server } from "socket.io";

const ROOM = "nfl";
const http = createServer();
const io = new Server(http);
let tweets = [];

io.on("connection", (socket) => {
  socket.on("subscribe", (room, acknowledge) => {
    socket.join(room);
    acknowledge(true);
  });
});

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const commands = {
  // `documents` is the JSON of an array of tweets, parsed here: what a server has in hand.
  async prepare({ documents }) {
    tweets = documents;
    return {};
  },
  // Emit so many tweets in one turn of the loop, each time.
  async fire({ tweets: many, times, every_ms }) {
    let due = performance.now();
    for (let number = 0; number < times; number += 1) {
      await sleep(Math.max(0, due - performance.now()));
      due = Math.max(due, performance.now() - every_ms) + every_ms;
      for (const tweet of tweets.slice(number * many, (number + 1) * many)) io.to(ROOM).emit("newTweet", tweet, ROOM);
    }
    return {};
  },
};

http.listen(0, "127.0.0.1", async () => {
  console.log(JSON.stringify({ port: http.address().port, pid: process.pid }));
  for await (const line of createInterface({ input: process.stdin })) {
    const { do: name, ...rest } = JSON.parse(line);
    console.log(JSON.stringify(await commands[name](rest)));
  }
  process.exit();
});
