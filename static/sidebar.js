// The list of chats: its menu, the name that is edited in place, and no chat listed twice.

const chats = document.getElementById("chats");
const menu = document.getElementById("chat-menu");
let opener = null;

// One menu for all rows, so that news in the list do not close it.
chats.addEventListener("click", (event) => {
  opener = event.target.closest("[popovertarget]") ?? opener;
  if (opener) menu.replaceChildren();
});

new MutationObserver(() => {
  if (!opener?.isConnected || !menu.childElementCount) return;
  const row = opener.getBoundingClientRect();
  const top = Math.min(row.bottom, innerHeight - menu.offsetHeight - 8);
  menu.style.top = `${Math.max(8, top)}px`;
  menu.style.left = `${Math.max(8, Math.min(row.left, innerWidth - menu.offsetWidth - 8))}px`;
}).observe(menu, { childList: true });

menu.addEventListener("click", (event) => { if (event.target.closest("a")) menu.hidePopover(); });

const leave = (form) => form?.querySelector("[data-leave]").click();
chats.addEventListener("keydown", (event) => {
  const form = event.key === "Escape" && event.target.closest("form");
  if (form) { event.stopPropagation(); leave(form); }
});
chats.addEventListener("focusout", (event) => {
  const form = event.target.closest("form");
  if (form?.isConnected && event.relatedTarget && !form.contains(event.relatedTarget)) leave(form);
});

// A page of older chats may arrive after one of them has moved to the top.
new MutationObserver(() => {
  for (const row of document.querySelectorAll("#chats-more li[id]")) {
    if (document.getElementById(row.id) !== row) row.remove();
  }
}).observe(chats, { childList: true, subtree: true });
