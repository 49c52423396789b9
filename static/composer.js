// The composer: Enter sends, the text is kept until the server has it on its disk, and a prompt
// whose answer got lost with the connection is sent again (the server recognises it by its id).

const form = document.getElementById("composer");
const area = document.getElementById("message");
const id = document.getElementById("client-id");
const offline = document.getElementById("offline");
let pending = null;

// Also where a message that was sent is written anew.
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  if (!event.target.matches("textarea[enterkeyhint=send]")) return;
  event.preventDefault();
  event.target.form.requestSubmit();
});

// Before htmx sees it: nothing to send, or already being sent.
form.addEventListener("submit", (event) => {
  if (!pending && area.value.trim()) {
    pending = { id: id.value, text: area.value };
    area.readOnly = true;
    return;
  }
  event.preventDefault();
  event.stopImmediatePropagation();
}, true);

// A new list of models leaves the choice alone.
const picker = () => document.getElementById("model");
let chosen = picker().value;
document.addEventListener("change", ({ target }) => { if (target.id === "model") chosen = target.value; });
document.addEventListener("htmx:ws:after:message:incoming", () => {
  if ([...picker().options].some((one) => one.value === chosen)) picker().value = chosen;
  chosen = picker().value;
});
document.addEventListener("click", ({ target }) => {
  if (!target.dataset.chooses) return;
  picker().value = target.dataset.chooses;
  picker().dispatchEvent(new Event("change", { bubbles: true }));
});

document.addEventListener("htmx:ws:after:message:incoming", () => {
  const reply = document.getElementById("reply");
  if (!pending || reply.dataset.for !== pending.id) return;
  delete reply.dataset.for; // heard once: a refused prompt is sent again under the same id
  if (reply.dataset.accepted === "yes") {
    area.value = "";
    id.value = reply.dataset.next;
    unlock();
    if (location.pathname !== form.dataset.address) {
      history.replaceState(null, "", form.dataset.address);
    }
  } else unlock();
});

// A message that was taken back comes here, before what has been written meanwhile.
const returned = document.getElementById("returned");
new MutationObserver(() => {
  if (!returned.textContent) return;
  area.value = [returned.textContent, area.value].filter(Boolean).join("\n\n");
  returned.replaceChildren();
  unlock();
}).observe(returned, { childList: true });

document.addEventListener("htmx:ws:close", () => { offline.hidden = false; });

document.addEventListener("htmx:ws:after:connection", () => {
  offline.hidden = true;
  if (!pending) return;
  unlock();
  form.requestSubmit();
});

function unlock() {
  pending = null;
  area.readOnly = false;
  area.dispatchEvent(new Event("input"));
  area.focus({ preventScroll: true });
}

// For browsers without `field-sizing`.
function grow() {
  if (CSS.supports("field-sizing", "content")) return;
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight}px`;
}
area.addEventListener("input", grow);
grow();
