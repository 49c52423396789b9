// What is written but not sent survives a reload, for everybody who logs in here their own.

const store = `drafts${document.body.dataset.user ?? ""}`;
const drafts = () => new Map(JSON.parse(localStorage[store] ?? "[]"));
const save = (all) => { localStorage[store] = JSON.stringify([...all].slice(-40)); }; // written last
const isTemporary = document.body.classList.contains("temporary-chat"); // nothing of it is written down
// Each tab has a new chat of its own. One that is left leaves its draft to whichever comes next.
const isNew = () => location.pathname.endsWith("/"); // and not below a chat's own address
const tab = sessionStorage.tab ??= Math.random().toString(36).slice(2);
const [own, left] = [`new ${tab}`, `left ${tab}`];
const [message, files] = ["message", "attachments"].map((name) => document.getElementById(name));
const FILES = "files "; // before the key of a draft, that of the files with it
function rename(from, to) {
  if (!has(from)) return;
  const all = drafts();
  for (const kind of ["", FILES]) {
    const value = all.get(kind + from);
    for (const key of [from, to]) all.delete(kind + key);
    if (value) all.set(kind + to, value);
  }
  save(all);
}
const has = (key) => drafts().has(key) || drafts().has(FILES + key);
if (isNew()) {
  const keys = [left, ...[...drafts().keys()].reverse().map((one) => one.replace(FILES, ""))];
  const found = keys.find((one) => /^(left |\/$)/.test(one) && has(one));
  if (!has(own) && found) rename(found, own);
  addEventListener("pagehide", () => rename(own, left));
  addEventListener("pageshow", ({ persisted }) => { if (persisted) rename(left, own); });
}
const place = (area) =>
  (area === files ? FILES : "") + (area.dataset.draft || (isNew() ? own : area.form.dataset.address));
function keep(area, text = area.value) {
  if (isTemporary) {
    if (area === files) sessionStorage[place(area)] = text; // ids, for a reload of this tab
    return;
  }
  const all = drafts();
  all.delete(place(area));
  if (text.trim() && (area === files || text !== area.defaultValue)) all.set(place(area), text);
  save(all);
}
function restore(area) {
  area.value = drafts().get(place(area)) ?? area.value;
  area.dispatchEvent(new Event("input", { bubbles: true }));
}
if (isTemporary && drafts().has(left)) { // its words, but not its files, which are on the disk
  message.value = drafts().get(left);
  save([...drafts()].filter(([key]) => key !== left));
}
restore(message);
files.value = (isTemporary ? sessionStorage[place(files)] : drafts().get(place(files))) ?? "";
if (files.value) files.dispatchEvent(new Event("restore"));
document.addEventListener("input", ({ target }) => { if ("draft" in target.dataset) keep(target); });
document.addEventListener("focusin", ({ target }) => { if (target.dataset.draft) restore(target); });
document.addEventListener("htmx:after:request", ({ detail: { ctx } }) => {
  const source = ctx.sourceElement;
  const area = (source.dataset.sendsDraft && message) || source.querySelector("[data-draft]");
  if (area && ctx.response.status < 400) keep(area, "");
});
document.addEventListener("DOMContentLoaded", () => { // htmx is there
  for (const key of drafts().keys()) document.querySelector(`[data-edits="${key}"]`)?.click();
});
