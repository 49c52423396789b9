// A suggestion on the page of a new chat comes into the composer, to be completed or sent.

const area = document.getElementById("message");
document.addEventListener("click", ({ target }) => {
  const starter = target.closest("[data-starter]");
  if (!starter) return;
  area.value = starter.textContent;
  area.dispatchEvent(new Event("input", { bubbles: true }));
  area.focus();
  area.setSelectionRange(area.value.length, area.value.length);
});
