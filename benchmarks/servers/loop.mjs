// What Roost's router is compared with: a loop over all terms for each tweet, in Node.js.
//
// Terms and texts are folded already, and each RegExp is made once: the loop has nothing to do but to search.
import { createInterface } from "node:readline";

let texts = [];
let terms = [];
let patterns = [];

const LOOPS = {
  // The loop as one writes it first: filters.forEach((f) => text.match(f)), where f is a string.
  match(text, found) {
    terms.forEach((term) => {
      if (text.match(term)) found();
    });
  },
  // The same with each RegExp made once.
  regexp(text, found) {
    patterns.forEach((pattern) => {
      if (text.match(pattern)) found();
    });
  },
  // The same without regular expressions.
  includes(text, found) {
    terms.forEach((term) => {
      if (text.includes(term)) found();
    });
  },
};

const commands = {
  prepare(given) {
    ({ texts, terms } = given);
    patterns = terms.map((term) => new RegExp(term.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")));
    return {};
  },
  // Search the texts from `first` on; returns µs of processor a text, and how many have a term.
  search({ loop, first, count }) {
    const search = LOOPS[loop];
    let matched = 0;
    const before = process.cpuUsage();
    for (const text of texts.slice(first, first + count)) {
      let some = false;
      search(text, () => (some = true));
      matched += some;
    }
    const { user, system } = process.cpuUsage(before);
    return { us: (user + system) / count, matched };
  },
};

console.log(JSON.stringify({ port: 0, pid: process.pid }));
for await (const line of createInterface({ input: process.stdin })) {
  const { do: name, ...rest } = JSON.parse(line);
  console.log(JSON.stringify(commands[name](rest)));
}
