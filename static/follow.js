// The log stays at its end while an answer grows, until the person scrolls up.

const box = document.getElementById("scroll");
const log = document.getElementById("log");
let follows = true;
let top = 0;

const toEnd = () => { box.scrollTop = box.scrollHeight; };

// Only going up is leaving: the log may have grown since it was scrolled to what was its end.
box.addEventListener("scroll", () => {
  if (box.scrollHeight - box.scrollTop - box.clientHeight < 40) follows = true;
  else if (box.scrollTop < top) follows = false;
  top = box.scrollTop;
}, { passive: true });

new ResizeObserver(() => { if (follows) toEnd(); }).observe(log);
new MutationObserver((changes) => {
  const own = changes.some((change) => !change.removedNodes.length && [...change.addedNodes].some(
    (node) => node.dataset?.role === "user"));
  if (own) follows = true;
  if (follows) toEnd();
}).observe(log, { childList: true });
// Who comes from the search looks at what was found.
const sought = document.getElementById(location.hash.slice(1));
if (sought) {
  follows = false;
  sought.scrollIntoView({ block: "center" });
} else toEnd();
