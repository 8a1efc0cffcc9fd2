// Thumbnails, drawn in the browser from the video or image itself when they come into view; they are stored nowhere.

import { element, refusalOf, routeUrl } from "./dom.js";

const WIDTH_PX = 112;
const HEIGHT_PX = 63;
const TIMEOUT_MS = 60_000; // on a busy machine, a video may load slowly
const MAX_KEPT = 300;
// Kept until the page is left, because a table is drawn again with each filter.
const kept = new Map(); // "video at_s" -> canvas

export class Thumbnails {
  // `failed` maps videos of which there is no thumbnail to why; it lasts while a table is drawn again with other filters.
  constructor(failed) {
    this.failed = failed;
    this.queue = [];
    this.video = element("video", { muted: true, preload: "auto", playsinline: true });
    this.video.muted = true;
    this.observer = new IntersectionObserver((entries) => {
      for (const entry of entries.filter((each) => each.isIntersecting)) {
        this.observer.unobserve(entry.target);
        this.queue.push(entry.target);
      }
      this.work();
    });
    this.closed = false;
  }

  // A canvas that gets its image later; without an image it stays empty, and its tooltip says why.
  request({ video, at_s }) {
    const ratio = window.devicePixelRatio || 1;
    const canvas = element("canvas", { width: WIDTH_PX * ratio, height: HEIGHT_PX * ratio, "aria-hidden": "true" });
    canvas.wanted = { video, at_s };
    this.observer.observe(canvas);
    return canvas;
  }

  async work() {
    if (this.working) return;
    this.working = true;
    while (this.queue.length && !this.closed) {
      const canvas = this.queue.shift();
      try {
        await this.draw(canvas);
      } catch { /* no thumbnail: the file has moved, or this browser cannot play it */ }
    }
    this.working = false;
  }

  async draw(canvas) {
    const { video, at_s } = canvas.wanted;
    const key = `${video} ${at_s}`;
    if (kept.has(key)) return show(kept.get(key), canvas);
    if (this.failed.has(video)) return this.explain(canvas);
    if (this.source !== video) {
      this.source = video;
      this.image = null; // of a still image
      const loaded = this.event("loadeddata");
      this.video.src = routeUrl(`video/${video}`, { thumbnail: 1 });
      await loaded.catch(async (error) => {
        if (this.closed) throw error;
        this.image = await loadImage(this.video.src);
        if (this.image) return;
        this.failed.set(video, (await refusalOf(this.video.src)) ?? "This browser cannot show the file.");
        this.explain(canvas);
        throw error;
      });
    }
    if (!this.image) await this.seek(at_s);
    const shown = this.image ?? this.video;
    const ratio = this.image ? shown.naturalWidth / shown.naturalHeight : shown.videoWidth / shown.videoHeight;
    const [from, to] = [ratio, canvas.width / canvas.height];
    const [width, height] = from > to ? [canvas.width, canvas.width / from] : [canvas.height * from, canvas.height];
    const thumbnail = element("canvas", { width: canvas.width, height: canvas.height });
    thumbnail.getContext("2d").drawImage(shown, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
    kept.set(key, thumbnail);
    if (kept.size > MAX_KEPT) kept.delete(kept.keys().next().value);
    show(thumbnail, canvas);
  }

  explain(canvas) {
    canvas.title = `No thumbnail. ${this.failed.get(canvas.wanted.video)}`;
  }

  async seek(at_s) {
    const sought = this.event("seeked");
    this.video.currentTime = Math.min(at_s + 0.001, Math.max(0, this.video.duration - 0.05));
    await sought;
  }

  event(name) {
    return new Promise((resolve, reject) => {
      const stop = new AbortController();
      const timer = setTimeout(() => finish(reject, new Error("timeout")), TIMEOUT_MS);
      const finish = (settle, value) => (stop.abort(), clearTimeout(timer), settle(value));
      this.video.addEventListener(name, () => finish(resolve), { signal: stop.signal });
      this.video.addEventListener("error", () => finish(reject, new Error("cannot be played")), { signal: stop.signal });
    });
  }

  close() {
    this.closed = true;
    this.observer.disconnect();
    this.video.removeAttribute("src");
  }
}

// The image at an address; null if it is none.
async function loadImage(src) {
  const image = element("img", { src });
  return image.decode().then(() => image, () => null);
}

function show(thumbnail, canvas) {
  canvas.getContext("2d").drawImage(thumbnail, 0, 0);
  canvas.dataset.drawn = "true";
}
