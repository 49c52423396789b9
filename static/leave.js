// What is edited where it stands is left as it was by Escape, and by its button for that.

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const button = event.target.closest?.("form")?.querySelector("[data-leave]");
  if (!button) return;
  event.preventDefault(); // else the list of chats would close as well
  button.click();
});
document.addEventListener("reset", ({ target }) => {
  if (!target.matches(".edit")) return;
  const [message, area] = [target.closest(".message"), target.elements.text];
  area.value = area.defaultValue;
  area.dispatchEvent(new Event("input", { bubbles: true })); // nor is a draft of it kept
  target.remove();
  message.querySelector("[data-edits]").focus();
});
