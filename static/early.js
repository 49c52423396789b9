// What must be known before the first paint: the theme, and whether the list of chats is put away.
// And the notice's cross, as every page has a notice.

function paint() {
  const { theme = "system", list = "" } = localStorage;
  Object.assign(document.documentElement.dataset, { theme, list });
  for (const meta of document.querySelectorAll("meta[name=theme-color]")) {
    const own = meta.dataset.theme;
    const medias = { system: `(prefers-color-scheme: ${own})`, [own]: "all" };
    meta.media = medias[theme] ?? "not all";
  }
  const picker = document.getElementById("theme");
  if (picker) picker.value = theme;
}

paint();
addEventListener("DOMContentLoaded", paint);
addEventListener("storage", paint); // another tab has changed it
addEventListener("change", (event) => {
  if (event.target.id !== "theme") return;
  localStorage.theme = event.target.value;
  paint();
});
addEventListener("click", ({ target }) => target.closest("[data-notice]")?.parentElement.replaceChildren());
