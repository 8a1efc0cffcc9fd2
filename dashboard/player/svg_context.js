// The methods of a canvas context that `drawing.js` uses, recorded as SVG.

const escape = (text) => String(text).replace(/[<>&"']/g, (char) => `&#${char.charCodeAt(0)};`);
const round = (number) => Math.round(number * 100) / 100;

export class SvgContext {
  constructor(width_px, height_px) {
    this.size = [width_px, height_px];
    this.parts = [];
    this.definitions = [];
    this.open = [0]; // groups opened since each save()
    Object.assign(this, { fillStyle: "#000", strokeStyle: "#000", globalAlpha: 1, lineWidth: 1, font: "12px sans-serif", textAlign: "left" });
  }

  clearRect() {}

  fillRect(x, y, width, height) {
    if (width <= 0 || height <= 0) return;
    this.parts.push(`<rect x="${round(x)}" y="${round(y)}" width="${round(width)}" height="${round(height)}" fill="${this.fillStyle}"${this.opacity}/>`);
  }

  strokeRect(x, y, width, height) {
    this.parts.push(`<rect x="${round(x)}" y="${round(y)}" width="${round(width)}" height="${round(height)}" fill="none" stroke="${this.strokeStyle}" stroke-width="${this.lineWidth}"${this.opacity}/>`);
  }

  fillText(text, x, y) {
    const [, weight, size, family] = this.font.match(/^(?:(bold) )?(\S+) (.+)$/);
    const bold = weight ? ` font-weight="${weight}"` : "";
    const anchor = this.textAlign === "right" ? ' text-anchor="end"' : "";
    this.parts.push(`<text x="${round(x)}" y="${round(y)}" font-size="${size}"${bold} font-family="${family}"${anchor} fill="${this.fillStyle}"${this.opacity}>${escape(text)}</text>`);
  }

  beginPath() {
    this.path = [];
    this.region = null;
  }

  moveTo(x, y) {
    this.path.push(`M${round(x)} ${round(y)}`);
  }

  lineTo(x, y) {
    this.path.push(`L${round(x)} ${round(y)}`);
  }

  rect(x, y, width, height) {
    this.region = [x, y, Math.max(width, 0), Math.max(height, 0)];
  }

  stroke() {
    if (this.path.length) this.parts.push(`<path d="${this.path.join("")}" fill="none" stroke="${this.strokeStyle}" stroke-width="${this.lineWidth}"${this.opacity}/>`);
  }

  clip() {
    const [x, y, width, height] = this.region.map(round);
    const id = `clip${this.definitions.length}`;
    this.definitions.push(`<clipPath id="${id}"><rect x="${x}" y="${y}" width="${width}" height="${height}"/></clipPath>`);
    this.group(`clip-path="url(#${id})"`);
  }

  translate(x, y) {
    this.group(`transform="translate(${round(x)} ${round(y)})"`);
  }

  group(attributes) {
    this.parts.push(`<g ${attributes}>`);
    this.open[this.open.length - 1] += 1;
  }

  save() {
    this.open.push(0);
  }

  restore() {
    this.parts.push("</g>".repeat(this.open.pop()));
  }

  get opacity() {
    return this.globalAlpha < 1 ? ` fill-opacity="${this.globalAlpha}" stroke-opacity="${this.globalAlpha}"` : "";
  }

  toString() {
    const [width, height] = this.size;
    const body = this.parts.join("\n");
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">\n<defs>${this.definitions.join("")}</defs>\n${body}\n</svg>\n`;
  }
}
