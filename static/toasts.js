// Toasts: what was done or could not be stands in one place, above everything else. What only tells or offers
// to undo passes by itself, unless it is pointed at or has the focus.

const toasts = document.getElementById("toasts");
const PASSES = 12000; // milliseconds
const canRise = "popover" in HTMLElement.prototype;
let passing;
if (canRise) toasts.popover = "manual";
new MutationObserver(() => {
  clearTimeout(passing);
  const notice = document.getElementById("notice");
  if (canRise) toasts.togglePopover(false); // shown anew it is above what has opened meanwhile
  if (canRise && notice.textContent) toasts.togglePopover(true);
  if (notice.dataset.passes) passing = setTimeout(pass, PASSES, notice);
}).observe(toasts, { childList: true, subtree: true });
function pass(notice) {
  if (notice.matches(":hover, :focus-within")) passing = setTimeout(pass, PASSES, notice);
  else notice.replaceChildren();
}
