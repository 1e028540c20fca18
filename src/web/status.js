// The status page. The server has written the first state into it; then it follows the server's events.
const state = JSON.parse($('#state').textContent);
const paths = state.paths;
let now = state.now,
  received = performance.now(),
  lastNews = Date.now();
const traffic = state.traffic;
/** Seconds since a time of the server's, by the server's clock. */
const since = at => Math.max(0, (Date.parse(now.time) - Date.parse(at) + performance.now() - received) / 1000);

/* ---- now ---- */
const HOW = {
  slot: () => 'gets a slot at once',
  place: () => 'takes a free place',
  displaces: a => `displaces a\u00a0${a.displaces}`,
  full: () => 'no place to take',
  closed: () => 'shutting down',
  stopped: () => 'closed to new requests',
  unavailable: () => "usage can't be recorded",
};
let said = '',
  saidAt = 0,
  titled = '';

function drawNow() {
  const { headline, queue, upstreams } = now;
  set($('#headline'), `<span class="sign ${headline.state}">${icon(headline.state)}</span><span>${esc(headline.title)}</span>`);
  set($('#lede'), esc(headline.text));
  if (headline.title !== said && Date.now() - saidAt > 15000) {
    // screen readers: at most every 15 s
    if (said) $('#say').textContent = `${headline.title}. ${headline.text}`;
    said = headline.title;
    saidAt = Date.now();
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
  const name =
    now.upstreams.length > 1
      ? `<p class="name">${routesOf(upstream)}<span>${count(upstream.busy)} of ${count(upstream.available)}</span></p>`
      : '';
  const down = upstream.slots - Math.max(upstream.available, upstream.busy);
  const none =
    upstream.available === 0
      ? sign('bad', 'No upstream server is up')
      : down > 0
        ? sign('warn', `${plural(down, 'slot', 'slots')} not available`)
        : '';
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
  const ran = ids(before.upstreams.flatMap(upstream => upstream.running ?? [])),
    runs = ids(now.upstreams.flatMap(upstream => upstream.running ?? []));
  let last = '';
  for (const [id, p] of waited) if (!waits.has(id) && !runs.has(id)) last = `A ${p} left the queue without a slot`;
  for (const [id, p] of runs) if (waited.has(id)) last = `A ${p} went from the queue to a slot`;
  for (const [id, p] of runs) if (!waited.has(id) && !ran.has(id)) last = `A ${p} got a slot at once`;
  for (const [id, p] of waits) if (!waited.has(id)) last = `A ${p} took a place`;
  if (last) $('#last').textContent = last;
}

/* ---- life ---- */
const STALE_AFTER = 25000,
  HIDDEN_AFTER = 60000,
  RETRY_FIRST = 3000,
  RETRY_MAX = 60000;
let paused = false,
  source = null,
  lost = false,
  polled = false,
  retry = RETRY_FIRST,
  retryAt = 0,
  retryTimer = 0,
  hiddenTimer = 0;

function take(fresh) {
  const before = now;
  now = fresh;
  received = performance.now();
  lastNews = Date.now();
  tell(before);
  drawNow();
}

function connect() {
  clearTimeout(retryTimer);
  source?.close();
  source = new EventSource(paths.events);
  source.addEventListener('open', () => {
    retry = RETRY_FIRST;
    lost = polled = false;
    drawLife();
  });
  source.addEventListener('now', e => {
    take(JSON.parse(e.data));
    if (lost) {
      lost = false;
      drawLife();
    }
  });
  source.addEventListener('traffic', e => {
    const data = JSON.parse(e.data);
    traffic[data.period] = data;
    if (data.period === period) drawPast();
  });
  source.addEventListener('error', () => {
    source.close();
    source = null;
    failed();
  });
}

/** The stream can't be had: asks for the state once, and tries the stream again later, each time after longer. */
async function failed() {
  if (paused) return;
  retryAt = Date.now() + retry * (0.75 + Math.random() / 2);
  clearTimeout(retryTimer);
  retryTimer = setTimeout(connect, retryAt - Date.now());
  retry = Math.min(RETRY_MAX, retry * 2);
  try {
    const answer = await fetch(paths.json, { cache: 'no-store', credentials: 'omit' });
    if (!answer.ok) throw answer;
    const { now: fresh, traffic: past } = await answer.json();
    Object.assign(traffic, past);
    polled = true;
    lost = false;
    take(fresh);
    drawPast();
  } catch {
    lost = true;
    polled = false;
  }
  drawLife();
}

function drawLife() {
  set(
    $('#live'),
    paused
      ? sign('off', 'Paused by you')
      : lost
        ? sign('bad', 'Connection lost')
        : polled
          ? sign('off', 'Now and then')
          : sign('ok', 'Live'),
  );
  $('#main').classList.toggle('stale', lost && !paused);
  if (!lost || paused) return set($('#trouble'), '');
  const at = new Date(lastNews).toLocaleTimeString('en', { hour12: false });
  set($('#headline'), `<span class="sign off">${icon('off')}</span><span>At ${at}: ${esc(now.headline.title)}</span>`);
  const wait = Math.max(0, Math.ceil((retryAt - Date.now()) / 1000));
  set(
    $('#trouble'),
    `<div class="note bad gap-t">${icon('bad')}<div><b>No news for ${age((Date.now() - lastNews) / 1000)}.</b> What you see is from ${at}. Trying again${wait ? ` in ${wait} s` : ''}. <button class="btn small" type="button" id="retry">Try now</button></div></div>`,
  );
}

$('#trouble').addEventListener('click', e => {
  if (e.target.id === 'retry') connect();
});
$('#pause').addEventListener('click', () => {
  paused = !paused;
  $('#pause').setAttribute('aria-pressed', paused);
  set($('#pause'), `${icon(paused ? 'play' : 'pause')}<span>${paused ? 'Resume' : 'Pause'}</span>`);
  if (paused) {
    clearTimeout(retryTimer);
    source?.close();
    source = null;
    lost = false;
  } else {
    connect();
    if (paths.me) mine();
  }
  drawLife();
});
// A hidden page gives its connection up: browsers have six for each site.
document.addEventListener('visibilitychange', () => {
  clearTimeout(hiddenTimer);
  if (document.hidden)
    hiddenTimer = setTimeout(() => {
      clearTimeout(retryTimer);
      source?.close();
      source = null;
    }, HIDDEN_AFTER);
  else if (!source && !paused) connect();
});
for (const radio of $$('[name=period]'))
  radio.addEventListener('change', () => {
    period = radio.value;
    drawPast();
  });
setInterval(() => {
  if (paused || document.hidden) return;
  if (source && !lost && Date.now() - lastNews > STALE_AFTER) {
    source.close();
    source = null;
    lost = true;
    failed();
  }
  if (lost) drawLife();
  else drawQueue($('#places'), now.queue, place => since(place.since)); // ages
}, 1000);

$('#host').textContent = location.hostname;
if (paths.me) {
  $('#keyform').addEventListener('submit', e => {
    e.preventDefault();
    const field = $('#key'),
      typed = field.value.trim();
    if (!typed) return field.focus();
    key = typed;
    field.value = '';
    mine();
  });
  $('#forget').addEventListener('click', () => {
    key = '';
    mine().then(() => $('#key').focus());
  });
  mine();
}
const chosen = new URLSearchParams(location.search).get('period');
for (const radio of $$('[name=period]'))
  if (radio.value === chosen) {
    radio.checked = true;
    period = chosen;
  }
drawNow();
drawPast();
connect();
