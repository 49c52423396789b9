// The settings page: the voices of this device, and a sentence in the chosen one.
import { localVoices, NO_VOICE, speaker } from "./speech.js";

const [select, button, said] = ["voice", "try-voice", "try-said"].map((id) => document.getElementById(id));
const names = new Intl.DisplayNames(undefined, { type: "language" });
let end = null; // what stops the sentence that is being spoken

async function list() {
  const voices = await localVoices();
  const known = [...select.options].map(({ value }) => value);
  const fresh = voices.filter(({ voiceURI }) => !known.includes(voiceURI))
    .map(({ name, lang, voiceURI }) => new Option(`${name} (${languageOf(lang)})`, voiceURI));
  select.append(...fresh.sort((one, other) => one.text.localeCompare(other.text)));
  dispatchEvent(new Event("storage")); // the chosen one is there now
  const isSilent = select.options.length === 1;
  if (isSilent) document.getElementById("voice-about").textContent = NO_VOICE;
  select.disabled = button.disabled = isSilent;
}
function languageOf(tag) {
  try {
    return names.of(tag.replace("_", "-"));
  } catch {
    return tag;
  }
}
button.addEventListener("click", async () => {
  end?.abort();
  end = new AbortController();
  said.textContent = await speaker()
    .then((say) => say({ text: "This is how answers are read.", lang: "" }, end.signal))
    .then(() => "", (error) => error.message);
});
addEventListener("pagehide", () => end?.abort());
list();
