// A chat is dragged from the list onto a folder, or out of one onto the days below.

const chats = document.getElementById("chats");
let dragged = null; // the address of a chat
let over = null;
const mark = (target) => {
  over?.removeAttribute("data-dropping");
  over = target;
  over?.setAttribute("data-dropping", "");
};
chats.addEventListener("dragstart", ({ target, dataTransfer }) => {
  dragged = target.closest?.("li a")?.pathname ?? null;
  if (dragged) dataTransfer.effectAllowed = "move";
});
chats.addEventListener("dragover", (event) => {
  const target = dragged && event.target.closest("[data-folder]");
  if (target !== over) mark(target);
  if (target) event.preventDefault();
});
chats.addEventListener("drop", (event) => {
  const target = dragged && event.target.closest("[data-folder]");
  if (!target) return;
  event.preventDefault();
  htmx.ajax("POST", `${dragged}/folder?folder=${target.dataset.folder}`, { source: chats, swap: "none" });
});
chats.addEventListener("dragend", () => {
  dragged = null;
  mark(null);
});
