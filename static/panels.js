// What opens and closes: the list of chats, the dialogs, the notice; and the page's title.

const sidebar = document.getElementById("sidebar");
const opener = document.getElementById("opener");
const dialog = document.getElementById("dialog");
const title = document.getElementById("title");
const narrow = matchMedia("(max-width: 800px)");
const isShown = () => sidebar.checkVisibility({ visibilityProperty: true });
const isOver = () => narrow.matches && isShown() && !document.querySelector("dialog[open]");

function show(isOpen) {
  document.documentElement.dataset.list = isOpen ? "open" : "closed";
  if (!narrow.matches) localStorage.list = isOpen ? "" : "closed";
  opener.ariaExpanded = isOpen;
  if (isOpen && narrow.matches) sidebar.querySelector("button").focus();
  else opener.focus();
}
opener.ariaExpanded = isShown();

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-sidebar],[data-opens],[data-dialog],[data-notice]");
  if (!button && isOver() && !sidebar.contains(event.target)) show(false);
  if (button?.dataset.sidebar) show(!isShown());
  if (button?.dataset.opens) document.getElementById(button.dataset.opens).showModal();
  if (button?.dataset.dialog) button.closest("dialog").close();
  if (button?.dataset.notice) document.getElementById("notice").replaceChildren();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && isOver()) show(false);
});

new MutationObserver(() => {
  if (dialog.childElementCount && !dialog.open) dialog.showModal();
}).observe(dialog, { childList: true });
dialog.addEventListener("submit", () => dialog.close());
dialog.addEventListener("close", () => dialog.replaceChildren());

new MutationObserver(() => {
  document.title = `${title.textContent} · Wick`;
}).observe(title, { childList: true, characterData: true, subtree: true });
