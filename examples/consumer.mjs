// Prints tweets as they come: `node consumer.mjs has_url`, `node consumer.mjs term.nfl 'lang.*'`, '#' for all.
import { decode } from "@msgpack/msgpack";
import { connect } from "amqplib";

const url = process.env.ROOST_AMQP_URL ?? "amqp://consumer:consumer@localhost:5672/";
const keys = process.argv.length > 2 ? process.argv.slice(2) : ["#"];
process.stdout.on("error", () => process.exit()); // nobody reads on

try {
  const connection = await connect(url);
  connection.on("error", (error) => console.error(error.message));
  const channel = await connection.createChannel();
  const { queue } = await channel.assertQueue("", { exclusive: true });
  await channel.consume(queue, print, { noAck: true });
  // The binding is the subscription: from now on the routers look for it.
  for (const key of keys) await channel.bindQueue(queue, "tweets", key);
} catch (error) {
  console.error(`${url}: ${error.message}. Is Roost up? ROOST_AMQP_URL says where else to look.`);
  process.exit(1);
}

function print(message) {
  if (message === null) process.exit(1); // the broker has taken the queue away
  for (const { action, user, text, id } of decode(message.content)) {
    console.log(action, `@${user?.screen_name ?? ""}`, (text ?? id).replaceAll(/\s+/g, " "));
  }
}
