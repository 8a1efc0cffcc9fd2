// The video or still image, the boxes over its faces, and its controls.

import { button, clock, element, loadSetting, refusalOf, request, routeUrl, saveSetting } from "./dom.js";
import { drawFaces } from "./overlay.js";

const CHUNK_S = 8; // boxes are requested for so many seconds at a time
const MAX_CHUNKS = 12;
const ROUNDING_S = 0.002; // a frame this little after a time counts as shown at it
const INTO_FRAME_S = 0.001; // just after the start of a frame, so that rounding never shows the one before it
const NO_LANDMARKS = "No landmarks are stored for this video: analyze it with `fervid analyze --keep-landmarks` to see them. The tags show what was measured on them.";
const SPEEDS = [0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 4];

// The response of the route `boxes` with its faces as objects.
function byName({ columns, faces, ...rest }) {
  return { ...rest, faces: faces.map((row) => Object.fromEntries(columns.map((name, index) => [name, row[index]]))) };
}

const chunkNumber = (time_s) => Math.floor((time_s + ROUNDING_S) / CHUNK_S);

export class Screen {
  constructor(parent, data, { onTime, onLink, onHelp }) {
    this.onTime = onTime;
    this.chunks = new Map(); // number of the chunk -> promise of its frames and faces
    this.time_s = 0;
    this.source = "smooth";
    this.loop = null; // the time range that repeats
    this.show = { boxes: loadSetting("boxes", true), tags: loadSetting("tags", true), landmarks: loadSetting("landmarks", false) };
    this.video = element("video", { preload: "auto", playsinline: true, "aria-label": "the video" });
    this.video.volume = loadSetting("volume", 1);
    this.video.muted = loadSetting("muted", false);
    this.image = element("img", { alt: "the image" });
    this.overlay = element("div", { class: "overlay", "aria-hidden": "true" });
    this.stage = element("div", { class: "stage" }, this.video, this.image, this.overlay);
    this.status = element("div", { class: "status", role: "status" });
    parent.append(element("section", { class: "card screen", "aria-label": "video" }, this.stage, this.controls(onLink, onHelp), this.status));
    for (const name of ["play", "pause", "ended"]) this.video.addEventListener(name, () => this.showState());
    this.video.addEventListener("ended", () => this.loop && this.playLoop()); // of an episode that lasts until the end
    for (const name of ["timeupdate", "seeked", "loadeddata"]) {
      this.video.addEventListener(name, () => this.moved(this.position_s));
    }
    for (const shown of [this.video, this.image]) shown.addEventListener("error", () => this.explainError());
    this.video.addEventListener("click", () => this.toggle());
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(this.stage);
    this.alive = true;
    this.everyFrame();
    this.update(data);
  }

  controls(onLink, onHelp) {
    const timed = { class: "timed" }; // what makes no sense for a still image
    this.playButton = button("▶", "play or pause (space)", () => this.toggle(), timed);
    this.clockText = element("span", { class: "clock timed", "aria-live": "off" });
    this.speedSelect = element(
      "select",
      { ...timed, "aria-label": "speed", title: "speed (< and >)", onchange: ({ target }) => this.setSpeed(Number(target.value)) },
      ...SPEEDS.map((speed) => element("option", { value: speed, selected: speed === 1 }, `${speed}×`)),
    );
    this.muteButton = button("", "mute (V)", () => this.toggleMute(), timed);
    this.volume = element("input", {
      ...timed, type: "range", min: 0, max: 1, step: 0.05, value: this.video.volume, "aria-label": "volume",
      oninput: ({ target }) => this.setVolume(Number(target.value)),
    });
    this.loopButton = button("loop", "repeat this episode (P)", () => this.toggleLoop(), { ...timed, "aria-pressed": "false" });
    this.boxesButton = this.switchButton("boxes", "boxes around faces (B)");
    this.tagsButton = this.switchButton("tags", "tags with name and emotion (T)");
    this.landmarksButton = this.switchButton("landmarks", "landmarks, head pose, eyes and mouth (O)");
    this.showMute();
    return element(
      "div",
      { class: "controls" },
      this.playButton,
      button("‹", "one frame back (comma)", () => this.step(-1), timed),
      button("›", "one frame forward (period)", () => this.step(1), timed),
      this.clockText,
      this.speedSelect,
      this.muteButton,
      this.volume,
      this.loopButton,
      this.boxesButton,
      this.tagsButton,
      this.landmarksButton,
      button("full", "full screen (F)", () => this.toggleFullScreen()),
      button("link", "copy a link to this moment", onLink, timed),
      button("?", "keyboard shortcuts (?)", onHelp),
    );
  }

  switchButton(name, label) {
    return button(name, label, () => this.toggleShown(name), { "aria-pressed": String(this.show[name]) });
  }

  update(data) {
    const { video } = data;
    const url = video.playable ? routeUrl(`video/${video.id}`, { v: video.version }) : "";
    const isNew = data.video.id !== this.data?.video.id;
    if (isNew) this.repeat(null);
    if (isNew || data.revision !== this.data?.revision) this.chunks.clear();
    this.data = data;
    this.names = new Map(data.tracks.map((track) => [track.id, track.label]));
    this.hidden = new Set(data.tracks.filter((track) => track.hidden).map((track) => track.id));
    const ratio = (video.width_px || 16) / (video.height_px || 9);
    this.stage.style.setProperty("--ratio", ratio);
    const shown = video.is_image_file ? this.image : this.video;
    for (const each of [this.video, this.image]) each.hidden = !url || each !== shown;
    if (url !== this.url) {
      this.url = url;
      for (const each of [this.video, this.image]) each.removeAttribute("src");
      if (url) shown.src = url;
      this.say(url ? "" : `No preview available; ${video.is_image ? "the" : "the timeline and"} face boxes still work.`);
    }
    this.showClock();
    this.draw();
  }

  // Called for each presented frame with its own time, so that boxes never lag.
  everyFrame() {
    if (!this.video.requestVideoFrameCallback) return;
    this.video.requestVideoFrameCallback((now, { mediaTime }) => {
      if (!this.alive) return;
      if (!this.video.paused) this.moved(mediaTime + this.data.video.start_s); // paused: it is where it was sent
      this.everyFrame();
    });
  }

  moved(time_s) {
    if (this.loop && !this.video.paused && time_s >= this.loop.end_s) return this.seek(this.loop.start_s);
    this.time_s = time_s;
    this.showClock();
    this.onTime(time_s);
    this.draw();
  }

  seek(time_s) {
    const end_s = this.data.video.start_s + this.data.video.duration_s;
    const to_s = Math.min(Math.max(time_s, this.data.video.start_s), Math.max(end_s - 2 * INTO_FRAME_S, 0));
    if (this.loop && (to_s < this.loop.start_s || to_s >= this.loop.end_s)) {
      this.repeat(null);
      this.say("");
    }
    if (this.url) this.video.currentTime = to_s - this.data.video.start_s + INTO_FRAME_S;
    this.time_s = to_s;
    this.showClock();
    this.onTime(to_s);
    this.draw();
  }

  // The time of the video; while it is paused, without the offset into the frame that a seek adds.
  get position_s() {
    const into_s = this.video.paused ? INTO_FRAME_S : 0;
    return Math.max(0, this.video.currentTime - into_s) + this.data.video.start_s;
  }

  skip(by_s) {
    this.seek(this.time_s + by_s);
  }

  // The time of the analyzed frame that is shown at a time; undefined before the analyzed part, and from its end on.
  frameAt(chunk, time_s) {
    const { analyzed_until_s } = this.data.video;
    if (analyzed_until_s !== null && time_s + ROUNDING_S >= analyzed_until_s) return undefined;
    return chunk?.frames_s.findLast((frame_s) => frame_s <= time_s + ROUNDING_S);
  }

  async step(by) {
    this.video.pause();
    const { time_s } = this;
    const chunk = await this.chunk(chunkNumber(time_s));
    const shown_s = this.frameAt(chunk, time_s);
    if (shown_s === undefined) return this.seek(this.neighborOutside(chunk?.frames_s ?? [], time_s, by));
    const times = (await this.chunk(chunkNumber(shown_s)))?.frames_s ?? []; // with those before and after the shown one
    const { analyzed_until_s, frame_s } = this.data.video;
    const to_s = times[times.indexOf(shown_s) + by];
    if (to_s !== undefined) this.seek(to_s);
    else if (by < 0) this.seek(shown_s - frame_s);
    else if (analyzed_until_s !== null) this.seek(Math.max(analyzed_until_s, shown_s + frame_s));
  }

  // The time of the frame before or after a time outside of the analyzed part: a frame at its edge, or one not analyzed.
  neighborOutside(frames_s, time_s, by) {
    const { analyzed_until_s, frame_s } = this.data.video;
    const to_s = time_s + by * frame_s;
    if (by > 0) return Math.min(to_s, frames_s.find((each_s) => each_s > time_s) ?? to_s);
    const last_s = frames_s.findLast((each_s) => each_s < time_s);
    return last_s === undefined || to_s + ROUNDING_S >= analyzed_until_s ? to_s : last_s;
  }

  toggle() {
    if (this.video.paused) this.play();
    else this.video.pause();
  }

  play() {
    if (this.url) this.video.play().catch((error) => error.name !== "AbortError" && this.say(error.message));
  }

  playLoop() {
    this.seek(this.loop.start_s);
    this.play();
  }

  setSpeed(speed) {
    this.video.playbackRate = speed;
    this.speedSelect.value = String(speed);
  }

  changeSpeed(by) {
    const index = SPEEDS.findLastIndex((speed) => speed <= this.video.playbackRate);
    this.setSpeed(SPEEDS[Math.min(Math.max(index + by, 0), SPEEDS.length - 1)]);
  }

  toggleMute() {
    this.video.muted = !this.video.muted;
    saveSetting("muted", this.video.muted);
    this.showMute();
  }

  setVolume(volume) {
    this.video.volume = volume;
    this.video.muted = volume === 0;
    saveSetting("volume", volume);
    this.showMute();
  }

  showMute() {
    this.muteButton.textContent = this.video.muted ? "muted" : "mute";
    this.muteButton.setAttribute("aria-pressed", String(this.video.muted));
  }

  toggleFullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.stage.requestFullscreen?.().catch((error) => this.say(error.message));
  }

  toggleShown(name) {
    this.show[name] = !this.show[name];
    saveSetting(name, this.show[name]);
    this[`${name}Button`].setAttribute("aria-pressed", String(this.show[name]));
    if (name === "landmarks") {
      this.chunks.clear(); // the landmarks are requested only while they are shown
      this.say(this.show.landmarks && !this.data.video.has_landmarks ? NO_LANDMARKS : "");
    }
    this.draw();
  }

  // Repeats the chosen episode, else the one at this moment.
  toggleLoop() {
    const here = (episode) => episode.start_s <= this.time_s && this.time_s < episode.end_s;
    const hidden = (episode) => this.hidden.has(episode.track_id);
    const episode = [this.chosen, ...this.data.episodes].find((each) => each && here(each) && !hidden(each));
    this.repeat(this.loop || !episode ? null : episode);
    if (this.loop) this.say(`Repeating ${clock(episode.start_s)} to ${clock(episode.end_s)}.`);
    else this.say(episode ? "" : "There is no episode at this moment to repeat.");
  }

  // Repeats an episode until the user goes to a time outside of it; null for none.
  repeat(episode) {
    this.loop = episode;
    this.loopButton.setAttribute("aria-pressed", String(Boolean(episode)));
  }

  setSource(source) {
    this.source = source;
    this.chunks.clear();
    this.draw();
  }

  showClock() {
    this.clockText.textContent = `${clock(this.time_s)} / ${clock(this.data.video.duration_s, 1)}`;
  }

  showState() {
    this.playButton.textContent = this.video.paused ? "▶" : "❚❚";
  }

  say(words) {
    this.status.textContent = words;
  }

  async explainError() {
    if (!this.url) return;
    this.say((await refusalOf(this.url)) ?? "This browser cannot show the file.");
  }

  async chunk(number) {
    if (!this.chunks.has(number)) {
      const range = { from_s: number * CHUNK_S - ROUNDING_S, to_s: (number + 1) * CHUNK_S, source: this.source, landmarks: this.show.landmarks };
      const requested = request(`boxes/${this.data.video.id}`, range).then(byName).catch((error) => {
        this.chunks.delete(number);
        this.say(error.message);
        return null;
      });
      this.chunks.set(number, requested);
      while (this.chunks.size > MAX_CHUNKS) this.chunks.delete(this.chunks.keys().next().value);
    }
    return this.chunks.get(number);
  }

  async draw() {
    const time_s = this.time_s;
    const number = chunkNumber(time_s);
    const chunk = await this.chunk(number);
    if (!this.alive || time_s !== this.time_s) return; // it has moved on meanwhile
    if (!this.video.paused) this.chunk(number + 1);
    this.overlay.replaceChildren(...this.faces(chunk, time_s));
  }

  faces(chunk, time_s) {
    const frame_s = this.frameAt(chunk, time_s);
    if (frame_s === undefined) return [];
    const faces = chunk.faces.filter(({ pts_s, track }) => Math.abs(pts_s - frame_s) < 0.0005 && !this.hidden.has(track));
    const size = { width: this.overlay.clientWidth, height: this.overlay.clientHeight };
    const { video, colors } = this.data;
    const font = getComputedStyle(this.overlay).fontFamily;
    return drawFaces(faces, { video, colors, names: this.names, size, show: this.show, font });
  }

  close() {
    this.alive = false;
    this.resized.disconnect();
    this.video.pause();
    this.video.removeAttribute("src");
  }
}
