// A key does what the last button or field that carries it as `data-key` does, unless somebody types.

const [sheet, letters] = ["keys", "letters"].map((id) => document.getElementById(id));
const STEPS = { j: 1, k: -1 }; // from chat to chat
letters.checked = localStorage.letters !== "off";
letters.addEventListener("change", () => { localStorage.letters = letters.checked ? "on" : "off"; });
document.getElementById("show-keys").addEventListener("click", () => sheet.showModal());
// Focus elsewhere than in the composer, where the next step would be a letter.
// Safari gives it to the composer later than this runs: until a key or a click it goes back.
if (sessionStorage.stepped && delete sessionStorage.stepped) {
  const [box, isOver] = [document.getElementById("scroll"), new AbortController()];
  const giveBack = ({ target }) => { if (target.id === "message") box.focus(); };
  document.addEventListener("focusin", giveBack, isOver);
  for (const kind of ["keydown", "pointerdown"]) {
    addEventListener(kind, () => isOver.abort(), { capture: true, once: true });
  }
  box.focus();
}

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  if (event.ctrlKey && event.key === "/") sheet.showModal();
  if (event.key === "Escape" && event.target.id === "message") event.target.blur();
  if (event.ctrlKey || event.altKey || event.metaKey || !letters.checked) return;
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
