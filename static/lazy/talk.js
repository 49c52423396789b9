// Talk mode: listens, sends what it heard as an ordinary message, reads the answer aloud, and listens again.
// It never hears itself: the microphone is open only while nothing is spoken.
import { Listener } from "./listener.js";
import { ENDED, read, speaker } from "./speech.js";

const byId = (id) => document.getElementById(id);
const [view, turn, state, text, hint] =
  ["talk", "talk-turn", "talk-state", "talk-text", "talk-hint"].map(byId);
const composer = byId("composer");
const area = composer.elements.text;
const SETTLED = 250; // milliseconds after a voice has ended, until the room is silent
const STOP_WAIT = 5000; // milliseconds
const SILENCE = 120000; // milliseconds without a word, after which the microphone is closed
const STATES = { // what is shown, what the circle does, and how
  ready: ["Getting ready …", "Pause", ""],
  listening: ["Listening", "Pause", "Say something. Space or a tap on the circle pauses."],
  thinking: ["Thinking", "Interrupt", "Space or a tap on the circle interrupts."],
  speaking: ["Speaking", "Interrupt", "Space or a tap on the circle interrupts."],
  paused: ["Paused", "Go on", "Space or a tap on the circle goes on."],
};
let leaving = null; // ends all of it
let acting = null; // ends what happens now
let draft = ""; // what stood in the composer

function show(name, sentence = STATES[name][0]) {
  view.dataset.state = name;
  if (state.textContent !== sentence) state.textContent = sentence;
  [, turn.ariaLabel, hint.textContent] = STATES[name];
  turn.querySelector("use").setAttribute("href", name === "speaking" ? "#i-aloud" : "#i-mic");
  turn.style.setProperty("--level", 0);
}
const isEnded = (one) => !one || ENDED.includes(one.dataset.status);
const answers = () => [...document.querySelectorAll("#log article[data-role=assistant]")];

export async function talk() {
  if (view.open) return;
  leaving = new AbortController();
  const { signal } = leaving;
  draft = area.value;
  composer.addEventListener("taken", () => { area.value = draft; }, { signal });
  text.textContent = "";
  show("ready");
  view.showModal();
  stayAwake(signal);
  let problem = await speaker().then(() => "", ({ message }) => message);
  while (!signal.aborted) {
    if (problem) await pause(problem, signal);
    problem = await takeTurn(signal).catch((error) => error.message);
  }
}
function write(value) {
  area.value = value;
  area.dispatchEvent(new Event("input", { bubbles: true }));
}
// Returns a sentence where there is a reason not to go on by itself.
async function takeTurn(signal) {
  acting = controllerIn(signal);
  const heard = await listen(acting.signal);
  if (acting.signal.aborted || !heard) return signal.aborted ? "" : "Paused";
  text.textContent = heard;
  show("thinking");
  acting = controllerIn(signal);
  const id = await send(heard, acting.signal);
  if (!acting.signal.aborted) await answer(id, acting.signal);
  if (acting.signal.aborted && !signal.aborted) await stopAnswer(signal);
  return "";
}
// Who interrupts may do so before the server has even taken the message.
async function stopAnswer(signal) {
  const stop = () => document.querySelector("#actions [aria-label=Stop]");
  const isOver = () => stop() || (!area.readOnly && isEnded(answers().at(-1)));
  await until(isOver, AbortSignal.any([signal, AbortSignal.timeout(STOP_WAIT)]));
  stop()?.click();
}
function controllerIn(signal) {
  const inner = new AbortController();
  signal.addEventListener("abort", () => inner.abort(), { signal: inner.signal });
  return inner;
}
async function pause(sentence, signal) {
  acting = controllerIn(signal);
  show("paused", sentence);
  await aborted(acting.signal);
}
function aborted(signal) {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", resolve, { once: true });
  });
}

// Returns what was said; "" when nobody spoke for long, or when it was aborted.
async function listen(signal) {
  let hear;
  const heard = new Promise((resolve, reject) => { hear = { resolve, reject }; });
  const timer = setTimeout(() => hear.resolve(""), SILENCE);
  const listener = new Listener({
    onText: (said) => {
      if (said.trim()) hear.resolve(said.trim());
      else if (!signal.aborted) show("listening"); // it was a noise
    },
    onPartial: (said) => { text.textContent = said; },
    onEnd: () => show("thinking", "Writing down what you said"),
    onLevel: (level) => turn.style.setProperty("--level", level),
    onError: (sentence) => hear.reject(new Error(sentence)),
  });
  try {
    await listener.start();
    if (!signal.aborted) {
      text.textContent = "";
      show("listening");
    }
    return await Promise.race([heard, aborted(signal).then(() => "")]);
  } finally {
    clearTimeout(timer);
    listener.stop();
  }
}

// Returns the id of the answer that comes. Throws what the server says where there will be none.
async function send(said, signal) {
  const before = new Set(answers().map(({ id }) => id));
  await until(() => !area.readOnly, signal); // what was sent before is on its way
  if (signal.aborted) return "";
  byId("notice").replaceChildren();
  write(said);
  composer.requestSubmit();
  const fresh = () => answers().find(({ id }) => !before.has(id));
  const refusal = () => byId("notice").querySelector("p")?.textContent;
  await until(() => fresh() || refusal(), signal, () => {
    show("thinking", byId("offline").hidden ? undefined : byId("offline").textContent);
  });
  if (signal.aborted || fresh()) return fresh()?.id;
  write(draft = [draft, said].filter(Boolean).join("\n\n")); // nothing that was said is lost
  throw new Error(refusal());
}
async function answer(id, signal) {
  const line = () => byId(`${id}-line`)?.textContent;
  const watch = new MutationObserver(() => {
    const isThinking = view.dataset.state === "thinking";
    if (isThinking && line() && line() !== "Writing") show("thinking", line());
  });
  watch.observe(byId("log"), { childList: true, subtree: true, characterData: true });
  try {
    await read(id, signal, { onSentence: (sentence) => {
      show("speaking");
      text.textContent = sentence;
    } });
  } finally {
    watch.disconnect();
  }
  await new Promise((resolve) => { setTimeout(resolve, SETTLED); });
  const { status } = byId(id)?.dataset ?? {};
  if (["failed", "interrupted"].includes(status)) throw new Error(line() || "The answer failed.");
}
async function until(condition, signal, onChange = () => {}) {
  while (!signal.aborted && !condition()) {
    await new Promise((resolve) => {
      const observer = new MutationObserver(() => { observer.disconnect(); resolve(); });
      observer.observe(document.querySelector("main"), {
        childList: true, subtree: true, attributeFilter: ["hidden", "readonly"],
      });
      observer.observe(byId("toasts"), { childList: true, subtree: true });
      signal.addEventListener("abort", resolve, { once: true });
    });
    if (!signal.aborted) onChange();
  }
}

async function stayAwake(signal) {
  const hold = () => navigator.wakeLock?.request("screen").catch(() => null);
  let lock = await hold();
  document.addEventListener("visibilitychange", async () => {
    if (document.visibilityState === "visible") lock = await hold();
  }, { signal });
  signal.addEventListener("abort", () => lock?.release());
  if (signal.aborted) lock?.release();
}
function leave() {
  leaving?.abort();
  view.close();
}
turn.addEventListener("click", () => acting?.abort());
view.addEventListener("close", () => leaving?.abort());
view.addEventListener("cancel", leave);
byId("talk-leave").addEventListener("click", leave);
view.addEventListener("keydown", (event) => { // wherever the focus is
  if (event.key !== " " || event.target === turn || event.target.id === "talk-leave") return;
  event.preventDefault();
  turn.click();
});
addEventListener("pagehide", leave);
