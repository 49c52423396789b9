// The dialog is open while there is something in it.

const dialog = document.getElementById("dialog");
new MutationObserver(() => {
  if (!dialog.childElementCount) dialog.close();
  else if (!dialog.open) dialog.showModal();
}).observe(dialog, { childList: true });
dialog.addEventListener("close", () => dialog.replaceChildren());
dialog.addEventListener("click", ({ target }) => { if (target.dataset.dialog) dialog.close(); });
dialog.addEventListener("submit", ({ target }) => { if (!("stays" in target.dataset)) dialog.close(); });
