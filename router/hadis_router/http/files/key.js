// The API key, where the service wants one: kept for this tab alone, and sent with every request.
import { $ } from "./dom.js";

const NAME = "hadis-key";

/** Whether there is a key. */
export const hasKey = () => sessionStorage.getItem(NAME) !== null;

/** Fetch with the key; the field for one is shown where the router wants one, or another. */
export async function ask(url, options = {}) {
  const headers = hasKey() ? { ...options.headers, authorization: `Bearer ${sessionStorage.getItem(NAME)}` } : options.headers;
  const answer = await fetch(url, { ...options, headers });
  if (answer.status === 401) $("key-form").hidden = false;
  return answer;
}

/** Give each event of a stream to the listener of its name; EventSource cannot send a key. Return what closes it. */
export function listenTo(url, listeners, ended = () => {}) {
  const closing = new AbortController();
  const { signal } = closing;
  read(url, listeners, signal).catch(() => {}).finally(() => signal.aborted || ended());
  return () => closing.abort();
}

async function read(url, listeners, signal) {
  const answer = await ask(url, { signal });
  if (!answer.ok) return;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const events = (rest + part.value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const [, name, data] = event.match(/^event: (.*)\ndata: (.*)$/m) ?? [];
      listeners[name]?.(JSON.parse(data));
    }
  }
}

// The browser sends no key when it follows a link, so what is behind one is fetched and then shown.
for (const link of document.querySelectorAll("footer a")) {
  link.addEventListener("click", async (event) => {
    if (!hasKey() && $("key-form").hidden) return;
    event.preventDefault();
    const tab = window.open(); // now: after the answer it would be a pop-up that nobody clicked for
    const answer = await ask(link.href);
    if (answer.ok) tab.location = URL.createObjectURL(await answer.blob());
    else tab.close();
  });
}

$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(NAME, $("key").value.trim());
  location.reload();
});
