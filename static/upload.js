// Sends the chosen file as it is. How far it is comes over the socket, as for any other pull.

const form = document.getElementById("upload");
const file = document.getElementById("file");
const button = form.querySelector("button");
const own = JSON.parse(document.body.getAttribute("hx-headers:inherited") ?? "{}");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const chosen = file.files[0];
  button.disabled = true;
  try {
    const answer = await fetch(`/models/upload/${encodeURIComponent(chosen.name)}`, {
      method: "PUT", body: chosen, headers: { Accept: "text/plain", ...own },
    });
    if (answer.ok) form.reset();
    else say(await answer.text());
  } catch {
    say("The upload broke off. Please try again.");
  }
  button.disabled = false;
});

function say(text) {
  const line = Object.assign(document.createElement("p"), { textContent: text });
  document.getElementById("notice").replaceChildren(line);
}
