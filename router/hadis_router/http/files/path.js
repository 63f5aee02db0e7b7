// The path that an image took, as a drawing: difficulty on a scale, the light image with its confidence, the heavy one.
import { h, number, percent, seconds } from "./dom.js";

const WORDS = {
  light: "The light image is good enough.",
  heavy: "Hard prompts go straight to the heavy model.",
  deferred: "The light image was not good enough, so the heavy model drew it again.",
  "better-light": "The heavy model drew it again, but the light image is the better one.",
  "kept-light": "The heavy model would have been too late, so the light image is the answer.",
};

const REPEATS = { cached: ", kept from a request like this one", coalesced: ", shared with a request like this one" };

/**
 * Return the drawing of an answer from its `explain` record; `range`: the profile's least and greatest difficulty;
 * `file`: the image's format and seed, and whether the request named its tier.
 */
export function drawPath(record, image, range, file) {
  const [first, last] = [record.attempts[0], record.attempts.at(record.path === "better-light" ? -2 : -1)];
  const steps = [];
  if (record.difficulty !== null) steps.push(scale(record, range));
  const pictures = h("div", { class: "pictures" });
  if (record.path === "deferred" && record.light_b64_json) {
    pictures.append(picture(record.light_b64_json, first, record, file, false), h("span", { class: "arrow", "aria-hidden": "true" }, "→"));
  }
  pictures.append(picture(image, last, record, file, true));
  steps.push(pictures);
  const sum = `${seconds(record.latency_s)} in all, plan ${record.plan_generation}`;
  const retries = record.retries ? `, ${record.retries} ${record.retries === 1 ? "retry" : "retries"} after a worker failed` : "";
  const words = file.forced ? "The request names this model." : WORDS[record.path];
  steps.push(h("p", { class: "step" }, h("strong", {}, words), ` ${sum}${retries}${REPEATS[record.repeat] ?? ""}`));
  return h("div", { class: "path", "data-path": record.path }, steps);
}

function scale(record, [low, high]) {
  const at = (value) => Math.min(1, Math.max(0, (value - low) / (high - low || 1)));
  const limit = record.thresholds.difficulty;
  const text = `difficulty ${number(record.difficulty)}`;
  const marks = [h("span", { class: "mark", "--at": percent(at(record.difficulty)) }), name(text, at(record.difficulty), "name")];
  if (limit !== null) {
    marks.push(h("span", { class: "limit", "--at": percent(at(limit)) }), name(`heavy from ${number(limit)}`, at(limit), "name over"));
  }
  const routing = limit === null ? "nothing goes straight to the heavy model now" : `over ${number(limit)} straight to the heavy model`;
  return h("div", { class: "scale", role: "img", "aria-label": `${text}; ${routing}` }, marks);
}

/** A name on the scale, kept within it. */
function name(text, at, kind) {
  return h("span", { class: kind, "--at": percent(at), "--pull": `${Math.round(-100 * at)}%` }, text);
}

function picture(base64, attempt, record, { format, seed }, chosen) {
  const light = attempt === record.attempts[0] && record.path !== "heavy" && record.confidence !== null;
  const lines = [h("strong", {}, attempt.tier), h("br"), `waited ${seconds(attempt.wait_s)}, drawn in ${seconds(attempt.service_s)}`];
  const limit = record.thresholds.confidence;
  if (light) lines.push(confidence(record.confidence, limit, record.path === "deferred"));
  else if (record.heavy_confidence !== null) lines.push(confidence(record.heavy_confidence, null, false));
  const src = `data:image/${format};base64,${base64}`;
  lines.push(h("div", {}, h("a", { href: src, download: `hadis-${attempt.tier}-${seed}.${format}` }, "download"), `, seed ${seed}`));
  const shown = h("img", { src, alt: `image by ${attempt.tier}` });
  const figure = h("figure", { class: chosen ? "chosen" : "" }, shown, h("figcaption", {}, lines));
  shown.addEventListener("load", () => figure.classList.toggle("small", shown.naturalWidth < 256));
  return figure;
}

function confidence(value, limit, low) {
  const text = `confidence ${number(value)}` + (limit === null ? "" : `, again under ${number(limit)}`);
  const marks = [h("i", { "--at": percent(value) })];
  if (limit !== null) marks.push(h("b", { "--at": percent(Math.min(1, limit)) }));
  return h("div", {}, text, h("div", { class: low ? "bar low" : "bar", role: "img", "aria-label": text }, marks));
}
