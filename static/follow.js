// The log stays at its end while an answer grows, until the person scrolls up. Then it stays put,
// whatever comes above or below, and a button leads back.

const box = document.getElementById("scroll");
const log = document.getElementById("log");
const end = document.getElementById("end");
const newest = () => Number([...log.querySelectorAll("[data-role=user]")].at(-1)?.id.slice(1) ?? 0);
const toEnd = () => { box.scrollTop = box.scrollHeight; };
let [follows, top, asked] = [true, 0, newest()];
let anchor, place; // the message that is read, and where it stands

function follow(yes) {
  end.hidden = follows = yes;
}

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

document.addEventListener("htmx:ws:before:message:incoming", () => {
  const edge = box.getBoundingClientRect().top;
  const messages = follows ? [] : [...log.querySelectorAll(".message")];
  anchor = messages.find((message) => message.getBoundingClientRect().bottom > edge)?.id;
  place = anchor && document.getElementById(anchor).getBoundingClientRect().top;
});

new ResizeObserver(() => { if (follows) toEnd(); }).observe(log);
new MutationObserver(() => {
  if (newest() > asked) follow(true);
  asked = Math.max(asked, newest());
  const same = anchor && document.getElementById(anchor);
  if (follows) toEnd();
  else if (same) box.scrollTop += same.getBoundingClientRect().top - place;
}).observe(log, { childList: true });

// A page that comes back says how far up it reaches.
document.addEventListener("htmx:ws:before:connection", ({ detail: { connection } }) => {
  const first = log.querySelector(".message")?.dataset.messageId ?? "";
  connection.url = connection.url.replace(/first=\d*/, `first=${first}`);
});

// Who comes from the search looks at what was found.
const sought = document.getElementById(location.hash.slice(1))?.closest(".message");
if (sought) {
  follow(false);
  sought.scrollIntoView({ block: "center" });
} else toEnd();
