// A connection may be dead and look open. The server says something every few seconds, and less often where
// nothing goes through for a minute: when nothing has been heard for too long, the page takes the connection
// for closed and makes another. Whoever comes back to a page that was idle has it ask at once.

const [TICK, QUIET, IDLE_QUIET, IDLE_AFTER] = [3000, 3, 30, 45000]; // milliseconds; ticks without a word
const UNDER_WAY = '[data-status="running"], [data-status="queued"]';
let connection = null;
let quiet = 0;
let used = Date.now();
const isIdle = () => Date.now() - used > IDLE_AFTER && !document.querySelector(UNDER_WAY);
for (const name of ["before:connection", "after:connection", "before:message:incoming"]) {
  document.addEventListener(`htmx:ws:${name}`, ({ detail }) => {
    [connection, quiet] = [detail.connection, 0];
    if (detail.message?.data !== "{}") used = Date.now();
  });
}
document.addEventListener("htmx:ws:after:message:outgoing", use);
for (const name of ["visibilitychange", "pointerdown", "keydown"]) document.addEventListener(name, ask);
window.addEventListener("online", ask);
setInterval(() => {
  quiet += 1;
  if (!connection?.socket || quiet < (isIdle() ? IDLE_QUIET : QUIET)) return;
  quiet = 0;
  connection.socket.dispatchEvent(new CloseEvent("close", { code: 1006 })); // which htmx mends
}, TICK);

function use() {
  if (isIdle()) quiet = 0;
  used = Date.now();
}

function ask() {
  if (document.hidden || !isIdle() || connection?.socket?.readyState !== WebSocket.OPEN) return;
  use();
  connection.socket.send("{}");
}
