// The operator's page, with a real tiergate, real requests, and other pages that mean no good.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import {
  NAMED,
  QUICK,
  SCREENSHOTS,
  Tiergate,
  Upstream,
  ask,
  closeBrowser,
  join,
  keyOf,
  open,
  pictures,
  seriousFaults,
  tiersYaml,
  until,
} from './kit.js';
import * as operators from './operators.js';
import { act, faultless, shows } from './operators.js';

let upstream,
  other,
  tiergate,
  clients = [];

const operator = (...args) => operators.operator(tiergate, ...args);
const audited = count => operators.audited(tiergate, count);
const logIn = (page, options) => operators.logIn(page, { token: tiergate.token, ...options });
const opened = options => operators.opened(tiergate, options);
async function fill(priorities) {
  const had = clients.length;
  for (const [i, priority] of priorities.entries()) {
    clients.push(ask(tiergate, keyOf(priority)));
    await until('it is in', async () => {
      const queue = await operator('GET', '/queue');
      return queue.waiting.length + queue.running.length === had + i + 1;
    });
  }
}
async function empty() {
  for (const client of clients) client.giveUp();
  clients = [];
  await until('nobody waits or runs', async () => {
    for (const server of [upstream, other]) while (server.held.length) server.answer();
    const queue = await operator('GET', '/queue');
    return queue.waiting.length + queue.running.length === 0;
  });
}

before(async () => {
  [upstream, other] = [await Upstream.start(), await Upstream.start()];
  tiergate = await Tiergate.start(
    tiersYaml([
      [upstream.address, 1],
      [other.address, 1],
    ]),
  );
  await operator('POST', '/accounts', { name: 'tanuki', tier: '$5', email: 'tanuki@example.org', note: '<img src=x onerror="document.title=1">' });
  await operator('POST', '/accounts/tanuki/keys', { label: '<b>laptop</b>' });
});
after(async () => {
  await closeBrowser();
  await tiergate?.remove();
  upstream?.stop();
  other?.stop();
});

test('the token opens it once, and is kept nowhere', async () => {
  const page = await open(`${tiergate.adminUrl}/`);
  await logIn(page, { token: 'not-the-token-at-all' });
  await page.waitForSelector('#tokenerr >> text=This is not the operator');
  assert.match(await page.textContent('#tokenerr'), /4 attempts are left/);
  assert.equal(await page.getAttribute('#token', 'aria-invalid'), 'true');
  assert.equal(await page.isVisible('#app'), false);
  page.faults = page.faults.filter(fault => !fault.includes('403')); // the browser logs it
  await logIn(page, { name: 'alice' });
  await shows(page);
  assert.deepEqual(await audited(), [['alice', 'log_in', '']]);
  const sent = page.asked.filter(request => JSON.stringify([request.headers(), request.postData()]).includes(tiergate.token));
  assert.deepEqual(
    sent.map(request => [request.method(), new URL(request.url()).pathname]),
    [['POST', '/session']],
  );
  const kept = await page.evaluate(async token => [
    localStorage.length,
    sessionStorage.length,
    document.cookie,
    (await indexedDB.databases()).length,
    document.documentElement.outerHTML.includes(token),
    document.querySelector('#token').value,
  ], tiergate.token);
  assert.deepEqual(kept, [0, 0, '', 0, false, '']);
  const [cookie, ...more] = await page.context().cookies();
  assert.deepEqual([more.length, cookie.name, cookie.httpOnly, cookie.sameSite], [0, 'tiergate_session', true, 'Strict']);
  assert.ok(!cookie.value.includes(tiergate.token) && cookie.value.length === 64);
  assert.ok(Math.abs(cookie.expires - Date.now() / 1000 - 12 * 3600) < 60);
  // The session outlives the page, and ends on log-out.
  await page.reload();
  await shows(page);
  assert.match(await page.textContent('#who'), /alice/);
  await page.click('#logout');
  await page.waitForSelector('#token >> visible=true');
  assert.equal(await page.$$eval('#t-acc tr', rows => rows.length), 0, 'nothing of it stays in the page');
  assert.deepEqual(await page.context().cookies(), []);
  const again = await fetch(`${tiergate.adminUrl}/status`, { headers: { cookie: `tiergate_session=${cookie.value}` } });
  assert.equal(again.status, 401);
  faultless(page);
  await page.end();
});

test('a foreign page can do nothing with its session', async () => {
  const page = await opened();
  const [cookie] = await page.context().cookies();
  // On the same host, another port: browsers send the cookie there and from there.
  const html = `<form method="post" enctype="text/plain" action="${tiergate.adminUrl}/dispatch/pause"><input name="a" value="b"><button>go</button></form>`;
  const server = http.createServer((_, response) => response.writeHead(200, { 'content-type': 'text/html' }).end(html));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const evil = await page.context().newPage();
  await evil.goto(`http://127.0.0.1:${server.address().port}/`);
  const [answer] = await Promise.all([evil.waitForResponse(response => response.url().endsWith('/dispatch/pause')), evil.click('button')]);
  assert.match((await answer.request().allHeaders()).cookie ?? '', /tiergate_session/, 'the browser did send it');
  assert.deepEqual([answer.status(), (await answer.json()).reason], [403, 'foreign_request']);
  await evil.goto(`http://127.0.0.1:${server.address().port}/`);
  const scripted = await evil.evaluate(
    url => Promise.all(['/dispatch/pause', '/admission/stop'].map(path => fetch(url + path, { method: 'POST', mode: 'no-cors', credentials: 'include' }).then(() => 'sent'))),
    tiergate.adminUrl,
  );
  assert.deepEqual(scripted, ['sent', 'sent']);
  const read = evil.evaluate(url => fetch(`${url}/session`, { credentials: 'include' }).then(answer => answer.text()), tiergate.adminUrl);
  await assert.rejects(read, /Failed to fetch/);
  // Without a browser: the cookie alone, a wrong value, a value of no origin.
  const bare = async headers =>
    (await fetch(`${tiergate.adminUrl}/dispatch/pause`, { method: 'POST', headers: { cookie: `tiergate_session=${cookie.value}`, ...headers } })).status;
  assert.equal(await bare({}), 403);
  assert.equal(await bare({ 'x-tiergate-csrf': cookie.value, origin: tiergate.adminUrl }), 403);
  const status = await operator('GET', '/status');
  assert.deepEqual([status.paused, status.admission_stopped], [false, false]);
  server.closeAllConnections();
  server.close();
  faultless(page);
  await page.end();
});

test('it answers for its own host only', async () => {
  const port = tiergate.adminAddress.split(':')[1];
  const page = await open(`http://${NAMED}:${port}/`);
  assert.match(await page.textContent('body'), /unknown_host/);
  await page.end();
});

test('the public listener keeps the session from upstream servers', async () => {
  const page = await opened();
  const context = page.context();
  const search = await context.newPage();
  const answered = search.goto(`${tiergate.url}/search`);
  await until('it arrives', () => upstream.held.length + other.held.length === 1);
  const [entry] = [...upstream.held, ...other.held];
  assert.equal(entry.request.headers.cookie, undefined);
  (upstream.held.length ? upstream : other).answer();
  const sent = (await (await answered).request().allHeaders()).cookie;
  assert.match(sent, /tiergate_session/, 'the browser did send it');
  await page.end();
});

test('names are text', async () => {
  const page = await opened();
  await page.click('[data-open="tanuki"]');
  await page.waitForSelector('.more >> text=<b>laptop</b>');
  assert.equal(await page.$$eval('#accounts img, .more b:not(.p)', found => found.length), 0);
  assert.match(await page.textContent('#t-acc'), /<img src=x/);
  assert.notEqual(await page.title(), '1');
  faultless(page);
  await page.end();
});

test('paused, it dispatches nothing and loses nobody', async () => {
  const page = await opened({ name: 'alice' });
  await fill([6, 5]); // run
  await page.click('#b-dispatch');
  await page.waitForSelector('#word');
  await page.click('#ask-yes');
  await page.waitForSelector('#ask-err >> text=Type pause');
  await page.keyboard.press('Escape');
  await act(page, '#b-dispatch', { type: 'pause', done: 'Dispatch is paused' });
  assert.deepEqual(await audited(), [['alice', 'dispatch_pause', '']]);
  await page.waitForSelector('#todo >> text=Dispatch is paused');
  await fill([6, 2, 0]);
  upstream.answer();
  other.answer();
  await until('both have ended', async () => (await operator('GET', '/queue')).running.length === 0);
  await page.waitForFunction(() => document.querySelectorAll('#t-wait .acts').length === 3 && document.querySelectorAll('.place[data-p]').length === 3);
  assert.equal(upstream.held.length + other.held.length, 0, 'nothing is dispatched');
  await act(page, '#b-dispatch', { done: 'Dispatch is resumed' });
  assert.deepEqual(await audited(), [['alice', 'dispatch_resume', '']]);
  const waited = clients.slice(2);
  for (let i = 0; i < 3; i++) {
    await until('the next arrives', () => upstream.held.length + other.held.length > 0);
    (upstream.held.length ? upstream : other).answer();
  }
  assert.deepEqual(await Promise.all(waited.map(client => client.answered)), [200, 200, 200]);
  await empty();
  faultless(page);
  await page.end();
});

test('each action is done, and found in the audit log', async () => {
  const page = await opened({ name: 'bob' });
  await fill([6, 6, 0]);

  await act(page, '#b-admit', { type: 'stop', done: 'Admission is stopped' });
  assert.equal(await ask(tiergate, keyOf(6)).answered, 503);
  await page.waitForSelector('#todo >> text=Admission is stopped');
  await act(page, '#b-admit', { done: 'Searches are admitted again' });
  assert.deepEqual(await audited(2), [
    ['bob', 'admission_start', ''],
    ['bob', 'admission_stop', ''],
  ]);

  const server = upstream.address;
  await act(page, `[aria-label="Drain ${server}"]`, { done: `${server} is drained` });
  assert.deepEqual(await audited(), [['bob', 'server_drain', `search/${server}`]]);
  await page.waitForSelector('#t-servers >> text=Draining');
  await act(page, `[aria-label="Take back ${server}"]`, { done: `${server} is taken back` });
  assert.deepEqual(await audited(), [['bob', 'server_undrain', `search/${server}`]]);

  const [job] = (await operator('GET', '/queue')).waiting;
  await act(page, '#t-wait [data-act=cancel]', { done: 'Cancelled the search of 127.0.0.1' });
  assert.equal(await clients.pop().answered, 503);
  assert.deepEqual(await audited(), [['bob', 'job_cancel', job.id]]);
  await page.waitForSelector('#t-wait >> text=Nobody waits');
  await empty();

  const file = join(tiergate.folder, 'tiers.yaml'),
    yaml = readFileSync(file, 'utf8');
  await act(page, '[data-act=reload]', { done: 'Reloaded: nothing changed' });
  assert.deepEqual(await audited(), [['bob', 'reload_asked', file]]);
  writeFileSync(file, yaml.replace('priority: 5', 'priorty: 5'));
  await page.click('[data-act=reload]');
  await page.click('#ask-yes');
  await page.waitForSelector('#ask-err >> text=The file is invalid');
  await page.click('#ask-no');
  await page.waitForSelector('#cfg >> text=The last reload failed');
  page.faults = page.faults.filter(fault => !fault.includes('422')); // the browser logs it
  writeFileSync(file, yaml);
  await act(page, '[data-act=reload]', { done: 'Reloaded' });
  await page.waitForFunction(() => !document.querySelector('#cfg .note'));
  for (const text of ['Paused', 'Drained a server', 'Cancelled a search', 'Asked for a reload']) await page.waitForSelector(`#t-aud >> text=${text}`).catch(() => assert.fail(text));
  faultless(page);
  await page.end();
});

test('tables hold still while a pointer or the focus is in them', { skip: QUICK }, async () => {
  const page = await opened();
  await fill([6, 6, 5]);
  await page.waitForFunction(() => document.querySelectorAll('#t-wait .acts').length === 1);
  await page.focus('#t-wait [data-act=cancel]');
  await fill([2]);
  await page.waitForFunction(() => document.querySelectorAll('.place[data-p]').length === 2);
  assert.equal(await page.$$eval('#t-wait .acts', rows => rows.length), 1, 'it holds still');
  assert.equal(await page.evaluate(() => document.activeElement.dataset.act), 'cancel');
  await page.focus('#h-over');
  await page.waitForFunction(() => document.querySelectorAll('#t-wait .acts').length === 2);
  await empty();
  faultless(page);
  await page.end();
});

test('it works by keyboard, and axe-core finds nothing serious', async () => {
  const page = await open(`${tiergate.adminUrl}/`);
  // It is focused once the page knows that there is no session.
  await page.waitForFunction(() => document.activeElement.id === 'token');
  assert.deepEqual(await seriousFaults(page), []);
  await logIn(page);
  await shows(page);
  assert.equal(await page.evaluate(() => document.activeElement.id), 'h-over');
  await page.focus('[data-open="tanuki"]');
  await page.keyboard.press('Enter');
  await page.waitForSelector('[data-act=tier]');
  assert.equal(await page.evaluate(() => document.activeElement.dataset.open), 'tanuki');
  assert.deepEqual(await seriousFaults(page), []);
  await page.focus('[data-act=tier]');
  await page.keyboard.press('Enter');
  await page.waitForSelector('#ask[open]');
  assert.deepEqual(await seriousFaults(page), []);
  await page.keyboard.press('Escape');
  assert.equal(await page.evaluate(() => document.activeElement.dataset.act), 'tier', 'back where it was');
  faultless(page);
  await page.end();
});

test('a lost server is told, and found again', { skip: QUICK }, async () => {
  const main = tiergate;
  tiergate = await Tiergate.start(tiersYaml([[upstream.address, 1]]));
  const page = await opened(),
    port = tiergate.adminAddress.split(':')[1];
  await tiergate.stop();
  await page.waitForSelector('#s-live >> text=No answer');
  tiergate = await Tiergate.start(tiersYaml([[upstream.address, 1]]), { folder: tiergate.folder, admin: port });
  // Sessions are in memory.
  await page.waitForSelector('#tokenerr >> text=The session has ended');
  await logIn(page);
  await shows(page);
  await page.end();
  await tiergate.remove();
  tiergate = main;
});

test('pictures, narrow and wide, light and dark', { skip: QUICK }, async () => {
  const main = tiergate,
    faults = [],
    servers = [await Upstream.start(), await Upstream.start(), await Upstream.start()];
  const [a, b, c] = servers;
  tiergate = await Tiergate.start(
    tiersYaml(
      [
        [a.address, 4],
        [b.address, 4],
        [c.address, 2],
      ],
      { crowd: 24 },
    ),
  );
  const url = `${tiergate.adminUrl}/`;
  faults.push(...(await pictures('operator-login', url, page => page.waitForSelector('#token >> visible=true'))));
  for (const [name, tier, used] of [
    ['tanuki', '$10', 3],
    ['framegrab', '$50', 6],
    ['mika', '$1', 2],
  ]) {
    await operator('POST', '/accounts', { name, tier, email: `${name}@mail.example`, quotas: { daily: used } });
    const { key } = await operator('POST', `/accounts/${name}/keys`, { label: 'server' });
    for (const server of servers) server.after = 200;
    for (let i = 0; i < used; i++) await ask(tiergate, key).answered;
    if (name === 'tanuki') await ask(tiergate, key).answered;
  }
  await operator('PATCH', '/accounts/mika', { blocked: true });
  await operator('PATCH', '/networks/198.51.100.0%2F24', { block: { for: '7d', why: 'ignores Retry-After' } });
  await operator('PATCH', '/networks/2001:db8:4f::%2F64', { block: { why: 'guesses keys' } });
  await operator('PATCH', '/networks/203.0.113.7', { note: 'a university’s proxy' });
  for (const server of servers) server.after = null;
  const crowd = [6, 5, 2, 0, 5, 5, 2, 6, 5, 2, 6, 6, 5, 5, 2, 2, 2, 0];
  const all = crowd.map((priority, i) => ask(tiergate, priority ? `${keyOf(priority)}-${i + 1}` : '', { from: `127.0.0.${i + 2}` }));
  await tiergate.holds(8, 10);
  for (let i = 0; i < 4; i++) ask(tiergate, '', { from: `127.0.0.${i + 40}` });
  ask(tiergate, 'wrong-key', { from: '127.0.0.50' });
  c.stop();
  await until('one is down', async () => {
    ask(tiergate, 'key-100-23').answered.catch(() => {});
    return (await operator('GET', '/servers')).servers.some(server => server.up === false);
  });
  const ready = async page => {
    await logIn(page, { name: 'alice' });
    await shows(page);
    await page.click('[data-open="framegrab"]');
    await page.waitForSelector('.more .facts');
    await page.evaluate(() => {
      document.activeElement.blur();
      scrollTo(0, 0);
    });
    await page.waitForTimeout(1200);
  };
  faults.push(...(await pictures('operator', url, ready)));
  const dialog = async page => {
    await ready(page);
    await page.click('#b-admit');
    await page.waitForSelector('#word');
  };
  faults.push(...(await pictures('operator-dialog', url, dialog, [[1280, 'dark'], [360, 'light']])));
  const page = await open(url);
  await ready(page);
  mkdirSync(SCREENSHOTS, { recursive: true });
  await page.screenshot({ path: join(SCREENSHOTS, 'operator.png'), clip: { x: 0, y: 0, width: 1280, height: 960 }, fullPage: true });
  await page.end();
  for (const client of all) client.giveUp();
  await tiergate.remove();
  tiergate = main;
  for (const server of servers) server.stop();
  assert.deepEqual(faults, []);
});
