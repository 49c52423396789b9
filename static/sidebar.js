// The list of chats: where its menu opens, a name that is edited in place, no chat listed twice.

const chats = document.getElementById("chats");
const menu = document.getElementById("chat-menu"); // one for all rows, so news do not close it
chats.addEventListener("click", ({ target }) => {
  const row = target.closest("[popovertarget]")?.getBoundingClientRect();
  if (!row) return;
  menu.replaceChildren();
  menu.style.inset = `min(${row.bottom}px, 100dvh - 21rem) auto auto min(${row.left}px, 100vw - 14rem)`;
});
menu.addEventListener("click", ({ target }) => { if (target.closest("a")) menu.hidePopover(); });
chats.addEventListener("focusout", ({ target, relatedTarget }) => {
  const form = target.closest("form");
  if (!relatedTarget || !form?.isConnected || form.contains(relatedTarget)) return;
  form.querySelector("[data-leave]").click();
});
// A page of older chats may arrive after one of them has moved to the top.
new MutationObserver(() => {
  for (const row of document.querySelectorAll("#chats-more li[id]")) {
    if (document.getElementById(row.id) !== row) row.remove();
  }
}).observe(chats, { childList: true, subtree: true });
