// Panels of a card unfold in place, one at a time; without JavaScript the same links lead to the
// request's own page. An opened panel's first field gets the focus; without a field the panel itself
// does, because the next space would press a focused button.

import { focusedAsk, isReady } from "./arming.js";
import { note } from "./say.js";

const OPEN = "[data-panel]:not([hidden]), details.fold[open]";

/** The open panel or fold of a card that ends in a decision, or null. */
export const openPanel = (ask) =>
  [...(ask?.querySelectorAll(`.ask-form :is(${OPEN})`) ?? [])].find((one) => one.querySelector("button[type=submit]")) ?? null;

/** Close open panels of the card and focus it; return whether any was open. */
export function closePanels(ask) {
  const open = ask ? [...ask.querySelectorAll(`.ask-form :is(${OPEN})`)] : [];
  open.forEach((one) => { if (one.matches("details")) one.open = false; else one.hidden = true; });
  ask?.querySelectorAll("[data-opens]").forEach((opener) => opener.setAttribute("aria-expanded", "false"));
  if (open.length) ask.focus({ preventScroll: true });
  return open.length > 0;
}

/** Focus the panel's first field, or the panel itself. */
export function enter(panel) {
  const place = panel.matches("details") ? panel.querySelector(":scope > div") ?? panel : panel;
  const field = place.querySelector("textarea, input:not([type=hidden])");
  if (!field) place.tabIndex = -1;
  (field ?? place).focus({ preventScroll: true });
  panel.scrollIntoView({ block: "nearest" });
}

function toggle(ask, opener) {
  const panel = ask.querySelector(`[data-panel="${opener.dataset.opens}"]`);
  if (!panel) return false;
  const opening = panel.hidden;
  closePanels(ask);
  panel.hidden = !opening;
  opener.setAttribute("aria-expanded", String(opening));
  if (opening) enter(panel);
  return true;
}

/** Open the fold that a link on the page refers to. */
function unfold(link) {
  const fold = document.getElementById(link.hash.slice(1));
  if (!fold) return;
  if (fold.matches("details")) fold.open = true;
  enter(fold);
}

document.addEventListener("click", (event) => {
  const ask = event.target.closest(".ask");
  if (ask && event.target.closest("[data-close-panels]")) closePanels(ask);
  if (event.ctrlKey || event.metaKey) return;
  const link = event.target.closest("[data-unfolds]");
  if (link) { event.preventDefault(); unfold(link); }
  const opener = event.target.closest("[data-opens]");
  if (ask && opener && toggle(ask, opener)) event.preventDefault();
}, true);

/** The button that sends `field`: its panel's, else the one of key A, else the form's. */
export function senderOf(field) {
  const own = field.closest("[data-panel], details.fold")?.querySelector("button[type=submit]:not([formaction])");
  return own ?? field.form?.querySelector("[data-key=a]") ?? field.form?.querySelector("button[type=submit], button:not([type])");
}

/** Send the form of `field`; the focus stays until the response comes. */
export function sendFrom(field) {
  const { form } = field;
  if (!form) return;
  const button = senderOf(field);
  const ask = focusedAsk();
  if (button && getComputedStyle(button).visibility === "hidden") note("Not sent: the page is not current.");
  else if (ask && !isReady(ask)) note("This has only just come. Nothing was sent.");
  else if (button) button.click();
  else form.requestSubmit();
}
