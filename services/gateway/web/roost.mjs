/** `roost.js` as a module: `roost` connects to the gateway that this file is from, `connect(url, options)` to any. */
import "./roost.js";

export const { connect } = globalThis.roost;
export const roost = connect(new URL(import.meta.url).origin);
