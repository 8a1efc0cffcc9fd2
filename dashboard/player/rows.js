// A table whose rows open a video or a moment: links, strips of colors, bars, and thumbnails made in the browser.

import { button, element, swatch } from "./dom.js";
import { Thumbnails } from "./thumbnails.js";

const tables = new WeakMap(); // by the element that Streamlit gives: it calls again with new data
const SVG = "http://www.w3.org/2000/svg";

export function mount({ parentElement, data, setTriggerValue }) {
  const known = tables.get(parentElement);
  if (known) known.update(data);
  else tables.set(parentElement, new Rows(parentElement, data, setTriggerValue));
  return () => {
    tables.get(parentElement)?.close();
    tables.delete(parentElement);
  };
}

class Rows {
  constructor(parent, data, send) {
    this.send = send;
    this.failedThumbnails = new Map(); // forgotten when the page is opened again: a file may be there then
    this.root = element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": data.label });
    parent.append(this.root);
    this.update(data);
  }

  update(data) {
    const drawn = JSON.stringify(data);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    this.data = data;
    this.thumbnails?.close();
    this.thumbnails = new Thumbnails(this.failedThumbnails);
    const columns = data.columns.filter((column) => column.kind !== "thumbnail" || data.thumbnails);
    const head = element("tr", {}, ...columns.map((column) => this.heading(column)));
    const body = data.rows.map((row) => this.row(columns, row));
    this.root.replaceChildren(element("table", {}, element("thead", {}, head), element("tbody", {}, ...body)));
  }

  heading({ kind, label, help }) {
    return element("th", { scope: "col", class: kind, title: help }, label);
  }

  row(columns, row) {
    const url = new URL(row.href, document.baseURI).href;
    const open = (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) {
        if (!event.target.closest("a")) window.open(url, "_blank", "noopener"); // a link is opened by the browser
        return;
      }
      event.preventDefault();
      this.send("open", row.href);
    };
    const play = (event) => {
      event.stopPropagation();
      this.send("open", row.play_href);
    };
    const cells = columns.map((column) => this.cell(column, row[column.name], row, { url, open, play }));
    return element("tr", { onclick: open }, ...cells);
  }

  cell({ kind, label, name }, value, row, { url, open, play }) {
    const content = {
      link: () => element("a", { href: url, onclick: (event) => (event.stopPropagation(), open(event)) }, value),
      emotion: () => this.emotions(value),
      strips: () => this.strips(value),
      bar: () => this.bar(value, this.data.colors[row.emotion]),
      thumbnail: () => this.thumbnails.request(value),
      play: () => button("▶", value, play),
    }[kind];
    return element("td", { class: kind, "data-label": label, title: row[`${name}_title`] }, content ? content() : (value ?? ""));
  }

  // One emotion, or several of the same share.
  emotions(value) {
    const names = value?.split(" / ") ?? [];
    const words = names.flatMap((name, i) => [i ? " / " : "", swatch(this.data.colors[name]), name]);
    return element("span", {}, ...words);
  }

  bar(value, color) {
    const fill = element("span", { class: "fill" });
    fill.style.width = `${100 * value}%`;
    fill.style.background = color;
    return element("span", { class: "track" }, fill, element("span", {}, value.toFixed(2)));
  }

  // One strip for each person: pairs of position and width in percent, with the index of an emotion.
  strips(strips) {
    const names = Object.keys(this.data.colors);
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 100 ${Math.max(strips.length, 1)}`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    (strips.length ? strips : [[]]).forEach((parts, row) => {
      svg.append(rectangle(0, row, 100, "#88888826"));
      for (const [left, width, emotion] of parts) svg.append(rectangle(left, row, width, this.data.colors[names[emotion]]));
    });
    return svg;
  }

  close() {
    this.thumbnails?.close();
    this.root.remove();
  }
}

function rectangle(x, row, width, fill) {
  const node = document.createElementNS(SVG, "rect");
  for (const [name, value] of Object.entries({ x, y: row + 0.06, width, height: 0.88, fill })) node.setAttribute(name, value);
  return node;
}
