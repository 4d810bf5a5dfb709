// The page of one request. Its decision panel follows the database: typed text is never lost, and an
// outcome is shown only after the server has confirmed it.

import { arm } from "./arming.js";
import { enter } from "./panels.js";
import { announce, announceNow } from "./say.js";
import { fetchElement } from "./asks.js";

const page = document.getElementById("question");
const decision = () => document.getElementById("decision");
const isOpen = () => decision().dataset.status === "pending";

function typedTexts() {
  return [...decision().querySelectorAll("textarea, input[type=text]")]
    .filter((field) => field.value && field.value !== field.defaultValue).map((field) => field.value).join("\n\n");
}

/** Keep text typed into a form that was replaced, for copying. */
function keep(typed) {
  if (!typed || decision().querySelector(".kept")) return;
  const kept = document.createElement("pre");
  kept.className = "kept";
  kept.dir = "auto";
  kept.textContent = typed;
  decision().querySelector(".card-body").append(kept);
}

function closed() {
  document.querySelector(".countdown-big")?.remove();
  const refused = decision().querySelector("[role=alert]");
  const outcome = document.getElementById("verdict")?.textContent.trim().replace(/\s+/g, " ");
  if (refused) announceNow(refused.textContent.trim());
  else if (outcome) announce(outcome);
  drawBar(outcome);
}

/** Keep the bar in place, with the outcome and a link to the next request in place of the buttons. */
function drawBar(outcome) {
  const bar = document.getElementById("decide-bar");
  if (!bar) return;
  const next = decision().querySelector("[data-next]")?.cloneNode(true);
  const line = document.createElement("p");
  line.className = "small clip-2";
  line.textContent = outcome ?? "";
  next?.classList.add("btn");
  bar.replaceChildren(line, ...(next ? [next] : []));
  bar.classList.add("decided");
}

async function refreshDecision() {
  if (!isOpen() || decision().querySelector(".htmx-request")) return;
  const fresh = await fetchElement(decision().dataset.src);
  if (!fresh || !isOpen() || fresh.dataset.status === "pending") return;
  const typed = typedTexts();
  decision().replaceWith(fresh);
  window.htmx.process(fresh);
  keep(typed);
  closed();
}

document.body.addEventListener("hub:approvals", refreshDecision);
document.addEventListener("htmx:load", ({ detail: { elt } }) => {
  if (elt.id !== "decision") return;
  enhance(elt);
  if (!isOpen()) { closed(); page.focus({ preventScroll: true }); }
});

// ── folds: the browser keeps one open at a time; the first field of an opened one gets the focus ──────
function enhance(within) {
  within.querySelectorAll("[data-scripted]").forEach((one) => { one.hidden = false; });
  within.querySelectorAll("details.fold").forEach((fold) => fold.addEventListener("toggle", () => {
    if (fold.open && !fold.contains(document.activeElement?.closest("textarea"))) enter(fold);
  }));
}

document.addEventListener("click", (event) => {
  const chip = event.target.closest("[data-says]");
  if (!chip) return;
  const field = chip.closest("details").querySelector("textarea");
  field.value = field.value ? `${field.value.trimEnd()} ${chip.dataset.says}` : chip.dataset.says;
  field.focus();
});

enhance(decision());
if (isOpen()) arm(page);
