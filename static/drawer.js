// The list of chats is put away and brought back: beside the chat, or over it where it is narrow.

const sidebar = document.getElementById("sidebar");
const opener = document.getElementById("opener");
const narrow = matchMedia("(max-width: 800px)");
const isShown = () => sidebar.checkVisibility({ visibilityProperty: true });
const isOver = () => narrow.matches && isShown() && !document.querySelector("dialog[open]");

function show(isOpen) {
  document.documentElement.dataset.list = isOpen ? "open" : "closed";
  if (!narrow.matches) localStorage.list = isOpen ? "" : "closed";
  opener.ariaExpanded = isOpen;
  (isOpen && narrow.matches ? sidebar.querySelector("button") : opener).focus();
}
opener.ariaExpanded = isShown();

document.addEventListener("click", ({ target }) => {
  if (target.closest("[data-drawer]")) show(!isShown());
  else if (isOver() && !sidebar.contains(target)) show(false);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && isOver()) show(false);
});
