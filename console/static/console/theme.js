// Light or dark theme: the system's setting until the person chooses one. Loaded in <head>, before the first paint.
(() => {
  const root = document.documentElement;
  const key = "orchestra-theme";
  let kept = null;
  try { kept = localStorage.getItem(key); } catch { /* storage is switched off */ }
  if (kept === "light" || kept === "dark") root.dataset.theme = kept;

  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-theme-toggle]")) return;
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem(key, root.dataset.theme); } catch { /* storage is switched off */ }
  });
})();
