// Acknowledging from the page: the dialog behind the buttons that panels.js draws. Owns what is asked of a person and
// what is sent; the list of what is in force is a panel like the others.

import { $, write } from "./panels.js";
import { say, word } from "./text.js";

const PATH = "api/v1/acknowledgements";
const TIMEOUT_MS = 10_000;
const USUAL_MS = 8 * 3_600_000; // what the dialog proposes: until the shift is over

let about = null; // {role, entity, kind, action} while the dialog is open

/** Listen. `now` gives the event clock (ISO 8601, or nothing before the first event); `done` is called after each. */
export function listen({ now, done }) {
  const dialog = $("acknowledge");
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button[data-acknowledge]");
    if (button) open(dialog, button.dataset, clockOf(now()));
  });
  $("acknowledge-cancel").addEventListener("click", () => dialog.close());
  $("acknowledge-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (await send(clockOf(now()))) {
      dialog.close();
      done();
    }
  });
}

const clockOf = (text) => {
  const at = new Date(text ?? "");
  return Number.isNaN(at.getTime()) ? new Date() : at;
};

function open(dialog, { role, entity, kind, acknowledge }, now) {
  about = { role, entity, kind, action: acknowledge };
  const ends = acknowledge === "withdraw";
  write($("acknowledge-title"), say(ends ? "withdraw_title" : "acknowledge_title"));
  write($("acknowledge-about"), say("acknowledge_about", { role: word("role", role), entity, kind }));
  write($("acknowledge-note"), say(ends ? "withdraw_note" : "acknowledge_note"));
  write($("acknowledge-send"), say(ends ? "withdraw" : "acknowledge"));
  $("acknowledge-reason").value = "";
  $("acknowledge-until").value = ends ? "" : local(new Date(now.getTime() + USUAL_MS));
  $("acknowledge-until").parentElement.hidden = ends;
  trouble("");
  dialog.showModal();
  $("acknowledge-reason").focus();
}

/** A moment as a datetime-local field wants it: to the minute, in the time zone of this browser. */
const local = (at) => new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);

function trouble(text) {
  write($("acknowledge-trouble"), text);
  $("acknowledge-trouble").hidden = text === "";
}

/** Send what the dialog says; whether it was kept. What is wrong stands in the dialog, which stays open. */
async function send(now) {
  const reason = $("acknowledge-reason").value.trim();
  const field = $("acknowledge-until");
  const until = field.value ? new Date(field.value) : null;
  if (reason === "") return refuse("acknowledge_needs_reason", $("acknowledge-reason"));
  if (field.validity.badInput || (until && !(until > now))) return refuse("acknowledge_past", field);
  const action = about.action === "withdraw" ? "withdraw" : until ? "snooze" : "acknowledge";
  const body = { role: about.role, entity: about.entity, kind: about.kind, action, reason, ...(until && { until: until.toISOString() }) };
  $("acknowledge-send").disabled = true;
  try {
    const answer = await fetch(PATH, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    if (answer.ok) return true;
    trouble(say("acknowledge_refused", { status: answer.status, detail: await detailOf(answer) }));
  } catch {
    trouble(say("lost_never"));
  } finally {
    $("acknowledge-send").disabled = false;
  }
  return false;
}

function refuse(key, field) {
  trouble(say(key));
  field.focus();
  return false;
}

async function detailOf(answer) {
  try {
    const problem = await answer.json();
    return problem.errors?.map((each) => `${each.key}: ${each.expected}`).join("; ") ?? problem.detail ?? "";
  } catch {
    return "";
  }
}
