// Who starts a download from far below sees it: the list of downloads scrolls into view when it comes.
const started = document.getElementById("source-started");
const ids = () => [...document.querySelectorAll("#coming .pull")].map(({ id }) => id);
let known = null; // the downloads that were there before the one that is waited for

document.addEventListener("submit", ({ target }) => {
  if (started) started.textContent = ""; // it was about another
  if (target.matches("#source-form, #upload")) known = ids();
});
document.addEventListener("click", ({ target }) => {
  if (target.closest("#offers button")) known = ids();
});
new MutationObserver(() => {
  const fresh = known && ids().find((id) => !known.includes(id));
  if (!fresh) return;
  known = null;
  document.getElementById(fresh).scrollIntoView({ block: "nearest" });
}).observe(document.querySelector("main"), { childList: true, subtree: true });
