// What is drawn: each function takes what the API told. `put` leaves alone what somebody is in.
const hovers = matchMedia('(hover: hover)');
/** Whether a pointer or the focus is in the element's panel: its rows must hold still. */
const isHeld = element => {
  const panel = element.closest('.panel');
  return (hovers.matches && panel.matches(':hover')) || (document.hasFocus() && panel.contains(document.activeElement));
};
const put = (element, html, force) => {
  if (force || !isHeld(element)) setKeepingFocus(element, html);
};

/** Sets the content; the focus stays where it was, if that is there again. */
function setKeepingFocus(element, html) {
  const had = element.contains(document.activeElement) ? document.activeElement : null;
  set(element, html);
  for (const bar of $$('[data-f]', element)) bar.style.setProperty('--f', bar.dataset.f);
  if (!had || document.contains(had)) return;
  const again = $$('button', element).find(
    button => (button.dataset.act ?? button.dataset.open) === (had.dataset.act ?? had.dataset.open) && button.dataset.on === had.dataset.on,
  );
  (again ?? $('#main')).focus({ preventScroll: true });
}

const button = (act, on, text, kind = '', label = '') =>
  `<button class="btn small ${kind}" type="button" data-act="${act}" data-on="${esc(on)}"${label ? ` aria-label="${esc(`${text.replace('…', '')} ${label}`)}"` : ''}>${text}</button>`;
const emptyRow = (columns, title, text) => `<tr><td colspan="${columns}"><div class="empty"><b>${esc(title)}</b>${esc(text)}</div></td></tr>`;
const clock = at => new Date(at).toLocaleTimeString('en-GB');
/** A time of the past: the time of day, with the day if that is another. */
const when = at => {
  const then = new Date(at),
    today = new Date().toDateString() === then.toDateString();
  return `<time datetime="${esc(at)}" title="${esc(then.toString())}">${today ? '' : `${then.toLocaleDateString('en-CA')} `}${clock(at)}</time>`;
};
const ago = at => {
  const s = Math.max(0, (Date.now() - Date.parse(at)) / 1000);
  return s < 60 ? 'just now' : s < 3600 ? `${Math.floor(s / 60)} min ago` : s < 172800 ? `${Math.floor(s / 3600)} h ago` : `${Math.floor(s / 86400)} d ago`;
};
const uptime = s => (s < 3600 ? `${Math.floor(s / 60)} min` : s < 172800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} d`);

/** Who sent a job or was refused: an account's name, or a network. */
const callerOf = ({ caller, kind }) => (caller === null ? '<span class="dim">unknown</span>' : kind === 'network' ? `<code>${esc(caller)}</code>` : `<b>${esc(caller)}</b>`);

/* ---- what needs somebody ---- */
const WHERE = { paused: 'jobs', admission_stopped: 'refusals', database_unavailable: 'database', reload_failed: 'config', server_down: 'servers', no_server: 'servers' };
const PLACES = { jobs: 'Who waits', refusals: 'Refusals', database: 'Database', config: 'Configuration', servers: 'Servers' };
let told = '';

function drawProblems(status) {
  const notes = status.problems.map(({ reason, error }) => [
    reason === 'paused' ? 'warn' : 'bad',
    sentence(error).replace(/until `tiergate [a-z ]+`/, 'until you change that'),
    WHERE[reason],
  ]);
  if (status.queue.seats && status.queue.waiting >= status.queue.seats)
    notes.push(['warn', 'The queue is full: lower priorities are turned away or displaced.', 'refusals']);
  const drained = status.upstreams.flatMap(upstream => upstream.servers).filter(server => server.drained).length;
  if (drained) notes.push(['warn', `${plural(drained, 'server is', 'servers are')} drained: no search goes there.`, 'servers']);
  set(
    $('#todo'),
    notes
      .map(
        ([kind, text, to]) =>
          `<div class="note ${kind}">${icon(kind)}<div>${esc(text)}</div>${to ? `<a href="#${to}">${PLACES[to]}</a>` : ''}</div>`,
      )
      .join('') || `<div class="note ok">${icon('ok')}<div><b>All is well.</b> Nothing needs you.</div></div>`,
  );
  const bad = status.problems.length;
  set($('#c-over'), bad ? sign('bad', plural(bad, 'problem', 'problems')) : '');
  const say = notes.map(note => note[1]).join(' ') || 'All is well.';
  if (told !== say) {
    if (told) $('#say').textContent = say;
    told = say;
  }
  document.title = `${bad ? `(${bad}) ` : ''}${status.queue.waiting}/${status.queue.seats} · Operator · ${location.hostname}`;
}

function drawSwitches({ paused, admission_stopped: stopped }) {
  set($('#s-dispatch'), paused ? sign('warn', 'paused', 'pause') : sign('ok', 'running'));
  set($('#s-admit'), stopped ? sign('bad', 'stopped') : sign('ok', 'open'));
  const switches = [
    ['#b-dispatch', paused ? 'resume' : 'pause', paused ? 'Resume…' : 'Pause…', 'dispatch'],
    ['#b-admit', stopped ? 'start' : 'stop', stopped ? 'Admit again…' : 'Stop…', 'admission'],
  ];
  for (const [at, act, text, what] of switches) {
    const e = $(at);
    e.dataset.act = act;
    if (e.textContent !== text) {
      e.textContent = text;
      e.setAttribute('aria-label', `${text.replace('…', '')} ${what}`);
    }
  }
}

/* ---- numbers ---- */
function spark(values, off) {
  const known = values.map(v => v ?? 0),
    hi = Math.max(...known, 1e-9) * 1.1;
  const points = known.map((v, i) => `${((i / Math.max(1, known.length - 1)) * 100).toFixed(1)} ${(28 - (v / hi) * 26).toFixed(1)}`).join('L');
  return `<svg class="spark${off ? ' off' : ''}" viewBox="0 0 100 28" preserveAspectRatio="none" aria-hidden="true"><path class="a" d="M0 28L${points}L100 28Z"/><path d="M${points}"/></svg>`;
}

const sumOf = lists => (lists.length ? lists[0].map((_, i) => lists.reduce((n, list) => n + (list[i] ?? 0), 0)) : []);

function drawTiles() {
  const hour = latest.traffic?.['1h'],
    { status, metrics } = latest;
  const tile = (name, value, small, line = '', alert = false) =>
    `<div class="tile"><dt>${name}</dt><dd${alert ? ' class="alert"' : ''}>${alert ? `${icon('bad')} ` : ''}${value} <small>${small}</small></dd>${line ? `<dd aria-hidden="true">${line}</dd>` : ''}</div>`;
  const tiles = [];
  if (hour) {
    const refused = sumOf(['room', 'limits', 'rate', 'request', 'fault'].map(group => hour[group] ?? []).filter(list => list.length));
    const taken = sumOf(Object.values(hour.places ?? {}));
    const total = list => list.reduce((n, v) => n + v, 0);
    const [served, away] = [total(hour.served), total(refused)];
    const p50 = hour.percentiles_ms?.p50;
    tiles.push(
      tile('Served', count(served), 'in the hour', spark(hour.served)),
      tile('Turned away', count(away), served + away ? `${Math.round((away / (served + away)) * 100)} %` : '', spark(refused, true)),
      tile('Places taken', taken.length ? (total(taken) / taken.length).toFixed(1) : '0', `of ${count(status.queue.seats)}, mean`, spark(taken)),
      tile('Search time, median', p50 == null ? '–' : time(p50), '', spark(hour.p50 ?? [])),
    );
  } else tiles.push(...['Served', 'Turned away', 'Places taken', 'Search time, median'].map(name => tile(name, '–', 'not known')));
  const sum = of => status.upstreams.reduce((n, upstream) => n + upstream[of], 0);
  const paying = status.tiers.filter(tier => tier.tier !== latest.anonymous).reduce((n, tier) => n + tier.refused_last_minute, 0);
  const oldest = status.queue.oldest_s;
  tiles.push(
    tile('Slots busy', count(sum('running')), `of ${count(sum('available'))}`),
    tile('Waiting longest', oldest === null ? '–' : age(oldest), oldest === null ? 'nobody waits' : ''),
    tile('Paying tiers turned away', count(paying), 'last minute', '', paying > 0),
    tile('Commit, 99 %', metrics?.commits ? fine(metrics.commit[2]) : '–', ''),
  );
  put($('#tiles'), tiles.join(''));
}

/* ---- the queue and the slots ---- */
function drawRoom({ status, queue }) {
  const now = performance.now();
  const places = queue.waiting.slice(0, PLACES_DRAWN + 1).map(job => ({ id: job.id, priority: job.priority, since: now - job.waited_s * 1000 }));
  drawQueue(
    $('#places'),
    {
      length: status.queue.seats,
      taken: status.queue.waiting,
      by_priority: Object.fromEntries(status.queue.by_priority.map((n, p) => [p, n]).filter(([p, n]) => n || status.tiers.some(tier => tier.priority === p))),
      places: places.length > PLACES_DRAWN ? null : places,
    },
    place => (performance.now() - place.since) / 1000,
  );
  set($('#n-places'), `${count(status.queue.waiting)} of ${plural(status.queue.seats, 'place', 'places')} taken`);
  const sum = of => status.upstreams.reduce((n, upstream) => n + upstream[of], 0);
  set($('#n-slots'), `${count(sum('running'))} of ${count(sum('available'))} busy`);
  set(
    $('#slots'),
    status.upstreams
      .flatMap(upstream => upstream.servers)
      .map(server => `<li><code>${esc(server.server)}</code>${slotsOf(server, queue)}</li>`)
      .join(''),
  );
}

const SLOTS_LISTED = 64;
function slotsOf(server, queue) {
  const running = queue.running.filter(job => job.server === server.server && job.upstream === server.upstream);
  const all = running.length === server.running && server.running <= SLOTS_LISTED;
  return slotList(
    { slots: server.slots, available: server.available, busy: server.running, running: all ? running : null },
    `Slots of ${server.server}`,
  );
}

function drawTiers({ tiers }) {
  const n = v => (v ? `<b class="on">${count(v)}</b>` : '<span class="dim">0</span>');
  const row = tier =>
    `<tr><th scope="row">${square(tier.priority, true)}${esc(tier.tier)}${tier.tier === latest.anonymous ? ' <span class="dim opt">without a key</span>' : ''}</th><td class="num">${n(tier.waiting)}</td><td class="num">${n(tier.running)}</td><td class="num">${n(tier.refused_last_minute)}</td></tr>`;
  put($('#t-tiers'), [...tiers].sort((a, b) => b.priority - a.priority).map(row).join(''));
}
