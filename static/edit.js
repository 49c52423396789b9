// Editing a prompt where it stands: Escape and Cancel leave it as it was.

document.addEventListener("keydown", (event) => {
  const form = event.target.closest?.("form.edit");
  if (form && event.key === "Escape" && !event.isComposing) leave(form);
});

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-edit=cancel]")) leave(event.target.closest("form.edit"));
});

function leave(form) {
  const message = form.closest(".message");
  form.remove();
  message.querySelector("[hx-get$='/edit']").focus();
}
