// Charts of the last ten minutes, with uPlot. Times are of 24 hours; their marks are so far apart that none overlap.
import { $, clock, h, number, precise } from "./dom.js";

const MOST = 600;
const HEIGHT = 150;
const MARK_PX = 64;
/** Room beside a chart for half of a mark that stands at its end. */
export const EDGE_PX = 30;
const [DIGIT_PX, LEAST_DIGITS, TICK_PX] = [7, 4, 18];
const MARKS_S = [1, 5, 15, 30, 60, 120, 300, 600];
const PATHS = ["light", "deferred", "heavy", "better-light", "kept-light"];
const COLOURS = ["--light", "--third", "--heavy", "--soft", "--bad"];
const points = [];
let charts = [];
let sloS = 0;

const CHARTS = [
  { title: "Demand, requests/s", series: [["observed", "--heavy", (p) => p.observed], ["forecast", "--light", (p) => p.forecast]] },
  { title: "Latency of the last minute, s", slo: true, series: [["p50", "--heavy", (p) => p.p50], ["p95", "--light", (p) => p.p95]] },
  { title: "Answered, images/s", series: PATHS.map((path, i) => [path, COLOURS[i], rate((p) => p.answers[path])]) },
  {
    title: "Without an image, images/s",
    series: ["refused", "failed", "cancelled"].map((how, i) => [how, ["--bad", "--third", "--soft"][i], rate((p) => p.unanswered[how])]),
  },
  { title: "Drawn by the heavy model, share", most: 1, series: [["straight", "--light", (p) => p.direct], ["drawn again", "--heavy", (p) => p.deferral]] },
  { title: "Quality predicted (lower is better)", free: true, series: [["quality", "--heavy", (p) => p.quality]] },
  { title: "Waiting images", series: [["queued", "--heavy", (p) => p.queued]] },
];

/** What a counter grew per second, over the five points before one. */
function rate(count) {
  return (point, i) => {
    const before = points[Math.max(0, i - 5)];
    const elapsed = point.t - before.t;
    if (elapsed <= 0) return null;
    return Math.max(0, (count(point) ?? 0) - (count(before) ?? 0)) / elapsed; // a router that restarted counts from 0
  };
}

/** Take the router's history; of points before it, from before the router restarted, keep those that this page saw. */
export function takeHistory(history) {
  const first = history[0]?.t ?? Infinity;
  const older = points.filter((point) => point.t < first);
  points.splice(0, points.length, ...older, ...history);
}

/** Add a point and draw all of them; `slo` in seconds. */
export function takePoint(point, slo) {
  points.push(point);
  points.splice(0, Math.max(0, points.length - MOST));
  sloS = slo;
  draw();
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function axes() {
  const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } };
  const marks = (_, times, __, ___, every) => times.map((time) => clock(time, every < 60));
  return [{ ...axis, space: MARK_PX, incrs: MARKS_S, values: marks }, { ...axis, size: axisWidth }];
}

/** Room for the longest number of an axis, in pixels. */
export const axisWidth = (_, numbers) => TICK_PX + DIGIT_PX * Math.max(LEAST_DIGITS, ...(numbers ?? []).map((text) => text?.length ?? 0));

function build() {
  const boxes = CHARTS.map(({ title }) => h("div", { class: "chart", role: "img", "aria-label": title }, h("h3", {}, title)));
  $("charts").append(...boxes); // all, for how wide one is depends on the others
  charts = CHARTS.map((chart, i) => {
    const box = boxes[i];
    const series = chart.series.map(([label, stroke]) => ({ label, stroke: colour(stroke), width: 2, value: (_, v) => precise(v) }));
    if (chart.slo) series.push({ label: "SLO", stroke: colour("--bad"), width: 1, dash: [6, 4], value: (_, v) => number(v, 1) });
    const range = chart.free ? undefined : (_, low, high) => [0, chart.most ?? Math.max(1, (high ?? 1) * 1.1, chart.slo ? sloS * 1.1 : 0)];
    const plot = new uPlot({
      width: width(box), height: HEIGHT, padding: [null, EDGE_PX, null, null], axes: axes(), scales: { y: range ? { range } : {} }, cursor: { drag: { x: false, y: false } },
      series: [{ label: "at", value: (_, v) => (v ? clock(v) : "–") }, ...series],
    }, [[]], box);
    return { ...chart, plot, box };
  });
}

const width = (box) => Math.max(200, Math.floor(box.getBoundingClientRect().width));

function draw() {
  if (!charts.length) build();
  const times = points.map((point) => point.t);
  for (const { plot, series, slo: line, box, title } of charts) {
    const columns = series.map(([, , read]) => points.map((point, i) => read(point, i) ?? null));
    if (line) columns.push(points.map(() => sloS));
    plot.setData([times, ...columns]);
    showLatest(plot);
    const latest = series.map(([label], i) => `${label} ${precise(columns[i].at(-1))}`);
    box.setAttribute("aria-label", `${title}: ${latest.join(", ")}`);
  }
}

/** Have the legend tell the last values, unless a pointer is on others; later, for what uPlot does then empties it. */
function showLatest(plot) {
  queueMicrotask(() => plot.cursor.idx ?? plot.setLegend({ idx: points.length - 1 }));
}

/** Draw the charts anew, in the colours of the new theme. */
function redraw() {
  charts.forEach(({ plot, box }) => (plot.destroy(), box.remove()));
  charts = [];
  if (points.length) draw();
}

new ResizeObserver(() => {
  for (const { plot, box } of charts) {
    if (plot.width === width(box)) continue;
    plot.setSize({ width: width(box), height: HEIGHT });
    showLatest(plot);
  }
}).observe($("charts"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
