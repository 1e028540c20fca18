// The session: the token is sent once; from then on a cookie that scripts can't read says who this is.
/** What the API told last. */
const latest = { anonymous: null };
/** The same, with its faults shown as a toast. */
const guarded = work => () => work().catch(fault => { if (csrf) toast(fault.message); });
const TIMEOUT = 10000;
let csrf = null,
  operator = '',
  /** When the session ends, by performance.now(). */
  ends = 0;

class Fault extends Error {
  constructor(message, status = 0, told = null) {
    super(message);
    this.status = status;
    this.told = told;
  }
}

/** Asks the admin API. What changes something carries what only this page can read. */
async function api(path, { method = 'GET', body, name } = {}) {
  const headers = {};
  if (method !== 'GET' && csrf) headers['x-tiergate-csrf'] = csrf;
  if (name) headers['x-tiergate-operator'] = name;
  if (body !== undefined) headers['content-type'] = 'application/json';
  let answer, text;
  try {
    answer = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: 'no-store',
      signal: AbortSignal.timeout(TIMEOUT),
    });
    text = await answer.text();
  } catch {
    throw new Fault('tiergate does not answer.');
  }
  let told = text;
  try {
    told = JSON.parse(text);
  } catch {
    // Metrics are text.
  }
  if (answer.status === 401 && csrf) showLogin('The session has ended: log in again.');
  if (!answer.ok) throw new Fault(sentence(told.error ?? `tiergate answers ${answer.status}.`), answer.status, told);
  return told;
}

/** A message of the API's as a sentence. */
const sentence = text => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? '' : '.');

function takeSession(session) {
  csrf = session.csrf;
  operator = session.operator ?? '';
  ends = performance.now() + (session.expires_in_s ?? 0) * 1000;
}

function showLogin(why = '') {
  csrf = null;
  if ($('#ask').open) $('#ask').close();
  $('#app').hidden = true;
  $('#login').hidden = false;
  // Nothing of what was shown stays in the page.
  for (const part of $$('#app tbody, #todo, #tiles, #places, #slots, #cfg, #db')) set(part, '');
  tokenFault(why);
  $('#token').focus();
}

function showApp() {
  $('#login').hidden = true;
  $('#app').hidden = false;
  $('#who').textContent = operator ? `Logged in as ${operator}` : 'Logged in';
  begin();
}

function tokenFault(text) {
  const field = $('#token');
  $('#tokenerr').textContent = text;
  if (text && csrf === null) field.setAttribute('aria-invalid', 'true');
  if (!text) field.removeAttribute('aria-invalid');
}

/** Names of operators are visible ASCII without spaces. */
const nameFault = name => (/^[!-~]{0,64}$/.test(name) ? '' : 'A name has no spaces and only ASCII characters, at most 64.');

$('#loginform').addEventListener('submit', async e => {
  e.preventDefault();
  const field = $('#token'),
    name = $('#name').value.trim(),
    token = field.value.trim();
  if (nameFault(name)) return tokenFault(nameFault(name));
  if (!token) {
    tokenFault('Enter the token.');
    return field.focus();
  }
  const button = $('#loginform button');
  button.disabled = true;
  try {
    const session = await api('/session', { method: 'POST', body: { token }, name });
    field.value = '';
    tokenFault('');
    takeSession(session);
    showApp();
    $('#h-over').focus();
  } catch (fault) {
    tokenFault(fault.message);
    field.select();
  } finally {
    button.disabled = false;
  }
});

$('#logout').addEventListener('click', async () => {
  try {
    await api('/session', { method: 'DELETE' });
    showLogin();
  } catch (fault) {
    if (csrf) toast(`Not logged out: ${fault.message}`);
  }
});
