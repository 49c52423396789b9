// The microphone button of the composer: pressed once and again, or held while somebody speaks. What listens
// is loaded when it is first pressed.

const button = document.getElementById("dictate");
const HELD = 600; // milliseconds after which letting go of the button ends it
let dictation = null;
let began = 0; // when the press began that began it

async function act(what) {
  const { Dictation } = await import(new URL("lazy/dictation.js", import.meta.url));
  dictation ??= new Dictation(button);
  dictation[what]();
}
button.addEventListener("pointerdown", ({ timeStamp, button: other }) => {
  if (other || dictation?.isOn) return;
  began = timeStamp;
  act("start");
});
button.addEventListener("click", ({ timeStamp, detail }) => {
  const [isEnd, wasHeld] = [detail && began, timeStamp - began > HELD];
  began = 0;
  if (isEnd) act(wasHeld ? "stop" : "wake");
  else act(dictation?.isOn ? "stop" : "start");
});
