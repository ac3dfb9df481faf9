// The lists of the page: entities, alerts, decisions, records. Each takes the items of its route and brings its list
// up to date in place, so that focus, open details and a reader's position survive. Every string is hostile: it
// becomes text, never markup.

import { bandOf, bar, levelName, mark, shape, stack } from "./draw.js";
import { clock, dayClock, language, number, say, word } from "./text.js";

const MOST_SHOWN = 8;
const FEWEST_SHOWN = 3;
const LAYERS = ["L0", "L1", "L2", "L3", "L4", "L5", "L6", "L7"];

export const $ = (id) => document.getElementById(id);

function element(tag, name, ...children) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  node.append(...children);
  return node;
}

/** Write only what changed: an untouched node keeps its selection and is not read out again. */
export function write(node, value) {
  const text = value === null || value === undefined ? "" : String(value);
  if (node.textContent !== text) node.textContent = text;
}

const list = (value) => (Array.isArray(value) ? value : []);
const object = (value) => (value !== null && typeof value === "object" ? value : {});

/** Bring the list `id` to `items`: one node a key, made once, updated in place, in the order given. */
function keyed(id, items, keyOf, make, update) {
  const holder = $(id);
  const old = new Map([...holder.children].map((node) => [node.dataset.key, node]));
  const nodes = [];
  for (const item of list(items).slice(0, MOST_SHOWN).map(object)) {
    const key = String(keyOf(item));
    const node = old.get(key) ?? make();
    old.delete(key);
    node.dataset.key = key;
    update(node, item);
    nodes.push(node);
  }
  for (const gone of old.values()) gone.remove();
  nodes.forEach((node, index) => {
    if (holder.children[index] !== node) holder.insertBefore(node, holder.children[index] ?? null);
  });
  const empty = holder.parentElement.querySelector(".empty");
  if (empty) {
    empty.hidden = nodes.length > 0;
    write(empty, say(empty.dataset.text));
  }
}

const part = (node, name) => node.querySelector(`.${name}`);

// ---------------------------------------------------------------------------------------------- layers

export function layers(standings) {
  const seen = object(standings);
  const tiles = LAYERS.map((name) => ({ name, standing: seen[name] ? object(seen[name]) : null }));
  keyed("layers", tiles, (tile) => tile.name, makeLayer, (node, { name, standing }) => {
    const level = standing ? levelName(standing.level) : "unknown";
    shape(part(node, "shape"), level);
    write(part(node, "id"), name);
    write(part(node, "name"), word("layer", name));
    write(part(node, "state"), standing ? `${word("level", level)} · ${number(standing.score)}` : say("layer_unseen"));
    node.dataset.level = level;
  });
}

const makeLayer = () =>
  element("li", "layer", element("span", "shape"), element("span", "id"), element("span", "name"), element("span", "state"));

// ---------------------------------------------------------------------------------------------- entities

/** Who strays, or, while nobody does, the few who come nearest: calm is to look calm. */
export function entities(items) {
  const known = list(items).map(object);
  const straying = known.filter((item) => levelName(item.level) !== "none");
  keyed("entities", known.slice(0, Math.max(straying.length, FEWEST_SHOWN)), (item) => `${item.role} ${item.entity}`, makeEntity, (node, item) => {
    const level = levelName(item.level);
    const parts = list(item.reasons).map(object).filter((reason) => Number.isFinite(reason.contribution) && reason.contribution > 0);
    node.dataset.level = level;
    shape(part(node, "shape"), level);
    write(part(node, "role"), word("role", item.role));
    write(part(node, "name"), item.entity);
    part(node, "name").title = String(item.entity ?? "");
    write(part(node, "value"), number(item.score));
    write(part(node, "state"), word("level", level));
    write(part(node, "seen"), say("seen", { events: number(item.events), time: clock(item.lastSeen) }));
    stack(part(node, "stack"), byChannel(parts));
    reasons(part(node, "why"), parts, item);
  });
}

function makeEntity() {
  const why = element("ul", "why");
  return element(
    "li",
    "entity",
    element("div", "score", element("span", "shape"), element("span", "value")),
    element(
      "div",
      "who",
      element("p", "line", element("span", "role"), element("span", "name mono")),
      element("p", "fine", element("span", "state"), element("span", "seen")),
    ),
    bar(),
    why,
  );
}

/** Contributions of one channel stand together in the bar, the largest first. */
function byChannel(parts) {
  const sums = new Map();
  for (const { channel, contribution } of parts) sums.set(String(channel), (sums.get(String(channel)) ?? 0) + contribution);
  return [...sums].map(([channel, contribution]) => ({ channel, contribution })).sort((a, b) => b.contribution - a.contribution);
}

/** The text twin of the bar. */
function reasons(holder, parts, item) {
  const { role, entity } = item;
  const top = [...parts].sort((a, b) => b.contribution - a.contribution).slice(0, 4);
  while (holder.children.length > top.length) holder.lastChild.remove();
  while (holder.children.length < top.length) {
    holder.append(
      element(
        "li",
        "",
        element("p", "reason", element("span", "swatch"), element("span", "points"), element("span", "channel"), element("span", "kind mono"), button("acknowledge")),
        element("p", "fine without"),
      ),
    );
  }
  const told = withoutChannels(top, byChannel(parts)[0]?.channel, item);
  top.forEach((reason, index) => {
    const node = holder.children[index];
    part(node, "swatch").dataset.channel = String(reason.channel);
    write(part(node, "points"), number(reason.contribution, 1));
    write(part(node, "channel"), word("channel", reason.channel));
    write(part(node, "kind"), kindOf(reason));
    part(node, "kind").title = kindOf(reason);
    part(node, "kind").classList.toggle("mono", reason.kind !== "*");
    // Context comes from others, and a burst may be of any kind: neither is one kind that could be acknowledged here.
    const one = typeof reason.kind === "string" && reason.kind !== "" && reason.kind !== "*" && reason.channel !== "context";
    offer(node, "acknowledge", { role, entity, kind: one ? reason.kind : "" });
    write(part(node, "without"), told[index]);
    part(node, "without").hidden = told[index] === "";
  });
}

/**
 * What the level would be without the channel of each reason: once a channel, where it would be another, and for the
 * strongest channel also that it would stay. A level that is only held says nothing of its score, so it does not stay;
 * and of none there is nothing to say.
 */
function withoutChannels(top, strongest, { score, level }) {
  const seen = new Set();
  return top.map(({ channel, levelWithout }) => {
    const left = levelName(levelWithout);
    if (seen.has(channel) || left === "unknown") return "";
    seen.add(channel);
    const values = { level: word("level", left).toLowerCase() };
    if (left !== bandOf(score)) return say("without", values);
    return String(channel) === strongest && left === levelName(level) && left !== "none" ? say("without_same", values) : "";
  });
}

/** A button that opens the dialog of acknowledge.js; `action` is what it asks for. */
function button(action) {
  const node = element("button", "quiet");
  node.type = "button";
  node.dataset.acknowledge = action;
  return node;
}

function offer(node, action, about) {
  const target = part(node, "quiet");
  Object.assign(target.dataset, Object.fromEntries(Object.entries(about).map(([name, value]) => [name, String(value ?? "")])));
  target.hidden = about.kind === "";
  write(target, say(action));
  target.setAttribute("aria-label", `${say(action)}: ${word("role", about.role)} ${about.entity}, ${about.kind}`);
}

/** What a reason is about; a burst of events of any kind comes as "*". */
export const kindOf = (reason) => (reason.kind === "*" ? say("any_kind") : String(reason.kind ?? ""));

/** Actions in words; those that need a person say so. */
export function actions(names) {
  const known = list(names);
  const text = known.map((name) => word("action", name)).join(" + ");
  return known.some((name) => name === "block" || name === "isolate") ? `${text} (${say("needs_approval")})` : text;
}

// ---------------------------------------------------------------------------------------------- lists of one line

const makeLine = () =>
  element(
    "li",
    "entry",
    element("span", "sign"),
    element("div", "told", element("p", "head"), element("p", "fine detail")),
    element("time", ""),
  );

function line(node, { head, detail, at }) {
  write(part(node, "head"), head);
  write(part(node, "detail"), detail);
  part(node, "detail").hidden = !detail;
  const time = node.querySelector("time");
  if (at && time.dateTime !== at) time.dateTime = at;
  write(time, clock(at));
}

const joined = (...parts) => parts.filter((value) => value !== null && value !== undefined && value !== "").join(" · ");

export function alerts(items) {
  keyed("alerts", items, (item) => item.id, makeLine, (node, item) => {
    const to = levelName(item.levelTo);
    node.dataset.level = to;
    part(node, "sign").classList.add("shape");
    shape(part(node, "sign"), to);
    const top = [...list(item.reasons).map(object)].sort((a, b) => b.contribution - a.contribution)[0];
    line(node, {
      head: joined(`${word("level", to)} ${number(item.score)}`, `${word("role", item.role)} ${item.entity ?? ""}`),
      detail: joined(
        say("alert_rise", { from: word("level", levelName(item.levelFrom)), to: word("level", to) }).toLowerCase(),
        top ? joined(word("channel", top.channel), kindOf(top)) : "",
        list(item.recommendedAction).length ? say("recommended", { actions: actions(item.recommendedAction) }) : "",
      ),
      at: item.createdAt,
    });
  });
}

function decision(id, items, read) {
  keyed(id, items, (item) => item.id, makeLine, (node, item) => {
    const { outcome, head, detail } = read(item);
    part(node, "sign").classList.add("mark");
    mark(part(node, "sign"), outcome);
    line(node, { head: joined(word("outcome", outcome), head), detail, at: item.createdAt });
  });
}

const spaced = (name) => (typeof name === "string" ? name.replaceAll("_", " ") : name);
const reasonWords = (codes) => list(codes).map((code) => word("reason", code)).join(", ");

export const protocols = (items) =>
  decision("protocols", items, (item) => {
    const verdict = object(item.decision);
    const command = typeof item.command === "object" ? object(item.command).action : item.command;
    const outcome = verdict.allowed === true ? "approved" : verdict.allowed === false ? "rejected" : "unknown";
    return {
      outcome,
      head: joined(item.protocolId, spaced(command)),
      detail: joined(item.phase === outcome ? "" : word("phase", item.phase), reasonWords(verdict.reasons), outcome === "rejected" && verdict.severity ? word("level", verdict.severity).toLowerCase() : ""),
    };
  });

export const isabella = (items) =>
  decision("isabella", items, (item) => {
    const context = object(item.context);
    return {
      outcome: item.outcome,
      head: joined(context.protocolId === "isabella" ? "" : context.protocolId, spaced(context.action)),
      detail: joined(context.layer, item.verb, say("ethics", { score: number(item.ethicsScore, 2) })),
    };
  });

export const eoct = (items) =>
  decision("eoct", items, (item) => ({
    outcome: item.verdict,
    head: joined(item.subjectType, item.subjectId),
    detail: joined(
      say("risk", { risk: number(Number.isFinite(item.risk) ? item.risk : 1 - item.score, 2) }),
      item.riskLevel ? word("level", item.riskLevel).toLowerCase() : "",
      reasonWords(item.reasons),
    ),
  }));

export const acknowledgements = (items) =>
  keyed("acknowledgements", items, (item) => item.id, makeAcknowledged, (node, item) => {
    line(node, {
      head: joined(word("role", item.role), item.entity, item.kind),
      detail: joined(item.reason, item.actorId, item.until ? say("until", { time: dayClock(item.until) }) : say("until_withdrawn")),
      at: item.createdAt,
    });
    write(node.querySelector("time"), dayClock(item.createdAt)); // it may be from another day
    offer(node, "withdraw", item);
  });

function makeAcknowledged() {
  const node = makeLine();
  part(node, "told").append(button("withdraw"));
  return node;
}

export const msr = (items) =>
  keyed("msr", items, (item) => item.id, makeLine, (node, item) => {
    part(node, "sign").classList.add("index", "mono");
    write(part(node, "sign"), Number.isInteger(item.index) ? `#${item.index}` : "");
    line(node, { head: item.action, detail: joined(String(item.actorId ?? "").slice(0, 20), String(item.hash ?? "").slice(0, 16)), at: item.createdAt });
  });

export const bookpi = (items) =>
  keyed("bookpi", items, (item) => item.id, makeLine, (node, item) => {
    part(node, "sign").classList.add("index", "mono");
    write(part(node, "sign"), Number.isInteger(item.msrIndex) ? `#${item.msrIndex}` : "");
    line(node, { head: item.title, detail: inLanguage(item.summary) || inLanguage(item.narrative), at: item.createdAt });
  });

const inLanguage = (texts) => (typeof texts === "string" ? texts : String(object(texts)[language()] ?? ""));
