// The list of chats: where its menu opens, a name that is edited in place, no chat listed twice.

const chats = document.getElementById("chats");
const menu = document.getElementById("chat-menu"); // one for all rows, so news do not close it
chats.addEventListener("click", ({ target }) => {
  const row = target.closest("[popovertarget]")?.getBoundingClientRect();
  if (!row) return;
  menu.replaceChildren();
  menu.style.inset = `min(${row.bottom}px, 100dvh - 21rem) auto auto min(${row.left}px, 100vw - 14rem)`;
});
menu.addEventListener("click", ({ target }) => { if (target.closest("a")) menu.hidePopover?.(); });
if (!("popover" in HTMLElement.prototype)) { // an older browser: they open by an attribute
  const layers = [menu, document.getElementById("sidebar")]; // the upper first
  document.addEventListener("click", ({ target }) => {
    const button = target.closest("[popovertarget]");
    for (const one of layers) {
      if (one.id === button?.getAttribute("popovertarget")) {
        one.toggleAttribute("data-shown", button.hasAttribute("popovertargetaction") ? false : undefined);
      } else if (!one.contains(target) || target.closest("a")) one.removeAttribute("data-shown");
    }
  });
  document.addEventListener("keydown", ({ key }) => {
    if (key === "Escape") layers.find((one) => one.matches("[data-shown]"))?.removeAttribute("data-shown");
  });
}
chats.addEventListener("focusout", ({ target, relatedTarget }) => {
  const form = target.closest("form");
  if (!relatedTarget || !form?.isConnected || form.contains(relatedTarget)) return;
  form.querySelector("[data-leave]").click();
});
// A click on a chat loads a page: there the list stands where it stood, with that chat in view. What
// is further down has to come first, unless somebody scrolls meanwhile.
let wanted = Number(sessionStorage.listTop ?? 0);
const stand = () => {
  if (wanted) chats.scrollTop = wanted;
  if (chats.scrollTop >= wanted) wanted = 0;
};
addEventListener("pagehide", () => { sessionStorage.listTop = chats.scrollTop; });
for (const kind of ["wheel", "touchmove", "pointerdown", "keydown"]) {
  chats.addEventListener(kind, () => { wanted = 0; }, { passive: true });
}
stand();
if (!wanted) chats.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
chats.addEventListener("focusin", ({ target }) => { if (target.id === "new-name") target.select(); });
// A page of older chats may arrive after one of them has moved to the top.
new MutationObserver(() => {
  for (const row of document.querySelectorAll("#chats-more li[id]")) {
    if (document.getElementById(row.id) !== row) row.remove();
  }
  if (wanted) stand();
}).observe(chats, { childList: true, subtree: true });
