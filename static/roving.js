// The list of chats and the buttons of a message are one stop of the Tab key each. Arrows move inside:
// up and down from row to row, left and right in a row, Home and End to its ends.

const GROUPS = "#chats, [role=toolbar]";
const stops = new WeakMap(); // where the focus was last
const itemsOf = (group) => [...group.querySelectorAll("a, button, summary")].filter((one) => {
  const other = one.closest("form, [popover]"); // what is no part of the list, only in it
  return !one.disabled && !(other && group.contains(other));
});
const rowOf = (item) => item.closest("li, [role=toolbar], .folder-head") ?? item;

document.addEventListener("focusin", ({ target }) => {
  const group = target.closest(GROUPS);
  if (group) stops.set(group, target);
});
// Only when it matters: rows come and go all the time.
document.addEventListener("keydown", ({ key }) => {
  if (key !== "Tab") return;
  for (const group of document.querySelectorAll(GROUPS)) {
    const items = itemsOf(group);
    const wanted = [stops.get(group), group.querySelector("[aria-current]"), items[0]];
    const stop = wanted.find((one) => items.includes(one));
    for (const item of items) item.tabIndex = item === stop ? 0 : -1;
  }
}, true);
document.addEventListener("keydown", (event) => {
  const { target, key } = event;
  const group = target.closest(GROUPS);
  const items = group ? itemsOf(group) : [];
  if (!items.includes(target) || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
  const next = neighbour(target, key, items, getComputedStyle(group).direction === "rtl" ? -1 : 1);
  if (!next) return;
  event.preventDefault();
  next.focus();
});
function neighbour(item, key, items, forward) {
  const rows = [...new Set(items.map(rowOf))];
  const row = rowOf(item);
  const inRow = (one) => items.filter((other) => rowOf(other) === one);
  const place = inRow(row).indexOf(item);
  switch (key) {
    case "ArrowRight": return inRow(row)[place + forward];
    case "ArrowLeft": return inRow(row)[place - forward];
    case "Home": return items[0];
    case "End": return rows[1] ? inRow(rows.at(-1))[0] : items.at(-1);
  }
  const step = { ArrowDown: 1, ArrowUp: -1 }[key];
  const there = inRow(rows[rows.indexOf(row) + step]);
  return there[Math.min(place, there.length - 1)];
}
