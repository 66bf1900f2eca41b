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

// Filters, the table that was gone to (`at`), open rows (`row`, any number) and the theme: a link keeps them.
const FILTERS = { dataset: "Data set", protocol: "Protocol", variant: "Variant", table: "Table" };
const SHARED = [...Object.keys(FILTERS), "theme"]; // what goes along to the other pages
let state = new URLSearchParams(location.hash.slice(1));

const hashOf = (parameters) => `#${parameters}`.replaceAll("%2F", "/");

/** Change the state, write it into the address, and tell the page. `entry`: the way back leads to what was before. */
function change(values, { entry = true } = {}) {
  for (const [key, value] of Object.entries(values)) {
    state.delete(key);
    for (const one of [value].flat()) if (one) state.append(key, one);
  }
  if (hashOf(state) !== hashOf(location.hash.slice(1))) history[entry ? "pushState" : "replaceState"](null, "", hashOf(state));
  document.dispatchEvent(new CustomEvent("state", { detail: values }));
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

document.addEventListener("state", showState);
document.getElementById("theme").hidden = false;
document.getElementById("theme").addEventListener("click", () => change({ theme: isDark() ? "light" : "dark" }, { entry: false }));
showState();
