// A long answer that ends tells whoever looks at something else, if they wish so.

const LONG = 15000; // milliseconds
let began = 0;
new MutationObserver(() => {
  const isRunning = Boolean(document.querySelector("#actions [aria-label=Stop]"));
  if (!isRunning && began && Date.now() - began > LONG && (document.hidden || !document.hasFocus())) tell();
  began = isRunning ? began || Date.now() : 0;
}).observe(document.getElementById("composer"), { childList: true });
function tell() {
  const { notify, sound } = localStorage;
  if (notify === "on" && globalThis.Notification?.permission === "granted") {
    const title = document.getElementById("title").textContent;
    const icon = document.querySelector("link[rel=icon]").href;
    const notice = new Notification(title, { body: "The answer is ready.", icon, tag: location.pathname });
    notice.addEventListener("click", () => { focus(); notice.close(); });
  }
  if (sound === "on") chime();
}
function chime() {
  const audio = new AudioContext();
  const [tone, gain] = [audio.createOscillator(), audio.createGain()];
  tone.frequency.setValueAtTime(660, audio.currentTime);
  tone.frequency.setValueAtTime(880, audio.currentTime + 0.12);
  gain.gain.setValueAtTime(0.12, audio.currentTime);
  gain.gain.exponentialRampToValueAtTime(0.001, audio.currentTime + 0.5);
  tone.connect(gain).connect(audio.destination);
  tone.start();
  tone.stop(audio.currentTime + 0.5);
  tone.addEventListener("ended", () => audio.close());
}
