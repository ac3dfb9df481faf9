// The loop of the page: ask, keep, show. Owns polling, the connection's state and the hero; lists are in panels.js,
// drawings in draw.js, words in text.js.

import { listen } from "./acknowledge.js";
import * as panels from "./panels.js";
import { $, write } from "./panels.js";
import { CHARACTERS, floorOf, gauge, levelName, shape, trend } from "./draw.js";
import { clock, dayClock, number, say, speak, word } from "./text.js";

const API = "api/v1";
const EVERY_MS = 1_000;
const HIDDEN_EVERY_MS = 10_000;
const TIMEOUT_MS = 5_000;
const LEAST_MINUTES = 2; // the trend starts with this much room and grows to …
const MOST_MINUTES = 10;
const ROW_MS = 30_000;
const HELD_POINTS = 20; // a level that stands this far above its score is said to be held

// What to recommend at a level, as in DOMAIN: it stands beside the level itself, not beside one alert.
const RECOMMENDED = { none: [], low: [], medium: ["notify"], high: ["block"], critical: ["isolate", "notify"] };

// One list is asked for per second in turn with the others, so that the page costs the service little.
const LISTS = {
  alerts: { path: "alerts?limit=6", show: (body) => panels.alerts(body.items) },
  acknowledgements: { path: "acknowledgements?active=true&limit=8", show: showAcknowledged },
  protocols: { path: "protocols/events?limit=6", show: (body) => panels.protocols(body.items) },
  isabella: { path: "isabella/decisions?limit=6", show: (body) => panels.isabella(body.items) },
  eoct: { path: "eoct/evaluations?limit=6", show: (body) => panels.eoct(body.items) },
  msr: { path: "msr/events?limit=4", show: showRegister },
  bookpi: { path: "bookpi/entries?limit=4", show: (body) => panels.bookpi(body.items) },
  entities: { path: "entities?limit=1", show: (body) => write($("watched"), number(body.total)) },
};

const known = {}; // the last answer of each route, so that a change of language can show it again
const points = []; // {at, score, level}, one a second, ten minutes of them
const totals = []; // {at, events}, for the rate
let shown = { score: 0, level: "unknown" };
let answered = null; // when the service last answered, Date
let failures = 0;

class Refused extends Error {
  constructor(status) {
    super(`HTTP ${status}`);
    this.status = status;
  }
}

async function ask(path, form = "json") {
  const answer = await fetch(`${API}/${path}`, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!answer.ok) throw new Refused(answer.status);
  return form === "json" ? answer.json() : answer.text();
}

async function askList(name) {
  const { path, show } = LISTS[name];
  try {
    known[name] = await ask(path);
    show(known[name]);
  } catch (problem) {
    if (known[name] === undefined && problem instanceof Refused) missing(name);
  }
}

/** A route that this service does not have: its panel says so, the rest of the page goes on. */
function missing(name) {
  const empty = $(name)?.parentElement.querySelector(".empty");
  if (empty) write(empty, say("not_available"));
}

async function askCheckpoint() {
  if (!(known.msr?.total > 0)) return; // an empty register has no checkpoint
  try {
    known.checkpoint = await ask("msr/checkpoint", "text");
    showCheckpoint();
  } catch {
    // The register's own list tells what there is; a checkpoint comes later.
  }
}

// ---------------------------------------------------------------------------------------------- what is shown

function showGuardian(state) {
  const score = Number.isFinite(state.score) ? state.score : 0;
  const events = Number.isFinite(state.events) ? state.events : 0;
  const level = events > 0 || score > 0 ? levelName(state.level) : "unknown";
  const at = Date.now();
  $("synthetic").hidden = state.synthetic !== true;
  hero(level, score, state);
  if (events > 0) points.push({ at, score, level });
  while (points.length && points[0].at < at - MOST_MINUTES * 60_000) points.shift();
  showTrend(at);
  totals.push({ at, events });
  while (totals.length > 1 && totals[0].at < at - 10_000) totals.shift();
  panels.layers(state.layers);
  panels.entities(state.top);
  write($("events"), number(events));
  write($("late"), number(state.late));
  write($("rate"), rate());
  write($("event-clock"), events > 0 ? dayClock(state.updatedAt) : "–");
}

function hero(level, score, state) {
  const leader = Array.isArray(state.top) ? state.top[0] : undefined;
  const loud = ["medium", "high", "critical"].includes(level);
  const rounded = number(score);
  if (level !== shown.level && level !== "unknown") {
    write($("announcement"), say("announce", { level: word("level", level), score: rounded }));
  }
  document.body.dataset.level = level;
  shape($("level-shape"), level);
  write($("level-word"), word("level", level));
  write($("score"), level === "unknown" ? "–" : rounded);
  write($("sentence"), say(level === "unknown" ? "say_waiting" : `say_${level}`));
  const reason = leader?.reasons?.toSorted?.((a, b) => b.contribution - a.contribution)[0];
  $("because").hidden = !(loud && leader && reason);
  if (!$("because").hidden) {
    write($("because"), say("because", { role: word("role", leader.role), entity: leader.entity, channel: word("channel", reason.channel), kind: panels.kindOf(reason) }));
  }
  $("held").hidden = !(score < floorOf(level) - HELD_POINTS);
  $("recommended").hidden = !loud;
  if (loud) write($("recommended"), say("recommended", { actions: panels.actions(RECOMMENDED[level]) }));
  document.title = level === "unknown" ? say("title") : `${CHARACTERS[level]} ${word("level", level)} ${rounded} · ${say("title")}`;
  glide(score, level);
}

/** Move the gauge to the new score: gently, or at once for those who prefer no motion. */
function glide(score, level) {
  const from = shown.score;
  shown = { score, level };
  if (document.hidden || Math.abs(score - from) < 0.5 || matchMedia("(prefers-reduced-motion: reduce)").matches) {
    gauge($("gauge"), score, level);
    return;
  }
  const began = performance.now();
  const step = (now) => {
    if (shown.score !== score) return; // a newer score has taken over
    const share = Math.min(Math.max((now - began) / 700, 0), 1);
    gauge($("gauge"), from + (score - from) * (1 - (1 - share) ** 3), level);
    if (share < 1) requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
}

function showTrend(at) {
  const minutes = Math.min(Math.max(Math.ceil((at - (points[0]?.at ?? at)) / 60_000), LEAST_MINUTES), MOST_MINUTES);
  trend($("trend"), points, at, minutes * 60_000);
  write($("trend-start"), say("minutes_ago", { minutes }));
  if (!points.length) return;
  const highest = Math.max(...points.map((point) => point.score));
  $("trend").setAttribute("aria-label", say("trend_label", { now: number(points.at(-1).score), highest: number(highest) }));
  const rows = new Map(); // the highest of each half minute
  for (const point of points) {
    const slot = Math.floor(point.at / ROW_MS);
    if (!(rows.get(slot)?.score > point.score)) rows.set(slot, point);
  }
  const body = $("trend-rows");
  const newest = [...rows].reverse();
  while (body.children.length > newest.length) body.lastChild.remove();
  while (body.children.length < newest.length) {
    const row = document.createElement("tr");
    row.append(...["td", "td", "td"].map((tag) => document.createElement(tag)));
    body.append(row);
  }
  newest.forEach(([slot, point], index) => {
    const cells = body.children[index].children;
    write(cells[0], clock(slot * ROW_MS));
    write(cells[1], number(point.score));
    write(cells[2], word("level", point.level));
  });
}

function rate() {
  const first = totals[0];
  const last = totals.at(-1);
  return last.at > first.at ? number(Math.max(last.events - first.events, 0) / ((last.at - first.at) / 1000), 1) : "–";
}

function showAcknowledged(body) {
  write($("acknowledged-total"), body.total > 0 ? number(body.total) : "");
  panels.acknowledgements(body.items);
}

function showRegister(body) {
  write($("msr-size"), number(body.total));
  panels.msr(body.items);
}

/** A C2SP checkpoint: origin, size and root hash on its first three lines. */
function showCheckpoint() {
  const [origin, size, root] = String(known.checkpoint ?? "").split("\n");
  const whole = /^\d+$/.test(size ?? "") && Boolean(root);
  write($("msr-checkpoint"), whole ? `${origin} · ${number(Number(size))} ${say("msr_size")}` : say("msr_none"));
  write($("msr-root"), whole ? root : "–");
}

function showConnection(problem) {
  const trouble = $("trouble");
  failures = problem ? failures + 1 : 0;
  if (!problem) answered = new Date();
  const refused = problem instanceof Refused && (problem.status === 401 || problem.status === 403);
  const lost = failures >= 2 || refused;
  document.body.classList.toggle("lost", lost);
  $("connection").dataset.state = lost ? "lost" : failures ? "connecting" : "live";
  write($("connection-word"), say(lost ? "lost_short" : failures ? "connecting" : "live"));
  trouble.hidden = !lost;
  if (refused) write(trouble, say("unauthorised", { status: problem.status }));
  else if (lost) write(trouble, answered ? say("lost", { time: clock(answered) }) : say("lost_never"));
}

function showAll() {
  for (const [name, { show }] of Object.entries(LISTS)) if (known[name]) show(known[name]);
  if (known.checkpoint !== undefined) showCheckpoint();
  if (known.guardian) showGuardian(known.guardian);
}

// ---------------------------------------------------------------------------------------------- the loop

async function tick(turn) {
  try {
    known.guardian = await ask("guardian");
    showConnection(null);
    showGuardian(known.guardian);
  } catch (problem) {
    showConnection(problem);
    return;
  }
  const names = Object.keys(LISTS);
  const due = turn === 0 ? names : names.filter((name, index) => name === "alerts" || index % 2 === turn % 2);
  await Promise.all(due.map(askList));
  if (turn % 5 === 0) await askCheckpoint();
}

async function run() {
  await speak();
  gauge($("gauge"), 0, "unknown");
  shape($("level-shape"), "unknown");
  write($("sentence"), say("say_waiting"));
  panels.layers({});
  showCheckpoint();
  listen({ now: () => known.guardian?.updatedAt, done: () => askList("acknowledgements") });
  for (const button of document.querySelectorAll("[data-language]")) {
    button.addEventListener("click", async () => {
      await speak(button.dataset.language);
      showConnectionWords();
      showAll();
    });
  }
  for (let turn = 0; ; turn += 1) {
    await tick(turn);
    const wait = document.hidden ? HIDDEN_EVERY_MS : EVERY_MS * Math.min(2 ** Math.max(failures - 2, 0), 8);
    await pause(wait);
  }
}

/** After a change of language the words of the connection are written again, without counting as an answer. */
function showConnectionWords() {
  const state = $("connection").dataset.state;
  write($("connection-word"), say(state === "lost" ? "lost_short" : state));
  if (!$("trouble").hidden && answered) write($("trouble"), say("lost", { time: clock(answered) }));
}

/** Wait, but not past the moment at which a hidden page is looked at again. */
function pause(milliseconds) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    document.addEventListener("visibilitychange", done);
  });
}

run();
