// Marks of the charts: areas or lines of probabilities, strips of labels, bands of quality, markers and the time ruler.
// Every function draws on a canvas or, for the export, on an `SvgContext` with the same methods.

import { clock, inkOn } from "./dom.js";

const STRIP_PX = 14;
const BAND_PX = 6;
const GAP_PX = 4;
const MOST = 500; // per mille of a value's time: half of it
const TICK_STEPS_S = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];
const MIN_TICK_PX = 72;
const OTHER_CODE = "#8a8f98"; // of codes that are not emotions
export const GUTTER_PX = 38; // left of every chart, for the labels of its axis and the names of its rows
export const MARKER_PX = 24; // height of a row of markers
export const CODES_PX = 20; // height of a lane of codes
export const RULER_PX = 22;
const [PERSON_PX, MAX_PEOPLE_PX] = [6, 42]; // in the overview: height of the strip of a person, and of all of them
const FRAME_PX = 16; // height of the overview around these strips

// Whole pixels, so that neighbors meet without a seam.
export const scaleOf = ({ from_ms, to_ms, width_px }) => (ms) =>
  GUTTER_PX + Math.round(((ms - from_ms) / (to_ms - from_ms)) * (width_px - GUTTER_PX));

// The lane of a person; `track` has columns as the route `window` returns.
export function drawLane(context, track, view, height_px, markers = []) {
  context.clearRect(0, 0, view.width_px, height_px);
  const areaHeight_px = Math.max(0, height_px - STRIP_PX - BAND_PX - 2 * GAP_PX);
  if (areaHeight_px > 0) drawAxis(context, view, areaHeight_px);
  context.fillStyle = view.ink;
  drawRowName(context, "label", areaHeight_px + GAP_PX + 10);
  drawRowName(context, "quality", height_px - 2);
  const x = scaleOf(view);
  context.save();
  context.beginPath();
  context.rect(GUTTER_PX, 0, view.width_px - GUTTER_PX, height_px);
  context.clip();
  if (track) {
    if (view.style === "lines") drawLines(context, track, view, x, areaHeight_px);
    else drawStack(context, track, view, x, areaHeight_px);
    drawStrip(context, track, view, x, areaHeight_px + GAP_PX, STRIP_PX);
    drawQuality(context, track, view, x, areaHeight_px + STRIP_PX + 2 * GAP_PX);
  }
  drawMarkerEdges(context, markers, view, x, height_px);
  context.restore();
}

function drawAxis(context, view, height_px) {
  context.fillStyle = view.ink;
  context.globalAlpha = 0.15;
  for (const share of [0, 0.5, 1]) context.fillRect(GUTTER_PX, Math.round(share * (height_px - 1)), view.width_px - GUTTER_PX, 1);
  context.globalAlpha = 0.8;
  context.font = "11px sans-serif";
  context.textAlign = "right";
  const labels = height_px > 70 ? [["1", 9], ["0.5", height_px / 2 + 4], ["0", height_px - 1]] : [["1", 9], ["0", height_px - 1]];
  for (const [text, y] of labels) context.fillText(text, GUTTER_PX - 5, y);
  context.textAlign = "left";
  context.globalAlpha = 1;
}

// The name of a row, left of it; `y` is the baseline of the text.
export function drawRowName(context, name, y) {
  context.globalAlpha = 0.8;
  context.font = "9px sans-serif";
  context.textAlign = "right";
  context.fillText(name, GUTTER_PX - 3, y);
  context.textAlign = "left";
  context.globalAlpha = 1;
}

// Neutral is at the bottom, the others are stacked on it in reverse order of the legend.
function drawStack(context, track, view, x, height_px) {
  track.start_ms.forEach((start_ms, row) => {
    const left = x(start_ms);
    const right = Math.max(x(track.end_ms[row]), left + 1);
    if (right < 0 || left > view.width_px || track.p[0][row] === null) return;
    let y = height_px;
    for (let index = track.p.length - 1; index >= 0; index -= 1) {
      const height = (track.p[index][row] / 1000) * height_px;
      context.fillStyle = view.colors[index];
      context.fillRect(left, y - height, right - left, height);
      y -= height;
    }
  });
}

function drawLines(context, track, view, x, height_px) {
  context.lineWidth = 1.5;
  track.p.forEach((column, index) => {
    context.strokeStyle = view.colors[index];
    context.beginPath();
    let previousEnd_ms = -Infinity;
    column.forEach((p, row) => {
      if (p === null) return;
      const y = height_px - (p / 1000) * height_px;
      const joined = track.start_ms[row] - previousEnd_ms < 2;
      context[joined ? "lineTo" : "moveTo"](x(track.start_ms[row]), y);
      context.lineTo(x(track.end_ms[row]), y);
      previousEnd_ms = track.end_ms[row];
    });
    context.stroke();
  });
}

function drawStrip(context, track, view, x, y, height_px) {
  track.label.forEach((label, row) => {
    if (label === null) return;
    const left = x(track.start_ms[row]);
    const width = Math.max(x(track.end_ms[row]) - left, 1);
    if (left + width < 0 || left > view.width_px) return;
    context.fillStyle = view.colors[label];
    context.fillRect(left, y, width, height_px);
  });
}

function drawQuality(context, track, view, x, y) {
  context.fillStyle = view.ink;
  track.low_quality.forEach((share, row) => {
    const left = x(track.start_ms[row]);
    const width = Math.max(x(track.end_ms[row]) - left, 1);
    const isLow = share >= MOST;
    context.globalAlpha = isLow ? 0.7 : 0.12;
    if (isLow) for (let at = Math.floor(left / 4) * 4; at < left + width; at += 4) context.fillRect(Math.max(at, left), y, 2, BAND_PX);
    else context.fillRect(left, y, width, BAND_PX);
    context.globalAlpha = 0.7;
    if (track.left_out[row] >= MOST) context.fillRect(left, y + BAND_PX - 2, width, 2);
  });
  context.globalAlpha = 1;
}

// Lines through a lane at the start and the end of each marker.
function drawMarkerEdges(context, markers, view, x, height_px) {
  context.fillStyle = view.ink;
  for (const { start_s, end_s } of markers) {
    const [left, right] = [x(1000 * start_s), x(1000 * end_s)];
    if (right < GUTTER_PX || left > view.width_px) continue;
    context.globalAlpha = 0.07;
    context.fillRect(left, 0, Math.max(right - left, 1), height_px);
    context.globalAlpha = 0.55;
    for (const edge of [left, right]) for (let y = 0; y < height_px; y += 6) context.fillRect(edge, y, 1, 3);
  }
  context.globalAlpha = 1;
}

// The codes of a person: spans in the colors of emotions, gray for other codes, with the code where there is room.
export function drawCodes(context, spans, view) {
  context.clearRect(0, 0, view.width_px, CODES_PX);
  const x = scaleOf(view);
  context.font = "11px sans-serif";
  for (const { start_s, end_s, label, emotion } of spans) {
    const left = Math.max(x(1000 * start_s), GUTTER_PX);
    const right = Math.min(Math.max(x(1000 * end_s), x(1000 * start_s) + 1), view.width_px);
    if (right <= GUTTER_PX || left >= view.width_px) continue;
    const color = emotion === null ? OTHER_CODE : view.colors[emotion];
    context.save();
    context.beginPath();
    context.rect(left, 0, right - left, CODES_PX);
    context.clip();
    context.fillStyle = color;
    context.fillRect(left, 0, right - left, CODES_PX - 4);
    context.fillStyle = inkOn(color);
    context.fillText(label, left + 4, 12);
    context.restore();
  }
}

export function drawRuler(context, view) {
  context.clearRect(0, 0, view.width_px, RULER_PX);
  const x = scaleOf(view);
  const perSecond_px = (view.width_px - GUTTER_PX) / ((view.to_ms - view.from_ms) / 1000);
  const step_s = TICK_STEPS_S.find((step) => step * perSecond_px >= MIN_TICK_PX) ?? TICK_STEPS_S.at(-1);
  const digits = Math.max(0, Math.ceil(-Math.log10(step_s) - 1e-9));
  context.fillStyle = view.ink;
  context.font = "11px sans-serif";
  for (let number = Math.ceil(view.from_ms / 1000 / step_s); number * step_s * 1000 <= view.to_ms; number += 1) {
    const time_s = number * step_s;
    const left = x(1000 * time_s);
    context.globalAlpha = 0.5;
    context.fillRect(left, RULER_PX - 6, 1, 6);
    context.globalAlpha = 0.85;
    if (left < view.width_px - 40) context.fillText(clock(time_s, digits), left + 4, RULER_PX - 8);
  }
  context.globalAlpha = 1;
}

const peopleHeight_px = (n) => Math.min(Math.max(n * PERSON_PX, STRIP_PX), MAX_PEOPLE_PX);
export const overviewHeight_px = (n) => FRAME_PX + peopleHeight_px(n);

// The whole video with a strip of labels for each person, the visible part framed, and the cursor. A person without a face
// in the video's known part has no track.
export function drawOverview(context, tracks, whole, view, time_ms) {
  const [people_px, height_px] = [peopleHeight_px(tracks.length), overviewHeight_px(tracks.length)];
  context.clearRect(0, 0, whole.width_px, height_px);
  const x = scaleOf(whole);
  const person_px = people_px / tracks.length;
  const gap_px = tracks.length > 1 ? Math.min(1, person_px / 4) : 0;
  tracks.forEach((track, index) => track && drawStrip(context, track, whole, x, FRAME_PX / 2 + index * person_px, person_px - gap_px));
  const [left, right] = [x(view.from_ms), x(view.to_ms)];
  context.strokeStyle = view.ink;
  context.lineWidth = 2;
  context.strokeRect(Math.max(1, left), 3, Math.min(whole.width_px - 2, right - left) - 1, people_px + 10);
  context.fillStyle = view.ink;
  context.fillRect(x(time_ms) - 1, 0, 2, height_px);
}

// Markers that overlap are put in separate rows: the number of the row of each marker, which are sorted by time.
export function stackMarkers(markers) {
  const ends_s = [];
  return markers.map(({ start_s, end_s }) => {
    const free = ends_s.findIndex((other_s) => other_s <= start_s);
    const row = free < 0 ? ends_s.length : free;
    ends_s[row] = end_s;
    return row;
  });
}

export function drawMarkers(context, markers, rows, view) {
  context.clearRect(0, 0, view.width_px, (Math.max(0, ...rows) + 1) * MARKER_PX);
  const x = scaleOf(view);
  context.font = "12px sans-serif";
  markers.forEach(({ start_s, end_s, label }, index) => {
    const left = Math.max(x(1000 * start_s), GUTTER_PX);
    const right = Math.min(Math.max(x(1000 * end_s), x(1000 * start_s) + 2), view.width_px);
    if (right <= GUTTER_PX || left >= view.width_px) return;
    const y = rows[index] * MARKER_PX;
    context.save();
    context.beginPath();
    context.rect(left, y, right - left, MARKER_PX - 3);
    context.clip();
    context.fillStyle = view.ink;
    context.globalAlpha = 0.16;
    context.fillRect(left, y, right - left, MARKER_PX - 3);
    context.globalAlpha = 1;
    context.fillRect(left, y, 2, MARKER_PX - 3);
    context.fillText(label, left + 7, y + 14);
    context.restore();
  });
}
