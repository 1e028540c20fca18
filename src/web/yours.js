// Your place: a caller's own tier, quotas and jobs. The key is kept in a variable here, and sent to /me alone.
const ME_EVERY = 15000;
let key = '',
  meTimer = 0;

function meRequest() {
  const headers = new Headers({ accept: 'application/json' }),
    { header, query } = paths.key ?? {};
  if (key && header) headers.set(header, header === 'authorization' ? `Bearer ${key}` : key);
  const url = key && !header && query ? `${paths.me}?${encodeURIComponent(query)}=${encodeURIComponent(key)}` : paths.me;
  return fetch(url, { headers, cache: 'no-store', credentials: 'omit', referrerPolicy: 'no-referrer', redirect: 'error' });
}

/** Asks /me. Its answer is shown only if the key is still the same. */
async function mine() {
  clearTimeout(meTimer);
  const asked = key;
  let again = ME_EVERY,
    wrong = '';
  try {
    const answer = await meRequest();
    if (asked !== key) return;
    if (answer.ok) drawMine(await answer.json());
    else if (answer.status === 429) {
      again = Math.max(ME_EVERY, (Number(answer.headers.get('retry-after')) || 60) * 1000);
      wrong = `Too many requests; asking again in ${roughly(again / 1000)}.`;
    } else if (asked && answer.status === 403) {
      key = '';
      wrong = 'Nobody has this key, or it is blocked. Check it for a missing character.';
    } else wrong = `Can't be shown now (${answer.status}).`;
  } catch {
    wrong = asked === key ? "Can't be shown now: no answer." : '';
  }
  if (asked !== key && !wrong) return;
  const field = $('#key');
  field.setAttribute('aria-invalid', Boolean(asked && !key));
  $('#keyerr').textContent = wrong;
  if (asked && !key) {
    field.value = asked;
    field.focus();
  }
  meTimer = setTimeout(() => {
    if (!document.hidden && !paused) mine();
    else meTimer = setTimeout(mine, ME_EVERY);
  }, again);
}

function drawMine(me) {
  $('#keyform').hidden = Boolean(key);
  $('#forget').hidden = !key;
  const back = quota => {
    const at = text =>
      new Date(text).toLocaleString('en', { month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', hour12: false });
    if (!quota.next_reset) return '';
    return quota.next_free && quota.next_free !== quota.next_reset
      ? `next back ${at(quota.next_free)}, all by ${at(quota.next_reset)}`
      : `all back ${at(quota.next_reset)}`;
  };
  const bar = quota => {
    const used = quota.limit ? Math.min(1, quota.used / quota.limit) : 1,
      held = quota.limit ? Math.min(1 - used, quota.held / quota.limit) : 0,
      kind = used > 0.95 ? 'bad' : used > 0.8 ? 'warn' : '';
    return `<div><div class="row"><b>${esc(quota.name)} quota</b><span>${count(quota.used)} of ${count(quota.limit)}</span></div><div class="bar ${kind}" role="img" aria-label="${esc(quota.name)} quota: ${count(quota.used)} of ${count(quota.limit)} used, ${count(quota.remaining)} left"><i data-f="${used}"></i><i data-f="${held}"></i></div><p class="sub">${kind ? sign(kind, `${Math.round(used * 100)} % used`) + ' · ' : ''}${count(quota.remaining)} left${quota.held ? `, ${count(quota.held)} set aside` : ''} · ${esc(quota.window)}${quota.enforced === false ? ' · not enforced' : ''}${quota.next_reset ? `<br>${esc(back(quota))}` : ''}</p></div>`;
  };
  const jobs = me.running + me.waiting + me.uploading,
    pips =
      me.concurrency <= 16
        ? `<div class="pips" aria-hidden="true">${Array.from({ length: me.concurrency }, (_, i) => `<i${i < me.running ? ' class="on"' : i < jobs ? ' class="held"' : ''}></i>`).join('')}</div>`
        : `<div class="bar" aria-hidden="true"><i data-f="${me.running / me.concurrency}"></i><i data-f="${(me.waiting + me.uploading) / me.concurrency}"></i></div>`;
  set(
    $('#mine'),
    `<div class="id">${square(me.priority)}<div><b>${key ? esc(me.id) : 'Your network, without a key'}</b><div class="dim xs">${esc(me.tier)} tier, priority ${+me.priority}</div></div></div><div><div class="row"><b>Requests at once</b><span>${count(jobs)} of ${count(me.concurrency)}</span></div>${pips}<p class="sub">${count(me.running)} running, ${count(me.waiting)} waiting${me.uploading ? `, ${count(me.uploading)} uploading` : ''}</p></div>${(me.quotas ?? []).map(bar).join('')}`,
  );
  for (const e of $$('#mine [data-f]')) e.style.setProperty('--f', e.dataset.f);
}
