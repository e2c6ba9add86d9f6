// Uploading a file: how far it is, and what came of it. Without scripts the form is sent as any other.
document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-upload]");
  if (!form) return;
  event.preventDefault();
  const file = form.querySelector('[type="file"]').files[0];
  const tooLarge = form.querySelector("#too-large"), busy = form.querySelector("[data-busy]");
  tooLarge.hidden = !file || file.size <= Number(form.dataset.limit);
  if (!tooLarge.hidden || !busy.hidden) return; // too large, or under way already
  const bar = busy.querySelector("progress"), words = busy.querySelector("[data-words]");
  const request = new XMLHttpRequest();
  request.open("POST", form.action);
  request.setRequestHeader("HX-Request", "true");
  request.upload.addEventListener("progress", ({ loaded, total }) => { bar.value = Math.floor(loaded * 100 / total); });
  request.upload.addEventListener("load", () => {
    bar.removeAttribute("value");
    words.textContent = words.dataset.words;
  });
  const over = () => { busy.hidden = true; };
  request.addEventListener("load", () => {
    const onward = request.getResponseHeader("HX-Redirect");
    if (onward) return location.assign(onward);
    over();
    if (request.status === 413) { tooLarge.hidden = false; return; }
    if (request.status !== 422) { form.submit(); return; } // what cannot be shown in place is left to the browser
    const page = document.getElementById("page");
    page.innerHTML = request.responseText;
    htmx.process(page);
    page.querySelector("[aria-invalid]")?.focus();
  });
  request.addEventListener("error", () => { over(); form.submit(); });
  bar.value = 0;
  words.textContent = "";
  busy.hidden = false;
  request.send(new FormData(form));
});
