// How pages look is remembered, and known before the first paint. And the notice's cross.

function paint() {
  const [page, picker, beside] = [":root", "#theme", "#beside"].map((one) => document.querySelector(one));
  const { theme = "system", list = "" } = localStorage; // the list is put away beside a chat
  Object.assign(page.dataset, { theme, list });
  document.querySelector("meta[name=theme-color]").content = getComputedStyle(page).backgroundColor;
  if (picker) picker.value = theme;
  if (beside) beside.ariaExpanded = list !== "closed";
}
paint();
addEventListener("DOMContentLoaded", paint);
addEventListener("storage", paint); // another tab has changed it
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
addEventListener("change", ({ target }) => {
  if (target.id === "theme") localStorage.theme = target.value;
  paint();
});
addEventListener("click", ({ target }) => {
  target.closest("[data-notice]")?.parentElement.replaceChildren();
  if (target.closest("#beside")) localStorage.list = localStorage.list === "closed" ? "" : "closed";
  paint();
});
