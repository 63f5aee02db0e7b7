// The Pareto front: quality against GPU seconds per image, the plan in force, and how many GPUs another point needs.
import { $, h, number, percent, precise } from "./dom.js";
import { ask } from "./key.js";

const [LEFT, BOTTOM] = [56, 40];
const [LEAST, MOST, HEIGHT, RING] = [220, 900, 300, 13];
let shape = null;
let plan = null;
let demand = 0;
let chosen = null;

const label = (p) =>
  p.light === p.heavy ? `${p.light} alone` : `${p.light} + ${p.heavy}, straight to heavy ${percent(p.direct_ratio)}, drawn again ${percent(p.deferral_ratio)}${p.best_of_two ? ", the better kept" : ""}`;

/** Show the points, which come from the profile; drawn anew at each width, so that words keep their size. */
export function showFront(points) {
  let width = 0;
  new ResizeObserver(([{ contentRect }]) => {
    const wide = Math.round(Math.min(MOST, Math.max(LEAST, contentRect.width)));
    if (wide !== width) draw(points, (width = wide));
  }).observe($("front-chart"));
}

function draw(points, width) {
  const [xs, ys] = [points.map((p) => Math.log(p.gpu_s)), points.map((p) => p.quality)];
  const scale = (values, from, to) => {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    return (value) => from + ((to - from) * (value - low)) / (high - low || 1);
  };
  const [x, y] = [scale(xs, LEFT + 16, width - 16), scale(ys, HEIGHT - BOTTOM - 16, 16)];
  shape = { at: (gpuS, quality) => [x(Math.log(gpuS)), y(quality)], most: [width - RING, HEIGHT - RING], plan: h("circle", { class: "plan", r: RING - 2, cx: -50, cy: -50 }, h("title", {}, "the plan in force")) };
  const dots = points.map((p, i) => {
    const [cx, cy] = shape.at(p.gpu_s, p.quality);
    const text = `${label(p)}: quality ${precise(p.quality)} at ${precise(p.gpu_s)} GPU s per image`;
    const dot = h("circle", { class: "point", cx, cy, r: 6, tabindex: i ? -1 : 0, role: "button", "aria-label": text, "aria-pressed": String(i === chosen) }, h("title", {}, text));
    dot.addEventListener("click", () => choose(dots, i, p));
    dot.addEventListener("keydown", (event) => move(event, dots, i, p));
    return dot;
  });
  const ends = [0, points.length - 1].map((i) => [shape.at(points[i].gpu_s, points[i].quality), points[i]]);
  const marks = ends.flatMap(([[px, py], p], i) => [
    h("text", { x: px, y: HEIGHT - BOTTOM + 18, "text-anchor": i ? "end" : "start" }, precise(p.gpu_s)),
    h("text", { x: LEFT - 6, y: py + 4, "text-anchor": "end" }, precise(p.quality)),
  ]);
  $("front-chart").replaceChildren(
    h("svg", { width, height: HEIGHT, role: "group", "aria-label": "Pareto front; arrow keys move between points" },
      h("line", { class: "axis", x1: LEFT, y1: 4, x2: LEFT, y2: HEIGHT - BOTTOM }),
      h("line", { class: "axis", x1: LEFT, y1: HEIGHT - BOTTOM, x2: width, y2: HEIGHT - BOTTOM }),
      h("text", { x: (LEFT + width) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, "GPU seconds per image (log)"),
      h("text", { x: width, y: 14, "text-anchor": "end" }, "quality: lower is better"), marks, dots, shape.plan));
  placePlan();
}

export function takePlan({ plan: inForce, plan_gpu_s: gpuS, observed_rps: rps }) {
  demand = rps;
  if (inForce && gpuS) plan = [gpuS, inForce.quality];
  placePlan();
}

function placePlan() {
  if (!shape || !plan) return;
  // A plan may lie beyond all points, for it need not be the cheapest of its quality.
  shape.at(...plan).forEach((at, i) => shape.plan.setAttribute(["cx", "cy"][i], Math.min(shape.most[i], Math.max(RING, at))));
}

function move(event, dots, i, p) {
  const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
  if (event.key === "Enter" || event.key === " ") choose(dots, i, p);
  else if (step && dots[i + step]) {
    dots[i].setAttribute("tabindex", -1);
    dots[i + step].setAttribute("tabindex", 0);
    dots[i + step].focus();
  } else return;
  event.preventDefault();
}

async function choose(dots, i, p) {
  chosen = i;
  dots.forEach((dot, j) => dot.setAttribute("aria-pressed", String(i === j)));
  const say = (text) => ($("front-need").textContent = text);
  try {
    const answer = await ask(`v1/hadis/front/${i}?demand_rps=${demand}`);
    const { gpus, error } = await answer.json();
    if (!answer.ok) return say(error.message);
    const need = gpus === null ? "meets the SLO on no number of GPUs" : `needs ${gpus} GPU${gpus === 1 ? "" : "s"} at ${number(demand)} requests/s`;
    say(`${label(p)}: quality ${precise(p.quality)}; ${need}`);
  } catch {
    say("the router does not answer");
  }
}
