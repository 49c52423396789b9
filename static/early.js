// What must be known before the first paint: the theme, and whether the list of chats is put away.
// And the notice's cross, as every page has a notice, and the way out when a login has ended.

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
addEventListener("DOMContentLoaded", () => {
  if (!("loggedOut" in document.body.dataset)) return;
  for (const key of Object.keys(localStorage)) if (key.startsWith("drafts")) delete localStorage[key];
});
addEventListener("storage", paint); // another tab has changed it
addEventListener("change", (event) => {
  if (event.target.id !== "theme") return;
  localStorage.theme = event.target.value;
  paint();
});
addEventListener("click", ({ target }) => target.closest("[data-notice]")?.parentElement.replaceChildren());

// What is on the page is for nobody's eyes any more: loaded anew, it asks to log in.
addEventListener("htmx:ws:close", async () => {
  const hasLogin = document.body.hasAttribute("hx-headers:inherited");
  const answer = hasLogin && await fetch("/login/alive").catch(() => null);
  if (answer?.status === 401) location.reload();
});
