// A long message of one's own is folded until somebody wants to see all of it.

const unfolded = new Set(); // what is rendered anew stays so
document.addEventListener("click", ({ target }) => {
  const button = target.closest(".more[aria-controls]");
  if (!button) return;
  const body = document.getElementById(button.getAttribute("aria-controls"));
  const isFolded = body.classList.toggle("folded");
  button.ariaExpanded = !isFolded;
  button.textContent = isFolded ? "Show more" : "Show less";
  unfolded[isFolded ? "delete" : "add"](body.id);
  if (isFolded) body.closest(".message").scrollIntoView({ block: "nearest" });
});
const log = document.getElementById("log");
if (log) new MutationObserver(() => {
  for (const id of unfolded) log.querySelector(`#${id}.folded + .more`)?.click();
}).observe(log, { childList: true, subtree: true });
