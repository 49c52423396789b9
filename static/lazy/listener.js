// Hears one utterance after the other: sound from the microphone is cut where somebody stops speaking, and
// the server writes it down. Nothing of it is kept.

const RATE = 16000;
const CHUNKS_A_SECOND = 10;
const [BEFORE, LEAST, QUIET, LONGEST] = [4, 3, 9, 60 * CHUNKS_A_SECOND]; // chunks: kept from before somebody
// speaks, that somebody speaks at least, after which an utterance has ended, and in which it ends at last
const FAINTEST = 0.008; // of full scale: what is quieter is no speech
const ABOVE_NOISE = 3; // times as loud as the room
const address = new URL("../../v1/audio/transcriptions", import.meta.url);
const partial = new URL("../../dictation?partial", import.meta.url);
const headers = JSON.parse(document.body.getAttribute("hx-headers:inherited") ?? "{}");
const BETWEEN = 1000; // milliseconds between two looks at what is being said, at least

// Looks at what is being said, while nothing else needs the server's processor: calls onText(text so far).
export class Preview {
  #onText;
  #isLooking = false;
  #looked = 0;

  constructor(onText) {
    this.#onText = onText;
  }
  async look(utterance) {
    const chunks = utterance.rest;
    if (!chunks.length || this.#isLooking || performance.now() - this.#looked < BETWEEN) return;
    this.#isLooking = true;
    const place = new URL(partial);
    if (localStorage.speech) place.searchParams.set("language", localStorage.speech);
    const answer = await fetch(place, { method: "POST", body: new Blob(chunks), headers }).catch(() => null);
    const reply = answer?.status === 200 ? await answer.json().catch(() => null) : null;
    this.#isLooking = false;
    this.#looked = performance.now();
    if (reply?.text && utterance.rest.length) this.#onText(reply.text);
  }
}

// `on`: onPartial(text) while somebody speaks, onText(text) after each utterance in which there are words,
// onEnd() when one has ended and is written down, onLevel(0 to 1), onError(sentence).
export class Listener {
  #on;
  #stream;
  #audio;
  #end = new AbortController();
  #utterance = new Utterance();
  #isWriting = false;
  #preview = new Preview((text) => {
    if (!this.#isWriting && !this.#end.signal.aborted) this.#on.onPartial?.(text);
  });

  constructor(on) {
    this.#on = on;
  }

  // Throws an Error with a sentence.
  async start() {
    this.#stream = await openMicrophone();
    if (this.#end.signal.aborted) {
      this.stop();
      return;
    }
    this.#audio = new AudioContext();
    await this.#audio.resume();
    await this.#audio.audioWorklet.addModule(new URL("microphone.js", import.meta.url));
    if (this.#end.signal.aborted) return;
    const microphone = new AudioWorkletNode(this.#audio, "microphone", { numberOfOutputs: 0 });
    microphone.port.onmessage = ({ data }) => this.#hear(data);
    this.#audio.createMediaStreamSource(this.#stream).connect(microphone);
    for (const track of this.#stream.getTracks()) {
      track.addEventListener("ended", () => this.#on.onError("The microphone is gone."));
    }
  }
  stop() {
    this.#end.abort();
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    if (this.#audio?.state !== "closed") this.#audio?.close();
  }
  #hear(samples) {
    if (this.#end.signal.aborted || this.#isWriting) return;
    const spoken = this.#utterance.add(samples);
    this.#on.onLevel?.(Math.min(1, this.#utterance.level * 8));
    if (spoken) this.#write(spoken);
    else if (this.#on.onPartial) this.#preview.look(this.#utterance);
  }
  async #write(samples) {
    this.#isWriting = true;
    this.#on.onEnd?.();
    const text = await transcribe(samples, this.#end.signal).catch((error) => {
      if (!this.#end.signal.aborted) this.#on.onError(error.message);
      return "";
    });
    this.#isWriting = false;
    if (!this.#end.signal.aborted) this.#on.onText(text);
  }
}

// Collects chunks; `add` returns all samples of an utterance once it has ended.
export class Utterance {
  level = 0;
  #noise = 1;
  #chunks = [];
  #spoken = 0;
  #quiet = 0;

  add(chunk) {
    this.level = Math.hypot(...chunk) / Math.sqrt(chunk.length) / 32768;
    this.#noise = Math.min(this.level, this.#noise * 1.02 + 1e-5); // rooms become louder slowly
    const isSpeech = this.level > Math.max(FAINTEST, this.#noise * ABOVE_NOISE);
    this.#chunks.push(chunk);
    this.#spoken += isSpeech;
    this.#quiet = isSpeech ? 0 : this.#quiet + 1;
    if (this.#quiet >= QUIET && this.#spoken < LEAST) this.#forget(BEFORE); // nothing, or a click
    if (this.#chunks.length < LONGEST && !(this.#spoken >= LEAST && this.#quiet >= QUIET)) return null;
    const whole = this.#chunks;
    this.#forget(0);
    return whole;
  }
  // What was said since the last one ended; nothing where nobody spoke.
  get rest() {
    return this.#spoken >= LEAST ? this.#chunks : [];
  }
  #forget(kept) {
    this.#chunks = kept ? this.#chunks.slice(-kept) : [];
    this.#spoken = 0;
    if (!kept) this.#quiet = 0;
  }
}

export async function openMicrophone() {
  if (!navigator.mediaDevices) {
    throw new Error("The microphone needs HTTPS. The server's owner can set it up (WICK_TLS_CERT).");
  }
  const audio = { channelCount: 1, echoCancellation: true, noiseSuppression: true };
  return navigator.mediaDevices.getUserMedia({ audio }).catch(({ name }) => {
    if (name === "NotAllowedError") {
      throw new Error("The browser blocks the microphone. Allow it in the address bar, then go on.");
    }
    if (name === "NotFoundError") throw new Error("No microphone was found.");
    throw new Error("The microphone can't be used. Another program may have it.");
  });
}
async function transcribe(chunks, signal) {
  const body = new FormData();
  body.append("file", new Blob([head(chunks.length * chunks[0].length * 2), ...chunks]), "speech.wav");
  if (localStorage.speech) body.append("language", localStorage.speech);
  const answer = await fetch(address, { method: "POST", body, headers, signal })
    .catch(() => { throw new Error("Can't reach Wick. Try again."); });
  const reply = await answer.json().catch(() => null);
  if (!answer.ok) throw new Error(reply?.error?.message ?? "Wick could not write that down.");
  return reply.text;
}
// The head of a WAV file: 16 bits, one channel.
function head(size) {
  const view = new DataView(new ArrayBuffer(44));
  const word = (at, text) => [...text].forEach((one, index) => view.setUint8(at + index, one.charCodeAt()));
  word(0, "RIFF"); view.setUint32(4, 36 + size, true); word(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, RATE, true); view.setUint32(28, RATE * 2, true);
  view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  word(36, "data"); view.setUint32(40, size, true);
  return view.buffer;
}
