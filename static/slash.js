// A slash at the start of the message opens the saved prompts; arrow up in an empty one edits the last.

const byId = (id) => document.getElementById(id);
const [area, menu, announcer] = ["message", "prompt-menu", "announcer"].map(byId);
const list = menu.querySelector("ul");
let options = []; // those that begin as what is typed
let loading = null; // the list, once it has been asked for
let closed = false; // by Escape, until another slash

const typed = () => /^\/(\S*)$/.exec(area.value)?.[1].toLowerCase();
async function load() {
  const answer = await fetch(menu.dataset.source);
  if (!answer.ok) return;
  list.innerHTML = await answer.text();
  htmx.process(list);
}
async function show() {
  const name = typed();
  if (name === undefined) loading = closed = null;
  else await (loading ??= load()).catch(() => {});
  const all = [...list.children];
  const begun = typed();
  options = begun === undefined || closed ? [] : all.filter((one) => one.dataset.name.includes(begun));
  options.sort((one, other) => other.dataset.name.startsWith(begun) - one.dataset.name.startsWith(begun));
  for (const one of all) one.hidden = !options.includes(one);
  list.append(...options);
  const isOffer = !all.length && begun === ""; // there are none yet: the way to their page
  menu.hidden = closed || !(options.length || isOffer);
  choose(options[0]);
  if (!menu.hidden) announcer.textContent = `${options.length} saved prompts`;
}
function choose(option) {
  for (const one of list.children) one.ariaSelected = String(one === option);
  if (option && !menu.hidden) area.setAttribute("aria-activedescendant", option.id);
  else area.removeAttribute("aria-activedescendant");
  option?.scrollIntoView({ block: "nearest" });
}
const chosen = () => list.querySelector("[aria-selected=true]:not([hidden])");
area.addEventListener("input", show);
area.addEventListener("blur", ({ relatedTarget }) => {
  if (menu.contains(relatedTarget)) return;
  menu.hidden = true;
  area.removeAttribute("aria-activedescendant");
});
menu.addEventListener("mousedown", (event) => event.preventDefault()); // the focus stays
list.addEventListener("click", ({ target }) => {
  if (!target.closest("li")) return;
  area.value = "";
  area.dispatchEvent(new Event("input", { bubbles: true }));
}, true);
area.addEventListener("keydown", (event) => {
  const { key, ctrlKey, metaKey, shiftKey, altKey } = event;
  if (ctrlKey || metaKey || shiftKey || altKey) return;
  if (key === "ArrowUp" && !area.value) {
    const last = [...document.querySelectorAll("#log [data-edits]")].pop();
    if (last) event.preventDefault();
    last?.click();
  }
  if (menu.hidden || !options.length) return;
  const at = options.indexOf(chosen());
  if (key === "ArrowDown") choose(options[(at + 1) % options.length]);
  else if (key === "ArrowUp") choose(options.at(at - 1));
  else if (key === "Enter" || key === "Tab") chosen().click();
  else if (key === "Escape") { closed = true; show(); }
  else return;
  event.preventDefault();
  event.stopPropagation();
});
