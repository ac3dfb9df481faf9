// What is drawn: the shape of a level, the gauge, the trend and the bar of contributions. SVG nodes only; every
// drawing has its twin in text beside it. Sets attributes and classes, never a style: colours live in page.css.

const SVG = "http://www.w3.org/2000/svg";
export const LEVELS = ["none", "low", "medium", "high", "critical"];
const EDGES = [0, 20, 40, 60, 80, 100];

// One outline a level, in a box of 24: colour is never the only sign.
const OUTLINES = {
  unknown: "M12 3a9 9 0 1 0 0 18a9 9 0 1 0 0-18M12 6a6 6 0 1 1 0 12a6 6 0 1 1 0-12",
  none: "M12 3a9 9 0 1 0 0 18a9 9 0 1 0 0-18",
  low: "M7 4h10a3 3 0 0 1 3 3v10a3 3 0 0 1-3 3H7a3 3 0 0 1-3-3V7a3 3 0 0 1 3-3z",
  medium: "M12 2.5 22 20.5H2z",
  high: "M12 1 23 12 12 23 1 12z",
  critical: "M7.5 1.5h9l6 6v9l-6 6h-9l-6-6v-9zM10.6 6h2.8v8h-2.8zM10.6 15.6h2.8v2.8h-2.8z",
};
// The same shapes as characters, for the window's title.
export const CHARACTERS = { unknown: "○", none: "●", low: "■", medium: "▲", high: "◆", critical: "⬣" };

// Approved, in review, rejected: a tick, a pause, a cross.
const MARKS = {
  approved: "M9.5 18.5 3.5 12.5l2.2-2.2 3.8 3.8 8.8-8.8 2.2 2.2z",
  review: "M6 5h4v14H6zM14 5h4v14h-4z",
  rejected: "M5.5 3.5 12 10l6.5-6.5 2 2L14 12l6.5 6.5-2 2L12 14l-6.5 6.5-2-2L10 12 3.5 5.5z",
  unknown: "M12 3a9 9 0 1 0 0 18a9 9 0 1 0 0-18M12 6a6 6 0 1 1 0 12a6 6 0 1 1 0-12",
};

function svg(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const glyph = (outline) =>
  svg("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: outline, "fill-rule": "evenodd" }));

export const levelName = (level) =>
  LEVELS.includes(level) ? level : Number.isInteger(level) && level in LEVELS ? LEVELS[level] : "unknown";

/** The lowest score of a level; a level is held above it for a while after the score has fallen. */
export const floorOf = (level) => EDGES[Math.max(LEVELS.indexOf(level), 0)];

/** The level whose band a score lies in. */
export const bandOf = (score) => LEVELS.findLast((level) => score >= floorOf(level)) ?? LEVELS[0];

/** Put the shape of a level (or the mark of an outcome) into `holder`, which carries it as a class too. */
export function shape(holder, level) {
  if (holder.dataset.level === level) return;
  holder.dataset.level = level;
  holder.replaceChildren(glyph(OUTLINES[level]));
}

export function mark(holder, outcome) {
  const known = outcome in MARKS ? outcome : "unknown";
  if (holder.dataset.outcome === known) return;
  holder.dataset.outcome = known;
  holder.replaceChildren(glyph(MARKS[known]));
}

const polar = (turn, radius) => {
  const angle = ((-225 + 270 * turn) * Math.PI) / 180;
  return `${(120 + radius * Math.cos(angle)).toFixed(2)} ${(120 + radius * Math.sin(angle)).toFixed(2)}`;
};
const arc = (from, to, radius) =>
  `M${polar(from, radius)}A${radius} ${radius} 0 ${to - from > 2 / 3 ? 1 : 0} 1 ${polar(to, radius)}`;

/** The gauge: five bands, and how far the score (0…100) reaches into them. */
export function gauge(holder, score, level) {
  const reached = Math.min(Math.max(score, 0), 100);
  if (!holder.firstChild) {
    holder.append(
      ...LEVELS.map((name, index) => svg("path", { class: "band", d: arc(EDGES[index] / 100 + 0.006, EDGES[index + 1] / 100 - 0.006, 100) })),
      svg("g", { class: "reach" }),
      svg("circle", { class: "halo", r: 15 }),
      svg("circle", { class: "tip", r: 11 }),
    );
  }
  const parts = LEVELS.map((name, index) => [EDGES[index] / 100 + 0.006, Math.min(EDGES[index + 1], reached) / 100 - 0.006, name]);
  holder.querySelector(".reach").replaceChildren(
    ...parts.filter(([from, to]) => to > from).map(([from, to]) => svg("path", { d: arc(from, to, 100) })),
  );
  const [x, y] = polar(reached / 100, 100).split(" ");
  for (const dot of holder.querySelectorAll("circle")) {
    dot.setAttribute("cx", x);
    dot.setAttribute("cy", y);
  }
  holder.dataset.level = level;
}

/** The trend of `points` ({at, score}, milliseconds) over the last `span` milliseconds; a gap is left as a gap. */
export function trend(holder, points, now, span) {
  const width = 600;
  const height = 140;
  const x = (at) => (width * (1 - (now - at) / span)).toFixed(1);
  const y = (score) => (height - 4 - ((height - 8) * Math.min(Math.max(score, 0), 100)) / 100).toFixed(1);
  holder.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const bands = LEVELS.map((level, index) =>
    svg("rect", { class: "zone", "data-level": level, x: 0, width, y: y(EDGES[index + 1]), height: y(EDGES[index]) - y(EDGES[index + 1]) }),
  );
  const runs = [];
  for (const point of points) {
    const run = runs.at(-1);
    if (run && point.at - run.at(-1).at < 15_000) run.push(point);
    else runs.push([point]);
  }
  const shapes = runs.flatMap((run) => {
    const line = run.map((point) => `${x(point.at)} ${y(point.score)}`).join("L");
    return [
      svg("path", { class: "area", d: `M${x(run[0].at)} ${height}L${line}L${x(run.at(-1).at)} ${height}z` }),
      svg("path", { class: "line", d: `M${line}`, "vector-effect": "non-scaling-stroke" }),
    ];
  });
  holder.replaceChildren(...bands, ...shapes);
}

/** Contributions ({channel, contribution}) as one stacked bar on a scale of 0…100. */
export function stack(holder, parts) {
  let from = 0;
  const rects = parts.map(({ channel, contribution }) => {
    const wide = Math.min(Math.max(contribution, 0), 100 - from);
    const rect = svg("rect", { x: from.toFixed(2), y: 0, width: Math.max(wide - 0.5, 0).toFixed(2), height: 8, "data-channel": channel });
    from += wide;
    return rect;
  });
  holder.setAttribute("viewBox", "0 0 100 8");
  holder.setAttribute("preserveAspectRatio", "none");
  holder.setAttribute("aria-hidden", "true");
  holder.replaceChildren(svg("rect", { class: "rail", x: 0, y: 0, width: 100, height: 8 }), ...rects);
}

export const bar = () => svg("svg", { class: "stack" });
