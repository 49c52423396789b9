// Speaks an answer sentence by sentence, with a voice of this device or of the server: never one that sends
// text elsewhere.
import { serverVoices } from "./server-voice.js";
import { sentencesOf } from "./spoken.js";

const VOICES_WAIT = 1500; // milliseconds: browsers know their voices only some time after they are asked
export const ENDED = ["done", "stopped", "failed", "interrupted"];
export const NO_VOICE =
  "This browser has no voice on this device. Install one in your system's speech settings.";
let spoken = null; // browsers forget an utterance that nothing holds, and its end never comes

export async function localVoices() {
  const known = () => speechSynthesis.getVoices().filter((voice) => voice.localService);
  if (!globalThis.speechSynthesis) return [];
  if (known().length) return known();
  await new Promise((resolve) => {
    speechSynthesis.addEventListener?.("voiceschanged", resolve, { once: true });
    setTimeout(resolve, VOICES_WAIT);
  });
  return known();
}

// Read the answer with this id until it ends, or until it is stopped by `signal`. An answer that is still
// written is read as it grows; `isRest`: without what stands there now; `onSentence` gets each one as it
// begins. Throws an Error with a sentence for the reader.
export async function read(id, signal, { isRest = false, onSentence } = {}) {
  const before = isRest ? sentencesNow(id).length : 0;
  const say = await speaker();
  for await (const { sentence, following } of sentencesAsTheyCome(id, before, signal)) {
    onSentence?.(sentence.text);
    await say(sentence, signal, following);
  }
}
const isLive = (article) => !ENDED.includes(article.dataset.status);
function sentencesNow(id) {
  const article = document.getElementById(id);
  return article ? sentencesOf(article.querySelector("[data-body]"), isLive(article)) : [];
}

// Returns what speaks one sentence ({ text, lang }), as the settings say; it may prepare the following one.
export async function speaker() {
  const voices = await localVoices();
  if (localStorage.voice === "server" || !voices.length) voices.unshift(...await serverVoices());
  if (!voices.length) throw new Error(NO_VOICE);
  const rate = Number(localStorage.rate) || 1;
  const fit = ({ lang }) => voiceFor(lang, voices);
  return (sentence, signal, following) => {
    const voice = fit(sentence);
    if (!voice.play) return utter(sentence.text, voice, rate, signal);
    const played = voice.play(sentence.text, rate, signal);
    if (following && fit(following) === voice) voice.prepare(following.text, rate);
    return played;
  };
}
const languageIn = (tag) => tag.toLowerCase().split(/[-_]/)[0];
function voiceFor(lang, voices) {
  const chosen = voices.find(({ voiceURI }) => voiceURI === localStorage.voice);
  const fallback = chosen ?? voices.find((voice) => voice.default) ?? voices[0];
  if (!lang || languageIn(fallback.lang) === lang) return fallback;
  const fit = voices.filter((voice) => languageIn(voice.lang) === lang);
  return fit.find((voice) => navigator.languages.includes(voice.lang)) ?? fit[0] ?? fallback;
}

function utter(text, voice, rate, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      resolve();
      return;
    }
    spoken = Object.assign(new SpeechSynthesisUtterance(text), { voice, rate, lang: voice.lang });
    const stop = () => { speechSynthesis.cancel(); resolve(); };
    signal?.addEventListener("abort", stop, { once: true });
    const settled = (settle) => (event) => {
      signal?.removeEventListener("abort", stop);
      settle(event);
    };
    spoken.addEventListener("end", settled(resolve));
    spoken.addEventListener("error", settled(({ error }) => {
      if (["canceled", "interrupted"].includes(error)) resolve();
      else reject(new Error(reasonOf(error)));
    }));
    speechSynthesis.resume(); // phones may have paused it
    speechSynthesis.speak(spoken);
  });
}
function reasonOf(error) {
  if (error === "not-allowed") return "The browser reads aloud only after a click. Press Read aloud.";
  return "This voice can't be used right now. Choose another one in the settings.";
}

async function* sentencesAsTheyCome(id, before, signal) {
  for (let next = before; !signal.aborted;) {
    const article = document.getElementById(id);
    const [sentence, following] = sentencesNow(id).slice(next);
    if (sentence) {
      next += 1;
      yield { sentence, following };
    } else if (article && isLive(article)) await change(signal);
    else return;
  }
}
function change(signal) {
  return new Promise((resolve) => {
    const observer = new MutationObserver(done);
    function done() {
      observer.disconnect();
      signal.removeEventListener("abort", done);
      resolve();
    }
    signal.addEventListener("abort", done);
    observer.observe(document.getElementById("log"), {
      childList: true, subtree: true, characterData: true, attributeFilter: ["data-status"],
    });
  });
}
