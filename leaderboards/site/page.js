// What every page shares: making elements, the state of the page in its address, and the theme.
"use strict";

/** An element with attributes and children; strings become text, never markup. */
function make(name, attributes = {}, ...children) {
  const svg = ["svg", "g", "path", "line", "rect", "circle", "text"].includes(name);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

// The state: data set, protocol, variant, metric, selection, sort, search (q), open rows (row), ticked rows (compare),
// axis of the scatter plot (x), quantity of the curves (curve), open folds (open) and the theme. A link keeps all of it.
const SHARED = ["dataset", "protocol", "variant", "theme"]; // what goes along to the other pages
let state = new URLSearchParams(location.hash.slice(1));

const hashOf = (parameters) => `#${parameters}`.replaceAll("%2F", "/");

/** The state with some values changed; null and [] take one out. */
function changed(values, from = state) {
  const next = new URLSearchParams(from);
  for (const [key, value] of Object.entries(values)) {
    next.delete(key);
    for (const one of [value].flat()) if (one) next.append(key, one);
  }
  return next;
}

/** Change the state, write it into the address, and tell the page. `entry`: the way back leads to what was before. */
function change(values, { entry = true } = {}) {
  state = changed(values);
  if (hashOf(state) !== hashOf(location.hash.slice(1))) history[entry ? "pushState" : "replaceState"](null, "", hashOf(state));
  document.dispatchEvent(new Event("state"));
}

function followAddress() {
  const hash = location.hash.slice(1);
  if (hash && !hash.includes("=")) return; // a place in the page, such as #main
  state = new URLSearchParams(hash);
  document.dispatchEvent(new Event("state"));
}
window.addEventListener("hashchange", followAddress);

function showState() {
  const theme = state.get("theme");
  if (["light", "dark"].includes(theme)) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  const button = document.getElementById("theme");
  button.textContent = isDark() ? "Light" : "Dark";
  button.setAttribute("aria-label", `${button.textContent} colours`);
  const along = new URLSearchParams([...state].filter(([key]) => SHARED.includes(key)));
  for (const link of document.querySelectorAll("nav a:not(.plain)")) link.hash = hashOf(along);
}

function isDark() {
  const theme = document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  return theme === "dark";
}

/** A part of the page that opens, and is made then; the address keeps which ones are open. */
function fold(name, title, content) {
  const place = make("div");
  const details = make("details", { class: "fold", id: `fold-${name}`, toggle() {
    show();
    const others = state.getAll("open").filter((other) => other !== name);
    if (details.open !== state.getAll("open").includes(name)) change({ open: details.open ? [...others, name] : others });
  } }, make("summary", {}, title), place);
  function show() {
    if (details.open && !place.hasChildNodes()) place.append(...[content()].flat());
  }
  details.follow = () => { details.open = state.getAll("open").includes(name); show(); };
  details.follow();
  return details;
}
document.addEventListener("state", () => document.querySelectorAll("details.fold").forEach((one) => one.follow()));

document.addEventListener("state", showState);
document.getElementById("theme").hidden = false;
document.getElementById("theme").addEventListener("click", () => change({ theme: isDark() ? "light" : "dark" }, { entry: false }));
showState();
