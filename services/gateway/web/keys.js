/** The page by keyboard. Single letters can be switched off, for those whom they surprise. */

const STORED = "roost.keys";

/**
 * Listen for keys: j and k walk through the articles of `root`, Space and p pause, n shows what
 * waits, / goes to the room box, Esc lets go. `toggle` is the checkbox that switches them.
 */
export function listen(root, toggle, { pause, showNew, goTo }) {
  toggle.checked = localStorage.getItem(STORED) !== "off";
  toggle.addEventListener("change", () => localStorage.setItem(STORED, toggle.checked ? "on" : "off"));
  const actions = { " ": pause, p: pause, n: showNew, "/": goTo, j: () => walk(root, 1), k: () => walk(root, -1) };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") document.activeElement?.blur();
    const action = actions[event.key];
    if (!action || !toggle.checked || event.defaultPrevented) return;
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.repeat && action === pause) return;
    if (taken(event.target, event.key)) return;
    event.preventDefault();
    action();
  });
}

// A field takes every key; a button and the like take the space bar.
function taken(target, key) {
  if (target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]")) return true;
  return key === " " && target.closest("button, input, summary") !== null;
}

function walk(root, step) {
  const current = document.activeElement?.closest("#feed > article");
  const articles = [...root.children].filter((article) => !article.inert);
  const top = articles.find((article) => article.getBoundingClientRect().bottom > 80);
  const next = current ? articles[articles.indexOf(current) + step] : top;
  next?.focus({ preventScroll: true });
  next?.scrollIntoView({ block: "nearest" });
}
