// The composer keeps a text until the server has it on its disk, and sends again what may be lost.

const form = document.getElementById("composer");
const { text: area, client_id: id, attachments: files } = form.elements;
const [offline, returned] = ["offline", "returned"].map((name) => document.getElementById(name));
const touch = matchMedia("(pointer: coarse)"); // a keyboard on the screen has no Shift+Enter
const LOCKED = 9000; // milliseconds at most, while a text is on its way
let sending = null; // what the server has not taken yet, whether it has left, and where the focus was
let connection = null; // by which it leaves
let lock;

document.addEventListener("keydown", (event) => { // also where a sent message is written anew
  if (event.key !== "Enter" || !event.target.matches("textarea[data-draft]")) return;
  const withPlain = !touch.matches && localStorage.sends !== "ctrl";
  const sends = event.ctrlKey || event.metaKey || (withPlain && !event.shiftKey);
  if (!sends) return;
  event.preventDefault();
  submit(event.target.form);
});
function submit(one) {
  if (one.requestSubmit) one.requestSubmit();
  else one.dispatchEvent(new Event("submit", { bubbles: true, cancelable: true })); // htmx takes it as well
}
document.addEventListener("focusin", ({ target }) => {
  if (target.matches("textarea[data-draft]")) target.enterKeyHint = touch.matches ? "enter" : "send";
});
area.enterKeyHint = touch.matches ? "enter" : "send";
form.addEventListener("submit", (event) => { // before htmx sees it
  if (!sending && hasContent()) {
    sending = { text: area.value, hasLeft: false, from: document.activeElement };
    area.readOnly = true;
    clearTimeout(lock);
    lock = setTimeout(() => { area.readOnly = false; }, LOCKED);
  } else {
    event.preventDefault();
    event.stopImmediatePropagation();
  }
}, true);
// There is nothing to send, or a file is still being read.
const hasContent = () =>
  (area.value.trim() || files.value) && !form.querySelector("[data-status=reading]");
function update() {
  const send = form.querySelector("#actions [type=submit]");
  if (send && send.disabled === Boolean(hasContent())) send.disabled = !send.disabled;
}
form.addEventListener("input", update);
new MutationObserver(update).observe(form, { childList: true, subtree: true });
update();
form.addEventListener("htmx:ws:before:message:outgoing", ({ detail }) => { connection = detail.connection; });
form.addEventListener("htmx:ws:after:message:outgoing", () => { if (sending) sending.hasLeft = true; });
area.addEventListener("input", () => { // what was on its way for long is written anew: another text
  if (!sending || area.readOnly) return;
  sending = null;
  connection.queue.length = 0;
  const bytes = Array.from(crypto.getRandomValues(new Uint8Array(16)));
  id.value = bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("");
});
document.addEventListener("htmx:ws:after:message:incoming", () => {
  const reply = document.getElementById("reply").dataset;
  if (!sending || reply.for !== id.value) return;
  const isTaken = reply.accepted === "yes";
  id.value = reply.next; // so this is heard once
  if (isTaken) area.value = area.value.slice(0, area.value.length - sending.text.length).trimEnd();
  if (isTaken) form.dispatchEvent(new Event("taken"));
  release();
  if (isTaken) history.replaceState(null, "", form.dataset.address);
});
// A message that was taken back comes here, before what has been written meanwhile.
new MutationObserver(() => {
  if (!returned.textContent) return;
  area.value = [returned.textContent, area.value].filter(Boolean).join("\n\n");
  returned.replaceChildren();
  if (!sending) release();
}).observe(returned, { childList: true });

document.addEventListener("htmx:ws:close", () => { offline.hidden = false; });
document.addEventListener("htmx:ws:after:connection", () => {
  offline.hidden = true;
  if (!sending?.hasLeft) return; // what has not left yet, htmx sends now
  sending = null;
  submit(form); // the server recognises it by its id
});
function release() {
  const hasMoved = sending && ![sending.from, document.body].includes(document.activeElement);
  sending = null;
  clearTimeout(lock);
  area.readOnly = false;
  area.dispatchEvent(new Event("input", { bubbles: true }));
  if (!hasMoved) area.focus({ preventScroll: true });
}
