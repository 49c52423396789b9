// Editing a prompt where it stands: Enter asks, Escape and Cancel leave it as it was.

document.addEventListener("keydown", (event) => {
  const form = event.target.closest?.("form.edit");
  if (!form || event.isComposing) return;
  if (event.key === "Escape") leave(form);
  if (event.key === "Enter" && !event.shiftKey && event.target.matches("textarea")) {
    event.preventDefault();
    form.requestSubmit();
  }
});

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-edit=cancel]")) leave(event.target.closest("form.edit"));
});

function leave(form) {
  const message = form.closest(".message");
  form.remove();
  message.querySelector("[hx-get$='/edit']").focus();
}
