// The list of chats: its place, a name that is edited in it, no chat listed twice.

const chats = document.getElementById("chats");
chats.addEventListener("focusout", ({ target, relatedTarget }) => {
  const form = target.closest("form");
  if (!relatedTarget || !form?.isConnected || form.contains(relatedTarget)) return;
  form.querySelector("[data-leave]").click();
});
// A click loads a page: there the list stands where it stood (`early.js`), with that page's chat in view.
// What is further down has to come first, unless somebody scrolls meanwhile.
let wanted = Number(sessionStorage.listTop ?? 0);
const stand = () => {
  if (wanted) chats.scrollTop = wanted;
  if (chats.scrollTop >= wanted - 1) wanted = 0;
  if (!wanted) chats.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
};
addEventListener("pagehide", () => { sessionStorage.listTop = chats.scrollTop; });
for (const kind of ["wheel", "touchmove", "pointerdown", "keydown"]) {
  chats.addEventListener(kind, () => { wanted = 0; }, { passive: true });
}
stand();
chats.addEventListener("focusin", ({ target }) => { if (target.id === "new-name") target.select(); });
// A page of older chats may arrive after one of them has moved to the top.
new MutationObserver(() => {
  for (const row of document.querySelectorAll("#chats-more li[id]")) {
    if (document.getElementById(row.id) !== row) row.remove();
  }
  if (wanted) stand();
}).observe(chats, { childList: true, subtree: true });
