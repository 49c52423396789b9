// The server's voice, where its owner has set one up: sentences go there and come back as sound.

const address = new URL("../../speech", import.meta.url);
const headers = {
  Accept: "text/plain", ...JSON.parse(document.body.getAttribute("hx-headers:inherited") ?? "{}"),
};
const sounds = new Map(); // what is on its way, by address and text
let audio = null; // browsers bound how many there are

export async function serverVoices() {
  const answer = await fetch(address, { headers }).catch(() => null);
  if (answer?.status !== 200) return [];
  const { name, language } = await answer.json();
  return [{ name, lang: language, voiceURI: "server", prepare, play }];
}
async function fetchSound(text, rate) {
  const own = new URL(`?speed=${rate}`, address);
  const answer = await fetch(own, { method: "POST", body: text, headers })
    .catch(() => { throw new Error("Can't reach Wick. Try again."); });
  if (!answer.ok) throw new Error(await answer.text());
  return answer.arrayBuffer();
}
function prepare(text, rate) {
  const key = `${rate} ${text}`;
  if (!sounds.has(key)) sounds.set(key, fetchSound(text, rate));
  sounds.get(key).catch(() => {}); // whoever plays it hears of it
  return sounds.get(key);
}
async function play(text, rate, signal) {
  const coming = prepare(text, rate);
  try {
    audio ??= new AudioContext();
    await audio.resume();
    const sound = await audio.decodeAudioData(await coming);
    if (!signal.aborted) await played(sound, signal);
  } finally {
    if (signal.aborted) sounds.clear();
    else sounds.delete(`${rate} ${text}`);
  }
}
function played(sound, signal) {
  return new Promise((resolve) => {
    const source = audio.createBufferSource();
    source.buffer = sound;
    source.connect(audio.destination);
    const stop = () => { source.stop(); resolve(); };
    signal.addEventListener("abort", stop, { once: true });
    source.addEventListener("ended", () => {
      signal.removeEventListener("abort", stop);
      resolve();
    });
    source.start();
  });
}
