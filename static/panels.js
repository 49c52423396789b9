// What opens and closes: the sidebar on narrow screens, the dialog, the notice; and the page's title.

const dialog = document.getElementById("dialog");
const title = document.getElementById("title");

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-sidebar],[data-dialog],[data-notice]");
  if (!button) {
    if (!event.target.closest("#sidebar")) delete document.body.dataset.sidebar;
    return;
  }
  if (button.dataset.sidebar === "open") document.body.dataset.sidebar = "open";
  if (button.dataset.sidebar === "close") delete document.body.dataset.sidebar;
  if (button.dataset.dialog) dialog.close();
  if (button.dataset.notice) document.getElementById("notice").replaceChildren();
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") delete document.body.dataset.sidebar;
});

new MutationObserver(() => {
  if (dialog.childElementCount && !dialog.open) dialog.showModal();
  if (!dialog.childElementCount && dialog.open) dialog.close();
}).observe(dialog, { childList: true });
dialog.addEventListener("submit", (event) => { if (!("stays" in event.target.dataset)) dialog.close(); });
dialog.addEventListener("close", () => dialog.replaceChildren());

new MutationObserver(() => {
  document.title = `${title.textContent} · Wick`;
}).observe(title, { childList: true, characterData: true, subtree: true });
