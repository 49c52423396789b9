// What opens and closes over a page: its dialogs. And the page's title.

const dialog = document.getElementById("dialog");
const title = document.getElementById("title");

document.addEventListener("click", ({ target }) => {
  const asked = target.closest("[data-opens],[data-dialog]")?.dataset ?? {};
  if (asked.opens) document.getElementById(asked.opens).showModal();
  if (asked.dialog) target.closest("dialog").close();
});

new MutationObserver(() => {
  if (dialog.childElementCount && !dialog.open) dialog.showModal();
  if (!dialog.childElementCount && dialog.open) dialog.close();
}).observe(dialog, { childList: true });
dialog.addEventListener("submit", ({ target }) => { if (!("stays" in target.dataset)) dialog.close(); });
dialog.addEventListener("close", () => dialog.replaceChildren());

new MutationObserver(() => {
  document.title = `${title.textContent} · Wick`;
}).observe(title, { childList: true, characterData: true, subtree: true });
