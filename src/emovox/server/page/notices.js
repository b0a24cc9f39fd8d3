// Notices beside the answers: progress and errors.

const status = document.getElementById("status");
const alerts = document.getElementById("alert");

/** An element with properties. */
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** Say what goes on; read out by screen readers when they have time. */
export function tell(text, { isBusy = false } = {}) {
  status.textContent = text;
  status.classList.toggle("is-busy", isBusy);
}

/** Say what went wrong, or with null that all is well again. */
export function complain(error) {
  alerts.replaceChildren();
  if (!error) return;
  if (error.status === 401) document.getElementById("key-form").hidden = false;
  const box = element("div", { className: "alert" }, element("p", { textContent: error.message }));
  if (error.detail) box.append(element("p", { className: "quiet", textContent: error.detail }));
  alerts.append(box);
}
