// The movements of a person below the person's lane: blinks, speaking-like mouth movement, nods and head shakes.

import { clock, element } from "./dom.js";
import { GUTTER_PX, drawRowName, scaleOf } from "./drawing.js";

const ROW_PX = 9;
const STEP_PX = 12; // from row to row
const TICK_PX = 2; // narrowest mark
const NEAR_PX = 3; // a pointer this near to a mark is on it
const MEASURED = 500; // per mille of a value's time: shaded from half of it on
const KINDS = {
  blink: { row: 0, name: "blink" },
  speaking: { row: 1, name: "speaking-like movement" },
  nod: { row: 2, name: "nod" },
  head_shake: { row: 3, name: "head shake" },
};
const ROW_NAMES = ["blink", "speak", "nod", "shake"];
const NOT_MEASURED = "Movements were not measured: they need trusted landmarks for 0.5 s or longer, and at least 20 analyzed frames per second.";
const VERSION_0_1 = "Movements were not measured: these results are of version 0.1. Analyze the video again to measure them.";
export const MOVEMENTS_PX = ROW_NAMES.length * STEP_PX;

export const isMeasured = (track) => track.measured_s > 0;
export const whyNotMeasured = (track) => (track.measured_s === null ? VERSION_0_1 : NOT_MEASURED);

// The rows of a lane have names, which the legend spells out where they are short.
export function movementLegend() {
  const swatch = (kind) => element("span", { class: `mark ${kind}`, "aria-hidden": "true" });
  const short = [KINDS.speaking, KINDS.head_shake].map(({ row, name }) => `${ROW_NAMES[row]}: ${name}`);
  return [element("span", {}, swatch("movement"), `movement (${short.join(", ")})`), element("span", {}, swatch("measured"), "movements measured")];
}

// For example "5 blinks, 6.0 s of speaking-like movement, 1 nod, 0 head shakes".
export function describeMovements(movements) {
  const of = (kind) => movements.filter((movement) => movement.kind === kind);
  const count = (kind) => `${of(kind).length} ${KINDS[kind].name}${of(kind).length === 1 ? "" : "s"}`;
  const speaking_s = of("speaking").reduce((sum, { start_s, end_s }) => sum + end_s - start_s, 0);
  return [count("blink"), `${speaking_s.toFixed(1)} s of ${KINDS.speaking.name}`, count("nod"), count("head_shake")].join(", ");
}

export const describeMovement = ({ kind, start_s, end_s }) => `${KINDS[kind].name}, ${clock(start_s)}, ${(end_s - start_s).toFixed(2)} s`;

// The movements at a time, in the row of a height within the lane; blinks are narrow, so that near is enough.
export function movementsAt(movements, time_ms, y, view) {
  const near_ms = (NEAR_PX * (view.to_ms - view.from_ms)) / (view.width_px - GUTTER_PX);
  const isHere = ({ kind, start_s, end_s }) =>
    KINDS[kind].row === Math.floor(y / STEP_PX) && 1000 * start_s - near_ms <= time_ms && time_ms <= 1000 * end_s + near_ms;
  return movements.filter(isHere);
}

// Whether movements were measured at a time; `track` is as the route `window` returns it.
export function isMeasuredAt(track, time_ms) {
  const row = track?.start_ms.findLastIndex((start_ms, index) => start_ms <= time_ms && time_ms <= track.end_ms[index]) ?? -1;
  return row >= 0 && track.measured[row] >= MEASURED;
}

export function drawMovements(context, movements, track, view) {
  context.clearRect(0, 0, view.width_px, MOVEMENTS_PX);
  context.fillStyle = view.ink;
  ROW_NAMES.forEach((name, row) => drawRowName(context, name, row * STEP_PX + 8));
  const x = scaleOf(view);
  context.save();
  context.beginPath();
  context.rect(GUTTER_PX, 0, view.width_px - GUTTER_PX, MOVEMENTS_PX);
  context.clip();
  if (track) drawMeasured(context, track, x);
  context.globalAlpha = 0.8;
  for (const { kind, start_s, end_s } of movements) {
    const left = x(1000 * start_s);
    const right = Math.max(x(1000 * end_s), left + TICK_PX);
    if (right < GUTTER_PX || left > view.width_px) continue;
    context.fillRect(left, KINDS[kind].row * STEP_PX, right - left, ROW_PX);
  }
  context.restore();
  context.globalAlpha = 1;
}

function drawMeasured(context, track, x) {
  context.globalAlpha = 0.1;
  track.measured.forEach((share, index) => {
    if (share < MEASURED) return;
    const left = x(track.start_ms[index]);
    for (let row = 0; row < ROW_NAMES.length; row += 1) {
      context.fillRect(left, row * STEP_PX, Math.max(x(track.end_ms[index]) - left, 1), ROW_PX);
    }
  });
}
