// The form: send a request, show its progress, then the answer or the error, and the request as link, curl and Python.
import { $, h, seconds } from "./dom.js";
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
    restore();
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

/** Fill the form from a link to a request. */
function restore() {
  const fields = new URLSearchParams(location.hash.slice(1));
  for (const name of ["prompt", "model", "seed", "size"]) if (fields.get(name)) $(name).value = fields.get(name);
}

function request() {
  const body = { prompt: $("prompt").value.trim(), model: $("model").value };
  // The seed is chosen here, so that the link to the request gives the same picture.
  body.seed = $("seed").value === "" ? crypto.getRandomValues(new Uint32Array(1))[0] : Number($("seed").value);
  if ($("size").value !== "auto") body.size = $("size").value;
  return body;
}

async function generate(profile) {
  if (running) return;
  const body = request();
  const id = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  running = id;
  $("go").disabled = true;
  $("failure").hidden = true;
  $("waiting").textContent = "sending";
  const progress = follow(id);
  try {
    const answer = await fetch("v1/images/generations", {
      method: "POST",
      headers: { "content-type": "application/json", "x-request-id": id },
      body: JSON.stringify({ ...body, explain: true, keep_light: true }),
    });
    const document = await answer.json().catch(() => ({}));
    if (!answer.ok) fail(document.error?.message ?? `the router answered ${answer.status}`, answer.headers.get("retry-after"));
    else show(body, document, (await profile).difficulty);
  } catch {
    fail("the router does not answer; is it running?");
  } finally {
    progress.close();
    running = null;
    $("go").disabled = false;
    $("waiting").textContent = "";
  }
}

function follow(id) {
  const source = new EventSource(`v1/hadis/progress/${id}`);
  source.addEventListener("progress", (event) => {
    if (running !== id) return;
    const { stage, tier, ahead, seconds: left, deferred, steps } = JSON.parse(event.data);
    const prefix = deferred ? "the light image was not good enough; " : "";
    $("waiting").textContent =
      stage === "running"
        ? `${prefix}${tier} draws, ${steps?.done ? `step ${steps.done} of ${steps.steps}, ` : ""}about ${seconds(left)}`
        : `${prefix}waiting for ${tier}: ${ahead} before this one, about ${seconds(left)}`;
  });
  source.addEventListener("end", () => source.close());
  source.addEventListener("error", () => source.close());
  return source;
}

function fail(message, retryAfter) {
  $("failure").textContent = retryAfter ? `${message} Try again in ${retryAfter} s.` : message;
  $("failure").hidden = false;
}

function show(body, document, range) {
  $("answer").replaceChildren(drawPath(document.hadis[0], document.data[0].b64_json, range), reproduce(body));
}

function reproduce(body) {
  const url = new URL("v1/images/generations", location.href).href;
  const json = JSON.stringify(body);
  const curl = `curl -s ${url} -H 'content-type: application/json' \\\n  -d '${json.replaceAll("'", "'\\''")}'`;
  const { prompt, model, size, seed } = body;
  const python = [
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url=${JSON.stringify(new URL("v1", location.href).href)}, api_key="none")`,
    `answer = client.images.generate(prompt=${JSON.stringify(prompt)}, model=${JSON.stringify(model)},`,
    `    ${size ? `size=${JSON.stringify(size)}, ` : ""}extra_body={"seed": ${seed}})`,
  ].join("\n");
  const address = `#${new URLSearchParams(Object.entries(body).map(([k, v]) => [k, String(v)]))}`;
  return h("details", {}, h("summary", {}, "The same request again"),
    h("p", {}, h("a", { href: address }, "link to this request")),
    h("p", {}, "curl"), h("pre", { tabindex: 0 }, curl), h("p", {}, "Python"), h("pre", { tabindex: 0 }, python));
}
