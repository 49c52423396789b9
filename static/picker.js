// The model picker: a new list of models leaves the choice alone, and a button may choose.

const picker = () => document.getElementById("model");
let chosen = picker().value;
document.addEventListener("change", ({ target }) => { if (target.id === "model") chosen = target.value; });
document.addEventListener("htmx:ws:after:message:incoming", () => {
  if ([...picker().options].some((one) => one.value === chosen)) picker().value = chosen;
  chosen = picker().value;
});
document.addEventListener("click", ({ target: { dataset } }) => {
  if (!dataset.chooses) return;
  picker().value = dataset.chooses;
  picker().dispatchEvent(new Event("change", { bubbles: true }));
});
