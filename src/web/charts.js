// Charts: an SVG as wide as its box, drawn again when that changes. Arrow keys and the pointer read values into the legend.
const rect = (x, y, w, h, more) =>
  h > 0.2
    ? `<rect x="${x.toFixed(1)}" y="${y.toFixed(1)}" width="${Math.max(0.8, w).toFixed(1)}" height="${h.toFixed(1)}" ${more}/>`
    : '';
const line = points => 'M' + points.map(point => point.map(v => v.toFixed(1)).join(' ')).join('L');
/** The next round number that isn't below max. */
const nice = max => {
  if (!(max > 0)) return 1;
  const e = 10 ** Math.floor(Math.log10(max));
  return [1, 2, 3, 4, 5, 6, 8, 10].map(k => k * e).find(v => v >= max * 0.999) ?? max;
};
const PATTERNS = `<defs><pattern id="h-limits" width="4" height="4" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="4" height="4" fill="var(--c-limits)" opacity=".4"/><rect width="2" height="4" fill="var(--c-limits)"/></pattern><pattern id="h-rate" width="4" height="4" patternUnits="userSpaceOnUse"><rect width="4" height="4" fill="var(--c-rate)" opacity=".5"/><circle cx="2" cy="2" r="1.2" fill="var(--c-rate)"/></pattern><pattern id="h-request" width="4" height="3" patternUnits="userSpaceOnUse"><rect width="4" height="3" fill="var(--c-request)" opacity=".35"/><rect width="4" height="1.5" fill="var(--c-request)"/></pattern></defs>`;

/**
 * Draws into the box. o: height, n (columns), min, max, xTicks ([column, text]), yTicks, yText, right (margin), draw({ x, y, bw, w, l, r }),
 * read(column or null for all), none (a sentence, if there is nothing to draw).
 */
function plot(box, o) {
  const first = !box._o;
  box._o = o;
  const draw = () => {
    const o = box._o,
      w = Math.max(240, box.clientWidth),
      h = o.height,
      l = 36,
      r = o.right ?? 6,
      t = 8,
      b = 22,
      n = o.n;
    const bw = (w - l - r) / n,
      x = i => l + i * bw,
      y = v => t + ((o.max - v) / (o.max - o.min)) * (h - t - b);
    const every = Math.ceil(o.xTicks.length / Math.max(2, Math.floor((w - l - r) / 62)));
    const ticks = (o.none ? [0] : o.yTicks).map(
      v =>
        `<line class="${v === 0 ? 'zero' : 'grid'}" x1="${l}" x2="${w - r}" y1="${y(v)}" y2="${y(v)}"/><text x="${l - 7}" y="${y(v) + 4}" text-anchor="end">${o.none ? '' : esc(o.yText ? o.yText(v) : Math.abs(v))}</text>`,
    );
    const times = o.xTicks
      .filter((_, k) => k % every === 0)
      .map(
        ([i, s]) =>
          `<text x="${x(i) + bw / 2}" y="${h - 4}" text-anchor="${x(i) < l + 20 ? 'start' : x(i) > w - 30 ? 'end' : 'middle'}">${esc(s)}</text>`,
      );
    box.innerHTML = `<svg height="${h}" viewBox="0 0 ${w} ${h}" aria-hidden="true" focusable="false">${ticks.join('')}${times.join('')}${o.none ? '' : o.draw({ x, y, bw, w, l, r })}<line class="cursor" y1="${t}" y2="${h - b}" visibility="hidden"/></svg>${o.none ? `<p class="none">${esc(o.none)}</p>` : ''}`;
    box._at = i => {
      const cursor = $('.cursor', box);
      box._i = i;
      cursor.setAttribute('visibility', i === null ? 'hidden' : 'visible');
      if (i !== null) for (const end of ['x1', 'x2']) cursor.setAttribute(end, x(i) + bw / 2);
      o.read(i);
    };
    box._hit = e => Math.min(n - 1, Math.max(0, Math.floor((e.offsetX - l) / bw)));
  };
  draw();
  if (box._i != null) box._at(box._i);
  else o.read(null); // new data leave the cursor where it is
  if (!first) return;
  new ResizeObserver(() => {
    if (box._w !== box.clientWidth) {
      box._w = box.clientWidth;
      draw();
    }
  }).observe(box);
  box.addEventListener('pointermove', e => box._at(box._hit(e)));
  for (const leave of ['pointerleave', 'blur']) box.addEventListener(leave, () => box._at(null));
  box.addEventListener('keydown', e => {
    const n = box._o.n,
      i = box._i ?? n,
      to = { ArrowLeft: Math.max(0, i - 1), ArrowRight: Math.min(n - 1, i + 1), Home: 0, End: n - 1, Escape: null }[e.key];
    if (to !== undefined) {
      e.preventDefault();
      box._at(to);
    }
  });
}

/** The table beside a chart: heads, then rows of cells, the first of which heads its row. Built when it is opened. */
function dataTable(details, heads, rows) {
  const fill = () =>
    set(
      $('.scroll', details),
      `<table><thead><tr>${heads.map((head, i) => `<th scope="col"${i ? ' class="num"' : ''}>${esc(head)}</th>`).join('')}</tr></thead><tbody>${rows()
        .map(
          ([at, ...cells]) =>
            `<tr><th scope="row">${esc(at)}</th>${cells.map(cell => `<td class="num">${esc(cell)}</td>`).join('')}</tr>`,
        )
        .join('')}</tbody></table>`,
    );
  if (!details._fill)
    details.addEventListener('toggle', () => {
      if (details.open) details._fill();
    });
  details._fill = fill;
  if (details.open) fill();
}
