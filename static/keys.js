// A key does what the last button or field that carries it as `data-key` does, unless somebody types.

const [sheet, letters] = ["keys", "letters"].map((id) => document.getElementById(id));
const STEPS = { j: 1, k: -1 }; // from chat to chat
letters.checked = localStorage.letters !== "off";
letters.addEventListener("change", () => { localStorage.letters = letters.checked ? "on" : "off"; });
document.getElementById("show-keys").addEventListener("click", () => sheet.showModal());
// Who goes from chat to chat by keys, or comes for what a search has found, does not write: the next key
// would be a letter. Nor does a keyboard come up on a screen.
const hasStepped = sessionStorage.stepped && delete sessionStorage.stepped;
const isWriting = !hasStepped && !location.hash && !matchMedia("(pointer: coarse)").matches;
if ([null, document.body].includes(document.activeElement)) {
  const [message, box] = ["message", "scroll"].map((id) => document.getElementById(id));
  (isWriting ? message : box)?.focus({ preventScroll: true });
}
// Until somebody goes by keyboard the whole log needs no ring.
addEventListener("keydown", ({ key }) => {
  if (/^(Tab|Arrow|Page|Home|End)/.test(key)) document.documentElement.dataset.pressed = "";
});

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  if (event.ctrlKey && event.key === "/") sheet.showModal();
  if (event.key === "Escape" && !event.target.closest("form.edit, #sidebar, [popover], details[open]")) {
    const stop = carrier("x");
    if (stop) stop.click();
    else if (event.target.id === "message") event.target.blur();
  }
  if (event.ctrlKey || event.altKey || event.metaKey || !letters.checked) return;
  if (event.key === "?" && !event.target.closest("input, textarea, select")) sheet.showModal();
  const target = event.target.closest("input, textarea, select") ? null : carrier(event.key);
  if (!target) return;
  event.preventDefault();
  if (event.key in STEPS) sessionStorage.stepped = "yes";
  if (target.matches("input, textarea")) target.focus();
  else target.click();
});
function carrier(key) {
  const chats = [...document.querySelectorAll("#chats li a")];
  if (key in STEPS) return chats[chats.findIndex((chat) => chat.matches("[aria-current]")) + STEPS[key]];
  const all = [...document.querySelectorAll(`[data-key="${CSS.escape(key)}"]`)];
  return all.reverse().find((one) => one.checkVisibility?.() ?? one.getClientRects()[0]);
}
