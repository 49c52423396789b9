// What is written but not sent survives a reload, for everybody who logs in here their own.

const store = `drafts${document.body.dataset.user ?? ""}`;
const drafts = () => new Map(JSON.parse(localStorage[store] ?? "[]"));
const save = (all) => { localStorage[store] = JSON.stringify([...all].slice(-20)); }; // written last
const isTemporary = document.body.classList.contains("temporary-chat"); // nothing of it is written down
// Each tab has a new chat of its own. One that is left leaves its draft to whichever comes next.
const isNew = () => location.pathname.endsWith("/"); // and not below a chat's own address
const tab = sessionStorage.tab ??= Math.random().toString(36).slice(2);
const [own, left] = [`new ${tab}`, `left ${tab}`];
function rename(from, to) {
  const all = drafts();
  if (!all.has(from)) return;
  all.set(to, all.get(from));
  all.delete(from);
  save(all);
}
if (isNew()) {
  const keys = [left, ...[...drafts().keys()].reverse()];
  const found = keys.find((one) => /^(left |\/$)/.test(one) && drafts().has(one));
  if (!drafts().has(own) && found) rename(found, own);
  addEventListener("pagehide", () => rename(own, left));
  addEventListener("pageshow", ({ persisted }) => { if (persisted) rename(left, own); });
}
const place = (area) => area.dataset.draft || (isNew() ? own : area.form.dataset.address);
function keep(area, text = area.value) {
  if (isTemporary) return;
  const all = drafts();
  all.delete(place(area));
  if (text.trim() && text !== area.defaultValue) all.set(place(area), text);
  save(all);
}
function restore(area) {
  area.value = drafts().get(place(area)) ?? area.value;
  area.dispatchEvent(new Event("input", { bubbles: true }));
}
if (isTemporary && drafts().has(left)) rename(left, place(document.getElementById("message")));
restore(document.getElementById("message"));
if (isTemporary) save([...drafts()].filter(([key]) => key !== place(document.getElementById("message"))));
document.addEventListener("input", ({ target }) => { if ("draft" in target.dataset) keep(target); });
document.addEventListener("focusin", ({ target }) => { if (target.dataset.draft) restore(target); });
document.addEventListener("htmx:after:request", ({ detail: { ctx } }) => {
  const source = ctx.sourceElement;
  const message = source.dataset.sendsDraft && document.getElementById("message");
  const area = message || source.querySelector("[data-draft]");
  if (area && ctx.response.status < 400) keep(area, "");
});
document.addEventListener("DOMContentLoaded", () => { // htmx is there
  for (const key of drafts().keys()) document.querySelector(`[data-edits="${key}"]`)?.click();
});
