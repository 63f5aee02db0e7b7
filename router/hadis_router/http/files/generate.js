// The form: send a request, show its progress, then the answer or, in its place, the error.
import { again, bodyOf, valuesOf } from "./again.js";
import { $, h, seconds } from "./dom.js";
import { ask, listenTo } from "./key.js";
import { drawPath } from "./path.js";

const EXAMPLES = [
  "a big red circle top left on white",
  "a big green triangle bottom left and a small red circle top right on white",
  "a small blue square bottom right and a big yellow circle top left and a big red triangle top right on black",
  "a small yellow square top left and a big blue circle top right and a small red triangle bottom left and a big green square bottom right on grey",
];
let running = null;

/** Prepare the form; `profile` resolves to the tiers and the range of difficulties. */
export function setUp(profile) {
  EXAMPLES.forEach((text) => $("examples").append(h("button", { type: "button", click: () => choose(text) }, text)));
  profile.then(({ tiers }) => {
    tiers.forEach(({ name }) => $("model").append(h("option", { value: name }, name)));
    [...new Set(tiers.flatMap(({ sizes }) => sizes))].forEach((size) => $("size").append(h("option", { value: size }, size)));
    valuesOf(location.hash).forEach(([name, value]) => ($(name).value = value));
  });
  $("form").addEventListener("submit", (event) => {
    event.preventDefault();
    generate(profile);
  });
  $("prompt").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      $("form").requestSubmit();
    }
  });
}

function choose(text) {
  $("prompt").value = text;
  $("prompt").focus();
}

function request() {
  const [prompt, negative, model, size, format] = ["prompt", "negative", "model", "size", "format"].map((id) => $(id).value);
  // The seed is chosen here, so that the link to the request gives the same picture.
  const seed = $("seed").value === "" ? crypto.getRandomValues(new Uint32Array(1))[0] : Number($("seed").value);
  return bodyOf({ prompt, negative, model, size, format, seed, n: Number($("n").value) });
}

async function generate(profile) {
  if (running) return;
  const body = request();
  const id = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  running = id;
  $("go").disabled = true;
  $("failure").hidden = true;
  $("answer").classList.add("old");
  $("waiting").textContent = "sending";
  const close = follow(id);
  try {
    const answer = await ask("v1/images/generations", {
      method: "POST",
      headers: { "content-type": "application/json", "x-request-id": id },
      body: JSON.stringify({ ...body, explain: true, keep_light: true }),
    });
    const document = await answer.json().catch(() => ({}));
    if (!answer.ok) fail(answer, document.error ?? {});
    else show(body, document, (await profile).difficulty);
  } catch {
    say("No answer", "the router does not answer; is it running?");
  } finally {
    close();
    running = null;
    $("go").disabled = false;
    $("waiting").textContent = "";
  }
}

function follow(id) {
  const show = ({ stage, tier, ahead, seconds: left, deferred, steps }) => {
    if (running !== id) return;
    const prefix = deferred ? "the light image was not good enough; " : "";
    $("waiting").textContent =
      stage === "running"
        ? `${prefix}${tier} draws, ${steps?.done ? `step ${steps.done} of ${steps.steps}, ` : ""}about ${seconds(left)}`
        : `${prefix}waiting for ${tier}: ${ahead} before this one, about ${seconds(left)}`;
  };
  return listenTo(`v1/hadis/progress/${id}`, { progress: show });
}

function fail(answer, { message, code }) {
  const kind = [429, 503].includes(answer.status) ? "Refused" : answer.status >= 500 ? "Failed" : "Not understood";
  const retryAfter = answer.headers.get("retry-after");
  const words = message ?? "the router says no more";
  const text = retryAfter ? `${words.replace(/; try again( soon)?$/, "")}. Try again in ${retryAfter} s.` : words;
  say(`${kind} (${answer.status}${code ? ` ${code}` : ""})`, text);
}

/** Show an error where the picture would be: one of another request must not stand beside it. */
function say(title, text) {
  $("answer").replaceChildren();
  $("failure").replaceChildren(h("strong", {}, title), ` ${text}`);
  $("failure").hidden = false;
}

function show(body, document, range) {
  const paths = document.hadis.map((record, i) => {
    const seed = body.seed + i;
    return drawPath(record, document.data[i].b64_json, range, { format: body.output_format ?? "png", seed, forced: body.model !== "auto" });
  });
  $("answer").classList.remove("old");
  $("answer").replaceChildren(...paths, again(body));
}
