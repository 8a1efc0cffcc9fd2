// The player: a video beside its timelines, in step both ways. Mounted by the page `timeline.py`, which gives `data`;
// everything else is asked of the routes beside the app while one plays, zooms and pans.

import { Lanes } from "./lanes.js";
import { People } from "./people.js";
import { Screen } from "./screen.js";
import { clock, element } from "./words.js";

const players = new WeakMap(); // by the element that Streamlit gives: it calls again with new data

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
  constructor(parent, data, send) {
    this.data = data;
    this.root = element("div", { class: "player", tabindex: "-1" });
    parent.append(this.root);
    const left = element("div", { class: "left" });
    const right = element("div", { class: "right card" });
    this.root.append(left, right);
    this.screen = new Screen(left, data, {
      onTime: (time_s) => this.lanes.showTime(time_s),
      onLink: () => this.link(),
    });
    this.people = new People(left, data, {
      seek: (time_s) => this.screen.seek(time_s),
      edit: (step) => send("edit", step),
    });
    this.lanes = new Lanes(right, data, { seek: (time_s) => this.screen.seek(time_s) });
    this.keys = (event) => this.press(event);
    document.addEventListener("keydown", this.keys);
    this.screen.seek(data.at_s ?? 0);
  }

  update(data) {
    const moved = data.at_s !== this.data.at_s || data.video.id !== this.data.video.id;
    this.data = data;
    this.screen.update(data);
    this.people.update(data);
    this.lanes.update(data);
    if (moved) this.screen.seek(data.at_s ?? 0);
  }

  press(event) {
    const typing = event.composedPath().some((node) => /^(INPUT|TEXTAREA|SELECT)$/.test(node.tagName ?? ""));
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const onButton = event.composedPath().some((node) => /^(BUTTON|A|SUMMARY)$/.test(node.tagName ?? ""));
    const action = {
      " ": onButton ? null : () => this.screen.toggle(),
      ArrowLeft: () => this.screen.skip(-1),
      ArrowRight: () => this.screen.skip(1),
      ",": () => this.screen.step(-1),
      ".": () => this.screen.step(1),
      "+": () => this.lanes.zoom(0.5),
      "-": () => this.lanes.zoom(2),
    }[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  link() {
    const url = new URL(location.href);
    url.searchParams.set("video", this.data.video.id);
    url.searchParams.set("t", this.screen.time_s.toFixed(2));
    history.replaceState(history.state, "", url);
    navigator.clipboard?.writeText(url.href).catch(() => {});
    this.screen.say(`link to ${clock(this.screen.time_s)} copied; it is also in the address bar`);
  }

  close() {
    document.removeEventListener("keydown", this.keys);
    this.screen.close();
    this.lanes.close();
    this.root.remove();
  }
}
