// Small things that every part of the player says or makes.

export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

// 252.37 -> "04:12.37"; hours only where there are some.
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

// White or nearly black, whichever can be read better on a color such as #0072b2 (relative luminance as in WCAG 2.2).
export function inkOn(color) {
  const light = [1, 3, 5].map((at) => (parseInt(color.slice(at, at + 2), 16) / 255) ** 2.2);
  return 0.2126 * light[0] + 0.7152 * light[1] + 0.0722 * light[2] < 0.18 ? "#fff" : "#111";
}

// Asks a route beside the app; the page may live under a base path.
export async function ask(route, parameters, signal) {
  const url = new URL(`fervid/${route}`, document.baseURI);
  url.search = new URLSearchParams(parameters);
  const answer = await fetch(url, { signal });
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

export const mediaUrl = (videoId, version) => new URL(`fervid/video/${videoId}?v=${version}`, document.baseURI).href;
