// The status page. The server has written the first state into it; then it follows the server's events.
const state = JSON.parse($('#state').textContent);
const paths = state.paths;
let now = state.now, received = performance.now(), lastNews = Date.now();
const traffic = state.traffic;
/** Seconds since a time of the server's, by the server's clock. */
const since = at => Math.max(0, (Date.parse(now.time) - Date.parse(at) + performance.now() - received) / 1000);

/* ---- now ---- */
const HOW = { slot: () => 'gets a slot at once', place: () => 'takes a free place', displaces: a => `displaces a\u00a0${a.displaces}`, full: () => 'no place to take', closed: () => 'shutting down', stopped: () => 'closed to new requests', unavailable: () => "usage can't be recorded" };
let said = '', saidAt = 0, titled = '';

function drawNow() {
  const { headline, queue, upstreams } = now;
  set($('#headline'), `<span class="sign ${headline.state}">${icon(headline.state)}</span><span>${esc(headline.title)}</span>`);
  set($('#lede'), esc(headline.text));
  if (headline.title !== said && Date.now() - saidAt > 15000) { // screen readers: at most every 15 s
    if (said) $('#say').textContent = `${headline.title}. ${headline.text}`;
    said = headline.title; saidAt = Date.now();
  }
  const title = `${count(queue.taken)}/${count(queue.length)} places · ${location.hostname}`;
  if (title !== titled) document.title = titled = title;
  set($('#n-places'), `${count(queue.taken)} of ${plural(queue.length, 'place', 'places')} taken`);
  drawQueue($('#places'), queue, place => since(place.since));
  $('#gate').classList.toggle('shut', now.paused);
  set($('#gate'), now.paused ? `${icon('pause')}<span>paused</span>` : icon('gate'));
  const sum = of => upstreams.reduce((n, upstream) => n + upstream[of], 0);
  set($('#n-slots'), `${count(sum('busy'))} of ${count(sum('available'))} busy`);
  set($('#pools'), upstreams.map(pool).join(''));
  set($('#now'), upstreams.map(admission).join(''));
}

const routesOf = upstream => `<code>${upstream.routes.map(esc).join('</code> <code>')}</code>`;

function pool(upstream) {
  const name = now.upstreams.length > 1 ? `<p class="name">${routesOf(upstream)}<span>${count(upstream.busy)} of ${count(upstream.available)}</span></p>` : '';
  const down = upstream.slots - Math.max(upstream.available, upstream.busy);
  const none = upstream.available === 0 ? sign('bad', 'No upstream server is up') : down > 0 ? sign('warn', `${plural(down, 'slot', 'slots')} not available`) : '';
  return `<div>${name}${slotList(upstream, `Slots of ${upstream.routes.join(', ')}`)}${none}</div>`;
}

function admission(upstream) {
  const caption = now.upstreams.length > 1 ? `<caption>${routesOf(upstream)}</caption>` : '';
  const wait = a => {
    if (a.wait_s === null) return '<small>not known now</small>';
    if (!a.admitted) return `<small>try again in</small>${roughly(a.wait_s)}`;
    return a.wait_s === 0 ? 'none' : (a.wait_s >= 1 ? '≈ ' : '') + roughly(a.wait_s);
  };
  const row = a => {
    const tiers = a.tiers.map(tier => `<span>${esc(tier)}</span>`).join('');
    return `<tr data-admits="${+a.priority}"><th scope="row">${square(a.priority)}</th><td class="tiers">${tiers}</td><td>${a.admitted ? sign('ok', 'Yes') : sign('bad', 'No')} <span class="how"><span class="in-tier">${a.tiers.map(esc).join(' ')} · </span>${HOW[a.how](a)}</span></td><td class="num wait nowrap">${wait(a)}</td></tr>`;
  };
  return `<div class="pool"><table aria-labelledby="h-now">${caption}<thead><tr><th scope="col">Priority</th><th scope="col">Tiers</th><th scope="col">Would you get in?</th><th scope="col" class="num">Expected wait</th></tr></thead><tbody>${upstream.admission.map(row).join('')}</tbody></table></div>`;
}

/** What has changed, in words: the last of it is shown. */
function tell(before) {
  if (!before?.queue.places || !now.queue.places) return;
  const ids = jobs => new Map((jobs ?? []).map(job => [job.id, job.priority]));
  const [waited, waits] = [ids(before.queue.places), ids(now.queue.places)];
  const ran = ids(before.upstreams.flatMap(upstream => upstream.running ?? [])), runs = ids(now.upstreams.flatMap(upstream => upstream.running ?? []));
  let last = '';
  for (const [id, p] of waited) if (!waits.has(id) && !runs.has(id)) last = `A ${p} left the queue without a slot`;
  for (const [id, p] of runs) if (waited.has(id)) last = `A ${p} went from the queue to a slot`;
  for (const [id, p] of runs) if (!waited.has(id) && !ran.has(id)) last = `A ${p} got a slot at once`;
  for (const [id, p] of waits) if (!waited.has(id)) last = `A ${p} took a place`;
  if (last) $('#last').textContent = last;
}

/* ---- the past ---- */
const UNIT = { '1h': 'per minute', '3d': 'per hour', '60d': 'per day' }, NOTHING = 'Nothing yet';
const GROUPS = [['room', 'no place'], ['limits', 'own limits'], ['rate', 'too fast'], ['request', 'bad requests'], ['fault', 'faults']];
const FILL = { room: 'var(--c-room)', limits: 'url(#h-limits)', rate: 'url(#h-rate)', request: 'url(#h-request)', fault: 'var(--c-fault)' };
const PERCENTILES = ['p0', 'p10', 'p25', 'p50', 'p75', 'p90', 'p100'];
const total = values => values.reduce((a, b) => a + b, 0);
const two = n => String(n).padStart(2, '0');
let period = '1h';

/** The rows' times as the viewer reads them; days are UTC. */
function clockOf(data) {
  const first = Date.parse(data.first), time = i => new Date(first + i * data.step_s * 1000);
  const day = { month: 'short', day: 'numeric', timeZone: data.step_s === 86400 ? 'UTC' : undefined };
  const at = i => {
    const t = time(i), date = t.toLocaleDateString('en', day);
    return data.step_s === 86400 ? date : data.step_s === 60 ? `${two(t.getHours())}:${two(t.getMinutes())}` : `${t.toLocaleDateString('en', { weekday: 'short' })} ${two(t.getHours())}:00`;
  };
  const n = data.served.length, every = data.step_s === 3600 ? 12 : 10;
  return { n, at, xTicks: Array.from({ length: n }, (_, i) => i).filter(i => i % every === (n - 1) % every).map(i => [i, at(i)]) };
}

function drawPast() {
  const data = traffic[period];
  for (const e of $$('[data-unit]')) e.textContent = UNIT[period];
  if (!data) return;
  const clock = clockOf(data), outOf = i => GROUPS.reduce((n, [group]) => n + data[group][i], 0);
  const served = total(data.served), out = total(GROUPS.map(([group]) => total(data[group])));
  const order = Object.keys(data.places).map(Number).sort((a, b) => b - a);
  const takenAt = i => total(order.map(p => data.places[p][i])), taken = total(data.served.map((_, i) => takenAt(i))) / clock.n;
  const median = data.percentiles_ms && time(data.percentiles_ms.p50);
  const cards = [['Served', count(served), ''], ['Turned away', served + out ? `${(out / (served + out) * 100).toFixed(1)} %` : '–', out ? count(out) : ''], ['Median search', median ?? '–', ''], ['Places taken', taken < 10 ? taken.toFixed(1) : count(taken), `of ${count(now.queue.length)}, average`]];
  set($('#stats'), cards.map(([name, value, more]) => `<div><dt>${name}</dt><dd>${value} <small>${more}</small></dd></div>`).join(''));
  drawAnswers(data, clock, served, out, outOf);
  drawReasons(data, out);
  drawPlaces(data, clock, order, takenAt, taken);
  drawTimes(data, clock);
}

/** Served above zero, turned away below: position tells them apart, colour and pattern only help. */
function drawAnswers(data, clock, served, out, outOf) {
  const most = Math.max(...data.served), least = Math.max(...data.served.map((_, i) => outOf(i)));
  const max = nice(Math.max(most, least / 4)), min = least ? -nice(Math.max(least, most / 8)) : 0;
  const thousands = v => { v = Math.abs(v); return v >= 1e6 ? `${v / 1e6}M` : v >= 1000 ? `${v / 1000}k` : +v.toFixed(1); };
  plot($('#c-ans'), {
    height: 236, n: clock.n, max, min, xTicks: clock.xTicks, yTicks: min ? [max, max / 2, 0, min] : [max, max / 2, 0], yText: thousands, none: served + out ? null : NOTHING,
    draw: ({ x, y, bw }) => PATTERNS + data.served.map((n, i) => {
      const gap = Math.max(1, bw * .22), w = bw - gap, left = x(i) + gap / 2;
      let v = 0;
      const below = GROUPS.map(([group]) => { const s = rect(left, y(-v) + (v ? .75 : 1), w, y(-v - data[group][i]) - y(-v) - .75, `fill="${FILL[group]}"`); v += data[group][i]; return s; });
      return `<g${i === clock.n - 1 ? ' class="so-far"' : ''}>${rect(left, y(n), w, y(0) - y(n), 'fill="var(--c-served)"')}${below.join('')}</g>`;
    }).join(''),
    read: i => set($('#k-ans'), `<span class="at">${i === null ? 'Total' : esc(clock.at(i)) + (i === clock.n - 1 ? ', so far' : '')}</span><span class="key"><i class="f-served"></i>served <b>${count(i === null ? served : data.served[i])}</b></span>` + GROUPS.filter(([group]) => total(data[group])).map(([group, text]) => `<span class="key"><i class="f-${group}"></i>${text} <b>${count(i === null ? total(data[group]) : data[group][i])}</b></span>`).join('')),
  });
  $('#d-ans').textContent = `${count(served)} served, ${count(out)} turned away. The arrow keys read single values.`;
  dataTable($('#t-ans'), ['Time', 'Served', ...GROUPS.map(([, text]) => text[0].toUpperCase() + text.slice(1))], () => data.served.map((n, i) => [clock.at(i), count(n), ...GROUPS.map(([group]) => count(data[group][i]))]).reverse());
}

function drawReasons(data, out) {
  set($('#n-why'), count(out));
  const most = Math.max(1, ...data.reasons.map(reason => reason.count));
  const row = reason => `<tr><th scope="row"><span class="r"><i class="f-${esc(reason.group)}"></i><code>${esc(reason.reason)}</code> <span class="st">${+reason.status}</span></span><svg class="fill thin" aria-hidden="true"><rect class="f-${esc(reason.group)}" width="${(reason.count / most * 100).toFixed(1)}%" rx="2"/></svg></th><td class="num"><b>${count(reason.count)}</b></td></tr>`;
  set($('#why'), data.reasons.length ? data.reasons.map(row).join('') : '<tr><td colspan="2" class="dim">Nobody was turned away.</td></tr>');
}

function drawPlaces(data, clock, order, takenAt, mean) {
  const most = Math.max(...data.served.map((_, i) => takenAt(i))), length = now.queue.length;
  const max = length <= 64 || most > length / 4 ? Math.max(length, Math.ceil(most), 1) : nice(most);
  plot($('#c-occ'), {
    height: 222, n: clock.n, max, min: 0, xTicks: clock.xTicks, yTicks: [0, max / 2, max], yText: v => +v.toFixed(1), none: most ? null : 'Nobody had to wait',
    draw: ({ x, y, bw, w, l, r }) => data.served.map((_, i) => {
      let v = 0;
      return order.map(p => { const n = data.places[p][i], s = rect(x(i), y(v + n) + .5, bw - .75, y(v) - y(v + n) - .75, `fill="var(--p${p})"${p ? '' : ' stroke="var(--p0-edge)" stroke-width=".5"'}`); v += n; return s; }).join('');
    }).join('') + (max >= length ? `<line class="cap" x1="${l}" x2="${w - r}" y1="${y(length)}" y2="${y(length)}"/>` : ''),
    read: i => set($('#k-occ'), `<span class="at">${i === null ? 'Average' : esc(clock.at(i))}</span>` + order.map(p => `<span class="key">${square(p, true)}<b>${(i === null ? total(data.places[p]) / clock.n : data.places[p][i]).toFixed(1)}</b></span>`).join('')),
  });
  $('#d-occ').textContent = `On average ${mean.toFixed(1)} of ${count(length)} places were taken. The arrow keys read single values.`;
  dataTable($('#t-occ'), ['Time', ...order.map(p => `Priority ${p}`)], () => data.served.map((_, i) => [clock.at(i), ...order.map(p => data.places[p][i].toFixed(1))]).reverse());
}

function drawTimes(data, clock) {
  const known = data.served.map((_, i) => i).filter(i => data.p50[i] !== null), last = known.at(-1);
  const max = nice(Math.max(0, ...known.map(i => data.p90[i])) / 1000);
  const runs = known.reduce((all, i) => { if (all.at(-1)?.at(-1) === i - 1) all.at(-1).push(i); else all.push([i]); return all; }, []); // no line over a gap
  plot($('#c-pct'), {
    height: 150, n: clock.n, max, min: 0, right: 34, xTicks: clock.xTicks, yTicks: [0, max / 2, max], yText: v => `${+v.toFixed(2)} s`, none: known.length ? null : NOTHING,
    draw: ({ x, y, bw, w, r }) => runs.map(run => {
      const curve = p => (run.length > 1 ? run : [run[0], run[0]]).map((i, k) => [x(i) + (run.length > 1 ? bw / 2 : k * bw), y(Math.min(max, data[p][i] / 1000))]);
      const band = (low, high, fill) => `<path d="${line([...curve(low), ...curve(high).reverse()])}Z" fill="${fill}"/>`;
      return band('p10', 'p90', 'var(--c-band-2)') + band('p25', 'p75', 'var(--c-band)') + `<path d="${line(curve('p90'))}" fill="none" stroke="var(--edge)" stroke-dasharray="3 3"/><path d="${line(curve('p50'))}" fill="none" stroke="var(--c-line)" stroke-width="1.75" stroke-linejoin="round"/>`;
    }).join('') + labels(['p90', 'p50', 'p10'].map(p => [p, y(Math.min(max, data[p][last] / 1000)) + 4]), w - r + 2, y(0) + 4),
    read: i => {
      const of = i === null ? data.percentiles_ms : Object.fromEntries(PERCENTILES.map(p => [p, data[p][i]])), is = of && of.p50 !== null;
      set($('#k-pct'), `<span class="at">${i === null ? 'All' : esc(clock.at(i))}</span>` + (is ? `<span class="key">median <b>${time(of.p50)}</b></span><span class="key">9 of 10 within <b>${time(of.p90)}</b></span>` : ''));
      set($('#pct'), PERCENTILES.map(p => `<div${p === 'p50' ? ' class="mid"' : ''}><dt>${p}</dt><dd>${is ? time(of[p]) : '–'}</dd></div>`).join(''));
    },
  });
  $('#d-pct').textContent = data.percentiles_ms ? `The median search took ${time(data.percentiles_ms.p50)}. The arrow keys read single values.` : '';
  dataTable($('#t-pct'), ['Time', ...PERCENTILES], () => known.map(i => [clock.at(i), ...PERCENTILES.map(p => time(data[p][i]))]).reverse());
}

/** Texts at these heights, upmost first, moved apart where they would cover each other, and none below the bottom. */
function labels(texts, x, bottom) {
  let above = -Infinity;
  const apart = texts.map(([text, y]) => [text, above = Math.max(y, above + 12)]), over = Math.max(0, above - bottom);
  return apart.map(([text, y]) => `<text x="${x}" y="${(y - over).toFixed(1)}">${text}</text>`).join('');
}

/* ---- your place: the key is kept in this variable, and sent to /me alone ---- */
const ME_EVERY = 15000;
let key = '', meTimer = 0;

function meRequest() {
  const headers = new Headers({ accept: 'application/json' }), { header, query } = paths.key ?? {};
  if (key && header) headers.set(header, header === 'authorization' ? `Bearer ${key}` : key);
  const url = key && !header && query ? `${paths.me}?${encodeURIComponent(query)}=${encodeURIComponent(key)}` : paths.me;
  return fetch(url, { headers, cache: 'no-store', credentials: 'omit', referrerPolicy: 'no-referrer', redirect: 'error' });
}

/** Asks /me. Its answer is shown only if the key is still the same. */
async function mine() {
  clearTimeout(meTimer);
  const asked = key;
  let again = ME_EVERY, wrong = '';
  try {
    const answer = await meRequest();
    if (asked !== key) return;
    if (answer.ok) drawMine(await answer.json());
    else if (answer.status === 429) { again = Math.max(ME_EVERY, (Number(answer.headers.get('retry-after')) || 60) * 1000); wrong = `Too many requests; asking again in ${roughly(again / 1000)}.`; }
    else if (asked) { key = ''; wrong = 'Nobody has this key, or it is blocked. Check it for a missing character.'; }
    else wrong = `Can't be shown now (${answer.status}).`;
  } catch { wrong = asked === key ? "Can't be shown now: no answer." : ''; }
  if (asked !== key && !wrong) return;
  const field = $('#key');
  field.setAttribute('aria-invalid', Boolean(asked && !key));
  $('#keyerr').textContent = wrong;
  if (asked && !key) { field.value = asked; field.focus(); }
  meTimer = setTimeout(() => { if (!document.hidden && !paused) mine(); else meTimer = setTimeout(mine, ME_EVERY); }, again);
}

function drawMine(me) {
  $('#keyform').hidden = Boolean(key); $('#forget').hidden = !key;
  const back = quota => {
    const at = text => new Date(text).toLocaleString('en', { month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', hour12: false });
    if (!quota.next_reset) return '';
    return quota.next_free && quota.next_free !== quota.next_reset ? `next back ${at(quota.next_free)}, all by ${at(quota.next_reset)}` : `all back ${at(quota.next_reset)}`;
  };
  const bar = quota => {
    const used = quota.limit ? Math.min(1, quota.used / quota.limit) : 1, held = quota.limit ? Math.min(1 - used, quota.held / quota.limit) : 0, kind = used > .95 ? 'bad' : used > .8 ? 'warn' : '';
    return `<div><div class="row"><b>${esc(quota.name)} quota</b><span>${count(quota.used)} of ${count(quota.limit)}</span></div><div class="bar ${kind}" role="img" aria-label="${esc(quota.name)} quota: ${count(quota.used)} of ${count(quota.limit)} used, ${count(quota.remaining)} left"><i data-f="${used}"></i><i data-f="${held}"></i></div><p class="sub">${kind ? sign(kind, `${Math.round(used * 100)} % used`) + ' · ' : ''}${count(quota.remaining)} left${quota.held ? `, ${count(quota.held)} set aside` : ''} · ${esc(quota.window)}${quota.enforced === false ? ' · not enforced' : ''}${quota.next_reset ? `<br>${esc(back(quota))}` : ''}</p></div>`;
  };
  const jobs = me.running + me.waiting, pips = me.concurrency <= 16 ? `<div class="pips" aria-hidden="true">${Array.from({ length: me.concurrency }, (_, i) => `<i${i < me.running ? ' class="on"' : i < jobs ? ' class="held"' : ''}></i>`).join('')}</div>` : `<div class="bar" aria-hidden="true"><i data-f="${me.running / me.concurrency}"></i><i data-f="${me.waiting / me.concurrency}"></i></div>`;
  set($('#mine'), `<div class="id">${square(me.priority)}<div><b>${key ? esc(me.id) : 'Your network, without a key'}</b><div class="dim xs">${esc(me.tier)} tier, priority ${+me.priority}</div></div></div><div><div class="row"><b>Requests at once</b><span>${count(jobs)} of ${count(me.concurrency)}</span></div>${pips}<p class="sub">${count(me.running)} running, ${count(me.waiting)} waiting</p></div>${(me.quotas ?? []).map(bar).join('')}`);
  for (const e of $$('#mine [data-f]')) e.style.setProperty('--f', e.dataset.f);
}

/* ---- life ---- */
const STALE_AFTER = 25000, HIDDEN_AFTER = 60000, RETRY_FIRST = 3000, RETRY_MAX = 60000;
let paused = false, source = null, lost = false, polled = false, retry = RETRY_FIRST, retryAt = 0, retryTimer = 0, hiddenTimer = 0;

function take(fresh) {
  const before = now;
  now = fresh; received = performance.now(); lastNews = Date.now();
  tell(before);
  drawNow();
}

function connect() {
  clearTimeout(retryTimer);
  source?.close();
  source = new EventSource(paths.events);
  source.addEventListener('open', () => { retry = RETRY_FIRST; lost = polled = false; drawLife(); });
  source.addEventListener('now', e => { take(JSON.parse(e.data)); if (lost) { lost = false; drawLife(); } });
  source.addEventListener('traffic', e => { const data = JSON.parse(e.data); traffic[data.period] = data; if (data.period === period) drawPast(); });
  source.addEventListener('error', () => { source.close(); source = null; failed(); });
}

/** The stream can't be had: asks for the state once, and tries the stream again later, each time after longer. */
async function failed() {
  if (paused) return;
  retryAt = Date.now() + retry * (.75 + Math.random() / 2);
  clearTimeout(retryTimer);
  retryTimer = setTimeout(connect, retryAt - Date.now());
  retry = Math.min(RETRY_MAX, retry * 2);
  try {
    const answer = await fetch(paths.json, { cache: 'no-store', credentials: 'omit' });
    if (!answer.ok) throw answer;
    const { now: fresh, traffic: past } = await answer.json();
    Object.assign(traffic, past);
    polled = true; lost = false;
    take(fresh); drawPast();
  } catch { lost = true; polled = false; }
  drawLife();
}

function drawLife() {
  set($('#live'), paused ? sign('off', 'Paused by you') : lost ? sign('bad', 'Connection lost') : polled ? sign('off', 'Now and then') : sign('ok', 'Live'));
  $('#main').classList.toggle('stale', lost && !paused);
  if (!lost || paused) return set($('#trouble'), '');
  const at = new Date(lastNews).toLocaleTimeString('en', { hour12: false });
  set($('#headline'), `<span class="sign off">${icon('off')}</span><span>At ${at}: ${esc(now.headline.title)}</span>`);
  const wait = Math.max(0, Math.ceil((retryAt - Date.now()) / 1000));
  set($('#trouble'), `<div class="note bad gap-t">${icon('bad')}<div><b>No news for ${age((Date.now() - lastNews) / 1000)}.</b> What you see is from ${at}. Trying again${wait ? ` in ${wait} s` : ''}. <button class="btn small" type="button" id="retry">Try now</button></div></div>`);
}

$('#trouble').addEventListener('click', e => { if (e.target.id === 'retry') connect(); });
$('#pause').addEventListener('click', () => {
  paused = !paused;
  $('#pause').setAttribute('aria-pressed', paused);
  set($('#pause'), `${icon(paused ? 'play' : 'pause')}<span>${paused ? 'Resume' : 'Pause'}</span>`);
  if (paused) { clearTimeout(retryTimer); source?.close(); source = null; lost = false; } else { connect(); if (paths.me) mine(); }
  drawLife();
});
// A hidden page gives its connection up: browsers have six for each site.
document.addEventListener('visibilitychange', () => {
  clearTimeout(hiddenTimer);
  if (document.hidden) hiddenTimer = setTimeout(() => { clearTimeout(retryTimer); source?.close(); source = null; }, HIDDEN_AFTER);
  else if (!source && !paused) connect();
});
for (const radio of $$('[name=period]')) radio.addEventListener('change', () => { period = radio.value; drawPast(); });
setInterval(() => {
  if (paused || document.hidden) return;
  if (source && !lost && Date.now() - lastNews > STALE_AFTER) { source.close(); source = null; lost = true; failed(); }
  if (lost) drawLife(); else drawQueue($('#places'), now.queue, place => since(place.since)); // ages
}, 1000);

$('#host').textContent = location.hostname;
if (paths.me) {
  $('#keyform').addEventListener('submit', e => {
    e.preventDefault();
    const field = $('#key'), typed = field.value.trim();
    if (!typed) return field.focus();
    key = typed; field.value = ''; mine();
  });
  $('#forget').addEventListener('click', () => { key = ''; mine().then(() => $('#key').focus()); });
  mine();
}
const chosen = new URLSearchParams(location.search).get('period');
for (const radio of $$('[name=period]')) if (radio.value === chosen) { radio.checked = true; period = chosen; }
drawNow(); drawPast(); connect();
