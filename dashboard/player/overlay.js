// Boxes around faces, and tags that cover neither faces nor each other.

import { element, inkOn } from "./dom.js";

const TAG_PX = 18; // height
const TAG_PADDING_PX = 12;
const GRAY = "#888888";
const measure = document.createElement("canvas").getContext("2d");
measure.font = "12px sans-serif";

const overlaps = (a, b) => a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
const isInside = (a, size) => a.x >= 0 && a.y >= 0 && a.x + a.width <= size.width && a.y + a.height <= size.height;

// `faces` are rows of the route `boxes`, `size` is that of the stage in pixels.
export function drawFaces(faces, { video, colors, names, size, tags }) {
  const scale = [size.width / video.width_px, size.height / video.height_px];
  const boxes = faces.map(([, , x1, y1, x2, y2]) => ({ x: x1 * scale[0], y: y1 * scale[1], width: (x2 - x1) * scale[0], height: (y2 - y1) * scale[1] }));
  const taken = [...boxes];
  const nodes = [];
  faces.forEach(([, track, , , , , label, probability, isGood, reason], index) => {
    const kind = track === null ? "untracked" : isGood && label ? "labeled" : "low";
    const color = kind === "labeled" ? colors[label] : GRAY;
    nodes.push(place(element("div", { class: `box ${kind}` }), boxes[index], color));
    if (!tags) return;
    const name = track === null ? "passing" : names.get(track) ?? `P${track}`;
    const said = kind === "labeled" ? `${label} ${probability.toFixed(2)}` : (reason ?? "no label").replaceAll("_", " ");
    for (const words of [`${name} · ${said}`, name]) {
      const spot = freeSpot(boxes[index], words, taken, size);
      if (!spot) continue;
      taken.push(spot);
      nodes.push(place(element("div", { class: `tag ${kind}` }, words), { ...spot, width: null }, color));
      return;
    }
  });
  return nodes;
}

// Above, below or beside the box, else at the edge of the frame; null where there is no room.
function freeSpot(box, words, taken, size) {
  const width = Math.ceil(measure.measureText(words).width) + TAG_PADDING_PX;
  const [right, bottom] = [box.x + box.width, box.y + box.height];
  const clamp = (x) => Math.min(Math.max(x, 0), size.width - width);
  const spots = [
    [box.x, box.y - TAG_PX], [right - width, box.y - TAG_PX], [box.x, bottom], [right - width, bottom],
    [right, box.y], [box.x - width, box.y], [clamp(box.x), box.y - TAG_PX], [clamp(box.x), bottom],
    [clamp(box.x), 0], [clamp(box.x), size.height - TAG_PX],
  ];
  return spots
    .map(([x, y]) => ({ x, y, width, height: TAG_PX }))
    .find((spot) => isInside(spot, size) && !taken.some((other) => overlaps(spot, other))) ?? null;
}

function place(node, { x, y, width, height }, color) {
  Object.assign(node.style, { left: `${x}px`, top: `${y}px`, width: width === null ? "auto" : `${width}px`, height: `${height}px` });
  node.style.setProperty("--emotion", color);
  node.style.setProperty("--ink", inkOn(color));
  return node;
}
