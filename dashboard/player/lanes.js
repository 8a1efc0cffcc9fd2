// The timelines: an overview of the whole video, and a lane for each person over the part that is looked at.

import { MARKER_PX, drawLane, drawMarkers, drawOverview, stackMarkers } from "./drawing.js";
import { ask, clock, element } from "./words.js";

const LANE_HEIGHT_PX = 132;
const UNREAD_HEIGHT_PX = 28; // of a person of whom no face was good enough: label and quality alone
const SHORTEST_MS = 500;
const DRAG_PX = 4; // less is a click

export class Lanes {
  constructor(parent, data, { seek }) {
    this.seek = seek;
    this.source = "smooth";
    this.style = "stacked";
    this.overview = element("canvas", { class: "overview", role: "img", "aria-label": "the whole video" });
    this.legend = element("div", { class: "legend" });
    this.rangeText = element("div", { class: "range mute" });
    this.lanes = element("div", { class: "lanes" });
    this.cursor = element("div", { class: "cursor", "aria-hidden": "true" });
    this.body = element("div", { class: "body" }, this.lanes, this.cursor);
    this.tooltip = element("div", { class: "tooltip", hidden: true });
    const tools = element(
      "div",
      { class: "tools" },
      this.choice("source", [["smooth", "smoothed"], ["raw", "raw"]]),
      this.choice("style", [["stacked", "stacked"], ["lines", "lines"]]),
      this.tool("−", "zoom out (-)", () => this.zoom(2)),
      this.tool("+", "zoom in (+)", () => this.zoom(0.5)),
      this.tool("all", "show the whole video", () => this.look(this.first_ms, this.last_ms)),
    );
    parent.append(element("div", { class: "bar" }, this.legend, tools), this.overview, this.rangeText, this.body, this.tooltip);
    this.resized = new ResizeObserver(() => this.resize());
    this.resized.observe(parent);
    this.listen();
    this.update(data);
  }

  tool(text, name, action) {
    return element("button", { type: "button", "aria-label": name, title: name, onclick: action }, text);
  }

  choice(field, values) {
    const buttons = values.map(([value, text]) =>
      element("button", { type: "button", "aria-pressed": String(this[field] === value) }, text),
    );
    buttons.forEach((button, index) =>
      button.addEventListener("click", () => {
        this[field] = values[index][0];
        buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
        if (field === "source") this.fetch();
        else this.draw();
      }),
    );
    return element("span", { class: "choice", role: "group", "aria-label": field }, ...buttons);
  }

  update(data) {
    const isNew = data.video.id !== this.data?.video.id;
    const [before_ms, showsEnd] = [this.last_ms, this.to_ms === this.last_ms];
    this.data = data;
    this.first_ms = Math.floor(1000 * data.video.start_s);
    this.last_ms = Math.max(this.first_ms + SHORTEST_MS, Math.ceil(1000 * (data.video.start_s + data.video.duration_s)));
    this.legend.replaceChildren(
      ...data.emotions.map((emotion) => {
        const swatch = element("span", { class: "swatch" });
        swatch.style.background = data.colors[emotion];
        return element("span", {}, swatch, emotion);
      }),
    );
    this.makeLanes();
    if (isNew) {
      [this.from_ms, this.to_ms] = [this.first_ms, this.last_ms];
      this.whole = null;
      this.fetch();
    } else if (this.last_ms !== before_ms) {
      // a live session has gone on
      if (showsEnd) this.to_ms = this.last_ms;
      this.whole = null;
      this.fetch();
    } else this.draw();
  }

  makeLanes() {
    this.canvases = new Map();
    this.unread = new Set(this.data.tracks.filter((track) => track.emotion === null).map((track) => track.id));
    const shown = this.data.tracks.filter((track) => !track.hidden);
    const sections = shown.map((track) => {
      const canvas = element("canvas", { role: "img", "aria-label": `probabilities of ${track.name} over time` });
      this.canvases.set(track.id, canvas);
      const isUnread = this.unread.has(track.id);
      const note = isUnread ? "no face good enough to be read" : "probabilities · label · quality (hatched: gated)";
      const title = element("h3", {}, track.name, element("small", {}, note));
      return element("section", { class: "lane" }, title, canvas);
    });
    const { markers, markers_name } = this.data;
    this.markers = null;
    if (markers.length) {
      const said = markers.map(({ label, start_s, end_s }) => `${label} ${clock(start_s)} to ${clock(end_s)}`);
      this.markers = element("canvas", { role: "img", "aria-label": `markers: ${said.join(", ")}` });
      const title = element("h3", {}, "Markers", element("small", {}, markers_name));
      sections.push(element("section", { class: "lane" }, title, this.markers));
    }
    if (!shown.length) sections.push(element("p", { class: "mute" }, "nobody to show"));
    this.lanes.replaceChildren(...sections);
  }

  listen() {
    let start = null;
    const at = (event) => this.from_ms + ((this.to_ms - this.from_ms) * this.x(event)) / this.width_px;
    this.lanes.addEventListener("pointerdown", (event) => {
      start = { x: event.clientX, from_ms: this.from_ms, to_ms: this.to_ms, moved: false };
      this.lanes.setPointerCapture(event.pointerId);
    });
    this.lanes.addEventListener("pointermove", (event) => {
      if (!start) return this.hover(event, at(event));
      const by = event.clientX - start.x;
      start.moved ||= Math.abs(by) > DRAG_PX;
      if (!start.moved) return;
      const by_ms = (-by * (start.to_ms - start.from_ms)) / this.width_px;
      this.look(start.from_ms + by_ms, start.to_ms + by_ms);
    });
    this.lanes.addEventListener("pointerup", (event) => {
      if (start && !start.moved) this.seek(at(event) / 1000);
      start = null;
    });
    this.lanes.addEventListener("pointercancel", () => (start = null));
    this.lanes.addEventListener("pointerleave", () => (this.tooltip.hidden = true));
    this.lanes.addEventListener(
      "wheel",
      (event) => {
        const sideways = event.shiftKey ? event.deltaY : event.deltaX;
        if (event.ctrlKey) this.zoom(event.deltaY > 0 ? 1.25 : 0.8, at(event));
        else if (sideways) {
          const by_ms = (sideways * (this.to_ms - this.from_ms)) / this.width_px;
          this.look(this.from_ms + by_ms, this.to_ms + by_ms);
        } else return; // the page scrolls
        event.preventDefault();
      },
      { passive: false },
    );
    const pan = (event) => {
      const share = Math.min(1, Math.max(0, this.x(event) / this.width_px));
      const middle_ms = this.first_ms + share * (this.last_ms - this.first_ms);
      const half_ms = (this.to_ms - this.from_ms) / 2;
      this.seek(middle_ms / 1000);
      if (half_ms * 2 < this.last_ms - this.first_ms) this.look(middle_ms - half_ms, middle_ms + half_ms);
    };
    this.overview.addEventListener("pointerdown", (event) => {
      this.overview.setPointerCapture(event.pointerId);
      pan(event);
    });
    this.overview.addEventListener("pointermove", (event) => event.buttons && pan(event));
  }

  x(event) {
    return event.clientX - this.lanes.getBoundingClientRect().left;
  }

  zoom(factor, around_ms = this.time_ms ?? (this.from_ms + this.to_ms) / 2) {
    const middle_ms = Math.min(Math.max(around_ms, this.from_ms), this.to_ms);
    this.look(middle_ms - (middle_ms - this.from_ms) * factor, middle_ms + (this.to_ms - middle_ms) * factor);
  }

  look(from_ms, to_ms) {
    const all_ms = this.last_ms - this.first_ms;
    const span_ms = Math.min(Math.max(to_ms - from_ms, SHORTEST_MS), all_ms);
    this.from_ms = Math.round(Math.min(Math.max(from_ms, this.first_ms), this.last_ms - span_ms));
    this.to_ms = Math.round(this.from_ms + span_ms);
    this.draw(); // what is there already, stretched, until the new rows come
    this.fetchSoon();
  }

  fetchSoon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.fetch(), 80);
  }

  async fetch() {
    this.asked?.abort();
    this.asked = new AbortController();
    const { source } = this;
    const span = { from_ms: this.from_ms, to_ms: this.to_ms, bins: Math.max(100, Math.round(this.width_px / 2)), source };
    try {
      this.window = await ask(`window/${this.data.video.id}`, span, this.asked.signal);
      const isWhole = span.from_ms === this.first_ms && span.to_ms === this.last_ms;
      if (isWhole) this.whole = this.window;
      this.draw();
    } catch (error) {
      if (error.name !== "AbortError") this.rangeText.textContent = error.message;
    }
  }

  get width_px() {
    return this.lanes.clientWidth || 900;
  }

  resize() {
    if (this.drawnWidth_px === this.width_px) return;
    this.drawnWidth_px = this.width_px;
    this.draw();
    this.fetchSoon();
  }

  // A canvas of as many real pixels as the screen has.
  prepare(canvas, height_px) {
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(this.width_px * ratio);
    canvas.height = Math.round(height_px * ratio);
    canvas.style.height = `${height_px}px`;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    return context;
  }

  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => {
      const view = { from_ms: this.from_ms, to_ms: this.to_ms, width_px: this.width_px, style: this.style, ...this.ink() };
      const tracks = new Map((this.window?.tracks ?? []).map((track) => [track.id, track]));
      for (const [id, canvas] of this.canvases) {
        const height_px = this.unread.has(id) ? UNREAD_HEIGHT_PX : LANE_HEIGHT_PX;
        drawLane(this.prepare(canvas, height_px), tracks.get(id), view, height_px);
      }
      if (this.markers) {
        const rows = stackMarkers(this.data.markers);
        drawMarkers(this.prepare(this.markers, (Math.max(...rows) + 1) * MARKER_PX), this.data.markers, rows, view);
      }
      const whole = { ...view, from_ms: this.first_ms, to_ms: this.last_ms };
      const shown = (this.whole?.tracks ?? []).filter((track) => this.canvases.has(track.id));
      drawOverview(this.prepare(this.overview, 30), shown, whole, view);
      this.rangeText.replaceChildren(
        element("span", {}, clock(this.from_ms / 1000)),
        element("span", {}, `${((this.to_ms - this.from_ms) / 1000).toFixed(1)} s shown, each value ${this.window?.bin_ms ?? "…"} ms or a frame`),
        element("span", {}, clock(this.to_ms / 1000)),
      );
      this.placeCursor();
    });
  }

  ink() {
    const style = getComputedStyle(this.lanes);
    return { colors: this.data.emotions.map((emotion) => this.data.colors[emotion]), ink: style.color };
  }

  showTime(time_s) {
    this.time_ms = 1000 * time_s;
    const span_ms = this.to_ms - this.from_ms;
    const outside = this.time_ms < this.from_ms || this.time_ms > this.to_ms;
    if (outside && span_ms < this.last_ms - this.first_ms) this.look(this.time_ms - 0.1 * span_ms, this.time_ms + 0.9 * span_ms);
    this.placeCursor();
  }

  placeCursor() {
    const share = ((this.time_ms ?? 0) - this.from_ms) / (this.to_ms - this.from_ms);
    this.cursor.hidden = share < 0 || share > 1;
    this.cursor.style.transform = `translateX(${share * this.width_px}px)`;
  }

  hover(event, time_ms) {
    const canvas = event.composedPath().find((node) => node.tagName === "CANVAS");
    if (canvas && canvas === this.markers) return this.tell(event, this.markersAt(time_ms));
    const id = [...this.canvases].find(([, other]) => other === canvas)?.[0];
    const track = this.window?.tracks.find((each) => each.id === id);
    const row = track?.start_ms.findLastIndex((start_ms, index) => start_ms <= time_ms && time_ms <= track.end_ms[index]);
    if (row === undefined || row < 0) return this.tell(event, []);
    const shares = this.data.emotions
      .map((emotion, index) => [track.p[index][row], emotion])
      .filter(([p]) => p !== null && p >= 20)
      .sort(([a], [b]) => b - a)
      .map(([p, emotion]) => `${emotion} ${(p / 1000).toFixed(2)}`);
    const gated = track.low_quality[row] ? [`${Math.round(track.low_quality[row] / 10)} % gated`] : [];
    this.tell(event, [clock(time_ms / 1000), ...shares, ...gated]);
  }

  markersAt(time_ms) {
    const there = this.data.markers.filter(({ start_s, end_s }) => 1000 * start_s <= time_ms && time_ms < 1000 * end_s);
    return there.map(({ label, start_s, end_s }) => `${label}, ${clock(start_s)} to ${clock(end_s)}`);
  }

  // Words beside the pointer; none: nothing is shown.
  tell(event, words) {
    this.tooltip.hidden = !words.length;
    this.tooltip.textContent = words.join(" · ");
    const box = this.lanes.parentElement.parentElement.getBoundingClientRect();
    this.tooltip.style.left = `${Math.min(event.clientX - box.left + 12, box.width - 260)}px`;
    this.tooltip.style.top = `${event.clientY - box.top + 16}px`;
  }

  close() {
    this.resized.disconnect();
    this.asked?.abort();
    clearTimeout(this.timer);
    cancelAnimationFrame(this.frame);
  }
}
