// Menus: where they open, arrow keys in them, and popovers by an attribute where a browser has none.

const menu = document.getElementById("chat-menu"); // one for all rows, so news do not close it
document.addEventListener("click", ({ target }) => {
  const button = target.closest("[popovertarget$=-menu]:not([popovertargetaction])");
  if (!button) return;
  const [{ bottom, left }, opens] = [button.getBoundingClientRect(), button.getAttribute("popovertarget")];
  const one = document.getElementById(opens); // the same for all rows, and for all answers
  one.replaceChildren();
  one.style.inset = `min(${bottom}px, 100dvh - 21rem) auto auto min(${left}px, 100vw - 14rem)`;
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
  const ids = ["answer-menu", "chat-menu", "menu", "sidebar"]; // upper ones first
  const layers = ids.map((id) => document.getElementById(id)).filter(Boolean);
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
