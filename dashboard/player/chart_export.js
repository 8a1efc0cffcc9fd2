// The visible timelines as one image, for papers and slides: always dark on white.

import { MARKER_PX, RULER_PX, drawCodes, drawLane, drawMarkers, drawRuler, stackMarkers } from "./drawing.js";
import { drawMovements } from "./movements.js";
import { SvgContext } from "./svg_context.js";

const MARGIN_PX = 16;
const TITLE_PX = 20;
const INK = "#1d2327";
const PNG_SCALE = 2;

// `chart` has title, source (smooth or raw), emotions, colors, view, markers, and lanes with name, height_px, and either track, track and
// movements, or spans (codes). A lane of movements has no name: it is below that of the same person.
const titleHeight_px = ({ name }) => (name ? TITLE_PX : 0);

function layout(chart) {
  const rows = stackMarkers(chart.markers);
  const markers_px = chart.markers.length ? (Math.max(...rows) + 1) * MARKER_PX : 0;
  const lanes_px = chart.lanes.reduce((sum, lane) => sum + titleHeight_px(lane) + lane.height_px + 10, 0);
  return { rows, markers_px, height_px: 2 * MARGIN_PX + 2 * TITLE_PX + RULER_PX + markers_px + lanes_px };
}

function drawChart(context, chart) {
  const { rows, markers_px, height_px } = layout(chart);
  const view = { ...chart.view, ink: INK };
  context.fillStyle = "#fff";
  context.fillRect(0, 0, view.width_px + 2 * MARGIN_PX, height_px);
  context.save();
  context.translate(MARGIN_PX, MARGIN_PX);
  text(context, chart.title, 0, 12, "bold 13px sans-serif");
  let x = 0;
  chart.emotions.forEach((emotion, index) => {
    context.fillStyle = view.colors[index];
    context.fillRect(x, TITLE_PX + 2, 10, 10);
    text(context, emotion, x + 14, TITLE_PX + 11);
    x += 30 + 7 * emotion.length;
  });
  text(context, chart.source === "raw" ? "raw probabilities" : "smoothed probabilities", x, TITLE_PX + 11);
  let y = 2 * TITLE_PX;
  at(context, y, () => drawRuler(context, view));
  y += RULER_PX;
  if (markers_px) at(context, y, () => drawMarkers(context, chart.markers, rows, view));
  y += markers_px;
  for (const lane of chart.lanes) {
    if (lane.name) text(context, lane.name, 0, y + 14, "bold 12px sans-serif");
    y += titleHeight_px(lane);
    if (lane.spans) at(context, y, () => drawCodes(context, lane.spans, view));
    else if (lane.movements) at(context, y, () => drawMovements(context, lane.movements, lane.track, view));
    else at(context, y, () => drawLane(context, lane.track, view, lane.height_px, chart.markers));
    y += lane.height_px + 10;
  }
  context.restore();
}

function text(context, words, x, y, font = "12px sans-serif") {
  context.fillStyle = INK;
  context.font = font;
  context.fillText(words, x, y);
}

function at(context, y, draw) {
  context.save();
  context.translate(0, y);
  draw();
  context.restore();
}

export function chartSvg(chart) {
  const context = new SvgContext(chart.view.width_px + 2 * MARGIN_PX, layout(chart).height_px);
  drawChart(context, chart);
  return new Blob([context.toString()], { type: "image/svg+xml" });
}

export function chartPng(chart) {
  const canvas = document.createElement("canvas");
  canvas.width = PNG_SCALE * (chart.view.width_px + 2 * MARGIN_PX);
  canvas.height = PNG_SCALE * layout(chart).height_px;
  const context = canvas.getContext("2d");
  context.scale(PNG_SCALE, PNG_SCALE);
  // `drawLane` clears its area first, which on a canvas would leave it transparent.
  context.clearRect = (x, y, width, height) => {
    context.fillStyle = "#fff";
    context.fillRect(x, y, width, height);
  };
  drawChart(context, chart);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}
