// What is written but not sent survives a reload, for everybody who logs in here their own.

const shelf = `drafts${document.body.dataset.person ?? ""}`;
const drafts = () => new Map(JSON.parse(localStorage[shelf] ?? "[]"));
const isNew = () => location.pathname.endsWith("/"); // and not below a chat's own address
const place = (area) => area.dataset.draft || (isNew() ? "/" : area.form.dataset.address);
function keep(area, text = area.value) {
  const all = drafts();
  all.delete(place(area));
  if (text.trim() && text !== area.defaultValue) all.set(place(area), text);
  localStorage[shelf] = JSON.stringify([...all].slice(-20)); // of those written last
}
function restore(area) {
  area.value = drafts().get(place(area)) ?? area.value;
  area.dispatchEvent(new Event("input", { bubbles: true }));
}
restore(document.getElementById("message"));
document.addEventListener("input", ({ target }) => { if ("draft" in target.dataset) keep(target); });
document.addEventListener("focusin", ({ target }) => { if (target.dataset.draft) restore(target); });
document.addEventListener("htmx:after:request", ({ detail: { ctx } }) => {
  const area = ctx.sourceElement.querySelector("[data-draft]");
  if (area && ctx.response.status < 400) keep(area, "");
});
document.addEventListener("DOMContentLoaded", () => { // htmx is there
  for (const key of drafts().keys()) document.querySelector(`[data-edits="${key}"]`)?.click();
});
