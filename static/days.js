// Times as the reader's browser writes them, and a line where another day begins.

const log = document.getElementById("log");
const clock = new Intl.DateTimeFormat([], { timeStyle: "short" });
const whole = new Intl.DateTimeFormat([], { dateStyle: "full", timeStyle: "short" });
const relative = new Intl.RelativeTimeFormat([], { numeric: "auto" });
const DAY = 86400000;

function draw() {
  let last = new Date().toDateString(); // a chat of today needs no line above it
  for (const message of log.querySelectorAll(".message")) {
    const time = message.querySelector("time");
    const at = new Date(time.dateTime);
    time.textContent = clock.format(at);
    time.title = whole.format(at);
    const day = at.toDateString();
    const above = message.previousElementSibling;
    const line = above?.matches(".day") ? above : null;
    if (day === last) line?.remove();
    else (line ?? lineBefore(message)).textContent = nameOf(at);
    last = day;
  }
}
function lineBefore(message) {
  const line = Object.assign(document.createElement("p"), { className: "day", lang: navigator.language });
  message.before(line);
  return line;
}
function nameOf(at) {
  const now = new Date();
  const age = Math.round((new Date(now).setHours(0, 0, 0, 0) - new Date(at).setHours(0, 0, 0, 0)) / DAY);
  const year = at.getFullYear() === now.getFullYear() ? undefined : "numeric";
  const name = age < 2
    ? relative.format(-age, "day")
    : at.toLocaleDateString([], { weekday: "long", day: "numeric", month: "long", year });
  return name[0].toLocaleUpperCase() + name.slice(1);
}
if (log) {
  draw();
  new MutationObserver((changes) => {
    const isMessage = (one) => one.matches?.(".message");
    const nodes = changes.flatMap((one) => [...one.addedNodes, ...one.removedNodes]);
    if (nodes.some(isMessage)) draw();
  }).observe(log, { childList: true });
  document.addEventListener("visibilitychange", draw); // a day later "Today" is another
}
