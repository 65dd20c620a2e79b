/** Making DOM nodes: nothing here, or in what uses it, parses markup. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * An HTML element with the given properties; keys with a dash are set as attributes.
 * Strings among the children become text, `null` and `undefined` are left out.
 *
 * The children come first: with `dir=auto` set, the browser would look for the direction of all of
 * them again with each one that is added.
 */
export function h(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  node.append(...children.filter((child) => child !== undefined && child !== null));
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (key.includes("-")) node.setAttribute(key, value);
    else node[key] = value;
  }
  return node;
}

/** An inline picture that shows one of the page's symbols. */
export function icon(name, attributes = {}) {
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of Object.entries(attributes)) svg.setAttribute(key, value);
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

/** The address, normalised, if it is one that may be followed (http or https), else `null`. */
export function web(address) {
  try {
    const { protocol, href } = new URL(address);
    return protocol === "https:" || protocol === "http:" ? href : null;
  } catch {
    return null;
  }
}
