// The legal notice: in full until it was read once in this browser, then one line.

import { button, element, loadSetting, saveSetting } from "./dom.js";

export function mount({ parentElement, data }) {
  const root = element("div", { class: "notice" });
  parentElement.querySelector(".notice")?.remove(); // Streamlit calls again when the theme changes
  parentElement.append(root);
  const draw = (inFull) => {
    const confirm = () => {
      saveSetting("noticeRead", true);
      draw(false);
    };
    const paragraph = element("p", {}, element("strong", {}, data.title), ` ${data.text}`);
    const full = element("section", { class: "full", "aria-label": "legal notice" }, paragraph, button("I have read this", "I have read this", confirm));
    const short = element("p", { class: "short" }, `${data.short} `, button("Details", "Details of the legal notice", () => draw(true)));
    root.replaceChildren(inFull ? full : short);
  };
  draw(!loadSetting("noticeRead", false));
  return () => root.remove();
}
