// The page of one question. Its decision follows the row: what is typed here is never lost, and nothing is shown before
// the server says so.

import { arm } from "./arming.js";
import { enter } from "./panels.js";
import { announce, announceNow } from "./say.js";
import { fetchElement } from "./asks.js";

const page = document.getElementById("question");
const decision = () => document.getElementById("decision");
const isOpen = () => decision().dataset.status === "pending";

function words() {
  return [...decision().querySelectorAll("textarea, input[type=text]")]
    .filter((field) => field.value && field.value !== field.defaultValue).map((field) => field.value).join("\n\n");
}

/** What somebody had typed into a form that is gone stays, to be read and copied. */
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
  const verdict = document.getElementById("verdict")?.textContent.trim().replace(/\s+/g, " ");
  if (refused) announceNow(refused.textContent.trim());
  else if (verdict) announce(verdict);
  drawBar(verdict);
}

/** The bar stays where the finger is, and says what became of it; the way on stands where no decision stood. */
function drawBar(verdict) {
  const bar = document.getElementById("decide-bar");
  if (!bar) return;
  const next = decision().querySelector("[data-next]")?.cloneNode(true);
  const words = document.createElement("p");
  words.className = "small clip-2";
  words.textContent = verdict ?? "";
  next?.classList.add("btn");
  bar.replaceChildren(words, ...(next ? [next] : []));
  bar.classList.add("decided");
}

async function follow() {
  if (!isOpen() || decision().querySelector(".htmx-request")) return;
  const fresh = await fetchElement(decision().dataset.src);
  if (!fresh || !isOpen() || fresh.dataset.status === "pending") return;
  const typed = words();
  decision().replaceWith(fresh);
  window.htmx.process(fresh);
  keep(typed);
  closed();
}

document.body.addEventListener("hub:approvals", follow);
document.addEventListener("htmx:load", ({ detail: { elt } }) => {
  if (elt.id !== "decision") return;
  dress(elt);
  if (!isOpen()) { closed(); page.focus({ preventScroll: true }); }
});

// ── folds: one at a time (the browser sees to it), the first field of an opened one is ready to type into ──────
function dress(within) {
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

dress(decision());
if (isOpen()) arm(page);
