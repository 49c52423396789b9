// Search over everything: Ctrl+K opens it, arrows choose among what the server found, Enter takes it.

const dialog = document.getElementById("palette");
const list = document.getElementById("palette-results");
const form = dialog.querySelector("form");
const field = form.elements.q;
const options = () => [...list.querySelectorAll("[role=option]")];

document.addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
  const key = event.key.toLowerCase();
  if (key === "k" && !event.shiftKey) {
    event.preventDefault();
    if (dialog.open) dialog.close();
    else open();
  } else if (key === "o" && event.shiftKey) {
    event.preventDefault();
    document.querySelector("[data-key=n]")?.click();
  }
});
function open() {
  if (document.querySelector("dialog[open]")) return;
  field.value = "";
  dialog.showModal();
  htmx.trigger(form, "look");
}
form.addEventListener("keydown", (event) => {
  const all = options();
  const now = all.findIndex((one) => one.ariaSelected === "true");
  const next = { ArrowDown: now + 1, ArrowUp: now - 1, PageDown: now + 5, PageUp: now - 5 }[event.key];
  if (next !== undefined && all.length) {
    event.preventDefault();
    const isStep = event.key.startsWith("Arrow");
    choose(all, isStep ? (next + all.length) % all.length : Math.max(0, Math.min(all.length - 1, next)));
  } else if (event.key === "Enter" && event.target === field) {
    event.preventDefault();
    if (!event.isComposing) all[now]?.click();
  }
});
function choose(all, index) {
  all.forEach((one, place) => { one.ariaSelected = String(place === index); });
  const chosen = all[index];
  if (chosen) field.setAttribute("aria-activedescendant", chosen.id);
  else field.removeAttribute("aria-activedescendant");
  chosen?.scrollIntoView({ block: "nearest" });
}
new MutationObserver(() => choose(options(), 0)).observe(list, { childList: true });
// It is closed first, so that what opens next gets the focus, or what had it before gets it back.
list.addEventListener("click", ({ target }) => {
  const option = target.closest("[role=option]");
  if (!option) return;
  dialog.close();
  if (option.dataset.clicks) document.querySelector(option.dataset.clicks)?.click();
  else if (option.matches("[hx-post]")) document.getElementById("message")?.focus();
});
dialog.addEventListener("click", ({ target }) => { if (target === dialog) dialog.close(); });
dialog.addEventListener("close", () => list.replaceChildren());
