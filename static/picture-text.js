// The text in pictures, for models that can't see them: read by the server, looked at and changed here.

const [chips, headers] = [document.getElementById("chips"), {
  Accept: "text/plain", ...JSON.parse(document.body.getAttribute("hx-headers:inherited") ?? "{}"),
}];
const SAVED_AFTER = 300; // milliseconds without a key
const { source, ocr } = chips.dataset;
const sees = () => document.getElementById("model")?.selectedOptions[0]?.matches("[data-sees]");
function becomes(chip, status) { // a message waits for what is being read
  Object.assign(chip.dataset, { status, for: "" }); // its tokens are counted anew
  chips.dispatchEvent(new Event("changed"));
}
function note(text) {
  const made = document.createElement("p");
  [made.className, made.textContent] = ["text", text];
  return made;
}
async function read(chip) {
  becomes(chip, "reading");
  const address = `${source}/${chip.dataset.attachment}/text`;
  const removed = new AbortController(); // the server need not go on
  chip.querySelector("button.icon").addEventListener("click", () => removed.abort());
  const answer = await fetch(address, { headers, signal: removed.signal }).catch(() => null);
  const text = await answer?.text().catch(() => "");
  if (!chip.isConnected) return;
  if (!chip.querySelector(".text")) {
    if (answer?.ok) chip.insertAdjacentHTML("beforeend", text);
    else chip.append(note(`Its text could not be read. ${text || "Can't reach Wick."}`));
  }
  becomes(chip, "ready");
}
function readAll() {
  if (!ocr || sees()) return;
  const unread = "[data-kind=image][data-status=ready]:not(:has(.text))";
  for (const chip of chips.querySelectorAll(unread)) read(chip);
}
let timer;
async function save(chip) {
  clearTimeout(timer);
  const body = new URLSearchParams({ text: chip.querySelector("textarea").value });
  if (chip.querySelector("[type=checkbox]").checked) body.set("gives", "on");
  const address = `${source}/${chip.dataset.attachment}/text`;
  await fetch(address, { method: "POST", body, headers }).catch(() => null);
  becomes(chip, "ready");
}
for (const kind of ["input", "change"]) {
  chips.addEventListener(kind, ({ target }) => {
    const chip = target.closest(".text")?.closest("li");
    if (!chip) return;
    becomes(chip, "reading");
    clearTimeout(timer);
    if (kind === "change") save(chip);
    else timer = setTimeout(save, SAVED_AFTER, chip);
  });
}
new MutationObserver(readAll).observe(chips, { childList: true });
document.addEventListener("change", ({ target }) => { if (target.id === "model") readAll(); });
readAll();
