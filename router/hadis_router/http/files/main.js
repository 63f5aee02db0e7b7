// Starts the page: one stream of events feeds all that changes; it is opened again whenever it breaks.
import { takeHistory } from "./charts.js";
import { $ } from "./dom.js";
import { showFront, takePlan } from "./front.js";
import { setUp } from "./generate.js";
import { takeStatus } from "./live.js";

const [FIRST_MS, LONGEST_MS, SILENT_MS] = [500, 8000, 10000];

function say(state, text) {
  $("link").className = `pill ${state}`;
  $("link").textContent = text;
}

async function front() {
  for (let wait = FIRST_MS; ; wait = Math.min(LONGEST_MS, 2 * wait)) {
    try {
      const answer = await fetch("v1/hadis/front");
      if (answer.ok) return await answer.json();
    } catch {
      // the pill already says that the router is not reached
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

function listen(wait = FIRST_MS) {
  const source = new EventSource("v1/hadis/events");
  let silent;
  const reconnect = () => {
    clearTimeout(silent);
    source.close();
    say("lost", "router not reached, trying again");
    setTimeout(() => listen(Math.min(LONGEST_MS, 2 * wait)), wait);
  };
  const expectMore = () => {
    clearTimeout(silent);
    silent = setTimeout(reconnect, SILENT_MS);
  };
  expectMore();
  source.addEventListener("error", reconnect, { once: true });
  source.addEventListener("history", (event) => takeHistory(JSON.parse(event.data)));
  source.addEventListener("status", (event) => {
    expectMore();
    wait = FIRST_MS;
    const status = JSON.parse(event.data);
    if (status.plan) say("live", status.workers.length ? "live" : "live, no worker ready");
    else say("", "no plan yet");
    takeStatus(status);
    takePlan(status);
  });
}

const profile = front();
profile.then(({ points }) => points.length && showFront(points));
setUp(profile);
listen();
