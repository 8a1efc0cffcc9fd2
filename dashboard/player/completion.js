// Completion of table and column names in the text area of page SQL: suggestions below it, Tab takes the first. A query
// that was not run is kept while another page is shown.

import { button, element } from "./dom.js";

const MAX_SUGGESTIONS = 8;
const WORD_BEFORE = /[A-Za-z_][\w]*$/;

const mounted = new WeakMap(); // what removes the list of an element: Streamlit calls again when the theme changes
let draft = null; // the text when the page was left

export function mount({ parentElement, data }) {
  const isOpened = !mounted.has(parentElement);
  mounted.get(parentElement)?.();
  const list = element("div", { class: "suggestions", role: "group", "aria-label": "completions" });
  parentElement.append(list);
  const stop = new AbortController();
  let area = null;

  const suggest = () => {
    const word = area.value.slice(0, area.selectionStart).match(WORD_BEFORE)?.[0] ?? "";
    const isOpen = word.length > 0 && document.activeElement === area;
    const matches = isOpen ? data.words.filter((each) => each.startsWith(word) && each !== word).slice(0, MAX_SUGGESTIONS) : [];
    const buttons = matches.map((match) => button(match, `complete ${match}`, () => take(match, word)));
    for (const each of buttons) each.addEventListener("mousedown", (event) => event.preventDefault()); // keeps the focus
    list.replaceChildren(...buttons, ...(matches.length ? [element("span", {}, "Tab takes the first")] : []));
    return { matches, word };
  };

  // React sees a value only if it comes through the setter of the element's prototype.
  const write = (value) => {
    Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set.call(area, value);
    area.dispatchEvent(new Event("input", { bubbles: true }));
  };

  const take = (match, word) => {
    const [start, end] = [area.selectionStart - word.length, area.selectionStart];
    write(area.value.slice(0, start) + match + area.value.slice(end));
    area.setSelectionRange(start + match.length, start + match.length);
    suggest();
  };

  const onKey = (event) => {
    if (event.key !== "Tab" || event.shiftKey) return;
    const { matches, word } = suggest();
    if (!matches.length) return;
    event.preventDefault();
    take(matches[0], word);
  };

  const attach = () => {
    area = document.querySelector(`textarea[aria-label="${data.label}"]`);
    if (!area) return setTimeout(() => stop.signal.aborted || attach(), 100);
    area.addEventListener("input", () => setTimeout(suggest), { signal: stop.signal });
    area.addEventListener("blur", suggest, { signal: stop.signal });
    area.addEventListener("keydown", onKey, { signal: stop.signal });
    if (isOpened && draft !== null && draft !== area.value) write(draft);
    suggest(); // for a word that was typed before
  };
  attach();
  const unmount = () => {
    stop.abort();
    list.remove();
    if (area) draft = area.value;
  };
  mounted.set(parentElement, unmount);
  return unmount;
}
