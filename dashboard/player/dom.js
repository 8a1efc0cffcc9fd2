// Small helpers of all browser code: elements, texts, requests.

export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false && value !== undefined) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export function button(text, label, onclick, attributes = {}) {
  return element("button", { type: "button", "aria-label": label, title: label, onclick, ...attributes }, text);
}

export function menu(summary, ...items) {
  return element("details", { class: "actions" }, summary, element("div", { class: "menu", tabindex: "-1" }, ...items));
}

export function swatch(color) {
  const node = element("span", { class: "swatch", "aria-hidden": "true" });
  node.style.background = color ?? "#888888";
  return node;
}

// 252.37 -> "04:12.37"; with hours from one hour on.
export function clock(time_s, digits = 2) {
  const scale = 10 ** digits;
  const whole = Math.round(Math.max(0, time_s) * scale);
  const seconds = ((whole / scale) % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
  const minutes = Math.floor(whole / scale / 60);
  const hours = Math.floor(minutes / 60);
  const rest = String(minutes % 60).padStart(2, "0");
  return hours ? `${hours}:${rest}:${seconds}` : `${rest}:${seconds}`;
}

export const percent = (share) => `${Math.round(100 * share)}\u00a0%`;

// White or nearly black, whichever has more contrast on a color such as #0072b2 (relative luminance as in WCAG 2.2).
export function inkOn(color) {
  const light = [1, 3, 5].map((at) => (parseInt(color.slice(at, at + 2), 16) / 255) ** 2.2);
  return 0.2126 * light[0] + 0.7152 * light[1] + 0.0722 * light[2] < 0.18 ? "#fff" : "#111";
}

// The address of a route beside the app; the page may have a base path.
export function routeUrl(route, parameters = {}) {
  const url = new URL(`fervid/${route}`, document.baseURI);
  url.search = new URLSearchParams(parameters);
  return url.href;
}

// Why the server does not give a file, in its words; null if it does.
export async function refusalOf(url) {
  const response = await fetch(url, { headers: { Range: "bytes=0-0" } }).catch(() => null);
  if (!response) return "The server does not answer.";
  return response.ok ? null : response.text();
}

export async function request(route, parameters, signal) {
  const response = await fetch(routeUrl(route, parameters), { signal });
  if (!response.ok) throw new Error(await response.text());
  return response.json();
}

export async function send(route, content) {
  const headers = { "Content-Type": "application/json" };
  const response = await fetch(routeUrl(route), { method: "POST", headers, body: JSON.stringify(content) });
  if (!response.ok) throw new Error(await response.text());
}

// The user's settings of this browser; they are lost without harm where storage is forbidden.
export function loadSetting(name, fallback) {
  try {
    return JSON.parse(localStorage.getItem(`fervid.${name}`)) ?? fallback;
  } catch {
    return fallback;
  }
}

export function saveSetting(name, value) {
  try {
    localStorage.setItem(`fervid.${name}`, JSON.stringify(value));
  } catch { /* not kept */ }
}

// An identifier of this browser tab, which survives a reload.
export function tabId() {
  try {
    const known = sessionStorage.getItem("fervid.tab") ?? Math.random().toString(36).slice(2);
    sessionStorage.setItem("fervid.tab", known);
    return known;
  } catch {
    return "";
  }
}
