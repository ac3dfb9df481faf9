// Language: which one, its texts, and how numbers and times are written in it.
// Owns no data and draws nothing. Texts come from the service; where they cannot be had, a key reads as words.

const LANGUAGES = ["es-MX", "en"];
const catalogues = new Map();
let current = LANGUAGES[0];

export const language = () => current;

/** The text `key` with `{name}` filled in. An unknown key is shown as its own last words ("level_high" → "high"). */
export function say(key, values = {}) {
  const template = catalogues.get(current)?.[key] ?? readable(key);
  return template.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** The text of a word of the wire ("rule" → "regla"); a word nobody has translated is shown as it came. */
export function word(group, value) {
  const raw = value === null || value === undefined || value === "" ? "unknown" : String(value);
  return catalogues.get(current)?.[`${group}_${raw}`] ?? raw.replaceAll("_", " ");
}

const readable = (key) => key.replace(/^[a-z]+_/, "").replaceAll("_", " ");

/** Take up a language: the asked one, else the remembered one, else Spanish. Resolves when its texts are there. */
export async function speak(asked) {
  const wanted = asked ?? new URLSearchParams(location.search).get("lang") ?? remembered();
  current = LANGUAGES.includes(wanted) ? wanted : LANGUAGES[0];
  if (asked) remember(current);
  if (!catalogues.has(current)) {
    try {
      const answer = await fetch(`texts/page.${current}.json`);
      if (answer.ok) catalogues.set(current, await answer.json());
    } catch {
      // The page stays readable: Spanish stands in the document, and say() falls back to the keys.
    }
  }
  if (catalogues.has(current)) translate();
}

function translate() {
  document.documentElement.lang = current;
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = say(node.dataset.text);
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", say(node.dataset.label));
  for (const node of document.querySelectorAll("[data-language]")) {
    node.setAttribute("aria-pressed", String(node.dataset.language === current));
  }
}

function remembered() {
  try {
    return localStorage.getItem("guardian.language");
  } catch {
    return null; // storage is switched off: nothing is remembered
  }
}

function remember(value) {
  try {
    localStorage.setItem("guardian.language", value);
  } catch {
    // storage is switched off: the choice lasts as long as the page
  }
}

export const number = (value, digits = 0) =>
  Number.isFinite(value)
    ? new Intl.NumberFormat(current, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value)
    : "–";

export function clock(value, options = { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false }) {
  const date = new Date(value);
  return value === null || value === undefined || Number.isNaN(date.getTime())
    ? "–"
    : new Intl.DateTimeFormat(current, options).format(date);
}

export const dayClock = (value) =>
  clock(value, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hour12: false });
