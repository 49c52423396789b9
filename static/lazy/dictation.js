// Dictation: what somebody says comes into the message box, at the caret, at each pause. While they speak the
// server writes down what there is, where it has nothing else to do. Nothing of the sound is kept.
import { openMicrophone, Preview, Utterance } from "./listener.js";

const POLL = 1000;
const composer = document.getElementById("composer");
const area = composer.elements.text;
const box = document.getElementById("dictation");
const [level, time, line, setUp] = [".level", ".time", "p", "button"].map((one) => box.querySelector(one));
const address = new URL("../../dictation", import.meta.url);
const headers = {
  Accept: "text/plain", ...JSON.parse(document.body.getAttribute("hx-headers:inherited") ?? "{}"),
};

export class Dictation {
  isOn = false;
  #button;
  #stream;
  #audio;
  #utterance;
  #chunks = 0; // a tenth of a second each
  #writing = Promise.resolve(); // what was said, one utterance after the other
  #pending = 0;
  #preview = new Preview((text) => { if (this.isOn) this.#say(text, true); });
  #words = 0;
  #setUpTimer;

  constructor(button) {
    this.#button = button;
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || box.hidden) return;
      event.stopPropagation();
      if (this.isOn) this.stop();
      else this.#close();
    }, true);
    addEventListener("pagehide", () => this.#release());
    setUp.addEventListener("click", () => this.#setUp());
  }
  async start() {
    this.#turn(true);
    this.#say("Getting ready …");
    try {
      const state = await ask("");
      if (!this.isOn) return;
      if (!state.ready) {
        this.#turn(false);
        this.#offer(state);
        return;
      }
      ask("?partial", []).catch(() => null); // it loads what listens
      this.#stream = await openMicrophone();
      this.#audio = new AudioContext();
      this.wake();
      await this.#audio.audioWorklet.addModule(new URL("microphone.js", import.meta.url));
      if (!this.isOn) {
        this.#release();
        return;
      }
      this.#listen();
    } catch (error) {
      this.#fail(error.message);
    }
  }
  // Phones let a page work with sound only from a whole tap on.
  wake() {
    if (this.#audio?.state === "suspended") this.#audio.resume();
  }
  #listen() {
    [this.#utterance, this.#chunks, this.#words] = [new Utterance(), 0, 0];
    const microphone = new AudioWorkletNode(this.#audio, "microphone", { numberOfOutputs: 0 });
    microphone.port.onmessage = ({ data }) => this.#hear(data);
    this.#audio.createMediaStreamSource(this.#stream).connect(microphone);
    for (const track of this.#stream.getTracks()) {
      track.addEventListener("ended", () => { if (this.isOn) this.stop("The microphone is gone."); });
    }
    this.#say("Listening");
    area.focus({ preventScroll: true });
  }
  #hear(samples) {
    if (!this.isOn) return;
    const ended = this.#utterance.add(samples);
    this.#chunks += 1;
    level.style.setProperty("--level", Math.min(1, this.#utterance.level * 8));
    const seconds = Math.floor(this.#chunks / 10);
    const shown = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    if (time.textContent !== shown) time.textContent = shown;
    if (ended) this.#write(ended, localStorage["dictation-sends"] === "on");
    else if (!this.#pending) this.#preview.look(this.#utterance);
  }
  // Ends it; what was said last is still written down.
  async stop(sentence = "") {
    const rest = this.#utterance?.rest ?? [];
    this.#turn(false);
    this.#release();
    if (rest.length) this.#write(rest, false);
    if (this.#pending) this.#say("Writing down what you said …");
    await this.#writing;
    if (this.isOn || line.classList.contains("bad")) return;
    if (sentence || !this.#words) this.#fail(sentence || "No speech was recognized.");
    else this.#close();
  }
  #write(chunks, sends) {
    this.#pending += 1;
    this.#writing = this.#writing.then(async () => {
      try {
        const { text } = await ask(language(), chunks);
        if (text) this.#insert(text);
        if (text && sends && this.isOn) {
          this.stop();
          composer.requestSubmit();
        }
      } catch (error) {
        this.#fail(error.message);
      }
      this.#pending -= 1;
      if (this.isOn) this.#say("Listening");
    });
  }
  #insert(text) {
    const [start, end] = [area.selectionStart, area.selectionEnd];
    const before = area.value.slice(0, start);
    const gap = before && !/\s$/.test(before) ? " " : "";
    area.setRangeText(gap + text, start, end, "end");
    this.#words += 1;
    area.dispatchEvent(new Event("input", { bubbles: true }));
  }
  #turn(isOn) {
    this.isOn = isOn;
    this.#button.ariaLabel = isOn ? "Stop dictating" : "Dictate";
    this.#button.title = this.#button.ariaLabel;
    this.#button.querySelector("use").setAttribute("href", isOn ? "#i-stop" : "#i-mic");
    this.#button.toggleAttribute("data-on", isOn);
    if (!isOn) return;
    clearTimeout(this.#setUpTimer);
    time.textContent = "";
    setUp.hidden = true;
  }
  #release() {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    if (this.#audio && this.#audio.state !== "closed") this.#audio.close();
    this.#stream = this.#audio = null;
    level.style.setProperty("--level", 0);
  }
  #say(text, isPartial = false) {
    box.hidden = false;
    line.classList.remove("bad");
    line.toggleAttribute("data-partial", isPartial);
    line.ariaLive = isPartial ? "off" : "polite";
    if (line.textContent !== text) line.textContent = text;
  }
  #fail(sentence) {
    this.#turn(false);
    this.#release();
    this.#say(sentence);
    line.classList.add("bad");
    time.textContent = "";
    area.addEventListener("input", () => { if (!this.isOn) this.#close(); }, { once: true });
  }
  #close() {
    clearTimeout(this.#setUpTimer);
    box.hidden = true;
    setUp.hidden = true;
    line.textContent = "";
  }
  #offer({ about, running, line: step, error, owner }) {
    this.#say(error || (running ? step : about));
    line.classList.toggle("bad", Boolean(error));
    setUp.hidden = !owner || running;
    setUp.textContent = error ? "Try again" : "Set up";
    clearTimeout(this.#setUpTimer);
    if (running) this.#setUpTimer = setTimeout(() => this.#follow(), POLL);
  }
  async #follow() {
    const state = await ask("").catch(() => ({ about: "Can't reach Wick. Trying again …", running: true }));
    if (this.isOn || box.hidden) return;
    if (state.ready) this.#say("Ready. Press Dictate and speak.");
    else this.#offer({ line: state.about, ...state });
  }
  async #setUp() {
    setUp.hidden = true;
    this.#say("Setting up …");
    const place = new URL("../../media/voice/setup", import.meta.url);
    const answer = await fetch(place, { method: "POST", headers }).catch(() => null);
    if (answer?.ok) this.#follow();
    else this.#fail(answer ? await answer.text() : "Can't reach Wick. Try again.");
  }
}
function language() {
  const chosen = localStorage.speech;
  return chosen ? `?language=${encodeURIComponent(chosen)}` : "";
}
// Sends what was said, or asks whether it would be written down. Throws an Error with a sentence.
async function ask(query, chunks = null) {
  const answer = await fetch(`${address}${query}`, {
    method: chunks ? "POST" : "GET", body: chunks && new Blob(chunks), headers,
  }).catch(() => { throw new Error("Can't reach Wick. Try again."); });
  if (answer.status === 204) return {};
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}
