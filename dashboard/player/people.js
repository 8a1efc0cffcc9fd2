// Who is in the video and under which name, the episodes and the markers: each leads to its moment.

import { button, clock, element, menu, percent, swatch, tabId } from "./dom.js";

const MAX_EPISODES = 200;
const MAX_LETTERS = 60; // `MAX_NAME_LENGTH` of the server
const MIN_LABELED_SHARE = 0.9; // a smaller share of the time with a label is shown

export class People {
  constructor(parent, data, { seek, choose, edit, now, say, mark, cancelMark }) {
    Object.assign(this, { seek, choose, now, say });
    this.shown = new Map(); // what each list shows, as JSON
    this.edit = (step) => {
      this.shown.clear(); // draws the lists again even if the edit changes nothing
      edit({ ...step, session: tabId() });
    };
    this.people = element("ul", { class: "rows" });
    this.undo = button("", "undo my last change", () => this.edit({ kind: "undo", step: this.mine.at(-1).id }), { class: "quiet" });
    this.corrections = element("ul", { class: "rows", "aria-label": "merged and split people" });
    this.episodes = element("ul", { class: "rows" });
    this.markers = element("ul", { class: "rows" });
    this.markButton = button("", "begin or end a marker at the current time (M)", mark);
    this.cancelMarkButton = button("Cancel", "cancel the marker (Esc)", cancelMark);
    this.showMarking(false);
    const lists = element(
      "div",
      { class: "lists", tabindex: "0", role: "region", "aria-label": "people, episodes and markers" },
      element("section", { class: "card", "aria-label": "people" }, element("h2", {}, "People"), this.people, this.undo, this.corrections),
      element("section", { class: "card", "aria-label": "episodes" }, element("h2", {}, "Episodes"), this.episodes),
      element("section", { class: "card", "aria-label": "markers" }, element("h2", {}, "Markers"), this.markers, this.markButton, this.cancelMarkButton),
    );
    parent.append(lists);
    this.update(data);
  }

  update(data) {
    this.data = data;
    const names = new Map(data.tracks.map((track) => [track.id, track.label]));
    const hidden = new Set(data.tracks.filter((track) => track.hidden).map((track) => track.id));
    this.mine = data.steps.filter((step) => step.session === tabId());
    this.undo.hidden = !this.mine.length;
    this.undo.textContent = this.mine.length ? `Undo: ${this.mine.at(-1).text}` : "";
    // Everybody can undo these, because the session that made them may have ended.
    const corrections = data.can_correct ? data.steps.filter((step) => step.is_correction) : [];
    this.redraw(this.corrections, corrections, () => corrections.map((step) => this.correction(step)));
    this.redraw(this.people, [data.numbering_id, data.tracks, data.untracked, data.can_correct], () => {
      const rows = data.tracks.flatMap((track) => this.person(track));
      rows.push(...data.untracked.map((person) => element("li", {}, `${person.label} is no longer tracked under this number: `, this.confirmation(person))));
      return rows.length ? rows : [element("li", { class: "mute" }, "No person was tracked.")];
    });
    const episodes = data.episodes.filter((episode) => !hidden.has(episode.track_id));
    this.redraw(this.episodes, [episodes, [...names]], () => {
      const rows = episodes.slice(0, MAX_EPISODES).map((episode) => this.episode(episode, names));
      const more = episodes.length - MAX_EPISODES;
      if (more > 0) rows.push(element("li", { class: "mute" }, `${more} more: save all with Export (episodes, CSV).`));
      return rows.length ? rows : [element("li", { class: "mute" }, "No emotion is clear for long enough.")];
    });
    this.redraw(this.markers, data.markers, () => data.markers.map((marker) => this.marker(marker)));
  }

  showMarking(isMarking) {
    this.markButton.textContent = isMarking ? "End the marker here" : "Begin a marker here";
    this.cancelMarkButton.hidden = !isMarking;
  }

  // Draws a list again if what it shows has changed. While the user is typing in it, this waits: the text would be lost.
  redraw(list, shown, rows) {
    const json = JSON.stringify(shown);
    if (this.shown.get(list) === json) return;
    const input = list.querySelector("input:focus");
    if (input && input.value !== input.defaultValue) {
      input.addEventListener("blur", () => setTimeout(() => this.update(this.data)), { once: true });
      return;
    }
    this.shown.set(list, json);
    list.replaceChildren(...rows());
    if (input) list.querySelector(`input[data-id="${input.dataset.id}"]`)?.focus();
  }

  // A function that changes a person of the shown analysis: the number may be of somebody else in the next one.
  editorOf(track_id) {
    const { numbering_id } = this.data;
    return (kind, value) => this.edit({ kind, track_id, value, numbering_id });
  }

  // A text that is stored when the user presses Enter or leaves it.
  textField(id, value, attributes, store) {
    return element("input", {
      type: "text",
      value,
      maxlength: MAX_LETTERS,
      "data-id": id,
      ...attributes,
      oninput: ({ target }) => target.value.length === MAX_LETTERS && this.say(`Names and labels have at most ${MAX_LETTERS} letters.`),
      onkeydown: ({ key, target }) => key === "Enter" && target.blur(),
      onchange: ({ target }) => {
        target.defaultValue = target.value;
        store(target.value);
      },
    });
  }

  person(track) {
    const labels = { "aria-label": `name of ${track.label}`, title: "rename; the same name in several videos is one participant" };
    const edit = this.editorOf(track.id);
    const name = this.textField(track.id, track.name, labels, (value) => edit("name", value));
    const shares = this.data.emotions
      .map((emotion, index) => [track.shares[index], emotion])
      .sort(([a], [b]) => b - a)
      .slice(0, 2)
      .filter(([share]) => share >= 0.005)
      .map(([share, emotion]) => `${emotion} ${percent(share)}`);
    const labeled = track.labeled_share ?? 0;
    const missing = labeled < MIN_LABELED_SHARE && shares.length ? [`labels for ${percent(labeled)} of it`] : [];
    const said = [`${clock(track.seen_s, 1)} visible`, ...missing, ...shares].join(" · ");
    const validity = `${percent(labeled)} of this time has a label; in ${percent(track.good_share ?? 0)} of it the face is of good quality${track.left_out_share ? `; --speech leaves out ${percent(track.left_out_share)} of this time` : ""}`;
    const figures = element("span", { class: "mute", title: validity }, said);
    const rows = [element("li", { class: track.hidden ? "person hidden" : "person" }, swatch(this.data.colors[track.emotion]), name, figures, this.actions(track))];
    if (track.unconfirmed) rows.push(this.doubt(track));
    if (track.switch_s !== null) {
      rows.push(element("li", {}, button(`possible identity switch at ${clock(track.switch_s)}`, `show the possible identity switch at ${clock(track.switch_s)}`, () => this.seek(track.switch_s), { class: "quiet warn" })));
    }
    return rows;
  }

  // A person who is tracked differently since they were named or hidden: leads to their first appearance.
  doubt(track) {
    const text = `tracked differently since ${track.hidden ? "hidden" : "named"}: look at ${track.label}`;
    const look = button(text, text, () => this.seek(track.start_s), { class: "quiet warn" });
    const other = track.hidden ? "or show them with ⋯" : "or type another name above";
    return element("li", {}, look, " ", this.confirmation(track), " ", element("span", { class: "mute" }, other));
  }

  confirmation({ id, label }) {
    const text = `confirm ${label}`;
    const edit = this.editorOf(id);
    return button(text, text, () => edit("confirmed", true), { class: "quiet warn" });
  }

  correction(step) {
    const undo = button("✕", `undo: ${step.text}`, () => this.edit({ kind: "undo", step: step.id }), { class: "quiet" });
    return element("li", { class: "person" }, element("span", { class: "mute" }, step.text), undo);
  }

  actions(track) {
    const edit = this.editorOf(track.id);
    const hide = button(track.hidden ? "Show" : "Hide", `${track.hidden ? "show" : "hide"} ${track.label}`, () => edit("hidden", !track.hidden));
    const others = this.data.tracks.filter((other) => other.id !== track.id);
    const merge = element(
      "select",
      { "aria-label": `merge ${track.label} with`, onchange: ({ target }) => target.value && edit("merge", Number(target.value)) },
      element("option", { value: "" }, "Merge with…"),
      ...others.map((other) => element("option", { value: other.id }, other.label)),
    );
    const split = button("Split here", `split ${track.label} at the current time`, () => edit("split", this.now()));
    const summary = element("summary", { "aria-label": `change ${track.label}`, title: "hide, merge, split" }, "⋯");
    return menu(summary, hide, others.length && this.data.can_correct ? merge : null, this.data.can_correct ? split : null);
  }

  episode(episode, names) {
    const { track_id, emotion, start_s, end_s, apex_s, peak } = episode;
    const words = `${emotion} · ${names.get(track_id)}`;
    const when = `${clock(start_s)} to ${clock(end_s)} · peak ${peak.toFixed(2)}`;
    const go = () => {
      this.choose(episode);
      this.seek(apex_s);
    };
    const row = button("", `${words}, ${when}: show its peak`, go, { class: "row" });
    row.append(element("span", {}, swatch(this.data.colors[emotion]), words), element("span", { class: "mute" }, when));
    return element("li", {}, row);
  }

  marker(marker) {
    const when = `${clock(marker.start_s)} to ${clock(marker.end_s)}`;
    const go = button(when, `show marker ${marker.label}, ${when}`, () => this.seek(marker.start_s), { class: "quiet" });
    if (!marker.id) return element("li", { class: "person" }, element("span", { class: "label" }, marker.label), go);
    const store = (value) => this.edit({ kind: "marker", value: { ...marker, label: value.trim() || marker.label } });
    const label = this.textField(marker.id, marker.label, { "aria-label": `label of marker ${marker.label}` }, store);
    const remove = button("✕", `delete marker ${marker.label}`, () => this.edit({ kind: "delete_marker", value: marker.id }), { class: "quiet" });
    return element("li", { class: "person" }, label, go, remove);
  }
}
