// A connection may be dead and look open. The server says something every few seconds: when nothing
// has been heard for too long, the page takes the connection for closed and makes another.

const [TICK, QUIET] = [3000, 3]; // milliseconds; ticks without a word
let connection = null;
let quiet = 0;
for (const name of ["before:connection", "after:connection", "before:message:incoming"]) {
  document.addEventListener(`htmx:ws:${name}`, ({ detail }) => {
    [connection, quiet] = [detail.connection, 0];
  });
}
setInterval(() => {
  quiet += 1;
  if (!connection?.socket || quiet < QUIET) return;
  quiet = 0;
  connection.socket.dispatchEvent(new CloseEvent("close", { code: 1006 })); // which htmx mends
}, TICK);
