// The model picker. Its select opens a list of models in which one can search; what is chosen there, the
// select has. So tools and old browsers, which know no popovers, choose in the select itself.

const byId = (id) => document.getElementById(id);
const [menu, touch] = [byId("model-menu"), matchMedia("(pointer: coarse)")];
const [search, choices] = [menu.querySelector("input"), byId("model-choices")];
const select = () => byId("model");
const isOpen = () => HAS_POPOVERS && menu.matches(":popover-open");
const shown = () => [...choices.querySelectorAll("[role=option]:not([hidden])")];
const labels = () => [...select().options].map((one) => one.text + one.value).join("\n");
let [chosen, known] = [select().value, labels()];

function show() { // the choice outlives a new list; while the list is open, that is the combobox
  const one = [...select().options].find((option) => option.value === chosen);
  if (one) select().value = chosen;
  chosen = select().value;
  const face = byId("picked").firstChild;
  face.textContent = select().selectedOptions[0]?.text.split(" · ")[0] ?? face.textContent;
  select().ariaHidden = isOpen() ? "true" : null;
  select().tabIndex = isOpen() ? -1 : 0;
}
function choose(name) {
  select().value = name;
  select().dispatchEvent(new Event("change", { bubbles: true }));
}
document.addEventListener("change", ({ target }) => {
  if (target.id !== "model") return;
  chosen = target.value;
  show();
});
document.addEventListener("htmx:ws:after:message:incoming", () => {
  show();
  if (known !== (known = labels()) && isOpen()) choices.dispatchEvent(new Event("refresh"));
});
document.addEventListener("click", ({ target }) => {
  const name = target.closest("[data-chooses]")?.dataset.chooses;
  if (!name) return;
  choose(name);
  if (!menu.contains(target)) return;
  menu.hidePopover();
  if (!touch.matches) byId("message").focus();
});
show();

// Opening. The browser's own list is kept shut; a click that closes the menu opens none.
let wasOpen = false;
function open(text = "") {
  const { left, right, bottom } = byId("picked").getBoundingClientRect();
  const isLate = left > innerWidth / 2; // it grows to where there is space
  const [atEnd, atStart] = [innerWidth - right, left]
    .map((at) => `max(.5rem, min(${at}px, 100vw - 27.5rem))`);
  menu.style.inset = `${bottom + 4}px ${isLate ? atEnd : "auto"} auto ${isLate ? "auto" : atStart}`;
  search.value = text;
  search.removeAttribute("aria-activedescendant");
  for (const one of shown()) one.ariaSelected = String(one.dataset.chooses === chosen);
  menu.showPopover();
  show();
  (touch.matches ? byId("model-list") : search).focus();
  choices.dispatchEvent(new Event("refresh"));
  filter();
}
if (HAS_POPOVERS) {
  document.addEventListener("pointerdown", () => { wasOpen = isOpen(); }, true);
  document.addEventListener("mousedown", (event) => {
    if (event.target.id !== "model" || event.button) return;
    event.preventDefault();
    event.target.focus();
  });
  document.addEventListener("click", ({ target }) => {
    if (target.id === "model" && !target.disabled && !wasOpen) open();
  });
  document.addEventListener("keydown", (event) => {
    const { key } = event;
    if (event.target.id !== "model" || event.ctrlKey || event.metaKey || key === "Tab") return;
    const isLetter = key.length === 1 && key !== " " && !event.altKey;
    if (!isLetter && !["Enter", " ", "ArrowDown", "ArrowUp", "F4"].includes(key)) return;
    event.preventDefault();
    open(isLetter ? key : "");
  });
  menu.addEventListener("toggle", show);
  menu.addEventListener("focusout", ({ relatedTarget }) => {
    if (relatedTarget && !menu.contains(relatedTarget)) menu.hidePopover();
  });
}

// In the list: words filter it, arrows go through it, Enter takes the one that is marked.
function filter() {
  const words = search.value.toLowerCase().split(/\s+/);
  for (const one of choices.querySelectorAll("[role=option]")) {
    one.hidden = !words.every((word) => one.dataset.words.toLowerCase().includes(word));
  }
  const none = byId("model-none");
  if (none) none.hidden = shown().length > 0;
  const now = shown();
  mark(now.find((one) => one.id === search.getAttribute("aria-activedescendant"))
    ?? now.find((one) => !search.value && one.ariaSelected === "true") ?? now[0]);
}
function mark(one) {
  for (const other of choices.querySelectorAll(".active")) other.classList.remove("active");
  one?.classList.add("active");
  one?.scrollIntoView({ block: "nearest" });
  if (one) search.setAttribute("aria-activedescendant", one.id);
  else search.removeAttribute("aria-activedescendant");
}
search.addEventListener("input", () => { search.removeAttribute("aria-activedescendant"); filter(); });
menu.addEventListener("keydown", (event) => {
  const [all, { key, target }] = [shown(), event];
  if (key === "Escape") menu.hidePopover(); // a field for searching would only be emptied
  if (target.closest("a, button")) return;
  const at = all.findIndex((one) => one.matches(".active"));
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + 5, PageUp: at - 5 }[key];
  if (key === "Enter") all[at]?.click();
  else if (to !== undefined) {
    const within = Math.max(0, Math.min(to, all.length - 1));
    mark(all.at(key.startsWith("Page") ? within : to % all.length));
  } else return;
  event.preventDefault();
});
new MutationObserver(() => {
  filter();
  if (!isOpen() || menu.contains(document.activeElement)) return;
  (touch.matches ? byId("model-list") : search).focus();
}).observe(choices, { childList: true });
menu.addEventListener("htmx:after:request", ({ target }) => { // a default, or a download that has begun
  if (target !== choices) choices.dispatchEvent(new Event("refresh"));
});
