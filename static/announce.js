// What was announced to screen readers is gone a while later: it stands in the log, too.

const announcer = document.getElementById("announcer");
let timer;
new MutationObserver(() => {
  clearTimeout(timer);
  if (announcer.textContent) timer = setTimeout(() => announcer.replaceChildren(), 20000);
}).observe(announcer, { childList: true });
