// The log stays at its end while an answer grows, until the person scrolls up.

const box = document.getElementById("scroll");
const log = document.getElementById("log");
let follows = true;

const toEnd = () => { box.scrollTop = box.scrollHeight; };

box.addEventListener("scroll", () => {
  follows = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
}, { passive: true });

new ResizeObserver(() => { if (follows) toEnd(); }).observe(log);
new MutationObserver((changes) => {
  const own = changes.some((change) => [...change.addedNodes].some(
    (node) => node.dataset?.role === "user"));
  if (own) follows = true;
  if (follows) toEnd();
}).observe(log, { childList: true });
toEnd();
