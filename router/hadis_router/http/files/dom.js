// Elements from plain values: what users and the router say goes into text nodes, never into markup.
const SVG = "http://www.w3.org/2000/svg";

/** Make an element; attributes that are functions are listeners, those that begin with "--" are style properties. */
export function h(tag, attributes = {}, ...children) {
  const svg = ["svg", "circle", "line", "path", "text", "title", "g"].includes(tag);
  const element = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else if (name.startsWith("--")) element.style.setProperty(name, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export const $ = (id) => document.getElementById(id);
const fixed = (value, digits) => (Number(Number(value).toFixed(digits)) + 0).toFixed(digits); // never -0.00
export const number = (value, digits = 2) => (value === null || value === undefined ? "–" : fixed(value, digits));
/** As many digits as tell qualities apart, whether they are hundredths or tens. */
export const precise = (value, digits = 3) => (value === null || value === undefined ? "–" : String(Number(value.toPrecision(digits))));
export const percent = (value) => (value === null || value === undefined ? "–" : `${Math.round(value * 100)}%`);
/** A share whose tenths of a percent matter: 99.9% asked for is not 100%. */
export const exactPercent = (value) => (value === null || value === undefined ? "–" : `${precise(100 * value, 4)}%`);
export const seconds = (value) => (value === null || value === undefined ? "–" : `${fixed(value, value < 10 ? 2 : 1)} s`);
/** The time of day in the browser's zone, as ISO 8601 has it: 24 hours; `at` in seconds since 1970. */
export function clock(at, withSeconds = true) {
  const time = new Date(at * 1000);
  const parts = [time.getHours(), time.getMinutes(), ...(withSeconds ? [time.getSeconds()] : [])];
  return parts.map((part) => String(part).padStart(2, "0")).join(":");
}
/** How long something takes beside something else, in words. */
export const timesAsLong = (ratio) => (precise(ratio, 2) === "1" ? "as long as" : `${precise(ratio, 2)} times as long as`);
