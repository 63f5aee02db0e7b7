// Starts the page: one stream of events feeds all that changes; it is opened again whenever it breaks.
import { takeHistory } from "./charts.js";
import { $, clock } from "./dom.js";
import { showFront, takePlan } from "./front.js";
import { setUp } from "./generate.js";
import { ask, listenTo } from "./key.js";
import { takeStatus } from "./live.js";

const [FIRST_MS, LONGEST_MS, SILENT_MS] = [500, 8000, 10000];

function say(state, text) {
  $("link").className = `pill ${state}`;
  $("link").textContent = text;
}

async function front() {
  for (let wait = FIRST_MS; ; wait = Math.min(LONGEST_MS, 2 * wait)) {
    try {
      const answer = await ask("v1/hadis/front");
      if (answer.ok) return await answer.json();
    } catch {
      // the pill already says that the router is not reached
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

function listen(wait = FIRST_MS) {
  let silent, last;
  const reconnect = () => {
    clearTimeout(silent);
    close();
    say("lost", $("key-form").hidden ? "router not reached, trying again" : "an API key is needed");
    if (last) $("now-title").textContent = `At ${clock(last)}, when the router last answered`;
    setTimeout(() => listen(Math.min(LONGEST_MS, 2 * wait)), wait);
  };
  const expectMore = () => {
    clearTimeout(silent);
    silent = setTimeout(reconnect, SILENT_MS);
  };
  const take = (status) => {
    expectMore();
    wait = FIRST_MS;
    if (!status.plan) say("", "no plan yet");
    else if (status.workers.length) say("live", "live");
    else say("lost", "live, no worker ready");
    last = status.point.t;
    $("now-title").textContent = "Now";
    takeStatus(status);
    takePlan(status);
  };
  const close = listenTo("v1/hadis/events", { history: takeHistory, status: take }, reconnect);
  expectMore();
}

const profile = front();
profile.then(({ points }) => points.length && showFront(points));
setUp(profile);
listen();
