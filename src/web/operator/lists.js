// Jobs, servers, refusals, the configuration, the database and the audit log.
const ROWS_DRAWN = 200;

function drawJobs({ queue, status }, force) {
  const ends = s => (s === undefined ? `<span class="dim">${status.paused ? 'paused' : 'unknown'}</span>` : s < 1 ? 'any moment' : `in ≈ ${roughly(s)}`);
  const head = job =>
    `<td>${square(job.priority)}</td><th scope="row" class="who">${callerOf(job.caller)} <span class="dim opt nowrap">${esc(job.tier)}</span></th>`;
  const notRunning = [...queue.waiting, ...queue.uploading];
  const waiting = notRunning
    .slice(0, ROWS_DRAWN)
    .map(
      job =>
        `<tr>${head(job)}<td class="nowrap">${age(job.waited_s)}${job.state === 'uploading' ? ' <span class="dim">uploading</span>' : ''}</td><td class="nowrap">${ends(job.ends_in_s)}</td><td><div class="acts">${job.state === 'uploading' ? '' : button('cancel', job.id, 'Cancel…', 'quiet', `the search of ${job.caller}`)}</div></td></tr>`,
    );
  const running = queue.running
    .slice(0, ROWS_DRAWN)
    .map(
      job =>
        `<tr>${head(job)}<td class="nowrap">${age(job.running_s ?? job.waited_s)}</td><td class="nowrap">${job.state === 'running' ? (job.ends_in_s === 0 ? '<span class="dim">longer than usual</span>' : ends(job.ends_in_s)) : `<span class="dim">${esc(job.state)}</span>`}</td><td class="opt"><code>${esc(job.server ?? job.upstream)}</code></td></tr>`,
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

function drawServers({ status, servers, queue }, force) {
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
  const several = new Set(servers.map(server => server.upstream)).size > 1;
  const row = server => {
    const on = JSON.stringify([server.upstream, server.server]);
    const act = server.drained ? button('undrain', on, 'Take back…', '', server.server) : server.listed ? button('drain', on, 'Drain…', '', server.server) : '';
    return `<tr><th scope="row" class="who"><b>${esc(server.server)}</b>${several ? `<div class="dim xs">${esc(server.upstream)}</div>` : ''}</th><td>${health(server)}</td><td class="opt">${slotsOf(server, queue)}</td><td class="num nowrap">${count(server.running)} <span class="dim">of ${count(server.slots)}</span></td><td><div class="acts">${act}</div></td></tr>`;
  };
  put($('#t-servers'), servers.map(row).join('') || emptyRow(5, 'No servers', 'tiers.yaml lists none.'), force);
  set($('#n-servers'), several ? '' : `upstream <code>${esc(status.upstreams[0]?.upstream ?? '')}</code>`);
  const down = servers.filter(server => server.up === false && !server.drained).length;
  set($('#c-servers'), down ? sign('bad', `${down} down`) : count(servers.length));
}

/* ---- refusals ---- */
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
    `<tr><td class="nowrap dim opt">${when(refusal.at)}</td><td><code>${esc(refusal.reason)}</code> <span class="dim">${+refusal.status}</span><div class="dim only-s">${when(refusal.at)}</div></td><th scope="row" class="who">${refusal.tier in priorityOf ? `${square(priorityOf[refusal.tier], true)} ` : ''}${callerOf(refusal.caller)}</th><td class="opt">${esc(refusal.tier ?? '–')}</td><td class="opt"><code>${esc(refusal.route ?? '–')}</code></td></tr>`;
  const rows = list.filter(refusal => !only || refusal.reason === only).map(row);
  put($('#t-ref'), rows.join('') || emptyRow(5, 'Nobody was turned away', only ? `for ${only}, as far as is kept.` : 'since tiergate was started.'), force);
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
/** The numbers of the database among the metrics. */
function databaseOf(text) {
  const value = name => {
    const found = text.match(new RegExp(`^${name}(?:{[^}]*})? (\\S+)$`, 'm'));
    return found ? Number(found[1]) : null;
  };
  const [sum, commits] = [value('tiergate_database_commit_seconds_sum'), value('tiergate_database_commit_seconds_count')];
  return {
    commit: commits ? sum / commits : null,
    commits,
    bytes: value('tiergate_database_bytes'),
    wal: value('tiergate_database_wal_bytes'),
    dropped: value('tiergate_database_dropped_rows_total'),
  };
}
const bytes = n => (n === null ? '–' : n < 1e6 ? `${Math.round(n / 1e3)} KB` : n < 1e9 ? `${(n / 1e6).toFixed(1)} MB` : `${(n / 1e9).toFixed(1)} GB`);

function drawDatabase({ status, metrics }, force) {
  const { available } = status.database;
  put(
    $('#db'),
    `${available ? '' : `<div class="note bad gap-b">${icon('bad')}<div><b>The database can’t be written.</b> Metered requests are refused until it can; no debit is lost.</div></div>`}
    <dl class="facts"><dt>State</dt><dd>${available ? sign('ok', 'Healthy') : sign('bad', 'Failing')}</dd>
    <dt>Commit</dt><dd>${metrics?.commit == null ? '–' : `${time(metrics.commit * 1000)} <span class="dim">mean of ${count(metrics.commits)}</span>`}</dd>
    <dt>Size</dt><dd>${bytes(metrics?.bytes ?? null)}</dd><dt>Write-ahead log</dt><dd>${bytes(metrics?.wal ?? null)}</dd>
    <dt>Statistics lost</dt><dd>${metrics?.dropped ? sign('warn', plural(metrics.dropped, 'row', 'rows')) : 'none'}</dd></dl>`,
    force,
  );
  set($('#c-db'), available ? '' : sign('bad', 'failing'));
}

/* ---- audit log ---- */
let auditRows = 25;
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
  const details = detail => {
    const text = Object.entries(detail ?? {}).map(([name, value]) => `${name}: ${typeof value === 'string' ? value : JSON.stringify(value)}`);
    return text.length ? text.join(', ').slice(0, 240) : '–';
  };
  const who = row => (row.operator_unverified ? `<b title="A name that nobody has verified">${esc(row.operator_unverified)}</b> <span class="dim">${esc(row.from)}</span>` : esc(row.from));
  const row = one =>
    `<tr><td class="dim nowrap opt">${when(one.at)}</td><td class="opt">${who(one)}</td><th scope="row" title="${esc(one.action)}">${esc(ACTS[one.action] ?? one.action)}<div class="dim only-s">${when(one.at)} · ${who(one)}</div></th><td><code>${esc(one.subject || '–')}</code></td><td class="opt detail">${esc(details(one.detail))}</td></tr>`;
  const rows = audit.changes;
  put($('#t-aud'), rows.map(row).join('') || emptyRow(5, 'Nothing yet', 'Whatever you do here is written down here.'), force);
  $('#aud-foot').textContent = rows.length ? `The last ${count(rows.length)}, newest first.` : '';
  $('#aud-more').hidden = rows.length < auditRows || auditRows >= 1000;
}
$('#aud-more').addEventListener('click', async () => {
  auditRows = Math.min(1000, auditRows * 4);
  await refreshSlow(true);
});
