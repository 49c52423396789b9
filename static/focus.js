// The focus stays near when what has it goes or is replaced: it would fall to the top of the page, and
// who works by keyboard would begin anew.

const touch = matchMedia("(pointer: coarse)"); // there a field with the focus brings up the keyboard
const byId = (id) => document.getElementById(id);
const nameOf = (one) => one.ariaLabel ?? one.textContent.trim();
const isSeen = (one) =>
  one.checkVisibility?.({ visibilityProperty: true }) ?? one.getClientRects().length > 0;
const isUsable = (one) => Boolean(one?.isConnected && !one.disabled && isSeen(one));
const LAYERS = HAS_POPOVERS ? "dialog, :popover-open" : "dialog";
const heading = document.querySelector(".pages h1");
if (heading) heading.tabIndex = -1;
let last = null; // what had the focus, how to find what stands for it, and what did before a dialog

document.addEventListener("focusin", ({ target }) => {
  // The list of chats is a popover only where it is narrow.
  const inside = Boolean(target.closest(LAYERS));
  const opener = !inside ? null : last?.inside ? last.opener : last;
  last = { element: target, inside, successor: successorOf(target), opener };
});
document.addEventListener("focusout", ({ target, relatedTarget }) => {
  if (relatedTarget) return;
  queueMicrotask(() => { // whoever leaves a field by themselves is not brought back
    if (document.hasFocus() && document.activeElement === document.body && isUsable(target)) last = null;
  });
});
// Once before the next frame, which needs the styles anyway: to ask for them after each change is dear.
let awaited = 0;
const check = () => {
  awaited = 0;
  if (!last || isUsable(last.element)) return;
  if (document.activeElement !== document.body && isUsable(document.activeElement)) return;
  const next = [...openers(last)].map((one) => one.successor()).find(isUsable) ?? home();
  next?.focus({ preventScroll: true });
};
new MutationObserver(() => { awaited ||= requestAnimationFrame(check); }).observe(document.body, {
  subtree: true, childList: true, attributeFilter: ["hidden", "disabled", "open"],
});

function* openers(one) {
  for (; one; one = one.opener) yield one;
}
// The same again, which may be another element by then; else its counterpart in the next row of a list.
function successorOf(target) {
  const { id, localName } = target;
  const around = target.parentElement?.closest("[id]");
  const [row, pull] = [target.closest("li[id]"), target.closest(".pull[id]")];
  const [name, number] = [nameOf(target), row ? inRow(row).indexOf(target) : -1];
  const rows = [...(row?.closest("nav, main") ?? document).querySelectorAll("li[id]")]; // of all groups
  const beside = row ? [rows[rows.indexOf(row) + 1]?.id, rows[rows.indexOf(row) - 1]?.id] : [];
  return () => [
    target, byId(id),
    [...byId(around?.id)?.querySelectorAll(localName) ?? []].find((one) => nameOf(one) === name),
    ...beside.map((one) => byId(one) && inRow(byId(one))[number]),
    byId(around?.id)?.querySelector(":scope[data-tool-call] > summary"),
    byId(pull?.id)?.querySelector("button"),
  ].find(isUsable);
}
function inRow(row) {
  return [...row.querySelectorAll("a, button")];
}
function home() {
  const open = document.querySelector("dialog[open]");
  if (open) return open.querySelector("input, textarea, select, button");
  return [touch.matches ? null : byId("message"), byId("scroll"), heading].find(isUsable);
}
