// Who is in the video, under which name, and the episodes: each a way to its moment.

import { clock, element, percent } from "./words.js";

const SHOWN_EPISODES = 200;

export class People {
  constructor(parent, data, { seek, edit }) {
    this.seek = seek;
    this.edit = edit;
    this.people = element("ul", { class: "rows" });
    this.undo = element(
      "button",
      { type: "button", class: "quiet", onclick: () => edit({ kind: "undo", step: this.data.steps.at(-1).id }) },
      "undo the last change",
    );
    this.episodes = element("ul", { class: "rows scroll", tabindex: "0", "aria-label": "episodes" });
    parent.append(
      element("section", { class: "card", "aria-label": "people" }, element("h2", {}, "People"), this.people, this.undo),
      element("section", { class: "card" }, element("h2", {}, "Episodes"), this.episodes),
    );
    this.update(data);
  }

  update(data) {
    this.data = data;
    const names = new Map(data.tracks.map((track) => [track.id, track.name]));
    const hidden = new Set(data.tracks.filter((track) => track.hidden).map((track) => track.id));
    this.undo.hidden = !data.steps.length;
    this.people.replaceChildren(...data.tracks.flatMap((track) => this.person(track)));
    const episodes = data.episodes.filter((episode) => !hidden.has(episode.track_id));
    const rows = episodes.slice(0, SHOWN_EPISODES).map((episode) => this.episode(episode, names));
    const left = episodes.length - SHOWN_EPISODES;
    if (left > 0) rows.push(element("li", { class: "mute" }, `${left} more: page Moments has them all`));
    if (!rows.length) rows.push(element("li", { class: "mute" }, "no emotion is clear for long enough"));
    this.episodes.replaceChildren(...rows);
  }

  person(track) {
    const name = element("input", {
      type: "text",
      value: track.name,
      maxlength: "60",
      "aria-label": `name of ${track.name}`,
      onchange: ({ target }) =>
        this.edit({ kind: "name", track_id: track.id, value: target.value, nonce: Date.now() }),
    });
    const hide = element(
      "button",
      {
        type: "button",
        class: "quiet",
        "aria-pressed": String(track.hidden),
        "aria-label": `${track.hidden ? "show" : "hide"} ${track.name}`,
        onclick: () => this.edit({ kind: "hidden", track_id: track.id, value: !track.hidden, nonce: Date.now() }),
      },
      track.hidden ? "show" : "hide",
    );
    const shares = this.data.emotions
      .map((emotion, index) => [track.shares[index], emotion])
      .filter(([share]) => share >= 0.005)
      .sort(([a], [b]) => b - a)
      .slice(0, 2)
      .map(([share, emotion]) => `${emotion} ${percent(share)}`);
    const said = [`${clock(track.seen_s, track.seen_s < 10 ? 1 : 0)} seen`, ...shares].join(" · ");
    const rows = [
      element(
        "li",
        { class: track.hidden ? "person hidden" : "person" },
        this.swatch(track.emotion),
        name,
        element("span", { class: "mute" }, said),
        hide,
      ),
    ];
    if (track.switch_s !== null) {
      const look = { type: "button", class: "quiet warn", onclick: () => this.seek(track.switch_s) };
      rows.push(element("li", {}, element("button", look, `possible identity switch at ${clock(track.switch_s)}`)));
    }
    return rows;
  }

  episode({ track_id, emotion, start_s, end_s, apex_s, peak }, names) {
    const words = `${emotion} · ${names.get(track_id)}`;
    const when = `${clock(start_s)} to ${clock(end_s)} · peak ${peak.toFixed(2)}`;
    const label = `${words}, ${when}: show its peak`;
    return element(
      "li",
      {},
      element(
        "button",
        { type: "button", class: "row", "aria-label": label, onclick: () => this.seek(apex_s) },
        element("span", {}, this.swatch(emotion), words),
        element("span", { class: "mute" }, when),
      ),
    );
  }

  swatch(emotion) {
    const swatch = element("span", { class: "swatch", "aria-hidden": "true" });
    swatch.style.background = this.data.colors[emotion] ?? "#888";
    return swatch;
  }
}
