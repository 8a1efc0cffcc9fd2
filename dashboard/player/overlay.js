// Boxes around faces, their landmarks, and tags that cover neither faces nor each other.

import { element, inkOn } from "./dom.js";

const TAG_PX = 18; // height
const TAG_PADDING_PX = 12;
const MARGIN_PX = 4; // around the boxes of other faces, so that a tag is not taken for theirs
const GRAY = "#888888";
const N_LANDMARKS = 68; // the irises come after them
const SVG = "http://www.w3.org/2000/svg";
const measure = document.createElement("canvas").getContext("2d");

const overlaps = (a, b) => a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
const touches = (a, b) => a.x <= b.x + b.width && b.x <= a.x + a.width && a.y <= b.y + b.height && b.y <= a.y + a.height;
const widen = ({ x, y, width, height }) => ({ x: x - MARGIN_PX, y: y - MARGIN_PX, width: width + 2 * MARGIN_PX, height: height + 2 * MARGIN_PX });
const isInside = (a, size) => a.x >= 0 && a.y >= 0 && a.x + a.width <= size.width && a.y + a.height <= size.height;

// `faces` are those of the route `boxes`, `size` is that of the stage in pixels, `font` the font family of the tags.
export function drawFaces(faces, { video, colors, names, size, show, font = "sans-serif" }) {
  measure.font = `12px ${font}`;
  const scale = [size.width / video.width_px, size.height / video.height_px];
  const boxes = faces.map(({ x1, y1, x2, y2 }) => ({ x: x1 * scale[0], y: y1 * scale[1], width: (x2 - x1) * scale[0], height: (y2 - y1) * scale[1] }));
  const tags = [];
  const nodes = show.landmarks ? [drawLandmarks(faces, scale)] : [];
  const leaders = [];
  faces.forEach((face, index) => {
    const kind = kindOf(face, video.is_image);
    const color = kind === "labeled" ? colors[face.label] : GRAY;
    if (show.boxes) nodes.push(place(element("div", { class: `box ${kind}` }), boxes[index], color));
    if (!show.tags) return;
    const name = face.track === null ? (video.is_image ? "image" : "passing") : names.get(face.track) ?? `P${face.track}`;
    const line = `${name} · ${kind === "labeled" ? `${face.label} ${face.probability.toFixed(2)}` : (face.reason ?? "no label").replaceAll("_", " ")}`;
    const figures = show.landmarks ? figuresOf(face) : null;
    for (const lines of [...(figures ? [[line, ...figures]] : []), [line], [name]]) {
      const others = boxes.filter((box) => box !== boxes[index]).map(widen);
      const spot = freeSpot(boxes[index], lines, [boxes[index], ...others, ...tags], size);
      if (!spot) continue;
      tags.push(spot);
      nodes.push(place(element("div", { class: `tag ${kind}` }, lines.join("\n")), spot, color));
      if (!touches(spot, boxes[index])) leaders.push(leader(spot, boxes[index], kind === "labeled" ? color : "#fff"));
      return;
    }
  });
  return leaders.length ? [drawLeaders(leaders), ...nodes] : nodes;
}

// Faces of still images have labels without being tracked.
function kindOf({ track, label, is_good, is_left_out }, isImage) {
  if (track === null && !isImage) return "untracked";
  if (is_left_out) return "left_out";
  return is_good && label ? "labeled" : "low";
}

// Head pose, eyes and mouth in this frame; null where they were not measured.
function figuresOf({ is_trusted, yaw_deg, pitch_deg, roll_deg, eye_left, eye_right, mouth }) {
  if (is_trusted === null) return null;
  if (!is_trusted) return ["landmarks not trusted"];
  const degrees = (value) => (value === null ? "–" : `${Math.round(value)}°`.replace("-", "−"));
  const ratio = (value) => (value === null ? "–" : value.toFixed(2));
  return [
    `yaw ${degrees(yaw_deg)}, pitch ${degrees(pitch_deg)}, roll ${degrees(roll_deg)}`,
    `eyes ${ratio(eye_left)} left, ${ratio(eye_right)} right; mouth ${ratio(mouth)}`,
  ];
}

// The landmarks of all faces as one drawing: each point is a line of length 0 with round ends.
function drawLandmarks(faces, scale) {
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("class", "landmarks");
  for (const { points, is_trusted } of faces) {
    if (!points) continue;
    const dots = Array.from({ length: points.length / 2 }, (_, index) => `M${points[2 * index] * scale[0]} ${points[2 * index + 1] * scale[1]}h0`);
    for (const [name, part] of [["points", dots.slice(0, N_LANDMARKS)], ["irises", dots.slice(N_LANDMARKS)]]) {
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("class", is_trusted ? name : `${name} untrusted`);
      path.setAttribute("d", part.join(""));
      drawing.append(path);
    }
  }
  return drawing;
}

// Above, below or beside the box, else as near above or below it as possible; null where there is no room.
function freeSpot(box, lines, taken, size) {
  const width = Math.ceil(Math.max(...lines.map((line) => measure.measureText(line).width))) + TAG_PADDING_PX;
  const height = lines.length * TAG_PX;
  const [right, bottom] = [box.x + box.width, box.y + box.height];
  const clamp = (x) => Math.min(Math.max(x, 0), size.width - width);
  const columns = [box.x, right - width, clamp(box.x)];
  const beside = [[right, box.y], [box.x - width, box.y]];
  const rows = Array.from({ length: Math.ceil(size.height / TAG_PX) }, (_, step) => [box.y - height - step * TAG_PX, bottom + step * TAG_PX]);
  const spots = rows.flatMap((ys, step) => [...ys.flatMap((y) => columns.map((x) => [x, y])), ...(step === 0 ? beside : [])]);
  return spots
    .map(([x, y]) => ({ x, y, width, height }))
    .find((spot) => isInside(spot, size) && !taken.some((other) => overlaps(spot, other))) ?? null;
}

// A line from a tag to the box that it belongs to, between their nearest edges.
function leader(tag, box, color) {
  const [tagX, boxX] = nearest(tag.x, tag.width, box.x, box.width);
  const [tagY, boxY] = nearest(tag.y, tag.height, box.y, box.height);
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", `M${tagX} ${tagY}L${boxX} ${boxY}`);
  path.setAttribute("stroke", color);
  return path;
}

// The nearest positions of two intervals, given by start and length: the middle of what they share, or their ends.
function nearest(a, aLength, b, bLength) {
  const [from, to] = [Math.max(a, b), Math.min(a + aLength, b + bLength)];
  if (from <= to) return [(from + to) / 2, (from + to) / 2];
  return a < b ? [to, from] : [from, to];
}

function drawLeaders(paths) {
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("class", "leaders");
  drawing.append(...paths);
  return drawing;
}

function place(node, { x, y, width, height }, color) {
  Object.assign(node.style, { left: `${x}px`, top: `${y}px`, width: `${width}px`, height: `${height}px` });
  node.style.setProperty("--emotion", color);
  node.style.setProperty("--ink", inkOn(color));
  return node;
}
