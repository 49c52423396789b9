// A picture in the dialog: the one before and after it, by button and arrow key.

document.addEventListener("click", (event) => {
  const one = event.target.closest("a[data-view]");
  if (!one || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  htmx.ajax("GET", one.dataset.view, { target: "#dialog", swap: "innerHTML" });
});
const dialog = document.getElementById("dialog");
let last = 0; // the way in which one went, whose button keeps the focus
function neighbour(step) {
  const id = dialog.querySelector(".viewer")?.dataset.attachment;
  const one = id && document.getElementById(`picture-${id}`)?.closest("a");
  const all = [...(one?.closest("#chips, #log")?.querySelectorAll("a[data-view]") ?? [])];
  return all[all.indexOf(one) + step];
}
function go(step) {
  const one = neighbour(step);
  if (one) last = step;
  one?.click();
}
new MutationObserver(() => {
  for (const button of dialog.querySelectorAll("[data-step]")) {
    button.hidden = !neighbour(Number(button.dataset.step));
    if (Number(button.dataset.step) !== last) continue;
    (button.hidden ? dialog.querySelector("[data-dialog]") : button).focus();
  }
}).observe(dialog, { childList: true });
dialog.addEventListener("close", () => { last = 0; });
dialog.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-step]");
  if (button) go(Number(button.dataset.step));
});
dialog.addEventListener("keydown", ({ key, target }) => {
  if (target.matches("input, pre") || !dialog.querySelector(".viewer")) return;
  if (key === "ArrowLeft") go(-1);
  if (key === "ArrowRight") go(1);
});
