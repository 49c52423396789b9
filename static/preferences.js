// The settings page: each control says which of the browser's settings it is. `early.js` applies them.

const controls = document.querySelectorAll("[data-preference]");
const notify = document.getElementById("notify");
function show() {
  for (const one of controls) {
    const value = localStorage[one.dataset.preference];
    if (one.type === "checkbox") one.checked = value ? value === "on" : one.id === "figures";
    else {
      const usual = one.querySelector("[value=normal]") ?? one.options[0];
      one.value = [...one.options].some((option) => option.value === value) ? value : usual.value;
    }
  }
  if (globalThis.Notification?.permission !== "granted") notify.checked = false;
}
document.addEventListener("change", async ({ target }) => {
  const { preference } = target.dataset;
  if (!preference) return;
  const value = { checkbox: target.checked ? "on" : "off" }[target.type] ?? target.value;
  localStorage[preference] = value;
  dispatchEvent(new Event("storage")); // this page looks like it at once
  if (target !== notify || !notify.checked) return;
  const answer = await globalThis.Notification?.requestPermission();
  if (answer === "granted") return;
  notify.checked = false;
  localStorage.notify = "off";
  document.getElementById("notify-about").textContent = answer
    ? "This browser blocks notifications of this site. Allow them in its settings first."
    : "This browser shows notifications only for sites with HTTPS.";
});
addEventListener("storage", show);
show();
await import(new URL("lazy/voices.js", import.meta.url));
