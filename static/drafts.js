// What is written but not sent survives a reload, in the chats that were written in last.

const form = document.getElementById("composer");
const area = document.getElementById("message");
const drafts = () => new Map(JSON.parse(localStorage.drafts ?? "[]"));
const place = () => (location.pathname === "/" ? "/" : form.dataset.address);

area.addEventListener("input", () => {
  const all = drafts();
  all.delete(place());
  if (area.value.trim()) all.set(place(), area.value);
  localStorage.drafts = JSON.stringify([...all].slice(-20));
});
area.value ||= drafts().get(place()) ?? "";
area.dispatchEvent(new Event("input"));
