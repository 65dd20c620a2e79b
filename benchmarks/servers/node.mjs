// The peer in JavaScript: Socket.IO 4.8 on Node.js, with its defaults (ws, no compression of messages).
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { Server } from "socket.io";

const ROOM = "nfl";
const http = createServer();
const io = new Server(http);
let tweets = [];
let rooms = [];

io.on("connection", (socket) => {
  socket.on("subscribe", (room, acknowledge) => {
    socket.join(room);
    acknowledge(true);
  });
});

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const commands = {
  // `documents` is the JSON of an array of tweets, parsed here: what a server has in hand.
  async prepare({ documents, rooms: terms = [] }) {
    tweets = documents;
    rooms = terms;
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
  // Yield tweets at an even pace and send each to the rooms whose terms its text contains; one of `every` has the term of
  // a room, the next one each time, and says when it was yielded.
  async stream({ first, count, per_s, every }) {
    const began = performance.now();
    for (let number = 0; number < count; number += 1) {
      for (let wait; (wait = began + (number * 1000) / per_s - performance.now()) > 0; ) await sleep(wait);
      const at = first + number;
      let tweet = tweets[at % tweets.length];
      if (number % every === 0) {
        const room = rooms[Math.floor(at / every) % rooms.length];
        const sent = String(process.hrtime.bigint()).padStart(19, "0");
        tweet = { ...tweet, id: `bench:${at}`, text: `sent=${sent} ${room} ${tweet.text}` };
      }
      rooms.forEach((room) => {
        if (tweet.text.match(room)) io.to(room).emit("newTweet", tweet, room);
      });
      // However much is due: what has been sent goes out, and what has come is read.
      if (number % 50 === 49) await new Promise((resolve) => setImmediate(resolve));
    }
    return { seconds: (performance.now() - began) / 1000 };
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
