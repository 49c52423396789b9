// Files for the message: chosen, dropped or pasted. The server makes of each a chip, and has it by then.

const form = document.getElementById("composer");
const byId = (id) => document.getElementById(id);
const [chips, area, picker, pattern] = ["chips", "message", "files", "chip"].map(byId);
const field = form.elements.attachments; // the ids of what will be sent
const announcer = document.getElementById("announcer");
const headers = {
  Accept: "text/plain", ...JSON.parse(document.body.getAttribute("hx-headers:inherited") ?? "{}"),
};
const LONG = 5000; // characters of a text that becomes a file when it is pasted
const { source, largest, largestPicture } = chips.dataset;
const place = () => `files ${location.pathname.endsWith("/") ? "/" : form.dataset.address}`;
let isPlain = false; // by Ctrl+Shift+V a long text is pasted as text
let sent = []; // the chips of the message that is on its way

async function attach(file) {
  const chip = pattern.content.cloneNode(true).querySelector("li");
  chip.querySelector(".name").textContent = file.name;
  const remove = chip.querySelector("button");
  remove.ariaLabel += file.name;
  chips.append(chip);
  const made = await send(file).catch((error) => error.message); // its chip, or why there is none
  if (!chip.isConnected) return;
  if (made instanceof DocumentFragment) {
    chip.replaceWith(made);
    announcer.textContent = `${file.name} attached`;
  } else {
    chip.dataset.status = "failed";
    chip.querySelector(".about").textContent = announcer.textContent = made;
    changed();
  }
}
async function send(file) {
  const limit = file.type.startsWith("image/") ? largestPicture : largest;
  if (file.size > limit) throw new Error(`Too large: the limit is ${limit >> 20} MB.`);
  const address = `${source}?name=${encodeURIComponent(file.name)}`;
  const body = await file.arrayBuffer().catch(() => { throw new Error("Folders can't be attached."); });
  const answer = await fetch(address, { method: "POST", body, headers })
    .catch(() => { throw new Error("Can't reach Wick. Try again."); });
  const text = await answer.text();
  if (!answer.ok) throw new Error(text);
  return document.createRange().createContextualFragment(text);
}
function changed() {
  const ready = [...chips.querySelectorAll("[data-status=ready]")];
  field.value = ready.map((one) => one.dataset.attachment).join(" ");
  if (field.value) sessionStorage[place()] = field.value;
  else sessionStorage.removeItem(place());
  field.dispatchEvent(new Event("input", { bubbles: true }));
}
new MutationObserver(changed).observe(chips, { childList: true });
chips.addEventListener("click", ({ target }) => {
  const chip = target.closest("button")?.closest("li");
  if (!chip) return;
  if (chip.dataset.attachment) fetch(`${source}/${chip.dataset.attachment}`, { method: "DELETE", headers });
  (chip.nextElementSibling ?? chip.previousElementSibling)?.querySelector("button").focus();
  chip.remove();
  if (!chips.contains(document.activeElement)) area.focus();
});
document.getElementById("attach").addEventListener("click", () => picker.click());
picker.addEventListener("change", () => {
  for (const file of picker.files) attach(file);
  picker.value = "";
  area.focus();
});

document.addEventListener("keydown", ({ key, shiftKey }) => {
  isPlain = shiftKey && key.toLowerCase() === "v";
}, true);
area.addEventListener("paste", (event) => {
  const [files, text] = [[...event.clipboardData.files], event.clipboardData.getData("text/plain")];
  const isFile = files.length && (!text || files.some(({ name }) => name === text.trim()));
  if (!isFile && (text.length < LONG || isPlain)) return;
  event.preventDefault();
  const taken = [...chips.querySelectorAll(".name")].map((one) => one.textContent);
  let name = "Pasted text.txt";
  for (let number = 2; taken.includes(name); number += 1) name = `Pasted text ${number}.txt`;
  for (const file of isFile ? files : [new File([text], name)]) attach(file);
});

const isDrag = ({ dataTransfer }) =>
  dataTransfer?.types.includes("Files") && !form.querySelector("[data-deleted]");
document.addEventListener("dragover", (event) => {
  if (!isDrag(event)) return;
  event.preventDefault();
  form.dataset.dropping = "";
});
for (const kind of ["drop", "dragleave"]) {
  document.addEventListener(kind, (event) => {
    if (kind === "dragleave" && event.relatedTarget) return; // onto another element of the page
    delete form.dataset.dropping;
    if (kind !== "drop" || !isDrag(event)) return;
    event.preventDefault();
    for (const file of event.dataTransfer.files) attach(file);
    area.focus();
  });
}

form.addEventListener("submit", () => { sent = field.value.split(" "); }, true);
form.addEventListener("taken", () => {
  sessionStorage.removeItem(place()); // a new chat has no address until just after this
  for (const chip of chips.querySelectorAll("li")) {
    if (chip.dataset.status === "failed" || sent.includes(chip.dataset.attachment)) chip.remove();
  }
});
// What was attached but not sent is there again after a reload of this tab.
const left = sessionStorage[place()];
if (left) {
  fetch(`${source}?ids=${encodeURIComponent(left)}`, { headers })
    .then((answer) => (answer.ok ? answer.text() : ""))
    .then((html) => { if (html) chips.insertAdjacentHTML("afterbegin", html); });
}
