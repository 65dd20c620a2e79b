/** How long ago something was, in few letters, kept true by whoever calls `tick`. */

const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });

/** "now", "12 s", "3 min", "5 h", "2 d", then a date. Both times in milliseconds since the epoch. */
export function ago(then, now) {
  const seconds = Math.floor((now - then) / 1000);
  if (seconds < 2) return "now";
  if (seconds >= 7 * 86400) return DAY.format(then);
  const [unit, size] = UNITS.find(([, length]) => seconds >= length);
  return `${Math.floor(seconds / size)} ${unit}`;
}

/** A `<time>` for an ISO 8601 date, or `null` for what is none. */
export function timeNode(iso) {
  const at = Date.parse(iso);
  if (Number.isNaN(at)) return null;
  const node = document.createElement("time");
  node.dateTime = iso;
  node.title = FULL.format(at);
  node.textContent = ago(at, Date.now());
  return node;
}

/** Bring every `<time>` below a node up to date. */
export function tick(root) {
  const now = Date.now();
  for (const node of root.querySelectorAll("time")) {
    const text = ago(Date.parse(node.dateTime), now);
    if (node.textContent !== text) node.textContent = text;
  }
}
