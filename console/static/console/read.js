// Long inputs. The checkbox at the end is checked automatically once the whole input was visible; until
// then an approval scrolls to the part that was not. The server requires the checkbox; without
// JavaScript people check it themselves.

const APPROVES = new Set(["approve", "approve_session", "edit"]);
const OPENERS = "[data-key=a], [data-key=s], [data-key=e]";
const SLACK_PX = 48; // one or two skipped lines are allowed
const REMARK_MS = 6000;

const text = document.querySelector("[data-reading]");
const box = document.querySelector("[data-read-end] input");
let seen = 0; // the share, from 0 to 1, that was visible from the start without a gap
let remark = 0;

/** The lower end of the visible part: the decision bar, if there is one. */
function bottom() {
  const bar = document.getElementById("decide-bar")?.getBoundingClientRect();
  return bar?.height ? bar.top : innerHeight;
}

function updateProgress() {
  const { top, height } = text.getBoundingClientRect();
  if (!height || document.visibilityState !== "visible") return;
  if (-top <= seen * height + SLACK_PX) seen = Math.max(seen, Math.min(1, (bottom() - top) / height));
  if (seen < 1 || box.checked || box.dataset.reached) return;
  box.dataset.reached = "yes"; // a person who unchecks it means it
  box.checked = true;
  document.querySelector(".read-missing")?.remove();
}

/** Whether a button or key of this form would approve before the whole input was visible. */
const isEarly = (pressed) => Boolean(pressed) && !box.checked && (pressed.form ?? pressed.closest("form")) === box.form;

function scrollToUnread() {
  const { top, height } = text.getBoundingClientRect();
  const room = innerHeight * 0.15;
  window.scrollTo({ top: scrollY + top + seen * height - room, behavior: "instant" });
  const left = Math.min(99, Math.max(1, Math.round((1 - seen) * 100)));
  showRemark(`Not approved: ${left} % of this has not been on your screen. Read on from here to its end, or tick the box there.`);
}

function showRemark(words) {
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
  scrollToUnread();
}

if (text && box) {
  for (const kind of ["scroll", "resize"]) addEventListener(kind, () => requestAnimationFrame(updateProgress), { passive: true });
  document.addEventListener("visibilitychange", updateProgress);
  document.addEventListener("click", (event) => {
    const pressed = event.target.closest?.(`button[name=decision], ${OPENERS}`);
    if (!pressed || (pressed.matches("button[name=decision]") && !APPROVES.has(pressed.value))) return;
    if (isEarly(pressed)) stop(event);
  }, true);
  // Ctrl and Enter in a field submit the form without a click.
  document.addEventListener("submit", (event) => {
    const submitter = event.submitter;
    if (event.target === box.form && APPROVES.has(submitter?.value) && !box.checked) stop(event);
  }, true);
  updateProgress();
}
