// A long message of one's own is folded until somebody wants to see all of it.

document.addEventListener("click", ({ target }) => {
  const button = target.closest(".more[aria-controls]");
  if (!button) return;
  const body = document.getElementById(button.getAttribute("aria-controls"));
  const isFolded = body.classList.toggle("folded");
  button.ariaExpanded = !isFolded;
  button.textContent = isFolded ? "Show more" : "Show less";
  if (isFolded) body.closest(".message").scrollIntoView({ block: "nearest" });
});
