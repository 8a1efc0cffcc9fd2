// The player: a video beside its timelines, synchronized both ways. Mounted by the page `timeline.py`, which passes
// `data`; everything else is requested from the routes beside the app while the user plays, zooms and pans.

import { chartPng, chartSvg } from "./chart_export.js";
import { button, clock, element, loadSetting, menu, routeUrl, saveSetting, send } from "./dom.js";
import { Lanes } from "./lanes.js";
import { People } from "./people.js";
import { Screen } from "./screen.js";

const players = new WeakMap(); // by the element that Streamlit gives: it calls again with new data
let clicked = []; // the elements of the last click, until Tab moves the focus; another video has another player
document.addEventListener("pointerdown", (event) => (clicked = event.composedPath()), { capture: true });
document.addEventListener("keydown", ({ key }) => key === "Tab" && (clicked = []), { capture: true });
const [MIN_LEFT, DEFAULT_LEFT, MAX_LEFT] = [20, 36, 70]; // percent of the width
const MIN_MARKER_S = 0.04;
// What the space bar presses by itself.
const PRESSABLE = "a, button, input, summary, " + ["button", "checkbox", "menuitem", "option", "radio", "switch", "tab"].map((role) => `[role=${role}]`).join(", ");
// Streamlit's select boxes keep the focus after a selection with the mouse. Until the list is opened again or Tab is pressed, keys control the video.
const isClosedList = (node) => clicked.length > 0 && node.getAttribute?.("role") === "combobox" && node.getAttribute("aria-expanded") === "false";
const SLOW_MS = 400; // an edit that takes longer is reported
const FILES = [
  ["faces.csv", "all rows, CSV"], ["faces.parquet", "all rows, Parquet"], ["episodes.csv", "episodes, CSV"],
  ["markers.csv", "markers, CSV"], ["subtitles.srt", "subtitles, SRT"], ["subtitles.vtt", "subtitles, WebVTT"],
];
const SHORTCUTS = [
  ["Space, K", "play, pause"], ["J, L", "5 s back, forward"], ["← →", "1 s back, forward"], [", .", "one frame back, forward"],
  ["< >", "slower, faster"], ["V", "mute"], ["F", "full screen"], ["P", "repeat the episode"], ["B", "boxes"], ["T", "tags"], ["O", "landmarks"],
  ["M", "begin and end a marker"], ["Esc", "cancel the marker"], ["+ −", "zoom in, out"], ["0", "show the whole video"], ["?", "this list"],
];

const KEYS_OF_IMAGES = ["f", "b", "t", "o", "?"];

export function mount({ parentElement, data, setTriggerValue }) {
  const known = players.get(parentElement);
  if (known) known.update(data);
  else players.set(parentElement, new Player(parentElement, data, setTriggerValue));
  return () => {
    players.get(parentElement)?.close();
    players.delete(parentElement);
  };
}

class Player {
  constructor(parent, data, setTriggerValue) {
    this.data = data;
    this.setTriggerValue = setTriggerValue;
    this.lastEdit = Promise.resolve();
    this.lastMarker = 0; // the number in the label of the last marker made here, which may not be stored yet
    this.root = element("div", { class: data.video.is_image ? "player still" : "player", tabindex: "-1" });
    parent.append(this.root);
    this.left = element("div", { class: "left" });
    const right = element("div", { class: "right card" });
    this.root.append(this.left, this.splitter(), right, this.help());
    const seek = (time_s) => this.screen.seek(time_s);
    this.screen = new Screen(this.left, data, {
      onTime: (time_s) => this.lanes?.showTime(time_s),
      onLink: () => this.link(),
      onHelp: () => this.toggleHelp(),
    });
    this.people = new People(this.left, data, {
      seek,
      choose: (episode) => (this.screen.chosen = episode),
      edit: (step) => this.store(step),
      now: () => this.screen.time_s,
      say: (words) => this.screen.say(words),
      mark: () => this.mark(),
      cancelMark: () => this.cancelMarker(),
    });
    this.lanes = new Lanes(right, data, { seek, onSource: (source) => this.screen.setSource(source), menu: this.exportMenu() });
    this.keys = (event) => this.press(event);
    document.addEventListener("keydown", this.keys, { capture: true });
    this.pointer = (event) => this.closeMenu((menu) => event.composedPath().includes(menu));
    document.addEventListener("pointerdown", this.pointer, { capture: true });
    // After a choice with the mouse, the keys are for the video again.
    this.root.addEventListener("change", ({ target }) => clicked.length > 0 && target.tagName === "SELECT" && target.blur());
    this.root.addEventListener("focusout", ({ relatedTarget }) => relatedTarget && this.closeMenu((menu) => menu.contains(relatedTarget)));
    this.screen.seek(data.at_s ?? 0);
    if (data.play) this.playOnce();
  }

  update(data) {
    const moved = data.at_s !== this.data.at_s || data.video.id !== this.data.video.id;
    this.data = data;
    this.screen.update(data);
    this.people.update(data);
    this.lanes.update(data);
    if (moved) this.screen.seek(data.at_s ?? 0);
    if (moved && data.play) this.playOnce();
  }

  // Without the parameter in the address, a reload does not play the video again.
  playOnce() {
    this.screen.play();
    const url = new URL(location.href);
    url.searchParams.delete("play");
    history.replaceState(history.state, "", url);
  }

  // Edits are stored one after another; each leads to new data, or to a message that says why it was not stored.
  store(edit) {
    const { id } = this.data.video;
    this.lastEdit = this.lastEdit.then(async () => {
      const slow = setTimeout(() => this.screen.say("Storing the change…"), SLOW_MS);
      try {
        await send(`edit/${id}`, edit);
        this.screen.say("");
      } catch (error) {
        this.screen.say(error.message);
      }
      clearTimeout(slow);
      this.setTriggerValue("stored", Math.random());
    });
  }

  // The handle between video and timelines, for the pointer and the arrow keys.
  splitter() {
    const handle = element("div", { class: "splitter", role: "separator", tabindex: "0", "aria-orientation": "vertical", "aria-label": "width of the video" });
    const set = (percent) => {
      const left = Math.round(Math.min(Math.max(percent, MIN_LEFT), MAX_LEFT));
      this.root.style.setProperty("--left", `${left}%`);
      for (const [name, value] of [["valuenow", left], ["valuemin", MIN_LEFT], ["valuemax", MAX_LEFT]]) handle.setAttribute(`aria-${name}`, value);
      saveSetting("left", left);
    };
    const current = () => Number(handle.getAttribute("aria-valuenow"));
    handle.addEventListener("pointerdown", (event) => handle.setPointerCapture(event.pointerId));
    handle.addEventListener("pointermove", (event) => {
      const box = this.root.getBoundingClientRect();
      if (event.buttons) set((100 * (event.clientX - box.left)) / box.width);
    });
    handle.addEventListener("dblclick", () => set(DEFAULT_LEFT));
    handle.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -2, ArrowRight: 2 }[event.key];
      if (by) set(current() + by);
    });
    set(loadSetting("left", DEFAULT_LEFT));
    return handle;
  }

  help() {
    const rows = SHORTCUTS.flatMap(([keys, meaning]) => {
      const timed = { class: KEYS_OF_IMAGES.includes(keys.toLowerCase()) ? null : "timed" };
      return [element("dt", timed, keys), element("dd", timed, meaning)];
    });
    const close = button("Close", "close the list of shortcuts", () => this.toggleHelp());
    this.dialog = element("dialog", { class: "help", "aria-label": "keyboard shortcuts" }, element("h2", {}, "Keyboard shortcuts"), element("dl", {}, ...rows), close);
    return this.dialog;
  }

  toggleHelp() {
    if (this.dialog.open) this.dialog.close();
    else this.dialog.showModal();
  }

  exportMenu() {
    const links = FILES.map(([name, text]) => {
      const link = element("a", { href: "#", download: "", class: name.startsWith("faces.") ? null : "timed" }, text);
      link.addEventListener("click", () => (link.href = routeUrl(`export/${this.data.video.id}/${name}`)));
      return link;
    });
    const svg = button("chart, SVG", "save the chart as SVG", () => this.save("svg"), { class: "timed" });
    const png = button("chart, PNG", "save the chart as PNG", () => this.save("png"), { class: "timed" });
    return menu(element("summary", { title: "save this video's data and chart" }, "Export"), svg, png, ...links);
  }

  async save(kind) {
    const chart = { title: this.data.video.name, emotions: this.data.emotions, ...this.lanes.chart() };
    const blob = kind === "svg" ? chartSvg(chart) : await chartPng(chart);
    const link = element("a", { href: URL.createObjectURL(blob), download: `${this.data.video.name}.${kind}` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  // Closes the open menu unless it contains what was clicked or gets the focus.
  closeMenu(contains) {
    const menu = this.root.querySelector("details[open]");
    if (menu && !contains(menu)) menu.open = false;
  }

  // Closes the open menu and returns to its button; false if there is none.
  leaveMenu() {
    const menu = this.root.querySelector("details[open]");
    if (!menu) return false;
    menu.querySelector("summary").focus();
    menu.open = false;
    return true;
  }

  press(event) {
    const path = event.composedPath().filter((node) => !isClosedList(node));
    const [focused] = path;
    if (path.some((node) => node.matches?.("[role=dialog]"))) return; // a dialog of the page, which is in front of the player
    if (event.key === "Escape" && (this.dialog.open || this.leaveMenu())) return;
    const typing = path.some((node) => /^(TEXTAREA|SELECT)$/.test(node.tagName ?? "") || (node.tagName === "INPUT" && node.type !== "range" && node.type !== "checkbox") || node.isContentEditable);
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const onWidget = path.some((node) => node.tagName === "INPUT" || /^(separator|slider|listbox|menu|tablist|radiogroup)$/.test(node.getAttribute?.("role") ?? ""));
    if (onWidget && event.key.startsWith("Arrow")) return;
    // Whoever moves the focus with Tab presses buttons with the space bar; after a click, it plays the video.
    if (event.key === " " && focused.matches?.(PRESSABLE) && focused !== this.screen.playButton && !clicked.includes(focused)) return;
    const { screen, lanes } = this;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (this.data.video.is_image && !KEYS_OF_IMAGES.includes(key)) return;
    const action = {
      " ": () => screen.toggle(),
      k: () => screen.toggle(),
      j: () => screen.skip(-5),
      l: () => screen.skip(5),
      ArrowLeft: () => screen.skip(-1),
      ArrowRight: () => screen.skip(1),
      ",": () => screen.step(-1),
      ".": () => screen.step(1),
      "<": () => screen.changeSpeed(-1),
      ">": () => screen.changeSpeed(1),
      v: () => screen.toggleMute(),
      f: () => screen.toggleFullScreen(),
      p: () => screen.toggleLoop(),
      b: () => screen.toggleShown("boxes"),
      t: () => screen.toggleShown("tags"),
      o: () => screen.toggleShown("landmarks"),
      m: () => this.mark(),
      Escape: this.markerStart_s === undefined ? null : () => this.cancelMarker(),
      "+": () => lanes.zoom(0.5),
      "-": () => lanes.zoom(2),
      0: () => lanes.showAll(),
      "?": () => this.toggleHelp(),
    }[key];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation(); // Streamlit has shortcuts of its own
    action();
  }

  // The first press begins a marker, the second ends it.
  mark() {
    const time_s = this.screen.time_s;
    if (this.markerStart_s === undefined) {
      this.markerStart_s = time_s;
      this.people.showMarking(true);
      this.screen.say(`Marker begins at ${clock(time_s)}. Press M again to end it, Esc to cancel.`);
      return;
    }
    const [start_s, end_s] = [Math.min(this.markerStart_s, time_s), Math.max(this.markerStart_s, time_s)];
    const numbers = this.data.markers.map(({ label }) => Number(/^marker (\d+)$/.exec(label)?.[1] ?? 0));
    this.lastMarker = Math.max(this.lastMarker, ...numbers) + 1;
    const value = { id: Math.random().toString(36).slice(2, 10), label: `marker ${this.lastMarker}`, start_s, end_s: Math.max(end_s, start_s + MIN_MARKER_S) };
    this.cancelMarker();
    this.people.edit({ kind: "marker", value });
  }

  cancelMarker() {
    this.markerStart_s = undefined;
    this.people.showMarking(false);
    this.screen.say("");
  }

  async link() {
    const url = new URL(location.href);
    url.searchParams.set("video", this.data.video.id);
    url.searchParams.set("t", this.screen.time_s.toFixed(3));
    url.searchParams.delete("play");
    history.replaceState(history.state, "", url);
    const at = clock(this.screen.time_s);
    try {
      await navigator.clipboard.writeText(url.href);
      this.screen.say(`Link to ${at} copied; it is also in the address bar.`);
    } catch {
      this.screen.say(`The link to ${at} is in the address bar; this browser did not allow copying it.`);
    }
  }

  close() {
    document.removeEventListener("keydown", this.keys, { capture: true });
    document.removeEventListener("pointerdown", this.pointer, { capture: true });
    this.screen.close();
    this.lanes.close();
    this.root.remove();
  }
}
