// Marks on canvases: areas or lines of probabilities, the ribbon of labels, the band of quality.

const RIBBON_PX = 14;
const BAND_PX = 6;
const GAP_PX = 4;
export const MARKER_PX = 26; // height of a row of markers
const WORTH_HATCHING = 500; // per mille of a value's faces: half of them

// Whole pixels, so that neighbors meet without a seam.
const scaleOf = ({ from_ms, to_ms, width_px }) => (ms) => Math.round(((ms - from_ms) / (to_ms - from_ms)) * width_px);

// A person's lane; `track` has columns start_ms, end_ms, label, gated and p as the route `window` gives them.
export function drawLane(context, track, view, height_px) {
  context.clearRect(0, 0, view.width_px, height_px);
  const areaHeight_px = Math.max(0, height_px - RIBBON_PX - BAND_PX - 2 * GAP_PX);
  if (areaHeight_px > 0) drawGrid(context, view, areaHeight_px);
  if (!track) return;
  const x = scaleOf(view);
  if (view.style === "lines") drawLines(context, track, view, x, areaHeight_px);
  else drawStack(context, track, view, x, areaHeight_px);
  const ribbon_y = areaHeight_px + GAP_PX;
  drawRibbon(context, track, view, x, ribbon_y, RIBBON_PX);
  drawQuality(context, track, view, x, ribbon_y + RIBBON_PX + GAP_PX);
}

function drawGrid(context, view, height_px) {
  context.globalAlpha = 0.15;
  context.fillStyle = view.ink;
  for (const share of [0, 0.5, 1]) context.fillRect(0, Math.round(share * (height_px - 1)), view.width_px, 1);
  context.globalAlpha = 1;
}

// Neutral lies at the bottom, the others on it in their order, as in the legend from right to left.
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

function drawRibbon(context, track, view, x, y, height_px) {
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
  track.low_quality.forEach((gated, row) => {
    const left = x(track.start_ms[row]);
    const width = Math.max(x(track.end_ms[row]) - left, 1);
    context.globalAlpha = gated >= WORTH_HATCHING ? 0.7 : 0.12;
    context.fillStyle = view.ink;
    if (gated < WORTH_HATCHING) context.fillRect(left, y, width, BAND_PX);
    else for (let at = Math.floor(left / 4) * 4; at < left + width; at += 4) context.fillRect(Math.max(at, left), y, 2, BAND_PX);
  });
  context.globalAlpha = 1;
}

// The whole video as one ribbon: at each place the label of the person whose label is surest there.
export function drawOverview(context, tracks, whole, view) {
  context.clearRect(0, 0, whole.width_px, 30);
  const x = scaleOf(whole);
  for (const track of tracks) drawRibbon(context, track, whole, x, 8, RIBBON_PX);
  const [left, right] = [x(view.from_ms), x(view.to_ms)];
  context.strokeStyle = view.ink;
  context.lineWidth = 2;
  context.strokeRect(Math.max(1, left), 3, Math.min(whole.width_px - 2, right - left) - 1, RIBBON_PX + 10);
}

// Markers that overlap lie in rows of their own: for each, which are in order of time, the number of its row.
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
  const x = scaleOf(view);
  context.font = "12px sans-serif";
  context.fillStyle = view.ink;
  markers.forEach(({ start_s, end_s, label }, index) => {
    const left = Math.max(x(1000 * start_s), 0);
    const right = Math.min(Math.max(x(1000 * end_s), x(1000 * start_s) + 2), view.width_px);
    if (right <= 0 || left >= view.width_px) return;
    const y = rows[index] * MARKER_PX;
    context.save();
    context.beginPath();
    context.rect(left, y, right - left, MARKER_PX - 4);
    context.clip();
    context.globalAlpha = 0.14;
    context.fillRect(left, y, right - left, MARKER_PX - 4);
    context.globalAlpha = 1;
    context.fillRect(left, y, 2, MARKER_PX - 4);
    context.fillText(label, left + 8, y + 15);
    context.restore();
  });
}
