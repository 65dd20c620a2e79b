/** The token of this tab, where a gateway asks for one: kept until the tab is closed, sent with each connection and request. */

const STORED = "roost.token";

const TITLES = {
  token_missing: "A token is needed here",
  token_expired: "Your token has expired",
  token_invalid: "This token was not taken",
};

/** The form that asks for a token. `submit` is called when there is a new one. */
export class TokenForm {
  #form;
  #box;
  #title;
  #why;
  #token;

  constructor(form, submit) {
    this.#form = form;
    [this.#box, this.#title, this.#why] = ["input", "h2", ".why"].map((one) => form.querySelector(one));
    this.#token = recall();
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const token = this.#box.value.trim();
      if (!token) return;
      this.#token = token;
      remember(token);
      this.#form.hidden = true;
      submit();
    });
  }

  /** What goes with a connection. */
  get auth() {
    return this.#token ? { token: this.#token } : {};
  }

  /** What goes with a request over HTTP. */
  get headers() {
    return this.#token ? { Authorization: `Bearer ${this.#token}` } : {};
  }

  /** Whether the form is on the page. */
  get asks() {
    return !this.#form.hidden;
  }

  /** Put the form on the page, because of a refusal `{code, message}` or because the reader wants to. */
  ask({ code, message } = {}) {
    // One that was refused would be refused again, by each page that is opened in this tab.
    if (code) this.#forget();
    const tried = this.#box.value !== "";
    this.#title.textContent = TITLES[code] ?? "Use another token";
    this.#why.textContent = code === "token_invalid" && message ? sentence(message) : "";
    this.#box.setAttribute("aria-invalid", String(code === "token_invalid" && tried));
    this.#form.hidden = false;
    const focus = document.activeElement;
    // Somebody who is at something else is not torn from it, unless they asked for the form.
    if (!code || focus === null || focus === document.body || this.#form.contains(focus)) {
      this.#box.focus();
      this.#box.select();
    }
  }

  /** Take the form off the page: whoever asked has let us in. */
  done() {
    this.#form.hidden = true;
    this.#box.value = "";
  }

  #forget() {
    this.#token = null;
    remember(null);
  }
}

function sentence(text) {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

// A browser that keeps nothing for pages says so with an exception; the token then lasts as long as the page.
function recall() {
  try {
    return sessionStorage.getItem(STORED);
  } catch {
    return null;
  }
}

function remember(token) {
  try {
    if (token === null) sessionStorage.removeItem(STORED);
    else sessionStorage.setItem(STORED, token);
  } catch {
    // As above.
  }
}
