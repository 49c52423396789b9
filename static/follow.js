// The log stays at its end while an answer grows, until somebody scrolls up; then it stays put.

const [box, log, end] = ["scroll", "log", "end"].map((id) => document.getElementById(id));
const toEnd = () => { box.scrollTop = box.scrollHeight; };
const follow = (yes) => { end.hidden = follows = yes; };
let [follows, top, anchor, place] = [true, 0]; // anchor: the message that is read, and where it stands

// Only going up is leaving: the log may have grown since it was scrolled to what was its end.
box.addEventListener("scroll", () => {
  if (box.scrollHeight - box.scrollTop - box.clientHeight < 40) follow(true);
  else if (box.scrollTop < top) follow(false);
  top = box.scrollTop;
}, { passive: true });
document.addEventListener("submit", ({ target }) => follow(follows || target.matches("#composer, .edit")));
end.addEventListener("click", () => { follow(true); toEnd(); box.focus(); });
document.addEventListener("htmx:ws:before:message:incoming", () => {
  const edge = box.getBoundingClientRect().top;
  const messages = follows ? [] : [...log.querySelectorAll(".message")];
  anchor = messages.find((message) => message.getBoundingClientRect().bottom > edge)?.id;
  place = anchor && document.getElementById(anchor).getBoundingClientRect().top;
});
new ResizeObserver(() => { if (follows && log.childElementCount) toEnd(); }).observe(log);
new MutationObserver(() => {
  const same = !follows && anchor && document.getElementById(anchor);
  if (same) box.scrollTop += same.getBoundingClientRect().top - place;
}).observe(log, { childList: true });

// A page that comes back says how far up it reaches.
document.addEventListener("htmx:ws:before:connection", ({ detail: { connection } }) => {
  const first = log.querySelector(".message")?.dataset.messageId ?? "";
  connection.url = connection.url.replace(/first=\d*/, `first=${first}`);
});

// Who comes from the search looks at what was found.
const sought = document.getElementById(location.hash.slice(1))?.closest(".message");
follow(!sought);
sought?.scrollIntoView({ block: "center" });
