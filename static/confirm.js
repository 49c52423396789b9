// A question before what cannot be undone: one dialog, for requests of htmx and for plain forms.

const question = document.getElementById("question");
const dialog = document.getElementById("dialog");
function ask(source, text, go, drop) {
  const form = question.content.firstElementChild.cloneNode(true);
  const [, title, rest] = /^(.*?\?)\s*(.*)$/.exec(text) ?? [null, text, ""];
  form.querySelector("h2").textContent = title;
  form.querySelector("p").textContent = rest;
  form.querySelector("[type=submit]").textContent = source.textContent.trim();
  form.addEventListener("submit", go);
  dialog.addEventListener("close", () => drop?.(), { once: true });
  dialog.replaceChildren(form);
}
document.addEventListener("htmx:confirm", (event) => {
  event.preventDefault();
  const { ctx, issueRequest, dropRequest } = event.detail;
  ask(ctx.sourceElement, ctx.confirm, issueRequest, dropRequest);
});
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.dataset.confirm) return;
  event.preventDefault();
  ask(event.submitter, form.dataset.confirm, () => form.submit());
});
