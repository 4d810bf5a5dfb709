// What is too long to be approved at a glance. The box at its end ticks itself when all of it has passed over the screen;
// until then whatever approves leads to the part that has not. The server asks for the box: without this script people
// tick it themselves.

const APPROVES = new Set(["approve", "approve_session", "edit"]);
const OPENERS = "[data-key=a], [data-key=s], [data-key=e]";
const SLACK_PX = 48; // a line or two may be jumped over
const REMARK_MS = 6000;

const text = document.querySelector("[data-reading]");
const box = document.querySelector("[data-read-end] input");
let seen = 0; // how much of it, from 0 to 1, has been on the screen without a gap
let remark = 0;

/** Where the screen ends for a reader: at the bar that decides, where there is one. */
function bottom() {
  const bar = document.getElementById("decide-bar")?.getBoundingClientRect();
  return bar?.height ? bar.top : innerHeight;
}

function look() {
  const { top, height } = text.getBoundingClientRect();
  if (!height || document.visibilityState !== "visible") return;
  if (-top <= seen * height + SLACK_PX) seen = Math.max(seen, Math.min(1, (bottom() - top) / height));
  if (seen < 1 || box.checked || box.dataset.reached) return;
  box.dataset.reached = "yes"; // who takes the tick away again means it
  box.checked = true;
  document.querySelector(".read-missing")?.remove();
}

/** Whether a button or a key of this form would approve before all of it was read. */
const isEarly = (pressed) => Boolean(pressed) && !box.checked && (pressed.form ?? pressed.closest("form")) === box.form;

function lead() {
  const { top, height } = text.getBoundingClientRect();
  const room = innerHeight * 0.15;
  window.scrollTo({ top: scrollY + top + seen * height - room, behavior: "instant" });
  const left = Math.min(99, Math.max(1, Math.round((1 - seen) * 100)));
  say(`Not approved: ${left} % of this has not been on your screen. Read on from here to its end, or tick the box there.`);
}

function say(words) {
  let note = document.querySelector(".read-missing");
  if (!note) {
    note = document.createElement("p");
    note.className = "read-missing";
    note.setAttribute("role", "alert");
    document.body.append(note);
  }
  note.textContent = words;
  clearTimeout(remark);
  remark = setTimeout(() => note.remove(), REMARK_MS);
}

function stop(event) {
  event.preventDefault();
  event.stopImmediatePropagation();
  lead();
}

if (text && box) {
  for (const kind of ["scroll", "resize"]) addEventListener(kind, () => requestAnimationFrame(look), { passive: true });
  document.addEventListener("visibilitychange", look);
  document.addEventListener("click", (event) => {
    const pressed = event.target.closest?.(`button[name=decision], ${OPENERS}`);
    if (!pressed || (pressed.matches("button[name=decision]") && !APPROVES.has(pressed.value))) return;
    if (isEarly(pressed)) stop(event);
  }, true);
  // However the form is sent: Ctrl and Enter in a field press no button.
  document.addEventListener("submit", (event) => {
    const submitter = event.submitter;
    if (event.target === box.form && APPROVES.has(submitter?.value) && !box.checked) stop(event);
  }, true);
  look();
}
