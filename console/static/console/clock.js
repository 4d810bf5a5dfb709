// Countdowns, updated every second by the server's clock while the page is visible, and times in local time.

const loadedAt = performance.now();
const serverAtLoad = Number(document.documentElement.dataset.now) * 1000;
const SOON_S = 300;
const LAST_S = 60;
let warned = new WeakSet();

/** The server's time now, in milliseconds since the epoch. */
export const serverNow = () => serverAtLoad + performance.now() - loadedAt;

export function startClock() {
  const step = () => {
    if (!document.hidden) drawClocks();
    setTimeout(step, 1000 - (serverNow() % 1000));
  };
  step();
  document.addEventListener("visibilitychange", () => document.hidden || drawClocks());
  document.addEventListener("htmx:load", (event) => drawClocks(event.detail.elt));
}

/** Bring the countdowns below `within` up to date. */
export function drawClocks(within = document) {
  within.querySelectorAll(".countdown[data-expires]").forEach(draw);
  within.querySelectorAll("time[data-clock]").forEach(convertToLocal);
}

const two = (number) => String(number).padStart(2, "0");

/** A time of day in the reader's time zone, in the format of every page. */
export const timeOfDay = (date) => `${two(date.getHours())}:${two(date.getMinutes())}`;

/** Convert a <time> element from UTC to the reader's time zone, once. */
function convertToLocal(time) {
  const date = new Date(time.dateTime);
  const form = time.dataset.clock;
  time.removeAttribute("data-clock");
  const day = form.startsWith("j") ? `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short" })}, ` : "";
  time.textContent = day + timeOfDay(date) + (form.endsWith("s") ? `:${two(date.getSeconds())}` : "");
  time.title = date.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "long" });
}

function draw(countdown) {
  const stopped = Number(document.getElementById("stop-banner")?.dataset.stopped ?? 0); // a stop suspends deadlines
  const now = stopped ? Math.max(stopped, Number(countdown.dataset.asked ?? 0)) : serverNow() / 1000;
  const left = Math.ceil(Number(countdown.dataset.expires) - now);
  const whole = Number(countdown.dataset.whole) || 1800;
  countdown.classList.toggle("countdown-soon", left <= SOON_S && left > LAST_S);
  countdown.classList.toggle("countdown-last", left <= LAST_S);
  const digits = countdown.querySelector("b");
  const words = countdown.querySelector(".word");
  digits.textContent = left > 0 ? span(left) : "ending…";
  if (words) words.hidden = left <= 0;
  const share = Math.max(0, Math.min(100, Math.round((100 * left) / whole)));
  countdown.querySelector(".left")?.setAttribute("stroke-dasharray", `${share} 100`);
  if (left <= LAST_S && left > 0 && countdown.closest(".ask[data-open]") && !warned.has(countdown)) {
    warned.add(countdown);
    document.getElementById("say-now").textContent = "1 minute left on the open request.";
  }
}

function span(seconds) {
  if (seconds < 3600) return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}
