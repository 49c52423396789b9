// What is written but not sent survives a reload, in the chats that were written in last. Everybody
// who logs in at this browser has drafts of their own; logging out forgets them (early.js).

const form = document.getElementById("composer");
const area = document.getElementById("message");
const shelf = `drafts${document.body.dataset.person ?? ""}`;
const drafts = () => new Map(JSON.parse(localStorage[shelf] ?? "[]"));
const place = () => (location.pathname === "/" ? "/" : form.dataset.address);

area.addEventListener("input", () => {
  const all = drafts();
  all.delete(place());
  if (area.value.trim()) all.set(place(), area.value);
  localStorage[shelf] = JSON.stringify([...all].slice(-20));
});
area.value ||= drafts().get(place()) ?? "";
area.dispatchEvent(new Event("input"));
