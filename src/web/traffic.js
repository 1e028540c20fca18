// The past: what was served and turned away, how full the queue was, and how long searches took.
const UNIT = { '1h': 'per minute', '3d': 'per hour', '60d': 'per day' },
  NOTHING = 'Nothing yet';
const GROUPS = [
  ['room', 'no place'],
  ['limits', 'own limits'],
  ['rate', 'too fast'],
  ['request', 'bad requests'],
  ['fault', 'faults'],
];
const FILL = {
  room: 'var(--c-room)',
  limits: 'url(#h-limits)',
  rate: 'url(#h-rate)',
  request: 'url(#h-request)',
  fault: 'var(--c-fault)',
};
const PERCENTILES = ['p0', 'p10', 'p25', 'p50', 'p75', 'p90', 'p100'];
const total = values => values.reduce((a, b) => a + b, 0);
const two = n => String(n).padStart(2, '0');
let period = '1h';

/** The rows' times as the viewer reads them; days are UTC. */
function clockOf(data) {
  const first = Date.parse(data.first),
    time = i => new Date(first + i * data.step_s * 1000);
  const day = { month: 'short', day: 'numeric', timeZone: data.step_s === 86400 ? 'UTC' : undefined };
  const at = i => {
    const t = time(i),
      date = t.toLocaleDateString('en', day);
    return data.step_s === 86400
      ? date
      : data.step_s === 60
        ? `${two(t.getHours())}:${two(t.getMinutes())}`
        : `${t.toLocaleDateString('en', { weekday: 'short' })} ${two(t.getHours())}:00`;
  };
  const n = data.served.length,
    every = data.step_s === 3600 ? 12 : 10;
  return {
    n,
    at,
    xTicks: Array.from({ length: n }, (_, i) => i)
      .filter(i => i % every === (n - 1) % every)
      .map(i => [i, at(i)]),
  };
}

function drawPast() {
  const data = traffic[period];
  for (const e of $$('[data-unit]')) e.textContent = UNIT[period];
  if (!data) return;
  const clock = clockOf(data),
    outOf = i => GROUPS.reduce((n, [group]) => n + data[group][i], 0);
  const served = total(data.served),
    out = total(GROUPS.map(([group]) => total(data[group])));
  const order = Object.keys(data.places)
    .map(Number)
    .sort((a, b) => b - a);
  const takenAt = i => total(order.map(p => data.places[p][i])),
    taken = total(data.served.map((_, i) => takenAt(i))) / clock.n;
  const median = data.percentiles_ms && time(data.percentiles_ms.p50);
  const cards = [
    ['Served', count(served), ''],
    ['Turned away', served + out ? `${((out / (served + out)) * 100).toFixed(1)} %` : '–', out ? count(out) : ''],
    ['Median search', median ?? '–', ''],
    ['Places taken', taken < 10 ? taken.toFixed(1) : count(taken), `of ${count(now.queue.length)}, average`],
  ];
  set(
    $('#stats'),
    cards.map(([name, value, more]) => `<div><dt>${name}</dt><dd>${value} <small>${more}</small></dd></div>`).join(''),
  );
  drawAnswers(data, clock, served, out, outOf);
  drawReasons(data, out);
  drawPlaces(data, clock, order, takenAt, taken);
  drawTimes(data, clock);
}

/** Served above zero, turned away below: position tells them apart, colour and pattern only help. */
function drawAnswers(data, clock, served, out, outOf) {
  const most = Math.max(...data.served),
    least = Math.max(...data.served.map((_, i) => outOf(i)));
  const max = nice(Math.max(most, least / 4)),
    min = least ? -nice(Math.max(least, most / 8)) : 0;
  const thousands = v => {
    v = Math.abs(v);
    return v >= 1e6 ? `${v / 1e6}M` : v >= 1000 ? `${v / 1000}k` : +v.toFixed(1);
  };
  plot($('#c-ans'), {
    height: 236,
    n: clock.n,
    max,
    min,
    xTicks: clock.xTicks,
    yTicks: min ? [max, max / 2, 0, min] : [max, max / 2, 0],
    yText: thousands,
    none: served + out ? null : NOTHING,
    draw: ({ x, y, bw }) =>
      PATTERNS +
      data.served
        .map((n, i) => {
          const gap = Math.max(1, bw * 0.22),
            w = bw - gap,
            left = x(i) + gap / 2;
          let v = 0;
          const below = GROUPS.map(([group]) => {
            const s = rect(left, y(-v) + (v ? 0.75 : 1), w, y(-v - data[group][i]) - y(-v) - 0.75, `fill="${FILL[group]}"`);
            v += data[group][i];
            return s;
          });
          return `<g${i === clock.n - 1 ? ' class="so-far"' : ''}>${rect(left, y(n), w, y(0) - y(n), 'fill="var(--c-served)"')}${below.join('')}</g>`;
        })
        .join(''),
    read: i =>
      set(
        $('#k-ans'),
        `<span class="at">${i === null ? 'Total' : esc(clock.at(i)) + (i === clock.n - 1 ? ', so far' : '')}</span><span class="key"><i class="f-served"></i>served <b>${count(i === null ? served : data.served[i])}</b></span>` +
          GROUPS.filter(([group]) => total(data[group]))
            .map(
              ([group, text]) =>
                `<span class="key"><i class="f-${group}"></i>${text} <b>${count(i === null ? total(data[group]) : data[group][i])}</b></span>`,
            )
            .join(''),
      ),
  });
  $('#d-ans').textContent = `${count(served)} served, ${count(out)} turned away. The arrow keys read single values.`;
  dataTable($('#t-ans'), ['Time', 'Served', ...GROUPS.map(([, text]) => text[0].toUpperCase() + text.slice(1))], () =>
    data.served.map((n, i) => [clock.at(i), count(n), ...GROUPS.map(([group]) => count(data[group][i]))]).reverse(),
  );
}

function drawReasons(data, out) {
  set($('#n-why'), count(out));
  const most = Math.max(1, ...data.reasons.map(reason => reason.count));
  const row = reason =>
    `<tr><th scope="row"><span class="r"><i class="f-${esc(reason.group)}"></i><code>${esc(reason.reason)}</code> <span class="st">${+reason.status}</span></span><svg class="fill thin" aria-hidden="true"><rect class="f-${esc(reason.group)}" width="${((reason.count / most) * 100).toFixed(1)}%" rx="2"/></svg></th><td class="num"><b>${count(reason.count)}</b></td></tr>`;
  set(
    $('#why'),
    data.reasons.length ? data.reasons.map(row).join('') : '<tr><td colspan="2" class="dim">Nobody was turned away.</td></tr>',
  );
}

function drawPlaces(data, clock, order, takenAt, mean) {
  const most = Math.max(...data.served.map((_, i) => takenAt(i))),
    length = now.queue.length;
  const max = length <= 64 || most > length / 4 ? Math.max(length, Math.ceil(most), 1) : nice(most);
  plot($('#c-occ'), {
    height: 222,
    n: clock.n,
    max,
    min: 0,
    xTicks: clock.xTicks,
    yTicks: [0, max / 2, max],
    yText: v => +v.toFixed(1),
    none: most ? null : 'No wait has ended yet',
    draw: ({ x, y, bw, w, l, r }) =>
      data.served
        .map((_, i) => {
          let v = 0;
          return order
            .map(p => {
              const n = data.places[p][i],
                s = rect(
                  x(i),
                  y(v + n) + 0.5,
                  bw - 0.75,
                  y(v) - y(v + n) - 0.75,
                  `fill="var(--p${p})"${p ? '' : ' stroke="var(--p0-edge)" stroke-width=".5"'}`,
                );
              v += n;
              return s;
            })
            .join('');
        })
        .join('') + (max >= length ? `<line class="cap" x1="${l}" x2="${w - r}" y1="${y(length)}" y2="${y(length)}"/>` : ''),
    read: i =>
      set(
        $('#k-occ'),
        `<span class="at">${i === null ? 'Average' : esc(clock.at(i))}</span>` +
          order
            .map(
              p =>
                `<span class="key">${square(p, true)}<b>${(i === null ? total(data.places[p]) / clock.n : data.places[p][i]).toFixed(1)}</b></span>`,
            )
            .join(''),
      ),
  });
  $('#d-occ').textContent =
    `On average ${mean.toFixed(1)} of ${count(length)} places were taken. The arrow keys read single values.`;
  dataTable($('#t-occ'), ['Time', ...order.map(p => `Priority ${p}`)], () =>
    data.served.map((_, i) => [clock.at(i), ...order.map(p => data.places[p][i].toFixed(1))]).reverse(),
  );
}

function drawTimes(data, clock) {
  const known = data.served.map((_, i) => i).filter(i => data.p50[i] !== null),
    last = known.at(-1);
  const max = nice(Math.max(0, ...known.map(i => data.p90[i])) / 1000);
  const runs = known.reduce((all, i) => {
    if (all.at(-1)?.at(-1) === i - 1) all.at(-1).push(i);
    else all.push([i]);
    return all;
  }, []); // no line over a gap
  plot($('#c-pct'), {
    height: 150,
    n: clock.n,
    max,
    min: 0,
    right: 34,
    xTicks: clock.xTicks,
    yTicks: [0, max / 2, max],
    yText: v => `${+v.toFixed(2)} s`,
    none: known.length ? null : NOTHING,
    draw: ({ x, y, bw, w, r }) =>
      runs
        .map(run => {
          const curve = p =>
            (run.length > 1 ? run : [run[0], run[0]]).map((i, k) => [
              x(i) + (run.length > 1 ? bw / 2 : k * bw),
              y(Math.min(max, data[p][i] / 1000)),
            ]);
          const band = (low, high, fill) => `<path d="${line([...curve(low), ...curve(high).reverse()])}Z" fill="${fill}"/>`;
          return (
            band('p10', 'p90', 'var(--c-band-2)') +
            band('p25', 'p75', 'var(--c-band)') +
            `<path d="${line(curve('p90'))}" fill="none" stroke="var(--edge)" stroke-dasharray="3 3"/><path d="${line(curve('p50'))}" fill="none" stroke="var(--c-line)" stroke-width="1.75" stroke-linejoin="round"/>`
          );
        })
        .join('') +
      labels(
        ['p90', 'p50', 'p10'].map(p => [p, y(Math.min(max, data[p][last] / 1000)) + 4]),
        w - r + 2,
        y(0) + 4,
      ),
    read: i => {
      const of = i === null ? data.percentiles_ms : Object.fromEntries(PERCENTILES.map(p => [p, data[p][i]])),
        is = of && of.p50 !== null;
      set(
        $('#k-pct'),
        `<span class="at">${i === null ? 'All' : esc(clock.at(i))}</span>` +
          (is
            ? `<span class="key">median <b>${time(of.p50)}</b></span><span class="key">9 of 10 within <b>${time(of.p90)}</b></span>`
            : ''),
      );
      set(
        $('#pct'),
        PERCENTILES.map(
          p => `<div${p === 'p50' ? ' class="mid"' : ''}><dt>${p}</dt><dd>${is ? time(of[p]) : '–'}</dd></div>`,
        ).join(''),
      );
    },
  });
  $('#d-pct').textContent = data.percentiles_ms
    ? `The median search took ${time(data.percentiles_ms.p50)}. The arrow keys read single values.`
    : '';
  dataTable($('#t-pct'), ['Time', ...PERCENTILES], () =>
    known.map(i => [clock.at(i), ...PERCENTILES.map(p => time(data[p][i]))]).reverse(),
  );
}

/** Texts at these heights, upmost first, moved apart where they would cover each other, and none below the bottom. */
function labels(texts, x, bottom) {
  let above = -Infinity;
  const apart = texts.map(([text, y]) => [text, (above = Math.max(y, above + 12))]),
    over = Math.max(0, above - bottom);
  return apart.map(([text, y]) => `<text x="${x}" y="${(y - over).toFixed(1)}">${text}</text>`).join('');
}
