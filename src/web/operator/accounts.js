// Accounts with their use and their keys. The server searches, sorts and pages; only what is shown is asked for.
const PAGE = 25;
let sort = 'used',
  after = '',
  top_ = PAGE,
  shown = '',
  /** How many match in all. */
  total = 0;
const TOP_MAX = 100;
/** What the open account's row shows. */
let details = null;

const COLUMNS = [
  ['name', 'Account'],
  [null, 'Tier', 'opt'],
  [null, 'Quotas'],
  [null, 'Jobs', 'opt num'],
  ['used', 'Used, 30 days', 'num'],
  [null, 'Last used', 'opt'],
];

function accountsPath() {
  const query = new URLSearchParams({ sort, usage: '1', limit: sort === 'used' ? top_ : PAGE });
  const search = $('#find').value.trim(),
    tier = $('#of-tier').value;
  if (search) query.set('search', search);
  if (tier) query.set('tier', tier);
  if (after && sort === 'name') query.set('after', after);
  return `/accounts?${query}`;
}

const quotaBar = quota => {
  const share = quota.limit ? quota.used / quota.limit : 1,
    held = quota.limit ? Math.min(quota.held / quota.limit, Math.max(0, 1 - share)) : 0;
  const kind = share >= 0.95 ? 'bad' : share >= 0.8 ? 'warn' : '';
  return `<div class="use"><div class="bar ${kind}" aria-hidden="true"><i data-f="${Math.min(1, share)}"></i><i data-f="${held}"></i></div><span title="${esc(quota.name)}, ${esc(quota.window)}">${count(quota.used)} <span class="dim">of ${count(quota.limit)}</span>${kind ? ` <span class="sign ${kind}">${icon(kind)}<span class="sr">${Math.round(share * 100)} % used</span></span>` : ''}</span></div>`;
};

function drawAccounts({ accounts, status }, force) {
  const head = ([by, text, kind]) => {
    const order = by === sort ? ` aria-sort="${by === 'used' ? 'descending' : 'ascending'}"` : '';
    return `<th scope="col"${kind ? ` class="${kind}"` : ''}${order}>${by ? `<button class="sort" type="button" data-act="sort" data-on="${by}">${text}</button>` : text}</th>`;
  };
  put($('#acc-head'), COLUMNS.map(head).join(''), force);
  const priorityOf = Object.fromEntries(status.tiers.map(tier => [tier.tier, tier.priority]));
  const row = account => {
    const isOpen = shown === account.name,
      state = [account.blocked ? `<span class="sign bad">${icon('bad')}blocked</span>` : '', account.blocked_by_rule.length ? `<span class="sign warn">${icon('warn')}blocked by a limit</span>` : ''].join(' ');
    const sub = [account.email, account.origin === 'listed' ? 'in tiers.yaml' : '', account.note].filter(Boolean).map(esc).join(' · ');
    return `<tr><th scope="row"><button class="open" type="button" aria-expanded="${isOpen}" data-open="${esc(account.name)}">${esc(account.name)}</button> ${state}${sub ? `<div class="dim opt xs mail">${sub}</div>` : ''}</th><td class="opt nowrap">${account.tier in priorityOf ? square(priorityOf[account.tier], true) : sign('warn', '')} ${esc(account.tier)}</td><td>${account.usage.map(quotaBar).join('') || '<span class="dim">none</span>'}</td><td class="opt num">${count(account.in_flight)}</td><td class="num">${count(account.used_30d)}</td><td class="opt dim nowrap">${account.last_used_on ? esc(account.last_used_on) : 'never'}</td></tr>${isOpen ? more(account, priorityOf) : ''}`;
  };
  const list = accounts.accounts,
    searched = $('#find').value.trim() || $('#of-tier').value;
  put($('#t-acc'), list.map(row).join('') || emptyRow(6, searched ? 'No account matches' : 'No accounts', searched ? 'Search by name, email or note.' : 'Add the first one.'), force);
  total = accounts.total ?? total;
  const all = `${plural(total, 'account', 'accounts')}${searched ? ` that match${total === 1 ? 'es' : ''}` : ''}`;
  const text =
    sort === 'name'
      ? `${count(list.length)} of ${all}${after ? `, after ${after}` : ''}.`
      : list.length < total
        ? `The ${count(list.length)} of ${all} that have used most.${top_ < TOP_MAX ? '' : ' Search for others, or sort by name to see all.'}`
        : `${all}.`;
  foot('#acc-foot', total ? text : '');
  set($('#n-acc'), searched ? '' : count(total));
  $('#acc-first').hidden = !after;
  $('#acc-next').hidden = !(sort === 'used' ? list.length < total && top_ < TOP_MAX : accounts.next);
  $('#acc-next').textContent = sort === 'used' ? 'Show more' : 'Next page';
}

function more(account, priorityOf) {
  if (!details || details.account.name !== account.name) return '<tr class="more"><td colspan="6"><span class="skel m"></span></td></tr>';
  const { keys, account: now } = details;
  const keyRow = key =>
    `<tr><th scope="row">${esc(key.label || 'no label')}${key.expired ? ` <span class="sign off">${icon('off')}expired</span>` : ''}<div class="only-s dim xs">${key.last_used ? `used ${ago(key.last_used)}` : 'never used'}</div></th><td><code>${esc(key.begins ? `${key.begins}…` : `id ${key.id}`)}</code></td><td class="opt">${key.last_used ? ago(key.last_used) : '<span class="dim">never</span>'}</td><td class="opt">${key.expires ? when(key.expires) : '<span class="dim">never</span>'}</td><td><div class="acts">${account.origin === 'listed' ? '' : keyActs(key, account)}</div></td></tr>`;
  const list = keys.length
    ? `<table><thead><tr><th scope="col">Key</th><th scope="col">Begins with</th><th scope="col" class="opt">Last use</th><th scope="col" class="opt">Expires</th><th scope="col"><span class="sr">Actions</span></th></tr></thead><tbody>${keys.map(keyRow).join('')}</tbody></table>`
    : '<p class="dim">It has no key, so nobody can use it.</p>';
  const facts = [
    ['Tier', `${account.tier in priorityOf ? square(priorityOf[account.tier], true) : ''} ${esc(account.tier)}`],
    ['Created', when(account.created)],
    ['Last used', now.last_used ? ago(now.last_used) : 'never'],
    ['Until', account.until ? when(account.until) : 'open-ended'],
    ...now.usage.map(quota => [esc(quota.name), `${count(quota.used)} used, ${count(quota.held)} held, ${count(quota.remaining)} left${quota.next_free ? ` <span class="dim">next comes back ${when(quota.next_free)}</span>` : ''}`]),
    ['In flight', now.jobs.length ? now.jobs.map(job => `${square(job.priority, true)} ${esc(job.state)} ${age(job.running_s ?? job.waited_s)}`).join('<br>') : 'nothing'],
  ];
  const acts =
    account.origin === 'listed'
      ? '<p class="dim xs">This account is in tiers.yaml: change it there.</p>'
      : `<div class="acts">${button('tier', account.name, 'Change tier…')}${button(account.blocked ? 'unblock' : 'block', account.name, account.blocked ? 'Unblock…' : 'Block…')}</div>`;
  return `<tr class="more"><td colspan="6"><div class="cols"><div><h3>Keys</h3>${list}${account.origin === 'listed' ? '' : `<div class="acts">${button('addkey', account.name, 'Add a key…')}</div>`}</div><div><h3>Account</h3><dl class="facts">${facts.map(([name, value]) => `<dt>${name}</dt><dd>${value}</dd>`).join('')}</dl>${acts}</div></div></td></tr>`;
}

function keyActs(key, account) {
  const [name, kind] = [key.label || key.id, 'quiet'],
    on = JSON.stringify([key.id, name, account.name]);
  return `${key.expired ? '' : button('rotate', on, 'Rotate…', kind, name)}${button('revoke', on, 'Revoke…', kind, name)}`;
}

async function loadDetails() {
  if (!shown) return;
  const path = `/accounts/${encodeURIComponent(shown)}`;
  try {
    const [account, { keys }] = await Promise.all([api(path), api(`${path}/keys`)]);
    if (account.name === shown) details = { account, keys };
  } catch (fault) {
    if (fault.status !== 404) throw fault;
    shown = '';
  }
}

async function loadAccounts(force) {
  const path = accountsPath();
  const [accounts] = await Promise.all([api(path), loadDetails()]);
  if (path !== accountsPath()) return;
  latest.accounts = accounts;
  if (latest.status) drawAccounts(latest, force);
}

const asked = guarded(() => loadAccounts(true));
let typing = 0;
function searchAgain() {
  after = '';
  top_ = PAGE;
  asked();
}
$('#find').addEventListener('input', () => {
  clearTimeout(typing);
  typing = setTimeout(searchAgain, 200);
});
$('#of-tier').addEventListener('change', searchAgain);
$('#acc-next').addEventListener('click', () => {
  if (sort === 'used') top_ = Math.min(TOP_MAX, top_ + PAGE);
  else after = latest.accounts.next ?? '';
  asked();
});
$('#acc-first').addEventListener('click', searchAgain);
$('#accounts').addEventListener('click', e => {
  const opener = e.target.closest('[data-open]'),
    sorter = e.target.closest('[data-act="sort"]');
  if (sorter) {
    sort = sorter.dataset.on;
    searchAgain();
  } else if (opener) {
    shown = shown === opener.dataset.open ? '' : opener.dataset.open;
    details = null;
    drawAccounts(latest, true);
    asked();
  }
});
