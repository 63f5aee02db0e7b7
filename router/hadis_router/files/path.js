// The path that an image took, as a drawing: difficulty on a scale, the light image with its confidence, the heavy one.
import { h, number, percent, seconds } from "./dom.js";

const WORDS = {
  light: "The light image is good enough.",
  heavy: "Hard prompts go straight to the heavy model.",
  deferred: "The light image was not good enough, so the heavy model drew it again.",
  "kept-light": "The heavy model would have been too late, so the light image is the answer.",
};

/** Return the drawing of an explained answer; `range` are the least and greatest difficulties of the profile. */
export function drawPath(told, image, range) {
  const [first, last] = [told.attempts[0], told.attempts.at(-1)];
  const steps = [];
  if (told.difficulty !== null) steps.push(scale(told, range));
  const pictures = h("div", { class: "pictures" });
  if (told.path === "deferred" && told.light_b64_json) {
    pictures.append(picture(told.light_b64_json, first, told, false), h("span", { class: "arrow", "aria-hidden": "true" }, "→"));
  }
  pictures.append(picture(image, last, told, true));
  steps.push(pictures);
  const sum = `${seconds(told.latency_s)} in all, plan ${told.plan_generation}`;
  const retries = told.retries ? `, ${told.retries} tries on workers that went away` : "";
  steps.push(h("p", { class: "step" }, h("strong", {}, WORDS[told.path]), ` ${sum}${retries}`));
  return h("div", { class: "path", "data-path": told.path }, steps);
}

function scale(told, [low, high]) {
  const at = (value) => Math.min(1, Math.max(0, (value - low) / (high - low || 1)));
  const limit = told.thresholds.difficulty;
  const text = `difficulty ${number(told.difficulty)}`;
  const marks = [h("span", { class: "mark", "--at": percent(at(told.difficulty)) }), name(text, at(told.difficulty), "name")];
  if (limit !== null) {
    marks.push(h("span", { class: "limit", "--at": percent(at(limit)) }), name(`heavy from ${number(limit)}`, at(limit), "name over"));
  }
  const rest = limit === null ? "nothing goes straight to the heavy model now" : `over ${number(limit)} straight to the heavy model`;
  return h("div", { class: "scale", role: "img", "aria-label": `${text}; ${rest}` }, marks);
}

/** A name on the scale, kept within it. */
function name(text, at, kind) {
  return h("span", { class: kind, "--at": percent(at), "--pull": `${Math.round(-100 * at)}%` }, text);
}

function picture(base64, attempt, told, chosen) {
  const light = attempt === told.attempts[0] && told.path !== "heavy" && told.confidence !== null;
  const lines = [h("strong", {}, attempt.tier), h("br"), `waited ${seconds(attempt.wait_s)}, drawn in ${seconds(attempt.service_s)}`];
  const limit = told.thresholds.confidence;
  if (light) lines.push(confidence(told.confidence, limit, told.path === "deferred"));
  const shown = h("img", { src: `data:image/png;base64,${base64}`, alt: `image by ${attempt.tier}` });
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
