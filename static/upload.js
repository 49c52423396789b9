// Sends the chosen files as they are. How far that is comes over the socket, as for any other pull.
const own = JSON.parse(document.body.getAttribute("hx-headers:inherited") ?? "{}");
const headers = { Accept: "text/plain, application/json", ...own };

document.getElementById("upload").addEventListener("submit", async (event) => {
  event.preventDefault();
  const files = [...document.getElementById("file").files];
  const notice = document.getElementById("notice");
  notice.textContent = "";
  event.submitter.disabled = true;
  try {
    const told = JSON.stringify(files.map(({ name, size }) => ({ name, size })));
    const plan = await ask(event.target.action, "POST", told);
    for (const one of await plan.json()) {
      await ask(one.address, "PUT", new Blob(one.files.map((place) => files[place])));
    }
    event.target.reset();
  } catch (problem) {
    notice.textContent = problem.message;
  }
  event.submitter.disabled = false;
});

document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-projector]");
  if (!form) return;
  event.preventDefault();
  const notice = form.querySelector("[role=alert]");
  notice.textContent = "";
  event.submitter.disabled = true;
  try {
    await ask(form.action, "PUT", form.elements.file.files[0]);
    form.closest("dialog").close();
  } catch (problem) {
    notice.textContent = problem.message;
  }
  event.submitter.disabled = false;
});

// A refusal that comes while the browser is sending reaches it as a broken connection: ask why.
async function ask(address, method, body) {
  const why = () => fetch(address, { headers });
  const answer = await fetch(address, { method, body, headers }).catch(why);
  if (!answer.ok) throw new Error(await answer.text());
  return answer;
}
