// Messages for people: live regions for screen readers, toasts, and short notes.

const POLITE_EVERY_MS = 5000;
let waiting = [];
let timer = 0;

/** Announce politely, and collected: at most one announcement every five seconds. */
export function announce(words) {
  waiting.push(words);
  if (timer) return;
  const region = document.getElementById("say");
  const speak = () => {
    region.textContent = waiting.join(" ");
    waiting = [];
    timer = setTimeout(() => { timer = 0; if (waiting.length) speak(); }, POLITE_EVERY_MS);
  };
  speak();
}

/** Announce at once: only what makes the page unusable or a decision void. */
export function announceNow(words) {
  document.getElementById("say-now").textContent = words;
}

const ICONS = { ok: "done", bad: "risk-high", idle: "users" };

/** A toast; it stays until it is closed, or for twelve seconds unless its tone is "bad". */
export function toast(title, words, tone = "idle") {
  const note = document.createElement("div");
  note.className = `toast toast-${tone}`;
  note.setAttribute("role", tone === "bad" ? "alert" : "status");
  note.innerHTML = `<svg class="icon" aria-hidden="true"><use href="#i-${ICONS[tone]}"/></svg><div><b></b><p></p></div>`
    + '<button class="btn btn-plain btn-icon btn-s" type="button" data-close aria-label="Close">'
    + '<svg class="icon" aria-hidden="true"><use href="#i-x"/></svg></button>';
  note.querySelector("b").textContent = title;
  note.querySelector("p").textContent = words;
  document.getElementById("toasts").append(note);
  if (tone !== "bad") setTimeout(() => note.remove(), 12000);
}

const NOTE_STAYS_MS = 6000;
let noteTimer = 0;

/** A line over the page that moves nothing: why a key or click had no effect. Screen readers announce it. */
export function note(words) {
  const place = document.getElementById("notice");
  place.textContent = words;
  clearTimeout(noteTimer);
  noteTimer = setTimeout(() => { place.textContent = ""; }, NOTE_STAYS_MS);
}
