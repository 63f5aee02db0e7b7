// What runs now: facts, workers, charts of the last ten minutes, the last changes of plan.
import { $, h, number, percent, precise, seconds, timesAsLong } from "./dom.js";

const MOST = 600;
const PATHS = ["light", "deferred", "heavy", "kept-light"];
const points = [];
let charts = [];

const CHARTS = [
  { title: "Demand, requests/s", series: [["observed", "--heavy", (p) => p.observed], ["forecast", "--light", (p) => p.forecast]] },
  { title: "Latency of the last minute, s", slo: true, series: [["p50", "--heavy", (p) => p.p50], ["p95", "--light", (p) => p.p95]] },
  { title: "Plan: ratios", most: 1, series: [["direct", "--light", (p) => p.direct], ["deferral", "--heavy", (p) => p.deferral]] },
  { title: "Plan: quality predicted (lower is better)", free: true, series: [["quality", "--heavy", (p) => p.quality]] },
  { title: "Answers/s by path", series: PATHS.map((path, i) => [path, ["--light", "--third", "--heavy", "--bad"][i], rate(path)]) },
  { title: "Waiting images", series: [["queued", "--heavy", (p) => p.queued]] },
];

/** Answers per second by a path, over the five points before one. */
function rate(path) {
  return (point, i) => {
    const before = points[Math.max(0, i - 5)];
    const elapsed = point.t - before.t;
    if (elapsed <= 0) return null;
    const more = (point.answers[path] ?? 0) - (before.answers[path] ?? 0);
    return Math.max(0, more) / elapsed; // a router that restarted counts from 0
  };
}

/** Take the router's history; of points before it, from before the router restarted, keep those that this page saw. */
export function takeHistory(history) {
  const first = history[0]?.t ?? Infinity;
  const older = points.filter((point) => point.t < first);
  points.splice(0, points.length, ...older, ...history);
}

export function takeStatus(status) {
  points.push(status.point);
  points.splice(0, Math.max(0, points.length - MOST));
  $("facts").replaceChildren(...facts(status));
  $("workers").replaceChildren(...workers(status));
  $("changes-list").replaceChildren(...changes(status.changes));
  draw(status.slo_s);
}

function facts(status) {
  const { plan, latency } = status;
  const busy = status.workers.filter((worker) => worker.busy).length;
  const waiting = Object.entries(status.queues).filter(([, count]) => count).map(([tier, count]) => `${tier} ${count}`);
  const missed = status.attainment !== null && status.attainment < status.asked_attainment;
  const single = plan && plan.light === plan.heavy;
  const line = !plan ? "none yet" : single ? `${plan.light} alone` : `${plan.light} + ${plan.heavy}`;
  return [
    fact("plan", plan ? `${line}: ${plan.reason}` : line, "wide"),
    fact("demand", `${number(status.observed_rps)}/s, forecast ${number(status.forecast_rps)}`),
    fact("direct, deferral", plan ? `${percent(plan.direct_ratio)}, ${percent(plan.deferral_ratio)}` : "–"),
    fact(`within ${status.slo_s} s`, `${percent(status.attainment)} of ${percent(status.asked_attainment)}`, missed ? "bad" : ""),
    fact("p50, p95", `${seconds(latency.p50_s)}, ${seconds(latency.p95_s)}`),
    fact("quality predicted", precise(plan?.quality)),
    fact("workers busy", `${busy} of ${status.workers.length}`),
    fact("waiting", waiting.join(", ") || "nothing"),
    h("div", { class: "wide" }, h("dt", {}, "time per batch"), batchTimes(status.tiers)),
  ];
}

const fact = (name, value, kind = "") => h("div", { class: kind }, h("dt", {}, name), h("dd", {}, value));

function batchTimes(tiers) {
  const lines = Object.entries(tiers).map(([tier, { time_ratio: ratio, stale }]) =>
    h("dd", { class: stale ? "bad" : "" }, `${tier}: ${timesAsLong(ratio)} the profile says${stale ? " (out of date)" : ""}`));
  return lines.length ? lines : h("dd", {}, "no batch yet");
}

function workers({ workers: ready, plan }) {
  const chips = ready.map(({ tier, tiers, name, time_ratio: ratio, slow }, i) => {
    const kind = tier && plan ? (tier === plan.heavy && plan.light !== plan.heavy ? "heavy" : "light") : "";
    const lag = slow ? h("strong", {}, `, slow: takes ${timesAsLong(ratio)} its peers (${name})`) : null;
    return h("li", { class: kind, title: `has ${tiers.join(", ")}` }, `${i + 1}: ${tier || "idle"}`, lag);
  });
  const planned = plan ? plan.tiers.reduce((sum, { count }) => sum + count, 0) : 0;
  for (let i = ready.length; i < planned; i++) chips.push(h("li", { class: "loading" }, "loading"));
  return chips;
}

function changes(list) {
  const latest = [...list].reverse();
  if (!latest.length) return [h("li", {}, "none yet")];
  return latest.map(({ at, summary, reason }) =>
    h("li", {}, h("time", {}, new Date(at * 1000).toLocaleTimeString()), summary, h("small", {}, reason)));
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function build(slo) {
  charts = CHARTS.map((chart) => {
    const box = h("div", { class: "chart", role: "img", "aria-label": chart.title }, h("h3", {}, chart.title));
    $("charts").append(box);
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } };
    const series = chart.series.map(([label, stroke]) => ({ label, stroke: colour(stroke), width: 2, value: (_, v) => precise(v) }));
    if (chart.slo) series.push({ label: "SLO", stroke: colour("--bad"), width: 1, dash: [6, 4], value: (_, v) => number(v, 1) });
    const range = chart.free ? undefined : (_, low, high) => [0, chart.most ?? Math.max(1, (high ?? 1) * 1.1, chart.slo ? slo * 1.1 : 0)];
    const plot = new uPlot({
      width: width(box), height: 150, series: [{ value: (_, v) => (v ? new Date(v * 1000).toLocaleTimeString() : "–") }, ...series],
      axes: [axis, { ...axis, size: 44 }], scales: { y: range ? { range } : {} }, cursor: { drag: { x: false, y: false } },
    }, [[]], box);
    return { ...chart, plot, box };
  });
}

const width = (box) => Math.max(200, Math.floor(box.getBoundingClientRect().width));

function draw(slo) {
  if (!charts.length) build(slo);
  const times = points.map((point) => point.t);
  for (const { plot, series, slo: line, box, title } of charts) {
    const columns = series.map(([, , read]) => points.map((point, i) => read(point, i) ?? null));
    if (line) columns.push(points.map(() => slo));
    plot.setData([times, ...columns]);
    if (plot.cursor.idx === null || plot.cursor.idx === undefined) plot.setLegend({ idx: times.length - 1 });
    const latest = series.map(([label], i) => `${label} ${precise(columns[i].at(-1))}`);
    box.setAttribute("aria-label", `${title}: ${latest.join(", ")}`);
  }
}

/** Drop the charts: the next status draws them in the colours of the new theme. */
export function redraw() {
  charts.forEach(({ plot, box }) => (plot.destroy(), box.remove()));
  charts = [];
}

new ResizeObserver(() => {
  for (const { plot, box } of charts) if (plot.width !== width(box)) plot.setSize({ width: width(box), height: 150 });
}).observe($("charts"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
