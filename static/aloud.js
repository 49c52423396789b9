// Answers read aloud: by their button, or as they come. What speaks is loaded when it is first needed.

const [log, composer, hush, notice] =
  ["log", "composer", "hush", "notice"].map((id) => () => document.getElementById(id));
const ENDED = ["done", "stopped", "failed", "interrupted"].map((one) => `[data-status=${one}]`);
const LIVE = `article[data-role=assistant]:not(${ENDED})`;
const view = document.getElementById("talk");
let reading = null; // { id, end }: an answer's element, and what ends it
// What was asked in this tab (others that show the same chat stay silent): which answers were live then, and
// whether only the rest of one is wanted.
let asked = null;

async function start(id, isRest = false) {
  stop();
  const own = reading = { id, end: new AbortController() };
  show();
  try {
    const { read } = await import(new URL("lazy/speech.js", import.meta.url));
    await read(id, own.end.signal, { isRest });
  } catch (error) {
    say(error.message);
  }
  if (reading === own) stop();
}
function stop() {
  reading?.end.abort();
  reading = null;
  show();
}
// Buttons come anew with each change of a message.
function show() {
  const button = document.getElementById(reading?.id)?.querySelector("[data-aloud]");
  for (const one of log().querySelectorAll("[data-aloud]")) {
    const name = one === button ? "Stop reading" : "Read aloud";
    if (one.ariaLabel === name) continue;
    one.ariaLabel = one.title = name;
    one.querySelector("use").setAttribute("href", one === button ? "#i-stop" : "#i-aloud");
  }
  const isAlone = Boolean(reading) && !button; // an answer that is still written has no buttons
  if (hush().hidden === isAlone) hush().hidden = !isAlone;
}
function say(sentence) {
  const line = Object.assign(document.createElement("p"), { textContent: sentence });
  notice().dataset.passes = "yes";
  notice().replaceChildren(line);
}
// Phones let a page speak later only when it has spoken, if nothing, in a click.
function unlock() {
  if (globalThis.speechSynthesis) speechSynthesis.speak(new SpeechSynthesisUtterance(""));
}

document.addEventListener("click", ({ target }) => {
  if (target.closest("#hush")) stop();
  if (target.closest("[data-talk]")) converse();
  const button = target.closest("[data-aloud]");
  const id = button?.closest("article").id;
  if (button && id === reading?.id) stop();
  else if (button) {
    unlock();
    start(id);
  } else if (target.closest("[hx-post*='again']")) ask();
  else if (target.closest("[hx-post*='go-on']")) ask(true);
});
async function converse() {
  stop();
  unlock();
  const { talk } = await import(new URL("lazy/talk.js", import.meta.url));
  await talk();
}
document.addEventListener("submit", ({ target }) => { if (target.matches("#composer, .edit")) ask(); });
const live = () => [...log().querySelectorAll(LIVE)].map((one) => one.id);
function ask(isRest = false) {
  stop();
  asked = localStorage.aloud === "on" && !view.open ? { before: live(), isRest } : null;
  if (asked) unlock();
}
new MutationObserver(() => {
  const id = asked && live().find((one) => !asked.before.includes(one));
  if (id) {
    start(id, asked.isRest);
    asked = null;
  } else if (reading && !document.getElementById(reading.id)) stop();
  else if (reading) show();
}).observe(composer().closest("main"), { childList: true, subtree: true });
// Before others: the first Escape ends the voice, the next one the answer.
addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !reading || document.querySelector("dialog[open]")) return;
  if (event.target.closest?.("form.edit, [popover]:not(#sidebar)")) return;
  event.stopImmediatePropagation();
  event.preventDefault();
  stop();
}, true);
addEventListener("pagehide", stop);
