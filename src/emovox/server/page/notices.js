// Notices beside the answers: progress and errors.

const status = document.getElementById("status");
const alerts = document.getElementById("alert");

/** An element with properties. */
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** Show progress, which screen readers read out, too; what the page shows elsewhere is for them alone (`isSilent`). */
export function announce(text, { isBusy = false, isSilent = false } = {}) {
  status.textContent = text;
  status.classList.toggle("is-busy", isBusy);
  status.classList.toggle("sight", isSilent);
}

/** Show what went wrong, once; with null, nothing. A missing API key is asked for instead. */
export function showError(error) {
  alerts.replaceChildren();
  if (!error) return;
  if (error.status === 401) {
    document.getElementById("key-form").hidden = false;
    document.getElementById("key-words").textContent = error.message;
    document.getElementById("key").focus();
    return;
  }
  alerts.append(element("div", { className: "alert" }, element("p", { textContent: error.message })));
}
