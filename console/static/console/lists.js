// Lists with filters: the form is submitted on a choice, or 250 ms after the last key; the URL holds the filters.

const SEARCH_AFTER_MS = 250;

document.querySelectorAll("form[data-filters]").forEach((form) => {
  let timer = 0;
  const send = () => {
    form.querySelectorAll("input, select").forEach((field) => { field.disabled = !field.value && field.type !== "checkbox"; });
    form.requestSubmit();
  };
  form.addEventListener("change", (event) => event.target.matches("select, [type=checkbox]") && send());
  form.addEventListener("input", (event) => {
    if (!event.target.matches("[type=search]")) return;
    clearTimeout(timer);
    timer = setTimeout(() => { sessionStorage.setItem("typed-in", event.target.id); send(); }, SEARCH_AFTER_MS);
  });
});

// The new page restores the focus to the search field.
try {
  const field = document.getElementById(sessionStorage.getItem("typed-in"));
  sessionStorage.removeItem("typed-in");
  if (field) { field.focus(); field.setSelectionRange(field.value.length, field.value.length); }
} catch { /* storage is switched off */ }

// the whole row is a target; what is a target itself, or was only marked with the mouse, stays what it is
document.addEventListener("click", (event) => {
  const link = event.target.closest?.(".table tbody tr")?.querySelector(".lead-cell a");
  if (!link || event.target.closest("a, input, label, button, summary, .pick") || String(getSelection())) return;
  link.dispatchEvent(new MouseEvent("click", event));
});

document.querySelectorAll("form[data-together]").forEach((form) => {
  const bar = form.querySelector(".batch-bar");
  if (!bar) return;
  const show = () => {
    const count = form.querySelectorAll("[name=id]:checked").length;
    bar.querySelectorAll("button").forEach((button) => { button.disabled = count === 0; });
    const [approve, reject] = bar.querySelectorAll("button");
    approve.textContent = count ? `Approve ${count} chosen…` : "Approve chosen…";
    reject.textContent = count ? `Reject ${count} chosen…` : "Reject chosen…";
  };
  form.addEventListener("change", show);
  addEventListener("pageshow", show);
  show();
});
