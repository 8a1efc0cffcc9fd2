// The timelines: an overview of the whole video, and a lane for each person over the visible time range.

import { CODES_PX, GUTTER_PX, MARKER_PX, RULER_PX, drawCodes, drawLane, drawMarkers, drawOverview, drawRuler, overviewHeight_px, stackMarkers } from "./drawing.js";
import { button, clock, element, loadSetting, request, saveSetting, swatch } from "./dom.js";
import { MOVEMENTS_PX, describeMovement, describeMovements, drawMovements, isMeasured, isMeasuredAt, movementLegend, movementsAt, whyNotMeasured } from "./movements.js";

const [MIN_LANE_PX, MAX_LANE_PX] = [64, 420];
const [NARROW_PX, MAX_NARROW_LANE_PX] = [900, 180]; // below this width, the video is above the lanes
const AROUND_LANES_PX = 300; // header, legend, overview and ruler above the lanes
const LANE_TITLE_PX = 38; // title and margin of a lane
const UNLABELED_PX = 28; // of a person without any face of good quality: label and quality alone
const MOVEMENTS_MARGIN_PX = 4;
const BELOW_LANE_PX = 24; // margins of the lane, of its card and of the window
const MIN_RANGE_MS = 500;
const DRAG_PX = 4; // less is a click
const FETCH_DELAY_MS = 60;

const isDuring = ({ start_s, end_s }, time_ms) => 1000 * start_s <= time_ms && time_ms < 1000 * end_s;
const describeSpan = ({ label, start_s, end_s }) => `${label}, ${clock(start_s)} to ${clock(end_s)}`;

export class Lanes {
  constructor(parent, data, { seek, onSource, menu }) {
    Object.assign(this, { seek, onSource, source: "smooth", style: "stacked", showsMovements: loadSetting("movements", true) });
    this.overview = element("canvas", { class: "overview", role: "img", "aria-label": "the whole video" });
    this.legend = element("div", { class: "legend" });
    this.rangeText = element("div", { class: "range mute" });
    this.ruler = element("canvas", { class: "ruler", role: "img", "aria-label": "time ruler" });
    this.lanes = element("div", { class: "lanes" });
    this.cursor = element("div", { class: "cursor", "aria-hidden": "true" });
    this.body = element("div", { class: "body" }, this.lanes, this.cursor);
    this.tooltip = element("div", { class: "tooltip", hidden: true });
    this.movementsButton = button("movements", "movements below the lanes", () => this.toggleMovements(), { "aria-pressed": String(this.showsMovements) });
    const tools = element(
      "div",
      { class: "tools" },
      this.choice("source", [["smooth", "smoothed"], ["raw", "raw"]]),
      this.choice("style", [["stacked", "stacked"], ["lines", "lines"]]),
      this.movementsButton,
      button("−", "zoom out (-)", () => this.zoom(2)),
      button("+", "zoom in (+)", () => this.zoom(0.5)),
      button("all", "show the whole video (0)", () => this.showAll()),
      menu,
    );
    parent.append(element("div", { class: "bar" }, this.legend, tools), this.overview, this.rangeText, this.body, this.tooltip);
    this.resized = new ResizeObserver(() => this.resize());
    this.resized.observe(parent);
    this.onResize = () => this.draw();
    window.addEventListener("resize", this.onResize);
    // The height of lanes depends on where they begin, which changes when elements of the page appear above them.
    this.shifted = new ResizeObserver(this.onResize);
    this.shifted.observe(document.querySelector('[data-testid="stMainBlockContainer"]') ?? parent);
    this.listen();
    this.update(data);
  }

  choice(field, values) {
    const buttons = values.map(([value, text]) => button(text, text, null, { "aria-pressed": String(this[field] === value) }));
    buttons.forEach((each, index) =>
      each.addEventListener("click", () => {
        this[field] = values[index][0];
        buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === each)));
        if (field !== "source") return this.draw();
        this.onSource(this.source);
        this.fetchAll();
      }),
    );
    return element("span", { class: "choice", role: "group", "aria-label": field }, ...buttons);
  }

  toggleMovements() {
    this.showsMovements = !this.showsMovements;
    saveSetting("movements", this.showsMovements);
    this.movementsButton.setAttribute("aria-pressed", String(this.showsMovements));
    this.makeLanes();
    this.draw();
  }

  update(data) {
    const isNew = data.video.id !== this.data?.video.id;
    const [before_ms, showsEnd] = [this.last_ms, this.to_ms === this.last_ms];
    const changed = data.revision !== this.data?.revision;
    this.data = data;
    this.first_ms = Math.floor(1000 * data.video.start_s);
    this.last_ms = Math.max(this.first_ms + MIN_RANGE_MS, Math.ceil(1000 * (data.video.start_s + data.video.duration_s)));
    this.makeLanes();
    if (isNew) [this.from_ms, this.to_ms] = [this.first_ms, this.last_ms];
    else if (this.last_ms !== before_ms && showsEnd) this.to_ms = this.last_ms; // a live session has grown
    if (isNew || changed || this.last_ms !== before_ms) this.fetchAll();
    else this.draw();
  }

  makeLanes() {
    const { tracks, movements, codes, markers, emotions, colors } = this.data;
    const made = JSON.stringify([tracks, movements, codes, markers, this.showsMovements]);
    if (made === this.made) return;
    this.made = made;
    this.canvases = new Map();
    this.movementCanvases = new Map(); // by track
    this.codedCanvases = new Map(); // by coded lane
    this.unlabeled = new Set(tracks.filter((track) => track.emotion === null).map((track) => track.id));
    const shown = tracks.filter((track) => !track.hidden);
    this.isAnyMeasured = shown.some(isMeasured);
    const legend = emotions.map((emotion) => element("span", {}, swatch(colors[emotion]), emotion));
    this.legend.replaceChildren(...legend, ...(this.showsMovements && this.isAnyMeasured ? movementLegend() : []));
    const codesOf = (id) => codes.filter((lane) => lane.track_id === id).map((lane) => ({ lane }));
    this.order = [...shown.flatMap((track) => [{ track }, ...codesOf(track.id)]), ...codesOf(null)];
    const sections = this.order.map(({ track, lane }, index) => (lane ? this.codedLane(lane) : this.personLane(track, index === 0)));
    this.markers = null;
    if (markers.length) {
      const said = markers.map(({ label, start_s, end_s }) => `${label} ${clock(start_s)} to ${clock(end_s)}`);
      this.markers = element("canvas", { class: "markers", role: "img", "aria-label": `markers: ${said.join(", ")}` });
    }
    if (!shown.length) sections.push(element("p", { class: "mute" }, "No person to show."));
    else if (this.showsMovements && !this.isAnyMeasured) sections.push(element("p", { class: "mute" }, whyNotMeasured(shown[0])));
    this.lanes.replaceChildren(this.ruler, ...(this.markers ? [this.markers] : []), ...sections);
  }

  personLane(track, isFirst) {
    const canvas = element("canvas", { role: "img", "aria-label": `probabilities of ${track.label} over time` });
    this.canvases.set(track.id, canvas);
    const leftOut = this.data.tracks.some((each) => each.left_out_share) ? ", underlined: left out by --speech" : "";
    const gaps = this.data.video.has_missing_frames ? "; gaps: not visible, or frames are missing" : "";
    const whyUnlabeled = track.left_out_share ? "no label: its good faces are left out by --speech" : "no face of good quality";
    const note = this.unlabeled.has(track.id) ? whyUnlabeled : isFirst ? `probabilities · label · quality (hatched: low quality${leftOut}${gaps})` : "";
    return element("section", { class: "lane" }, element("h3", {}, track.label, element("small", {}, note)), canvas, this.movementLane(track));
  }

  // The movements of a person, or why there are none; if none were measured for anybody, one line below all lanes says so.
  movementLane(track) {
    if (!this.showsMovements || !this.isAnyMeasured) return null;
    if (!isMeasured(track)) return element("p", { class: "mute" }, whyNotMeasured(track));
    const canvas = element("canvas", { class: "movements", role: "img", "aria-label": `movements of ${track.label}: ${describeMovements(this.movementsOf(track.id))}` });
    this.movementCanvases.set(track.id, canvas);
    return canvas;
  }

  movementsOf(id) {
    return this.data.movements.filter((movement) => movement.track_id === id);
  }

  // The codes of a person, below the lane of the same person.
  codedLane(lane) {
    const title = this.codedTitle(lane);
    const canvas = element("canvas", { role: "img", "aria-label": title });
    this.codedCanvases.set(lane, canvas);
    const note = lane.track_id === null ? lane.agreement || "no person of this name or number here: name one in the list People" : lane.agreement;
    return element("section", { class: "lane" }, element("h3", {}, title, element("small", {}, note)), canvas);
  }

  codedTitle({ track_id, person }) {
    const name = this.data.tracks.find((track) => track.id === track_id)?.label ?? person;
    return name ? `codes of ${name}` : "codes";
  }

  listen() {
    let start = null;
    this.lanes.addEventListener("pointerdown", (event) => {
      start = { x: event.clientX, from_ms: this.from_ms, to_ms: this.to_ms, moved: false };
      this.lanes.setPointerCapture(event.pointerId);
    });
    this.lanes.addEventListener("pointermove", (event) => {
      if (!start) return this.hover(event, this.timeAt(event));
      const by = event.clientX - start.x;
      start.moved ||= Math.abs(by) > DRAG_PX;
      if (!start.moved) return;
      const by_ms = (-by * (start.to_ms - start.from_ms)) / this.plot_px;
      this.look(start.from_ms + by_ms, start.to_ms + by_ms);
    });
    this.lanes.addEventListener("pointerup", (event) => {
      if (start && !start.moved) this.click(event);
      start = null;
    });
    this.lanes.addEventListener("pointercancel", () => (start = null));
    this.lanes.addEventListener("pointerleave", () => (this.tooltip.hidden = true));
    this.lanes.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    const pan = (event) => {
      const middle_ms = this.first_ms + this.share(event) * (this.last_ms - this.first_ms);
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

  wheel(event) {
    const sideways = event.shiftKey ? event.deltaY : event.deltaX;
    if (event.ctrlKey) this.zoom(event.deltaY > 0 ? 1.25 : 0.8, this.timeAt(event));
    else if (sideways) {
      const by_ms = (sideways * (this.to_ms - this.from_ms)) / this.plot_px;
      this.look(this.from_ms + by_ms, this.to_ms + by_ms);
    } else return; // the page scrolls
    event.preventDefault();
  }

  // A click on a marker or a movement goes to its start, elsewhere to the moment under the pointer.
  click(event) {
    const [movement] = this.movementsUnder(event);
    if (movement) return this.seek(movement.start_s);
    const box = this.markers?.getBoundingClientRect();
    const isOnMarkers = box && event.clientY >= box.top && event.clientY < box.bottom;
    const row = isOnMarkers ? Math.floor((event.clientY - box.top) / MARKER_PX) : -1;
    const rows = stackMarkers(this.data.markers);
    const marker = isOnMarkers && this.markersAt(this.timeAt(event)).find((each) => rows[this.data.markers.indexOf(each)] === row);
    this.seek(marker ? marker.start_s : this.timeAt(event) / 1000);
  }

  // The movements under the pointer: while it is captured, all events have the same target, so that its position counts.
  movementsUnder(event) {
    for (const [id, canvas] of this.movementCanvases) {
      const y = event.clientY - canvas.getBoundingClientRect().top;
      if (y >= 0 && y < MOVEMENTS_PX) return movementsAt(this.movementsOf(id), this.timeAt(event), y, this.view());
    }
    return [];
  }

  get width_px() {
    return this.lanes.clientWidth || 900;
  }

  get plot_px() {
    return Math.max(1, this.width_px - GUTTER_PX);
  }

  share(event) {
    const x = event.clientX - this.lanes.getBoundingClientRect().left - GUTTER_PX;
    return Math.min(1, Math.max(0, x / this.plot_px));
  }

  timeAt(event) {
    return this.from_ms + this.share(event) * (this.to_ms - this.from_ms);
  }

  zoom(factor, around_ms = this.time_ms ?? (this.from_ms + this.to_ms) / 2) {
    const middle_ms = Math.min(Math.max(around_ms, this.from_ms), this.to_ms);
    this.look(middle_ms - (middle_ms - this.from_ms) * factor, middle_ms + (this.to_ms - middle_ms) * factor);
  }

  showAll() {
    this.look(this.first_ms, this.last_ms);
  }

  look(from_ms, to_ms) {
    const all_ms = this.last_ms - this.first_ms;
    const range_ms = Math.min(Math.max(to_ms - from_ms, MIN_RANGE_MS), all_ms);
    this.from_ms = Math.round(Math.min(Math.max(from_ms, this.first_ms), this.last_ms - range_ms));
    this.to_ms = Math.round(this.from_ms + range_ms);
    this.draw(); // the known values, stretched, until the new ones arrive
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.fetch(), FETCH_DELAY_MS);
  }

  // Also the values of the overview: its known ones are outdated.
  fetchAll() {
    this.whole = null;
    this.fetch();
  }

  async fetch() {
    this.pending?.abort();
    this.pending = new AbortController();
    const { signal } = this.pending;
    const bins = Math.max(100, Math.round(this.plot_px / 2));
    const get = (from_ms, to_ms) => request(`window/${this.data.video.id}`, { from_ms, to_ms, bins, source: this.source }, signal);
    try {
      this.window = await get(this.from_ms, this.to_ms);
      this.draw();
      if (this.window.from_ms === this.first_ms && this.window.to_ms === this.last_ms) this.whole = this.window;
      this.whole ??= await get(this.first_ms, this.last_ms);
      this.draw();
    } catch (error) {
      if (error.name !== "AbortError") this.rangeText.textContent = error.message;
    }
  }

  resize() {
    if (this.drawnWidth_px === this.width_px) return;
    this.drawnWidth_px = this.width_px;
    this.draw();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.fetch(), FETCH_DELAY_MS);
  }

  // A canvas with as many real pixels as the screen has.
  prepare(canvas, height_px) {
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(this.width_px * ratio);
    canvas.height = Math.round(height_px * ratio);
    canvas.style.height = `${height_px}px`;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    return context;
  }

  // Lanes share the height of the window: low with many people, high with one.
  laneHeight_px(id) {
    if (this.unlabeled.has(id)) return UNLABELED_PX;
    const n_unlabeled = [...this.canvases.keys()].filter((each) => this.unlabeled.has(each)).length;
    const n_labeled = this.canvases.size - n_unlabeled;
    const coded_px = this.codedCanvases.size * (CODES_PX + LANE_TITLE_PX) + this.movementCanvases.size * (MOVEMENTS_PX + MOVEMENTS_MARGIN_PX);
    const free_px = window.innerHeight - AROUND_LANES_PX - coded_px - n_unlabeled * (UNLABELED_PX + LANE_TITLE_PX);
    const max_px = window.innerWidth <= NARROW_PX ? MAX_NARROW_LANE_PX : Math.min(MAX_LANE_PX, this.visible_px());
    return Math.round(Math.max(Math.min(free_px / n_labeled - LANE_TITLE_PX, max_px), MIN_LANE_PX));
  }

  // The height at which the first lane and its movements end in the window, before the page is scrolled.
  visible_px() {
    const [canvas] = this.canvases.values();
    const scrolled_px = document.querySelector('[data-testid="stMain"]')?.scrollTop ?? 0;
    const movements_px = this.movementCanvases.size ? MOVEMENTS_PX + MOVEMENTS_MARGIN_PX : 0;
    return window.innerHeight - canvas.getBoundingClientRect().top - scrolled_px - movements_px - BELOW_LANE_PX;
  }

  view() {
    const style = getComputedStyle(this.lanes);
    const colors = this.data.emotions.map((emotion) => this.data.colors[emotion]);
    return { from_ms: this.from_ms, to_ms: this.to_ms, width_px: this.width_px, style: this.style, ink: style.color, colors };
  }

  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => {
      const view = this.view();
      const tracks = new Map((this.window?.tracks ?? []).map((track) => [track.id, track]));
      // What is above the lanes comes first, because the height of lanes depends on where they begin.
      this.drawOverview(view);
      this.sayRange();
      drawRuler(this.prepare(this.ruler, RULER_PX), view);
      if (this.markers) {
        const rows = stackMarkers(this.data.markers);
        drawMarkers(this.prepare(this.markers, (Math.max(...rows) + 1) * MARKER_PX), this.data.markers, rows, view);
      }
      for (const [id, canvas] of this.canvases) {
        const height_px = this.laneHeight_px(id);
        drawLane(this.prepare(canvas, height_px), tracks.get(id), view, height_px, this.data.markers);
      }
      for (const [id, canvas] of this.movementCanvases) {
        drawMovements(this.prepare(canvas, MOVEMENTS_PX), this.movementsOf(id), tracks.get(id), view);
      }
      for (const [lane, canvas] of this.codedCanvases) drawCodes(this.prepare(canvas, CODES_PX), lane.spans, view);
      this.placeCursor();
    });
  }

  drawOverview(view) {
    const whole = { ...view, from_ms: this.first_ms, to_ms: this.last_ms };
    const known = new Map(((this.whole ?? this.window)?.tracks ?? []).map((track) => [track.id, track]));
    const tracks = [...this.canvases.keys()].map((id) => known.get(id)); // in the order of the lanes
    drawOverview(this.prepare(this.overview, overviewHeight_px(tracks.length)), tracks, whole, view, this.time_ms ?? this.first_ms);
  }

  sayRange() {
    const range_s = (this.to_ms - this.from_ms) / 1000;
    const bin_ms = this.window?.bin_ms;
    const resolution = bin_ms ? ` · each value is the average over ${bin_ms} ms, or one frame` : "";
    this.rangeText.textContent = `${clock(this.from_ms / 1000, 1)} to ${clock(this.to_ms / 1000, 1)} · ${range_s.toFixed(1)} s shown${resolution}`;
  }

  // The chart as it is shown, for the export.
  chart() {
    const tracks = new Map((this.window?.tracks ?? []).map((track) => [track.id, track]));
    const movementsOf = (id) => (this.movementCanvases.has(id) ? [{ name: "", movements: this.movementsOf(id), track: tracks.get(id), height_px: MOVEMENTS_PX }] : []);
    const lanes = this.order.flatMap(({ track, lane }) =>
      lane
        ? [{ name: this.codedTitle(lane), spans: lane.spans, height_px: CODES_PX }]
        : [{ name: track.label, track: tracks.get(track.id), height_px: this.laneHeight_px(track.id) }, ...movementsOf(track.id)],
    );
    return { view: this.view(), source: this.source, colors: this.view().colors, markers: this.data.markers, lanes };
  }

  showTime(time_s) {
    this.time_ms = 1000 * time_s;
    const range_ms = this.to_ms - this.from_ms;
    const outside = this.time_ms < this.from_ms || this.time_ms > this.to_ms;
    if (outside && range_ms < this.last_ms - this.first_ms) this.look(this.time_ms - 0.1 * range_ms, this.time_ms + 0.9 * range_ms);
    this.placeCursor();
    this.drawOverview(this.view());
  }

  placeCursor() {
    const share = ((this.time_ms ?? 0) - this.from_ms) / (this.to_ms - this.from_ms);
    this.cursor.hidden = share < 0 || share > 1;
    this.cursor.style.transform = `translateX(${GUTTER_PX + share * this.plot_px}px)`;
  }

  hover(event, time_ms) {
    const canvas = event.composedPath().find((node) => node.tagName === "CANVAS");
    if (canvas && canvas === this.markers) {
      return this.tell(event, this.markersAt(time_ms).map(describeSpan));
    }
    const moving = [...this.movementCanvases].find(([, other]) => other === canvas)?.[0];
    if (moving !== undefined) return this.tell(event, this.movementWords(event, moving, time_ms));
    const coded = [...this.codedCanvases].find(([, other]) => other === canvas)?.[0];
    if (coded) return this.tell(event, coded.spans.filter((span) => isDuring(span, time_ms)).map(describeSpan));
    const id = [...this.canvases].find(([, other]) => other === canvas)?.[0];
    const track = this.window?.tracks.find((each) => each.id === id);
    const row = track?.start_ms.findLastIndex((start_ms, index) => start_ms <= time_ms && time_ms <= track.end_ms[index]);
    if (row === undefined || row < 0) return this.tell(event, []);
    const shares = this.data.emotions
      .map((emotion, index) => [track.p[index][row], emotion])
      .filter(([p]) => p !== null && p >= 20)
      .sort(([a], [b]) => b - a)
      .map(([p, emotion]) => `${emotion} ${(p / 1000).toFixed(2)}`);
    const low = track.low_quality[row] ? [`${Math.round(track.low_quality[row] / 10)} % low quality`] : [];
    const left = track.left_out[row] ? [`${Math.round(track.left_out[row] / 10)} % left out by --speech`] : [];
    this.tell(event, [clock(time_ms / 1000), ...shares, ...low, ...left]);
  }

  movementWords(event, id, time_ms) {
    const here = this.movementsUnder(event).map(describeMovement);
    if (here.length) return here;
    const isKnown = isMeasuredAt(this.window?.tracks.find((track) => track.id === id), time_ms);
    return [clock(time_ms / 1000), isKnown ? "no movement" : "movements not measured"];
  }

  markersAt(time_ms) {
    return this.data.markers.filter((marker) => isDuring(marker, time_ms));
  }

  // The tooltip beside the pointer; hidden if it has no text.
  tell(event, words) {
    this.tooltip.hidden = !words.length;
    this.tooltip.textContent = words.join(" · ");
    const box = this.lanes.parentElement.parentElement.getBoundingClientRect();
    this.tooltip.style.left = `${Math.max(0, Math.min(event.clientX - box.left + 12, box.width - 260))}px`;
    this.tooltip.style.top = `${event.clientY - box.top + 16}px`;
  }

  close() {
    this.resized.disconnect();
    this.shifted.disconnect();
    window.removeEventListener("resize", this.onResize);
    this.pending?.abort();
    clearTimeout(this.timer);
    cancelAnimationFrame(this.frame);
  }
}
