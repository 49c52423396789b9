// The title of a chat is changed where it stands: a click on it, all of it selected.

const [title, form, log] = ["title", "title-form", "log"].map((id) => document.getElementById(id));
const [button, field] = [title.closest("button"), form.elements.title];
const settle = () => { // no chat has begun yet; a temporary one keeps its name and has no button
  if (button) button.disabled = !log.childElementCount;
};
let before = "";

function edit(isEdited, takesFocus) {
  form.hidden = !isEdited;
  button.parentElement.hidden = isEdited;
  if (isEdited) field.select();
  else if (takesFocus) button.focus();
}
document.addEventListener("click", ({ target }) => {
  if (!target.closest(".rename:enabled, [data-renames]")) return;
  field.value = before = title.textContent;
  edit(true);
});
field.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  event.stopPropagation();
  edit(false, true);
});
form.addEventListener("submit", (event) => { // before htmx sees it
  const name = field.value.trim();
  if (!name || name === before || form.hidden) event.stopImmediatePropagation();
  else title.textContent = name;
  event.preventDefault();
  edit(false, form.contains(document.activeElement));
}, true);
field.addEventListener("focusout", () => { if (!form.hidden) form.requestSubmit?.(); });
form.addEventListener("htmx:after:request", ({ detail: { ctx } }) => {
  if (ctx.response.status >= 400) title.textContent = before;
});
settle();
new MutationObserver(settle).observe(log, { childList: true });
