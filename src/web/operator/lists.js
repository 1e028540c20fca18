// Jobs, servers, refusals, the configuration, the database and the audit log.
/** The line below a table; none if there is nothing to say. */
function foot(at, text) {
  $(at).textContent = text;
  $(at).parentElement.hidden = !text;
}
const ROWS_DRAWN = 200;

function drawJobs({ queue, status }, force) {
  const ends = s => (s === undefined ? `<span class="dim">${status.paused ? 'paused' : 'unknown'}</span>` : s < 1 ? 'any moment' : `in ≈ ${roughly(s)}`);
  const head = (job, end) =>
    `<td>${square(job.priority)}</td><th scope="row" class="who">${callerOf(job)} <span class="dim opt nowrap">${esc(job.tier)}</span><div class="only-s dim xs">${end}</div></th>`;
  const ending = job => (job.state !== 'running' ? `<span class="dim">${esc(job.state)}</span>` : job.ends_in_s === 0 ? '<span class="dim">longer than usual</span>' : ends(job.ends_in_s));
  const notRunning = [...queue.waiting, ...queue.uploading];
  const waiting = notRunning
    .slice(0, ROWS_DRAWN)
    .map(
      job =>
        `<tr>${head(job, ends(job.ends_in_s))}<td class="nowrap">${age(job.waited_s)}${job.state === 'uploading' ? ' <span class="dim">uploading</span>' : ''}</td><td class="nowrap opt">${ends(job.ends_in_s)}</td><td><div class="acts">${job.state === 'uploading' ? '' : button('cancel', job.id, 'Cancel…', 'quiet', `the search of ${job.caller}`)}</div></td></tr>`,
    );
  const running = queue.running
    .slice(0, ROWS_DRAWN)
    .map(
      job =>
        `<tr>${head(job, ending(job))}<td class="nowrap">${age(job.running_s ?? job.waited_s)}</td><td class="nowrap opt">${ending(job)}</td><td class="opt"><code>${esc(job.server ?? job.upstream)}</code></td></tr>`,
    );
  for (const [rows, of, columns] of [
    [waiting, notRunning, 5],
    [running, queue.running, 5],
  ])
    if (of.length > ROWS_DRAWN) rows.push(`<tr><td colspan="${columns}" class="dim">and ${count(of.length - ROWS_DRAWN)} more</td></tr>`);
  put($('#t-wait'), waiting.join('') || emptyRow(5, 'Nobody waits', status.paused ? 'Dispatch is paused: new searches will wait.' : 'A search without a free slot appears here.'), force);
  put($('#t-run'), running.join('') || emptyRow(5, 'Nothing runs', 'A search appears here when it gets a slot.'), force);
  set($('#n-jobs'), `${count(queue.waiting.length)} + ${count(queue.running.length)}`);
  set($('#c-jobs'), `${count(queue.waiting.length)} + ${count(queue.running.length)}`);
}

function drawServers({ status, servers, queue, metrics }, force) {
  const failed = ({ upstream, server, last_failure: last }) => {
    if (!last) return '';
    const n = metrics?.failures.get(JSON.stringify([upstream, server]));
    return `<div class="dim xs" title="${esc(last.error)}">${n ? `${plural(n, 'failure', 'failures')}, last ` : 'last failure '}${esc(last.reason)} ${ago(last.at)}</div>`;
  };
  const health = server => {
    if (server.drained)
      return (
        sign('warn', server.running ? 'Draining' : 'Drained', 'drain') +
        (server.drained_since ? `<div class="dim xs">since ${when(server.drained_since)}</div>` : '') +
        (server.up === false ? `<div class="xs">${sign('bad', 'Down')}</div>` : '')
      );
    if (server.up === null) return sign('off', 'Not in tiers.yaml');
    return server.up ? sign('ok', 'Up') : `${sign('bad', 'Down')}<div class="dim xs">${esc(server.why_down ?? 'no answer')}</div>`;
  };
  const busy = server => `${count(server.running)} <span class="dim">of ${count(server.slots)}<span class="only-s"> busy</span></span>`;
  const several = new Set(servers.map(server => server.upstream)).size > 1;
  const row = server => {
    const on = JSON.stringify([server.upstream, server.server]);
    const act = server.drained ? button('undrain', on, 'Take back…', '', server.server) : server.listed ? button('drain', on, 'Drain…', '', server.server) : '';
    return `<tr><th scope="row" class="who"><b>${esc(server.server)}</b>${several ? `<div class="dim xs">${esc(server.upstream)}</div>` : ''}<div class="only-s xs">${busy(server)}</div></th><td>${health(server)}${failed(server)}</td><td class="opt">${slotsOf(server, queue)}</td><td class="opt num nowrap">${busy(server)}</td><td><div class="acts">${act}</div></td></tr>`;
  };
  put($('#t-servers'), servers.map(row).join('') || emptyRow(5, 'No servers', 'tiers.yaml lists none.'), force);
  set($('#n-servers'), several ? '' : `upstream <code>${esc(status.upstreams[0]?.upstream ?? '')}</code>`);
  const down = servers.filter(server => server.up === false && !server.drained).length;
  set($('#c-servers'), down ? sign('bad', `${down} down`) : count(servers.length));
}

/* ---- refusals ---- */
const blockOf = ({ caller, kind }) => (caller === null ? '' : button(kind === 'network' ? 'blocknet' : 'block', caller, 'Block…', 'quiet', caller));
let only = '';
function drawRefusals({ refusals }, force) {
  const list = refusals.refusals,
    reasons = [...new Set(list.map(refusal => refusal.reason))].sort();
  if (only && !reasons.includes(only)) reasons.push(only);
  const chips = ['', ...reasons].map(
    reason =>
      `<button class="btn small chip" type="button" aria-pressed="${only === reason}" data-reason="${esc(reason)}">${esc(reason || 'all')}</button>`,
  );
  if (!$('#reasons').contains(document.activeElement) || force) set($('#reasons'), chips.join(''));
  const priorityOf = Object.fromEntries(latest.status.tiers.map(tier => [tier.tier, tier.priority]));
  const row = refusal =>
    `<tr><td class="nowrap dim opt">${when(refusal.at)}</td><td><code>${esc(refusal.reason)}</code> <span class="dim">${+refusal.status}</span><div class="dim only-s">${when(refusal.at)}</div></td><th scope="row" class="who">${refusal.tier in priorityOf ? `${square(priorityOf[refusal.tier], true)} ` : ''}${callerOf(refusal)}</th><td class="opt">${esc(refusal.tier ?? '–')}</td><td class="opt"><code>${esc(refusal.route ?? '–')}</code></td><td class="opt"><div class="acts">${blockOf(refusal)}</div></td></tr>`;
  const rows = list.filter(refusal => !only || refusal.reason === only).map(row);
  put($('#t-ref'), rows.join('') || emptyRow(6, 'Nobody was turned away', only ? `for ${only}, as far as is kept.` : 'since tiergate was started.'), force);
  set($('#n-ref'), list.length ? count(list.length) : '');
  set(
    $('#ref-foot'),
    list.length ? `The last ${count(refusals.kept_max)} on metered routes; of one reason at most ${count(refusals.per_reason_and_second_max)} a second. The metrics count all.` : '',
  );
}
$('#reasons').addEventListener('click', e => {
  const chip = e.target.closest('[data-reason]');
  if (!chip) return;
  only = chip.dataset.reason;
  drawRefusals(latest, true);
  $$('[data-reason]').find(other => other.dataset.reason === only)?.focus();
});

/* ---- configuration ---- */
const LOADED = { started: 'read at the start', applied: 'applied', unchanged: 'nothing changed', failed: 'failed' };
function drawConfig({ config }, force) {
  const { last } = config,
    wrong = last.wrong?.problems ?? [];
  const problem = (kind, { line, message, advice }) =>
    `<li>${sign(kind, '')}<div><p>${line ? `Line ${+line}: ` : ''}${esc(message)}</p>${advice ? `<p>${esc(sentence(advice))}</p>` : ''}</div></li>`;
  const warnings = config.warnings.filter(warning => warning.severity !== 'error');
  const lint = [...wrong.map(one => problem('bad', one)), ...warnings.map(one => problem('warn', one))];
  const change = line => `<div class="dim xs">${esc(line.subject)}: ${esc(line.change)}</div>`;
  const restart = config.restart ?? [];
  put(
    $('#cfg'),
    `${wrong.length ? `<div class="note bad gap-b">${icon('bad')}<div><b>The last reload failed.</b> The file has ${plural(last.wrong.errors, 'error', 'errors')}; the configuration before it stays in force.</div></div>` : ''}
    <dl class="facts"><dt>File</dt><dd><code>${esc(config.file)}</code></dd><dt>In force since</dt><dd>${when(config.since)}</dd>
    <dt>Last read</dt><dd>${when(last.at)} ${last.result === 'failed' ? sign('bad', 'failed') : sign('ok', LOADED[last.result] ?? last.result)}${(last.changes ?? []).map(change).join('')}</dd>
    <dt>Needs a restart</dt><dd>${restart.length ? sign('warn', plural(restart.length, 'change', 'changes')) + restart.map(change).join('') : 'nothing'}</dd>
    <dt>Warnings</dt><dd>${warnings.length ? sign('warn', count(warnings.length)) : sign('ok', 'none')}</dd></dl>
    ${lint.length ? `<ul class="lint">${lint.join('')}</ul>` : ''}
    ${config.config === null ? '' : `<details class="file"${$('#cfg details')?.open ? ' open' : ''}><summary>Show all of it</summary><pre tabindex="0" aria-label="The configuration in force">${esc(JSON.stringify(config.config, null, 2))}</pre></details>`}`,
    force,
  );
  set($('#c-cfg'), wrong.length ? sign('bad', 'failed') : warnings.length ? sign('warn', count(warnings.length)) : '');
  latest.anonymous = config.config?.anonymous ?? null;
  const tiers = latest.status.tiers.map(tier => `<option>${esc(tier.tier)}</option>`).join('');
  if (document.activeElement !== $('#of-tier')) {
    const chosen = $('#of-tier').value;
    set($('#of-tier'), `<option value="">all tiers</option>${tiers}`);
    $('#of-tier').value = chosen;
  }
}

/* ---- database ---- */
const COMMIT = 'tiergate_database_commit_seconds';
/** The samples of a metric: labels and value. */
const samplesOf = (text, name) =>
  [...text.matchAll(new RegExp(`^${name}(?:{(.*)})? (\\S+)$`, 'gm'))].map(([, labels = '', value]) => [
    Object.fromEntries([...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, label, of]) => [label, of.replace(/\\(.)/g, '$1')])),
    Number(value),
  ]);
/** The time in ms that so large a share of a histogram's values stays below; Infinity beyond its last bucket. */
function quantile(buckets, share) {
  const rank = share * (buckets.at(-1)?.[1] ?? 0);
  let below = 0,
    before = 0;
  for (const [{ le }, n] of buckets) {
    const bound = le === '+Inf' ? Infinity : Number(le);
    if (n >= rank && n > before) return 1000 * (below + ((bound - below) * (rank - before)) / (n - before));
    [below, before] = [bound, n];
  }
  return null;
}
/** What the page shows of the metrics. */
function numbersOf(text) {
  const value = name => samplesOf(text, name)[0]?.[1] ?? null,
    buckets = samplesOf(text, `${COMMIT}_bucket`);
  const failures = new Map();
  for (const [{ upstream, server }, n] of samplesOf(text, 'tiergate_upstream_server_failures_total')) {
    const of = JSON.stringify([upstream, server]);
    failures.set(of, (failures.get(of) ?? 0) + n);
  }
  return {
    commit: [0.5, 0.95, 0.99].map(share => quantile(buckets, share)),
    commits: value(`${COMMIT}_count`),
    rows: value('tiergate_database_group_size_sum'),
    bytes: value('tiergate_database_bytes'),
    wal: value('tiergate_database_wal_bytes'),
    dropped: value('tiergate_database_dropped_rows_total'),
    failures,
  };
}
const fine = ms => (ms === Infinity ? 'over 5 s' : ms < 9.95 ? `${ms.toFixed(1)} ms` : time(ms));
const bytes = n => (n === null ? '–' : n < 1e6 ? `${Math.round(n / 1e3)} KB` : n < 1e9 ? `${(n / 1e6).toFixed(1)} MB` : `${(n / 1e9).toFixed(1)} GB`);

function drawDatabase({ status, metrics }, force) {
  const { available } = status.database,
    [median, p95, p99] = metrics.commit.map(ms => (ms === null ? '–' : fine(ms)));
  put(
    $('#db'),
    `${available ? '' : `<div class="note bad gap-b">${icon('bad')}<div><b>The database can’t be written.</b> Metered requests are refused until it can; no debit is lost.</div></div>`}
    <dl class="facts"><dt>State</dt><dd>${available ? sign('ok', 'Healthy') : sign('bad', 'Failing')}</dd>
    <dt>Commit</dt><dd>${metrics.commits ? `${median} <span class="dim">median</span><br>${p95} <span class="dim">at 95 %</span><br>${p99} <span class="dim">at 99 %</span>` : 'none yet'}</dd>
    <dt>Commits</dt><dd>${count(metrics.commits)} <span class="dim">since the start${metrics.commits ? `, ${(metrics.rows / metrics.commits).toFixed(1)} rows each` : ''}</span></dd>
    <dt>Size</dt><dd>${bytes(metrics.bytes)}</dd><dt>Write-ahead log</dt><dd>${bytes(metrics.wal)}</dd>
    <dt>Statistics lost</dt><dd>${metrics.dropped ? sign('warn', plural(metrics.dropped, 'row', 'rows')) : 'none'}</dd></dl>`,
    force,
  );
  set($('#c-db'), available ? '' : sign('bad', 'failing'));
}

/* ---- audit log ---- */
let auditRows = 25;
const DETAIL_CHARS = 180;
const ACTS = {
  log_in: 'Logged in',
  dispatch_pause: 'Paused dispatch',
  dispatch_resume: 'Resumed dispatch',
  admission_stop: 'Stopped admission',
  admission_start: 'Started admission',
  server_drain: 'Drained a server',
  server_undrain: 'Took a server back',
  job_cancel: 'Cancelled a search',
  reload_asked: 'Asked for a reload',
  reload: 'Configuration applied',
  list_change: 'Accounts in tiers.yaml changed',
  account_import: 'Imported accounts',
  network_block: 'Blocked a network',
  network_unblock: 'Unblocked a network',
  network_change: 'Changed a network',
  network_remove: 'Removed a network',
  account_change: 'Changed an account',
  account_add: 'Added an account',
  account_remove: 'Removed an account',
  key_add: 'Added a key',
  key_revoke: 'Revoked a key',
  key_rotate: 'Rotated a key',
};
function drawAudit({ audit }, force) {
  const said = (name, value) => (Array.isArray(value) ? value.join(', ') : name.endsWith('_ms') ? new Date(value).toLocaleString('en-CA', { hour12: false }) : typeof value === 'object' ? JSON.stringify(value) : String(value));
  const details = detail => {
    const told = Object.entries(detail ?? {}).filter(([, value]) => value !== null && value !== 0 && value?.length !== 0);
    const text = told.map(([name, value]) => `${name.replace(/_ms$/, '').replaceAll('_', ' ')}: ${said(name, value)}`).join('; ');
    return text.length > DETAIL_CHARS ? `${text.slice(0, DETAIL_CHARS)}…` : text || '–';
  };
  const who = row => (row.operator_unverified ? `<b title="A name that nobody has verified">${esc(row.operator_unverified)}</b> <span class="dim">${esc(row.from)}</span>` : esc(row.from));
  const row = one =>
    `<tr><td class="dim nowrap opt">${when(one.at)}</td><td class="opt">${who(one)}</td><th scope="row" title="${esc(one.action)}">${esc(ACTS[one.action] ?? one.action)}<div class="dim only-s">${when(one.at)} · ${who(one)}</div></th><td><code>${esc(one.subject || '–')}</code></td><td class="opt detail">${esc(details(one.detail))}</td></tr>`;
  const rows = audit.changes;
  put($('#t-aud'), rows.map(row).join('') || emptyRow(5, 'Nothing yet', 'Whatever you do here is written down here.'), force);
  foot('#aud-foot', rows.length ? `The last ${count(rows.length)}, newest first.` : '');
  $('#aud-more').hidden = rows.length < auditRows || auditRows >= 1000;
}
$('#aud-more').addEventListener('click', guarded(async () => {
  auditRows = Math.min(1000, auditRows * 4);
  await refreshSlow(true);
}));
