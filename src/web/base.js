// Helpers of all pages. Every name that comes from elsewhere goes through esc() or textContent.
const $ = (selector, of = document) => of.querySelector(selector);
const $$ = (selector, of = document) => [...of.querySelectorAll(selector)];
const esc = text => String(text).replace(/[&<>"']/g, c => `&#${c.charCodeAt()};`);
const icon = name => `<svg class="icon" aria-hidden="true"><use href="#i-${name}"/></svg>`;
/** A state: a shape, a word and a colour. */
const sign = (kind, text, shape = kind) => `<span class="sign ${kind}">${icon(shape)}<span>${esc(text)}</span></span>`;
/** A priority: a square with its digit. */
const square = (priority, small) => `<b class="p${small ? ' small' : ''}" data-p="${+priority}">${+priority}</b>`;
const count = n => Math.round(n).toLocaleString('en');
/** A measured time of ms milliseconds. */
const time = ms =>
  ms < 100
    ? `${Math.round(ms)} ms`
    : ms < 9950
      ? `${(ms / 1000).toFixed(1)} s`
      : ms < 99500
        ? `${Math.round(ms / 1000)} s`
        : `${Math.round(ms / 60000)} min`;
/** An estimate of s seconds: whole ones. */
const roughly = s =>
  s === null ? 'unknown' : s < 1 ? 'under 1 s' : s < 99.5 ? `${Math.round(s)} s` : `${Math.round(s / 60)} min`;
/** An age of s seconds: whole ones, so that digits don't flicker. */
const age = s => (s < 1 ? 'new' : s < 100 ? `${Math.floor(s)} s` : `${Math.floor(s / 60)} min`);
const plural = (n, one, many) => `${count(n)} ${n === 1 ? one : many}`;
/** Sets the content, if it differs from what was set last: what stays isn't touched. */
const set = (element, html) => {
  if (element && element._html !== html) element.innerHTML = element._html = html;
};
const calm = matchMedia('(prefers-reduced-motion: reduce)');
