// The log stays at its end while an answer grows, until the person scrolls up. Then it stays put,
// whatever comes above or below, and a button leads back.

const box = document.getElementById("scroll");
const log = document.getElementById("log");
const end = document.getElementById("end");
let follows = true;
let top = 0;

function follow(yes) {
  follows = yes;
  end.hidden = yes;
}
const toEnd = () => { box.scrollTop = box.scrollHeight; };

// Only going up is leaving: the log may have grown since it was scrolled to what was its end.
box.addEventListener("scroll", () => {
  if (box.scrollHeight - box.scrollTop - box.clientHeight < 40) follow(true);
  else if (box.scrollTop < top) follow(false);
  top = box.scrollTop;
}, { passive: true });

end.addEventListener("click", () => {
  follow(true);
  toEnd();
  box.focus();
});

new ResizeObserver(() => { if (follows) toEnd(); }).observe(log);
new MutationObserver((changes) => {
  const own = changes.some((change) => [...change.addedNodes].some(
    (node) => node.dataset?.role === "user"));
  if (own) follow(true);
  if (follows) toEnd();
}).observe(log, { childList: true });
toEnd();
