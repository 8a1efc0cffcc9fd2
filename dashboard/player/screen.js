// The video, the boxes over its faces, and what moves it.

import { ask, clock, element, inkOn, mediaUrl } from "./words.js";

const CHUNK_S = 8; // of boxes, asked for at a time
const KEPT_CHUNKS = 12;
const INTO_FRAME_S = 0.001; // just after the start of a frame, so that no rounding shows the one before it

export class Screen {
  constructor(parent, data, { onTime, onLink }) {
    this.onTime = onTime;
    this.chunks = new Map(); // chunk number -> its frames and faces, or null while they are on their way
    this.time_s = 0;
    this.video = element("video", { preload: "auto", playsinline: true, "aria-label": "the video" });
    this.video.muted = false;
    this.overlay = element("div", { class: "overlay", "aria-hidden": "true" });
    this.stage = element("div", { class: "stage" }, this.video, this.overlay);
    this.playButton = this.button("▶", "play or pause (space)", () => this.toggle());
    this.clockText = element("span", { class: "clock", "aria-live": "off" });
    this.status = element("div", { class: "status", role: "status" });
    const controls = element(
      "div",
      { class: "controls" },
      this.playButton,
      this.button("‹ 1 s", "back one second (left arrow)", () => this.skip(-1)),
      this.button("1 s ›", "on one second (right arrow)", () => this.skip(1)),
      this.button("‹ ,", "back one frame (comma)", () => this.step(-1)),
      this.button(". ›", "on one frame (full stop)", () => this.step(1)),
      this.button("link", "copy a link to this moment", onLink),
      this.clockText,
    );
    parent.append(element("section", { class: "card", "aria-label": "video" }, this.stage, controls, this.status));
    for (const name of ["play", "pause", "ended"]) this.video.addEventListener(name, () => this.showState());
    for (const name of ["timeupdate", "seeked", "loadeddata"]) {
      this.video.addEventListener(name, () => this.moved(this.video.currentTime + this.data.video.start_s));
    }
    this.video.addEventListener("error", () => {
      if (this.video.getAttribute("src")) this.say("this browser cannot play the file: make a preview copy above");
    });
    this.alive = true;
    this.everyFrame();
    this.update(data);
  }

  button(text, name, action) {
    return element("button", { type: "button", "aria-label": name, title: name, onclick: action }, text);
  }

  update(data) {
    const { video } = data;
    const source = video.playable ? mediaUrl(video.id, video.version) : "";
    const changed = source !== this.source;
    if (data.video.id !== this.data?.video.id) this.chunks.clear();
    this.data = data;
    this.source = source;
    this.names = new Map(data.tracks.map((track) => [track.id, track.name]));
    this.hidden = new Set(data.tracks.filter((track) => track.hidden).map((track) => track.id));
    const ratio = (video.width_px || 16) / (video.height_px || 9);
    this.stage.style.aspectRatio = ratio;
    this.stage.style.width = `min(100%, calc(60vh * ${ratio}))`;
    this.video.hidden = !source;
    if (changed && source) this.video.src = source;
    if (changed && !source) this.video.removeAttribute("src");
    if (!source) this.say("no picture to show; times and boxes are");
    this.draw();
  }

  // One call for each picture that is shown, with its own time, so that boxes never lag.
  everyFrame() {
    if (!this.video.requestVideoFrameCallback) return;
    this.video.requestVideoFrameCallback((now, { mediaTime }) => {
      if (!this.alive) return;
      if (!this.video.paused) this.moved(mediaTime + this.data.video.start_s); // else it is where it was sent
      this.everyFrame();
    });
  }

  moved(time_s) {
    this.time_s = time_s;
    this.clockText.textContent = `${clock(time_s)} / ${clock(this.data.video.duration_s)}`;
    this.onTime(time_s);
    this.draw();
  }

  seek(time_s) {
    const end_s = this.data.video.start_s + this.data.video.duration_s;
    const to_s = Math.min(Math.max(time_s, this.data.video.start_s), Math.max(end_s - 2 * INTO_FRAME_S, 0));
    if (this.source) this.video.currentTime = to_s - this.data.video.start_s + INTO_FRAME_S;
    this.moved(to_s);
  }

  skip(by_s) {
    this.seek(this.time_s + by_s);
  }

  async step(by) {
    this.video.pause();
    const chunks = [-1, 0, 1].map((offset) => this.chunk(Math.floor(this.time_s / CHUNK_S) + offset));
    const times = (await Promise.all(chunks)).flatMap((chunk) => chunk?.frames_s ?? []);
    const here = times.findLastIndex((time_s) => time_s <= this.time_s + 0.002);
    const to_s = times[Math.min(Math.max(here + by, 0), times.length - 1)];
    if (to_s !== undefined) this.seek(to_s);
  }

  toggle() {
    if (!this.source) return;
    if (this.video.paused) this.video.play().catch((error) => this.say(error.message));
    else this.video.pause();
  }

  showState() {
    this.playButton.textContent = this.video.paused ? "▶" : "❚❚";
  }

  say(words) {
    this.status.textContent = words;
  }

  async chunk(number) {
    if (number < 0) return null;
    if (!this.chunks.has(number)) {
      const from_s = number * CHUNK_S;
      const asked = ask(`boxes/${this.data.video.id}`, { from_s, to_s: from_s + CHUNK_S }).catch((error) => {
        this.chunks.delete(number);
        this.say(error.message);
        return null;
      });
      this.chunks.set(number, asked);
      while (this.chunks.size > KEPT_CHUNKS) this.chunks.delete(this.chunks.keys().next().value);
    }
    return this.chunks.get(number);
  }

  async draw() {
    const time_s = this.time_s;
    const number = Math.floor((time_s + 0.002) / CHUNK_S);
    const chunk = await this.chunk(number);
    if (!this.alive || time_s !== this.time_s) return; // it has moved on meanwhile
    if (!this.video.paused) this.chunk(number + 1);
    this.overlay.replaceChildren(...this.boxes(chunk, time_s));
  }

  boxes(chunk, time_s) {
    const frame_s = chunk?.frames_s.findLast((frame) => frame <= time_s + 0.002);
    if (frame_s === undefined) return [];
    const { width_px, height_px } = this.data.video;
    return chunk.faces
      .filter(([pts_s, track]) => Math.abs(pts_s - frame_s) < 0.0005 && !this.hidden.has(track))
      .map(([, track, x1, y1, x2, y2, label, probability, good, reason]) => {
        const color = (good && this.data.colors[label]) || "#888888";
        const said = good && label ? `${label} ${probability.toFixed(2)}` : (reason ?? "").replaceAll("_", " ");
        const name = track === null ? "passing" : this.names.get(track);
        const tag = ["tag", x1 > 0.7 * width_px && "leftwards", y1 < 0.1 * height_px && "inside"].filter(Boolean);
        const words = element("span", { class: tag.join(" ") }, `${name} · ${said}`);
        const box = element("div", { class: "box" }, words);
        box.style.left = `${(100 * x1) / width_px}%`;
        box.style.top = `${(100 * y1) / height_px}%`;
        box.style.width = `${(100 * (x2 - x1)) / width_px}%`;
        box.style.height = `${(100 * (y2 - y1)) / height_px}%`;
        box.style.setProperty("--emotion", color);
        box.style.setProperty("--ink", inkOn(color));
        return box;
      });
  }

  close() {
    this.alive = false;
    this.video.pause();
    this.video.removeAttribute("src");
  }
}
