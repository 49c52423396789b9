// Menus: where they open, arrow keys in them, and popovers by an attribute where a browser has none.

const menu = document.getElementById("chat-menu"); // one for all rows, so news do not close it
document.addEventListener("click", ({ target }) => {
  const button = target.closest("[popovertarget=chat-menu]:not([popovertargetaction])");
  if (!button) return;
  const { bottom, left } = button.getBoundingClientRect();
  menu.replaceChildren();
  menu.style.inset = `min(${bottom}px, 100dvh - 21rem) auto auto min(${left}px, 100vw - 14rem)`;
});
menu.addEventListener("click", ({ target }) => { if (target.closest("a")) menu.hidePopover?.(); });
document.addEventListener("keydown", (event) => {
  const items = [...event.target.closest?.(".menu")?.querySelectorAll("a, button") ?? []];
  const to = {
    ArrowDown: items.indexOf(event.target) + 1, ArrowUp: items.indexOf(event.target) - 1, Home: 0, End: -1,
  }[event.key];
  if (to === undefined || !items.length || event.target.matches("select")) return;
  event.preventDefault();
  items.at(to % items.length).focus();
});
if (!("popover" in HTMLElement.prototype)) { // an older browser: they open by an attribute
  const layers = [menu, ...["menu", "sidebar"].map((id) => document.getElementById(id))]; // upper ones first
  document.addEventListener("click", ({ target }) => {
    const button = target.closest("[popovertarget]");
    const isAbove = target.closest(".menu");
    for (const one of layers) {
      if (one.id === button?.getAttribute("popovertarget")) {
        one.toggleAttribute("data-shown", button.hasAttribute("popovertargetaction") ? false : undefined);
      } else if (!(isAbove ?? one).contains(target) || target.closest("a")) one.removeAttribute("data-shown");
    }
  });
  document.addEventListener("keydown", ({ key }) => {
    if (key === "Escape") layers.find((one) => one.matches("[data-shown]"))?.removeAttribute("data-shown");
  });
}
