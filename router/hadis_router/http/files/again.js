// The request that an image came from, for others: as a link, as curl that ends in a file, and as Python.
import { h } from "./dom.js";
import { hasKey } from "./key.js";

const FIELDS = ["prompt", "negative", "model", "seed", "size", "n", "format"];
const NAMES = { negative: "negative_prompt", format: "output_format" };

/** The request's body from the values of the form; what says nothing is left out. */
export function bodyOf(values) {
  const body = { prompt: values.prompt.trim(), model: values.model, seed: values.seed };
  if (values.size !== "auto") body.size = values.size;
  if (values.n > 1) body.n = values.n;
  if (values.format !== "png") body.output_format = values.format;
  if (values.negative.trim()) body.negative_prompt = values.negative.trim();
  return body;
}

/** The values of the form that a link names. */
export function valuesOf(hash) {
  const fields = new URLSearchParams(hash.slice(1));
  return FIELDS.filter((name) => fields.get(name)).map((name) => [name, fields.get(name)]);
}

/** The same request in the three forms, folded. */
export function again(body) {
  const fields = FIELDS.map((name) => [name, body[NAMES[name] ?? name]]).filter(([, value]) => value !== undefined);
  return h("details", { class: "again" }, h("summary", {}, "The same request again"),
    h("p", {}, h("a", { href: `#${new URLSearchParams(fields)}` }, "link to this request")),
    copied("curl", curl(body)), copied("Python", python(body)));
}

/** Words and a button that copies a text, with the text below. */
function copied(name, text) {
  return [h("p", {}, `${name} `, copyButton(`copy as ${name}`, text)), h("pre", { tabindex: 0 }, text)];
}

function copyButton(words, text) {
  const button = h("button", { type: "button" }, words);
  button.addEventListener("click", async () => {
    button.textContent = (await copy(text, button)) ? "copied" : "select the text below";
    setTimeout(() => (button.textContent = words), 2000);
  });
  return button;
}

/** Copy a text; also where the page came without TLS, which takes the clipboard's interface away. */
async function copy(text, beside) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea", { class: "offscreen" });
    area.value = text;
    beside.after(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

function curl(body) {
  const url = new URL("v1/images/generations", location.href).href;
  const json = JSON.stringify(body).replaceAll("'", "'\\''");
  const ending = body.output_format ?? "png";
  const decode = body.n
    ? `while read -r image; do i=$((i+1)); echo "$image" | base64 -d > image-$i.${ending}; done`
    : `base64 -d > image.${ending}`;
  const key = hasKey() ? ' -H "authorization: Bearer $HADIS_API_KEY"' : "";
  return `curl -s ${url} -H 'content-type: application/json'${key} \\\n  -d '${json}' \\\n  | grep -o '"b64_json":"[^"]*' | cut -d '"' -f 4 | ${decode}`;
}

function python({ prompt, model, seed, negative_prompt: negative, ...others }) {
  const plain = Object.entries({ prompt, model, ...others }).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  const extra = { seed, ...(negative ? { negative_prompt: negative } : {}) };
  const ending = others.output_format ?? "png";
  return [
    hasKey() ? "import base64, os" : "import base64",
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url=${JSON.stringify(new URL("v1", location.href).href)}, api_key=${hasKey() ? 'os.environ["HADIS_API_KEY"]' : '"none"'})`,
    `answer = client.images.generate(${plain.join(", ")},`,
    `    extra_body=${JSON.stringify(extra)})`,
    "for i, image in enumerate(answer.data):",
    `    open(f"image-{i}.${ending}", "wb").write(base64.b64decode(image.b64_json))`,
  ].join("\n");
}
