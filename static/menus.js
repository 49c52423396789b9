// Menus: where they open, arrow keys in them, and popovers by an attribute where a browser has none.

const menu = document.getElementById("chat-menu"); // one for all rows, so news do not close it
document.addEventListener("click", ({ target }) => {
  const button = target.closest("[popovertarget$=-menu]:not([popovertargetaction])");
  if (!button) return;
  const { top, bottom, left, right } = button.getBoundingClientRect();
  // One for all rows, one for all answers.
  const one = document.getElementById(button.getAttribute("popovertarget"));
  one.replaceChildren();
  // It grows to where there is space.
  const [isLow, isLate] = [bottom > innerHeight / 2, left > innerWidth / 2];
  const [atStart, atEnd] = [left, innerWidth - right]
    .map((at) => `max(.5rem, min(${at}px, 100vw - 18.5rem))`);
  one.style.inset = [
    isLow ? "auto" : `${bottom}px`, isLate ? atEnd : "auto",
    isLow ? `${innerHeight - top}px` : "auto", isLate ? "auto" : atStart,
  ].join(" ");
  one.style.maxBlockSize = `calc(${isLow ? top : innerHeight - bottom}px - .5rem)`;
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
if (!HAS_POPOVERS) { // an older browser: they open by an attribute
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
