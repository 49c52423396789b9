// Files for the message: chosen, dropped or pasted. The server makes of each a chip, and has it by then.

const form = document.getElementById("composer");
const byId = (id) => document.getElementById(id);
const [chips, area, picker, pattern, warning] = ["chips", "message", "files", "chip", "too-large"].map(byId);
const field = form.elements.attachments; // the ids of what will be sent
const announcer = document.getElementById("announcer");
const headers = {
  Accept: "text/plain", ...JSON.parse(document.body.getAttribute("hx-headers:inherited") ?? "{}"),
};
const FOLLOWED = 700; // milliseconds between two looks at which page is read
const LONG = 5000; // characters of a text that becomes a file when it is pasted
const { source, largest, largestPicture } = chips.dataset;
let isPlain = false; // by Ctrl+Shift+V a long text is pasted as text
let sent = []; // the chips of the message that is on its way

async function attach(file) {
  const chip = pattern.content.cloneNode(true).querySelector("li");
  chip.querySelector(".name").textContent = file.name;
  const remove = chip.querySelector("button");
  remove.ariaLabel += file.name;
  chips.append(chip);
  chip.scrollIntoView({ block: "nearest" });
  const isSound = /^(audio|video)\//.test(file.type);
  const removed = new AbortController();
  remove.addEventListener("click", () => removed.abort()); // the server need not go on
  // Its chip, or why there is none.
  const taken = isSound ? record("take", file, removed.signal, chip, send) : send(file, removed.signal, chip);
  const made = await taken.catch((error) => error.message);
  if (!chip.isConnected) return;
  if (!made) { // it became text
    chip.remove();
  } else if (made instanceof DocumentFragment) {
    chip.replaceWith(made);
    announcer.textContent = `${file.name} attached`;
  } else {
    chip.dataset.status = "failed";
    announcer.textContent = made;
    const why = made.startsWith(file.name) ? made.slice(file.name.length) : made;
    chip.querySelector(".about").textContent = why;
    chip.scrollIntoView({ block: "nearest" });
    changed();
  }
}
async function send(file, signal, chip) {
  const limit = file.type.startsWith("image/") ? largestPicture : largest;
  if (file.size > limit) throw new Error(`Too large: the limit is ${limit >> 20} MB.`);
  const key = Math.random().toString(36).slice(2);
  const address = `${source}?${about()}&reading=${key}&name=${encodeURIComponent(file.name)}`;
  const body = await file.arrayBuffer().catch(() => { throw new Error("Folders can't be attached."); });
  const timer = setInterval(async () => {
    const page = await fetch(`${source}/readings/${key}`, { headers }).then((one) => one.text(), () => "");
    if (page && chip.dataset.status === "reading") chip.querySelector(".about").textContent = page;
  }, FOLLOWED);
  const answer = await fetch(address, { method: "POST", body, headers, signal })
    .catch(() => { throw new Error("Can't reach Wick. Try again."); }).finally(() => clearInterval(timer));
  const text = await answer.text();
  if (!answer.ok) throw new Error(text);
  return document.createRange().createContextualFragment(text);
}
async function record(what, ...given) { // what is known of recordings comes with the first one
  const lazy = await import(new URL("lazy/recording.js", import.meta.url))
    .catch(() => { throw new Error("Can't reach Wick. Try again."); });
  return lazy[what](...given);
}
const ready = () => [...chips.querySelectorAll("[data-status=ready]")];
function changed() {
  field.value = ready().map((one) => one.dataset.attachment).join(" ");
  field.dispatchEvent(new Event("input", { bubbles: true })); // drafts.js keeps it
  weigh();
}
new MutationObserver(changed).observe(chips, { childList: true });
chips.addEventListener("changed", changed);

// Tokens are those of the chosen model, which may be unable to read so many.
const model = () => byId("model")?.value ?? "";
const about = () => new URLSearchParams({ model: model(), chat: form.dataset.address.split("/").pop() });
function weigh() {
  const sum = (files) => files.reduce((total, { dataset }) => total + Number(dataset.tokens), 0);
  const all = ready();
  const media = all.filter(({ dataset }) => ["image", "audio"].includes(dataset.kind));
  const [limit, total] = [Number(all[0]?.dataset.limit), sum(all)];
  // Documents that are too long are searched; a picture or a recording must fit.
  const over = sum(media) > limit ? media[0] : total > limit && all.find((one) => !media.includes(one));
  const share = Math.round((100 * total) / limit);
  const cost = share > 4 ? `These files fill ${share} % of what the model reads at once.` : "";
  const text = over ? over.dataset.warning : cost;
  warning.toggleAttribute("data-fits", !over);
  if (over && warning.textContent !== text) announcer.textContent = text;
  warning.textContent = text;
  recount();
}
async function recount() {
  const stale = ready().filter(({ dataset }) => dataset.for !== model());
  if (!stale.length) return;
  for (const { dataset } of stale) dataset.for = model();
  for (const now of (await read(field.value))?.children ?? []) {
    const chip = chips.querySelector(`[data-attachment="${now.dataset.attachment}"]`);
    if (chip?.dataset.for !== now.dataset.for) continue;
    for (const name of ["limit", "warning", "tooLarge"]) delete chip.dataset[name];
    Object.assign(chip.dataset, now.dataset);
    chip.querySelector(".about").replaceWith(now.querySelector(".about"));
  }
  weigh();
}
async function read(ids) { // the chips of files that the server has
  const answer = await fetch(`${source}?${about()}&ids=${encodeURIComponent(ids)}`, { headers })
    .catch(() => null);
  return answer?.ok ? document.createRange().createContextualFragment(await answer.text()) : null;
}
document.addEventListener("change", ({ target }) => { if (target.id === "model") recount(); });
document.addEventListener("htmx:ws:after:message:incoming", recount);
chips.addEventListener("click", ({ target }) => {
  const button = target.closest("button");
  const chip = button?.closest("li");
  if (!chip) return;
  if ("writes" in button.dataset) {
    record("turn", chip);
    return;
  }
  if (chip.dataset.attachment) fetch(`${source}/${chip.dataset.attachment}`, { method: "DELETE", headers });
  (chip.nextElementSibling ?? chip.previousElementSibling)?.querySelector("button.icon").focus();
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
  for (const chip of chips.querySelectorAll("li")) {
    if (chip.dataset.status === "failed" || sent.includes(chip.dataset.attachment)) chip.remove();
  }
  changed(); // at once: a new chat, and so its draft, has another address just after this
});
// What was attached but not sent comes from the draft.
field.addEventListener("restore", async () => {
  const found = await read(field.value);
  if (!found) return;
  chips.prepend(found);
  changed();
});
