// What an operator can do: each asks first, says what follows, and is an endpoint of the admin API.
const enc = encodeURIComponent;
const jobOf = id => latest.queue.waiting.find(job => job.id === id);
const waitingNow = () => plural(latest.status.queue.waiting, 'search waits', 'searches wait');
const runningNow = () => plural(latest.queue.running.length, 'search runs', 'searches run');
const selectOf = (id, label, options, chosen) =>
  `<div class="f"><label for="${id}">${label}</label><select class="field" id="${id}">${options.map(([value, text]) => `<option value="${esc(value)}"${value === chosen ? ' selected' : ''}>${esc(text)}</option>`).join('')}</select></div>`;
/** A field for a text; `hint` may be left empty, and `more` are attributes. */
const fieldOf = (id, label, hint = '', more = '') =>
  `<div class="f"><label for="${id}">${label}${hint ? ` <span class="dim">${hint}</span>` : ''}</label><input class="field" id="${id}" autocomplete="off" spellcheck="false" ${more}></div>`;
const text = id => $(id).value.trim();
const tiersOf = chosen => selectOf('new-tier', 'Tier', latest.status.tiers.map(({ tier, priority }) => [tier, `${tier}, priority ${priority}`]), chosen);
/** What follows when a key has been made. */
const newKey = (title, done) => told => ({
  title,
  text: 'Copy it now: tiergate keeps only its hash and can’t show it again.',
  fields: fieldOf('new-key', 'Key', '', `readonly value="${esc(told.key)}"`),
  focus: '#new-key',
  yes: 'Done',
  single: true,
  run: async () => {},
  done,
});

/** title, text, does (what follows), word (to be typed), danger, fields (HTML), focus, yes, no, run(name), then(told): another dialog, done. */
const ACTIONS = {
  pause: () => ({
    title: 'Pause dispatch?',
    text: 'No waiting search gets a slot until you resume.',
    does: [`${runningNow()} to the end; ${waitingNow()} and keep their places.`, 'New searches are admitted while there are places.', 'It ends when tiergate is restarted.'],
    word: 'pause',
    danger: true,
    yes: 'Pause dispatch',
    run: name => api('/dispatch/pause', { method: 'POST', name }),
    done: 'Dispatch is paused',
  }),
  resume: () => ({
    title: 'Resume dispatch?',
    text: `${waitingNow()}, and go on by priority as slots are free.`,
    yes: 'Resume dispatch',
    run: name => api('/dispatch/resume', { method: 'POST', name }),
    done: 'Dispatch is resumed',
  }),
  stop: () => ({
    title: 'Stop admission?',
    text: 'Every new search is refused with 503, whatever its tier.',
    does: [`${waitingNow()} and ${runningNow()}: they are served.`, 'Unmetered routes and own pages still answer.', 'It ends when tiergate is restarted.'],
    word: 'stop',
    danger: true,
    yes: 'Stop admission',
    run: name => api('/admission/stop', { method: 'POST', name }),
    done: 'Admission is stopped',
  }),
  start: () => ({
    title: 'Admit searches again?',
    text: 'New searches take places again, by their priorities.',
    yes: 'Start admission',
    run: name => api('/admission/start', { method: 'POST', name }),
    done: 'Searches are admitted again',
  }),
  reload: () => ({
    title: 'Reload the configuration?',
    text: `${latest.config?.file ?? 'tiers.yaml'} is read again. An invalid file changes nothing.`,
    yes: 'Reload',
    run: name => api('/reload', { method: 'POST', name }),
    done: told => (told.changes?.length ? `Reloaded: ${plural(told.changes.length, 'change', 'changes')}` : 'Reloaded: nothing changed'),
  }),
  drain: on => {
    const [upstream, server] = JSON.parse(on),
      line = latest.servers.find(one => one.upstream === upstream && one.server === server);
    const others = latest.servers.filter(one => one !== line && one.upstream === upstream && one.available > 0).length;
    return {
      title: `Drain ${server}?`,
      text: `It gets no new searches; ${plural(line?.running ?? 0, 'search', 'searches')} there finish.`,
      does: [
        others ? `${plural(others, 'other server', 'other servers')} of ${upstream} remain.` : `No other server of ${upstream} is available: nothing is served until you take it back.`,
        'It stays drained over reloads and restarts.',
      ],
      word: others ? null : 'drain',
      danger: true,
      yes: 'Drain',
      run: name => api(`/servers/${enc(upstream)}/${enc(server)}/drain`, { method: 'POST', name }),
      done: `${server} is drained`,
    };
  },
  undrain: on => {
    const [upstream, server] = JSON.parse(on);
    return {
      title: `Take ${server} back?`,
      text: 'It gets searches again as soon as it is up.',
      yes: 'Take back',
      run: name => api(`/servers/${enc(upstream)}/${enc(server)}/drain`, { method: 'DELETE', name }),
      done: `${server} is taken back`,
    };
  },
  cancel: id => {
    const job = jobOf(id);
    return {
      title: job ? `Cancel the search of ${job.caller}?` : 'Cancel this search?',
      text: job ? `It has waited ${age(job.waited_s)} at priority ${job.priority}.` : 'It may have got a slot meanwhile; then it goes on.',
      does: ['Its client is refused with 503.', 'It costs no quota.'],
      danger: true,
      yes: 'Cancel the search',
      no: 'Keep it',
      run: name => api(`/queue/${enc(id)}`, { method: 'DELETE', name }),
      done: told => `Cancelled the search of ${told.cancelled.caller}`,
    };
  },
  block: account => ({
    title: `Block ${account}?`,
    text: 'Its requests are refused with 403 from now on.',
    does: ['What waits and runs is served.', 'Its keys and quotas stay.'],
    danger: true,
    yes: 'Block',
    run: name => api(`/accounts/${enc(account)}`, { method: 'PATCH', body: { blocked: true }, name }),
    done: `${account} is blocked`,
  }),
  addaccount: () => ({
    title: 'Add an account',
    text: 'It has its tier’s terms, and no key yet: add one in the next step.',
    fields: `${fieldOf('new-name', 'Name', 'no spaces', 'maxlength="64"')}${tiersOf()}${fieldOf('new-email', 'Email', 'optional', 'type="email" maxlength="254"')}${fieldOf('new-note', 'Note', 'optional', 'maxlength="1024"')}`,
    focus: '#new-name',
    yes: 'Add the account',
    run: name => {
      const body = { name: text('#new-name'), tier: $('#new-tier').value };
      for (const field of ['email', 'note']) if (text(`#new-${field}`)) body[field] = text(`#new-${field}`);
      return api('/accounts', { method: 'POST', body, name });
    },
    then: told => ({ ...ACTIONS.addkey(told.name), text: `${told.name} is added. Its key is shown once, in the next step.`, no: 'Later' }),
  }),
  unblock: account => ({
    title: `Unblock ${account}?`,
    text: 'It may search again on its tier’s terms.',
    yes: 'Unblock',
    run: name => api(`/accounts/${enc(account)}`, { method: 'PATCH', body: { blocked: false }, name }),
    done: `${account} is unblocked`,
  }),
  blocknet: (network = '') => ({
    title: network ? `Block ${network}?` : 'Block a network',
    text: 'Its requests are refused with 403 from now on, whatever their path or key.',
    does: ['What waits and runs is served.', 'An IPv6 address means its /64.'],
    fields: `${fieldOf('net', 'Address or network', 'such as 192.0.2.7 or 192.0.2.0/24', `maxlength="43" value="${esc(network)}"`)}${selectOf('net-for', 'For', [
      ['', 'good, until it is unblocked'],
      ['1h', 'an hour'],
      ['1d', 'a day'],
      ['7d', 'a week'],
      ['30d', '30 days'],
    ])}${fieldOf('net-why', 'Why', 'optional', 'maxlength="200"')}`,
    focus: network ? '#net-for' : '#net',
    danger: true,
    yes: 'Block',
    run: name => {
      const [blocked, length, why] = ['#net', '#net-for', '#net-why'].map(text);
      if (!blocked) throw new Fault('Enter an address or a network.');
      return blockNetwork(blocked, { ...(length ? { for: length } : {}), ...(why ? { why } : {}) }, name);
    },
    then: told => told.wide,
    done: told => `${told.network} is blocked`,
  }),
  unblocknet: network => ({
    title: `Unblock ${network}?`,
    text: 'Its requests are answered again, on their tiers’ terms.',
    yes: 'Unblock',
    run: name => api(`/networks/${enc(network)}`, { method: 'PATCH', body: { block: null }, name }),
    done: `${network} is unblocked`,
  }),
  tier: account => {
    const now = latest.accounts.accounts.find(one => one.name === account)?.tier;
    return {
      title: `Change the tier of ${account}`,
      text: `It has ${now} now.`,
      does: ['What it has used counts against the new quotas.', 'What already waits keeps its place and priority.'],
      fields: tiersOf(now),
      focus: '#new-tier',
      yes: 'Change tier',
      run: name => api(`/accounts/${enc(account)}`, { method: 'PATCH', body: { tier: $('#new-tier').value }, name }),
      done: told => `${account} has ${told.tier} now`,
    };
  },
  addkey: account => ({
    title: `Add a key to ${account}`,
    text: 'The key is shown once, in the next step.',
    fields: `${fieldOf('key-label', 'Label', 'optional', 'maxlength="64"')}${selectOf('key-expires', 'Expires', [
      ['', 'never'],
      ['30d', 'in 30 days'],
      ['90d', 'in 90 days'],
      ['365d', 'in a year'],
    ])}`,
    focus: '#key-label',
    yes: 'Add the key',
    run: name => {
      const expires = $('#key-expires').value;
      return api(`/accounts/${enc(account)}/keys`, { method: 'POST', body: { label: text('#key-label'), ...(expires ? { expires } : {}) }, name });
    },
    then: newKey(`The new key of ${account}`, `${account} has a new key`),
  }),
  rotate: on => {
    const [id, label, account] = JSON.parse(on);
    return {
      title: `Rotate the key ${label}?`,
      text: `${account} gets another key of the same label and lifetime, which is shown once, in the next step.`,
      fields: selectOf(
        'overlap',
        'The old key works for another',
        [
          ['1h', 'hour'],
          ['1d', 'day'],
          ['7d', 'week'],
          ['30d', '30 days'],
        ],
        '1d',
      ),
      focus: '#overlap',
      yes: 'Rotate',
      run: name => api(`/keys/${enc(id)}/rotate`, { method: 'POST', body: { overlap: $('#overlap').value }, name }),
      then: newKey(`The new key ${label} of ${account}`, `The key ${label} of ${account} is rotated`),
    };
  },
  revoke: on => {
    const [id, label, account] = JSON.parse(on);
    return {
      title: `Revoke the key ${label}?`,
      text: `Requests of ${account} with it are refused with 403 from now on. This can’t be undone.`,
      danger: true,
      yes: 'Revoke',
      run: name => api(`/keys/${enc(id)}`, { method: 'DELETE', name }),
      done: `The key ${label} of ${account} is revoked`,
    };
  },
};

/** Blocks a network. A very wide one has to be typed first: then that dialog is in `wide`. */
async function blockNetwork(network, block, name, confirm) {
  try {
    return await api(`/networks/${enc(network)}`, { method: 'PATCH', body: { block, ...confirm }, name });
  } catch (fault) {
    if (fault.told?.reason !== 'wide_network') throw fault;
    return {
      wide: {
        title: `Block all of ${network}?`,
        text: 'That is a large part of all clients, perhaps including you.',
        word: network,
        danger: true,
        yes: 'Block all of it',
        run: name => blockNetwork(network, block, name, { confirm: true }),
        done: told => `${told.network} is blocked`,
      },
    };
  }
}

let doing = null,
  opener = null;

function openDialog(action) {
  doing = action;
  $('#ask-h').textContent = action.title;
  $('#ask-p').textContent = action.text;
  set($('#ask-does'), (action.does ?? []).map(text => `<li>${esc(text)}</li>`).join(''));
  $('#ask-more').innerHTML = `${action.fields ?? ''}${action.word ? `<div class="f"><label for="word">Type <code>${esc(action.word)}</code> to confirm</label><input class="field" id="word" autocomplete="off" autocapitalize="off" spellcheck="false"></div>` : ''}`;
  $('#ask-err').textContent = '';
  $('#ask-who').hidden = Boolean(action.single);
  if (!$('#ask').open) $('#by').value = operator;
  const yes = $('#ask-yes');
  yes.textContent = action.yes;
  yes.className = `btn ${action.danger ? 'danger' : 'primary'}`;
  yes.disabled = false;
  $('#ask-no').textContent = action.no ?? 'Cancel';
  $('#ask-no').hidden = Boolean(action.single);
  if (!$('#ask').open) $('#ask').showModal();
  // At a field or at Cancel, never at the dangerous button.
  const first = $(action.focus ?? (action.word ? '#word' : '#ask-no'));
  first.focus();
  if (first.readOnly) first.select();
}

$('#app').addEventListener('click', e => {
  const pressed = e.target.closest('[data-act]');
  if (!pressed || !(pressed.dataset.act in ACTIONS) || !latest.status) return;
  opener = pressed;
  openDialog(ACTIONS[pressed.dataset.act](pressed.dataset.on));
});

$('#askform').addEventListener('submit', async e => {
  e.preventDefault();
  const action = doing,
    yes = $('#ask-yes'),
    name = $('#by').value.trim();
  const wrong = nameFault(name) || (action.word && $('#word').value.trim() !== action.word ? `Type ${action.word} to confirm.` : '');
  if (wrong) {
    $('#ask-err').textContent = wrong;
    return $(action.word ? '#word' : '#by').focus();
  }
  yes.disabled = true;
  try {
    const told = await action.run(name);
    if (doing !== action || !$('#ask').open) return;
    const next = action.then?.(told);
    if (next) openDialog(next);
    else {
      $('#ask').close();
      toast(typeof action.done === 'function' ? action.done(told) : action.done);
    }
    if (told?.recorded === false && told.changed !== false) toast('It is done, but the audit log could not be written.');
  } catch (fault) {
    if (doing !== action) return;
    const more = fault.told?.problems?.map(problem => `${problem.line ? `Line ${problem.line}: ` : ''}${problem.message}`).join('; ');
    $('#ask-err').textContent = more ? `The file is invalid, nothing changed. ${more}` : fault.message;
  } finally {
    yes.disabled = false;
  }
  if (csrf) await refresh(true);
});
$('#ask-no').addEventListener('click', () => $('#ask').close());
$('#ask').addEventListener('close', () => {
  doing = null;
  $('#ask-more').innerHTML = ''; // a key, perhaps
  if (opener && document.contains(opener)) opener.focus();
});

const TOAST_FOR = 6000;
function toast(text) {
  const e = document.createElement('div');
  e.className = 'toast';
  e.textContent = text;
  $('#toasts').append(e);
  setTimeout(() => e.remove(), TOAST_FOR);
}
