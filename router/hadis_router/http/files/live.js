// What runs now: facts, images without an answer, workers, the last changes of plan.
import { takePoint } from "./charts.js";
import { $, clock, exactPercent, h, number, percent, precise, seconds, timesAsLong } from "./dom.js";

/** What the words of the facts mean, for those who point at them or come by with the keyboard. */
const MEANINGS = {
  "straight to heavy": "The direct ratio: this share of the prompts, the hardest ones, goes to the heavy model at once.",
  "drawn again": "The deferral ratio: this share of the light images, those least likely to be good enough, is drawn again by the heavy model.",
  within: "The share of the last minute's images that came within the latency objective. Refused and failed ones count as missed; cancelled ones do not count.",
  "p50, p95": "Half of the last minute's images took no longer than the first, nineteen of twenty no longer than the second.",
  "quality predicted": "The distance (FID) of the images to a reference that the plan should give. Lower is better.",
  "quality in service": "Of a sample of the answers, drawn again by the heavy model while workers have nothing to do: how many the discriminator takes to be good enough, and what the profile predicts of that.",
  "energy predicted": "What GPUs take for an image while they work for it, as the profile measured it.",
  money: "Per image: the time in which GPUs work for it, at the service's price. Per hour: all GPUs that are ready, idle ones too.",
  "time per batch": "What batches really take, beside what the profile says. Plans reckon with it.",
};

/** Codes of the router in plain words; others are shown as they are. */
const REASONS = {
  queue_full: "the queue is full",
  too_late: "would have come too late",
  over_share: "a client is over its fair share",
  no_workers: "no worker is ready",
  starting: "the first worker starts",
  no_owner: "the routers do not agree",
  stopping: "the router stops",
  worker_failed: "workers failed",
  deadline_expired: "not made in time",
  content_policy_violation: "the safety checker filtered it",
  model_not_found: "no such model",
  invalid_value: "a field cannot be as it was sent",
  invalid_size: "no model makes the size",
  invalid_json: "the body is not JSON",
  invalid_api_key: "the API key is unknown",
  rate_limit_exceeded: "a client sends more requests per minute than it may",
  too_many_in_flight: "a client has more under way than it may",
  cancelled: "the client went away",
};

export function takeStatus(status) {
  showFacts(status);
  $("lost").replaceChildren(...lost(status.ended_rps));
  $("workers").replaceChildren(...workers(status));
  takeChanges(status.changes);
  takePoint(status.point, status.slo_s);
}

function showFacts(status) {
  const { plan, latency } = status;
  const busy = status.workers.filter((worker) => worker.busy).length;
  const waiting = Object.entries(status.queues).filter(([, count]) => count).map(([tier, count]) => `${tier} ${count}`);
  const missed = status.attainment !== null && status.attainment < status.attainment_objective;
  const single = plan && plan.light === plan.heavy;
  const line = !plan ? "none yet" : single ? `${plan.light} alone` : `${plan.light} + ${plan.heavy}`;
  fact("plan", status.idle ?? (plan ? `${line}: ${plan.reason}` : line), "wide");
  fact("within", `${percent(status.attainment)} (objective ${exactPercent(status.attainment_objective)})`, missed ? "bad" : "", `within ${status.slo_s} s`);
  fact("demand", `${number(status.observed_rps)}/s, forecast ${number(status.forecast_rps)}`);
  fact("answered", `${number(total(status.ended_rps.answered))}/s`);
  fact("p50, p95", latency.p50_s === null ? "–" : `${seconds(latency.p50_s)}, ${seconds(latency.p95_s)}`);
  fact("straight to heavy", plan ? percent(plan.directRatio) : "–");
  fact("drawn again", plan ? percent(plan.deferralRatio) + (plan.bestOfTwo ? ", the better kept" : "") : "–");
  fact("quality predicted", precise(plan?.quality));
  if (status.quality) fact("quality in service", status.quality.summary, "wide");
  if (plan && plan.joulesPerImage !== null) fact("energy predicted", `${precise(plan.joulesPerImage)} J per image`);
  if (status.money_per_hour !== null) fact("money", moneyOf(plan?.moneyPerImage ?? null, status.money_per_hour));
  fact("workers busy", `${busy} of ${status.workers.length}`);
  fact("waiting", waiting.join(", ") || "nothing");
  fact("time per batch", batchTimes(status.tiers), "wide lines");
}

const moneyOf = (perImage, perHour) => (perImage === null ? "" : `${precise(perImage)} per image, `) + `${precise(perHour)} per hour`;
const total = (rates) => Object.values(rates).reduce((sum, each) => sum + each, 0);
const rows = new Map();

/** Show a fact: its name, with what it means in a bubble, stays in place, so that it keeps the focus. */
function fact(key, value, kind = "", name = key) {
  if (!rows.has(key)) {
    const meaning = MEANINGS[key];
    const tip = meaning ? h("button", { type: "button", class: "tip", "aria-label": `${key}: ${meaning}`, "data-tip": meaning }, "?") : null;
    rows.set(key, $("facts").appendChild(h("div", {}, h("dt", {}, `${name} `, tip))));
  }
  const row = rows.get(key);
  row.className = kind;
  while (row.children.length > 1) row.lastChild.remove();
  row.append(...(Array.isArray(value) ? value : [h("dd", {}, value)]));
}

/** A line for each reason why images had no answer in the last minute. */
function lost(rates) {
  return ["refused", "failed", "cancelled", "invalid"].flatMap((how) =>
    Object.entries(rates[how]).map(([code, rate]) =>
      h("li", { class: how }, h("strong", {}, `${how} ${precise(rate, 2)}/s`), ` ${REASONS[code] ?? code}`)));
}

function batchTimes(tiers) {
  const lines = Object.entries(tiers).map(([tier, { time_ratio: ratio, stale }]) =>
    h("dd", { class: stale ? "bad" : "" }, `${tier}: ${timesAsLong(ratio)} the profile says${stale ? " (the profile is out of date)" : ""}`));
  return lines.length ? lines : [h("dd", {}, "no batch yet")];
}

function workers({ workers: ready, plan, idle }) {
  const chips = ready.map(({ tier, tiers, name, time_ratio: ratio, slow }, i) => {
    const kind = tier && plan ? (tier === plan.heavy && plan.light !== plan.heavy ? "heavy" : "light") : "";
    const lag = slow ? h("strong", {}, `, slow: takes ${timesAsLong(ratio)} its peers (${name})`) : null;
    return h("li", { class: kind, title: `has ${tiers.join(", ")}` }, `${i + 1}: ${tier || "idle"}`, lag);
  });
  // On shared workers the counts of tiers overlap: what is missing is told by who has a tier, not by their sum.
  const missing = (idle ? [] : plan?.tiers ?? []).map(({ tier, count }) => count - ready.filter(({ tiers }) => tiers.includes(tier)).length);
  for (let i = missing.reduce((sum, each) => sum + Math.max(0, each), 0); i > 0; i--) chips.push(h("li", { class: "loading" }, "loading"));
  return chips;
}

function takeChanges(changes) {
  const latest = [...changes].reverse();
  if (!latest.length) return;
  $("changes-latest").textContent = `latest at ${clock(Date.parse(latest[0].time) / 1000)}: ${latest[0].summary}`;
  $("changes-list").replaceChildren(...latest.map(({ time, summary, reason }) =>
    h("li", {}, h("time", {}, clock(Date.parse(time) / 1000)), summary, h("small", {}, reason))));
}
