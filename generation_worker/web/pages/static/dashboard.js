// Shows anew what has changed, draws the charts, and does nothing else: without it every page works, once loaded.
"use strict";

const EVERY = 2000;
const SWITCHED_OFF = "generation-worker-not-live";
const page = () => document.getElementById("page");
const live = document.getElementById("live-switch");

// Whoever writes or is about to do something is not disturbed.
function busy() {
  const at = document.activeElement;
  return Boolean(page().querySelector("details.act[open], dialog[open]")) || Boolean(at && page().contains(at) && at.matches("input, select, textarea"));
}

function follow(on) {
  live.setAttribute("aria-pressed", String(on));
  live.textContent = on ? "Live" : "Stopped";
  live.title = on ? "What you see is shown anew every two seconds. Press to stop that." : "Press to go on.";
  if (on) localStorage.removeItem(SWITCHED_OFF); else localStorage.setItem(SWITCHED_OFF, "yes");
}

if (live && page().hasAttribute("hx-get")) {
  live.hidden = false;
  follow(localStorage.getItem(SWITCHED_OFF) === null);
  live.addEventListener("click", () => follow(live.getAttribute("aria-pressed") !== "true"));
  setInterval(() => {
    if (live.getAttribute("aria-pressed") === "true" && !document.hidden && !busy()) document.body.dispatchEvent(new CustomEvent("refresh"));
  }, EVERY);
}

// An answer that is no page of ours is not put in the place of one.
const stale = (is) => { document.getElementById("stale").hidden = !is; };
document.addEventListener("htmx:before:swap", (event) => {
  const failed = !event.detail.ctx.response.raw.ok;
  stale(failed);
  if (failed) event.preventDefault();
});
document.addEventListener("htmx:error", () => stale(true));

// Moments are told in the reader's own time, beside how long ago they are.
function localTimes() {
  for (const time of page().querySelectorAll("time[datetime]")) time.title = new Date(time.dateTime).toLocaleString();
}

const charts = new WeakMap();
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function draw(place) {
  const points = JSON.parse(place.dataset.points);
  const drawn = charts.get(place);
  if (drawn) {
    if (drawn.points !== place.dataset.points) { drawn.plot.setData(points); drawn.points = place.dataset.points; }
    return;
  }
  const bars = (label, stroke) => ({ label, stroke, fill: stroke, width: 0, paths: uPlot.paths.bars({ size: [0.8, 40] }), points: { show: false } });
  const axis = { stroke: color("--quiet"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false } };
  const plot = new uPlot({
    width: place.clientWidth, height: 180,
    scales: { y: { range: (_, __, most) => [0, Math.max(most || 0, 1) * 1.1] }, s: { range: (_, __, most) => [0, Math.max(most || 0, 1) * 1.1] } },
    axes: [axis, { ...axis, size: 50 }, { ...axis, side: 1, scale: "s", size: 50, grid: { show: false }, values: (_, values) => values.map((each) => `${each}s`) }],
    series: [
      {},
      bars("completed", color("--completed")),
      bars("failed", color("--failed")),
      { label: "mean seconds", stroke: color("--quiet"), width: 1.5, scale: "s", spanGaps: false },
    ],
  }, points, place);
  charts.set(place, { plot, points: place.dataset.points });
  new ResizeObserver(() => plot.setSize({ width: place.clientWidth, height: 180 })).observe(place);
}

function show() {
  localTimes();
  for (const place of page().querySelectorAll("[data-points]")) draw(place);
}
document.addEventListener("htmx:after:swap", show);
show();
