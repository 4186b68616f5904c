// Sends a file as the body of a request, with a bar for how much of it is sent. A form would be written to the server's
// temporary folder; this is not.
"use strict";

const form = document.getElementById("upload");
const shown = document.getElementById("upload-progress");
const words = document.getElementById("upload-words");
const problem = document.getElementById("upload-problem");
const options = ["file_format", "encoding", "expiry_form", "columns", "drop_column", "no_header"];

function tell(text) {
  problem.textContent = text;
  problem.hidden = text === "";
  shown.hidden = true;
  form.querySelector("button").disabled = false;
}

function answered(request) {
  let answer = {};
  try {
    answer = JSON.parse(request.responseText);
  } catch {
    // not ours: a page about something that went wrong on the way
  }
  if (answer.address) window.location.assign(answer.address);
  else if (request.status === 413) tell(form.dataset.tooLarge);
  else tell(answer.problem ?? form.dataset.failed);
}

form?.addEventListener("submit", (event) => {
  event.preventDefault();
  const fields = new FormData(form);
  const file = form.querySelector("[type='file']").files[0];
  const query = new URLSearchParams({ file_name: file.name });
  for (const name of options) if (fields.get(name)) query.set(name, fields.get(name));
  tell("");
  form.querySelector("button").disabled = true;
  shown.hidden = false;
  words.textContent = form.dataset.sending;
  const bar = shown.querySelector("progress");
  const request = new XMLHttpRequest();
  request.upload.addEventListener("progress", (sent) => {
    bar.value = sent.loaded / Math.max(sent.total, 1);
    if (sent.loaded === sent.total) words.textContent = form.dataset.reading;
  });
  request.addEventListener("load", () => answered(request));
  request.addEventListener("error", () => tell(form.dataset.failed));
  request.open("POST", `/imports/upload/${encodeURIComponent(fields.get("event"))}?${query}`);
  request.setRequestHeader("Content-Type", "application/octet-stream");
  request.setRequestHeader("X-CSRF-Token", fields.get("csrf_token") ?? "");
  request.send(file);
});

// A card that is added by hand goes to the event that is chosen above.
document.getElementById("event")?.addEventListener("change", (event) => {
  const address = new URL(window.location.href);
  address.searchParams.set("event", event.target.value);
  if (document.querySelector("[data-by-hand]")) window.location.assign(address);
});
