// Sends the chosen files as they are. How far that is comes over the socket, as for any other pull.

const own = JSON.parse(document.body.getAttribute("hx-headers:inherited") ?? "{}");

document.getElementById("upload").addEventListener("submit", async (event) => {
  event.preventDefault();
  const files = [...document.getElementById("file").files];
  event.submitter.disabled = true;
  try {
    const told = await Promise.all(files.map(describe));
    for (const one of await ask("/models/uploads", "POST", JSON.stringify(told))) {
      await ask(one.address, "PUT", new Blob(one.files.map((place) => files[place])));
    }
    event.target.reset();
  } catch (error) {
    const isGone = error instanceof TypeError; // so says `fetch`
    document.getElementById("notice").textContent = isGone ? "Wick cannot be reached." : error.message;
  }
  event.submitter.disabled = false;
});

async function describe(file) {
  return { name: file.name, size: file.size, begins: await file.slice(0, 4).text() };
}

// A refusal that comes while the browser is sending reaches it as a broken connection: ask why.
async function ask(address, method, body) {
  const headers = { Accept: "text/plain, application/json", ...own };
  const answer = await fetch(address, { method, body, headers }).catch(() => fetch(address, { headers }));
  if (!answer.ok) throw new Error(await answer.text());
  return method === "POST" ? answer.json() : null;
}
