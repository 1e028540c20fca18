// Accounts, keys and networks on the operator's page.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { QUICK, Tiergate, Upstream, ask, closeBrowser, tiersYaml, until } from './kit.js';
import * as operators from './operators.js';
import { act, asks, faultless, shows } from './operators.js';

let upstream, tiergate;
const HOSTILE = '<img src=x onerror="document.title=1">';

const operator = (...args) => operators.operator(tiergate, ...args);
const audited = count => operators.audited(tiergate, count);
const opened = options => operators.opened(tiergate, options);
const status = (key, from) => ask(tiergate, key, { from }).answered;
/** Does without what the browser itself reports of an answer that is expected. */
const expected = (page, code) => {
  page.faults = page.faults.filter(fault => !fault.includes(code));
};
/** The key that the dialog shows, which is gone once it is closed. */
async function shownKey(page) {
  await page.waitForSelector('#new-key');
  const key = await page.inputValue('#new-key');
  assert.match(key, /^tg_[0-9A-Za-z]{36}$/);
  await page.click('#ask-yes');
  await page.waitForFunction(key => !document.documentElement.outerHTML.includes(key), key);
  return key;
}

before(async () => {
  upstream = await Upstream.start();
  upstream.after = 0;
  tiergate = await Tiergate.start(tiersYaml([[upstream.address, 1]]));
  await operator('POST', '/accounts', { name: 'tanuki', tier: '$5', email: 'tanuki@example.org', note: HOSTILE });
  await operator('POST', '/accounts/tanuki/keys', { label: '<b>laptop</b>' });
});
after(async () => {
  await closeBrowser();
  await tiergate?.remove();
  upstream?.stop();
});

test('an account is added, and gets a key', async () => {
  const page = await opened({ name: 'bob' });
  await asks(page, '[data-act=addaccount]', { before: () => page.fill('#new-name', 'tanuki') });
  await page.waitForSelector('#ask-err >> text=name');
  expected(page, 409);
  await page.fill('#new-name', 'kitsune');
  await page.selectOption('#new-tier', '$50');
  await page.fill('#new-note', HOSTILE);
  await page.fill('#by', 'carol');
  await page.click('#ask-yes');
  await page.waitForSelector('#ask-p >> text=kitsune is added');
  assert.equal(await page.inputValue('#by'), 'carol', 'it is not asked for again');
  await page.fill('#key-label', 'server');
  await page.click('#ask-yes');
  const key = await shownKey(page);
  assert.equal(await status(key), 200);
  assert.deepEqual((await audited(2)).map(row => row.slice(0, 2)), [
    ['carol', 'key_add'],
    ['carol', 'account_add'],
  ]);
  const { tier, note } = await operator('GET', '/accounts/kitsune');
  assert.deepEqual([tier, note], ['$50', HOSTILE]);
  await page.waitForSelector('#t-acc >> text=kitsune');
  // Another gets none for now.
  await asks(page, '[data-act=addaccount]', { before: () => page.fill('#new-name', 'mujina') });
  await page.waitForSelector('#key-label');
  await page.click('#ask-no >> text=Later');
  assert.deepEqual((await operator('GET', '/accounts/mujina/keys')).keys, []);
  assert.notEqual(await page.title(), '1');
  assert.equal(await page.$$eval('#accounts img', found => found.length), 0);
  faultless(page);
  await page.end();
});

test('its tier is changed, it is blocked and unblocked', async () => {
  const page = await opened({ name: 'bob' });
  await page.click('[data-open="tanuki"]');
  await act(page, '#t-acc [data-act=tier]', { before: () => page.selectOption('#new-tier', '$20'), done: 'tanuki has $20 now' });
  await act(page, '#t-acc [data-act=block]', { done: 'tanuki is blocked' });
  await page.waitForSelector('#t-acc .sign >> text=blocked');
  await act(page, '#t-acc [data-act=unblock]', { before: () => page.fill('#by', 'carol'), done: 'tanuki is unblocked' });
  assert.deepEqual(await audited(3), [
    ['carol', 'account_change', 'tanuki'],
    ['bob', 'account_change', 'tanuki'],
    ['bob', 'account_change', 'tanuki'],
  ]);
  assert.equal((await operator('GET', '/accounts/tanuki')).tier, '$20');
  faultless(page);
  await page.end();
});

test('keys are added, rotated and revoked', async () => {
  const page = await opened({ name: 'bob' });
  await page.click('[data-open="tanuki"]');
  await asks(page, '[data-act=addkey]', { before: () => page.fill('#key-label', 'phone') });
  const old = await shownKey(page);
  assert.equal(await status(old), 200);
  await page.waitForSelector(`.more >> text=${old.slice(0, 7)}…`);
  await asks(page, '[aria-label="Rotate phone"]', { before: () => page.selectOption('#overlap', '1h') });
  const key = await shownKey(page);
  assert.deepEqual([await status(old), await status(key)], [200, 200], 'the old one works for an hour');
  const { keys } = await operator('GET', '/accounts/tanuki/keys');
  const phones = keys.filter(({ label }) => label === 'phone');
  assert.deepEqual(phones.map(({ begins }) => begins).sort(), [old.slice(0, 7), key.slice(0, 7)].sort());
  const ends = Date.parse(phones.find(({ begins }) => begins === old.slice(0, 7)).expires) - Date.now();
  assert.ok(Math.abs(ends - 3600e3) < 60e3, `${ends} ms`);
  await act(page, '[aria-label="Revoke phone"]', { done: 'The key phone of tanuki is revoked' });
  assert.deepEqual((await audited(3)).map(row => row[1]), ['key_revoke', 'key_rotate', 'key_add']);
  assert.deepEqual([await status(old), await status(key)].sort(), [200, 403], 'one of the two is left');
  await page.waitForSelector('#t-ref >> text=invalid_key');
  for (const text of ['Rotated a key', 'Revoked a key', 'Added a key']) await page.waitForSelector(`#t-aud >> text=${text}`);
  faultless(page);
  await page.end();
});

test('first characters and last use outlast a restart', async () => {
  const { key } = await operator('POST', '/accounts/tanuki/keys', { label: 'kept' });
  assert.deepEqual([await status(key), await status('key-5')], [200, 200]);
  const port = tiergate.adminAddress.split(':')[1];
  await tiergate.stop('SIGTERM');
  tiergate = await Tiergate.start(tiersYaml([[upstream.address, 1]]), { folder: tiergate.folder, admin: port });
  const page = await opened();
  const row = async label => (await page.textContent(`.more tr:has-text("${label}")`)).replace(/\s+/g, ' ');
  await page.click('[data-open="tanuki"]');
  await page.waitForSelector('.more >> text=kept');
  assert.match(await row('kept'), new RegExp(`${key.slice(0, 7)}….*(just now|min ago)`));
  // And of a key in tiers.yaml.
  await page.click('[data-open="tanuki"]');
  await page.click('[data-open="acme-5"]');
  await page.waitForSelector('.more >> text=no label');
  assert.match(await row('no label'), /k….*(just now|min ago)/);
  faultless(page);
  await page.end();
});

test('a network is blocked and unblocked', async () => {
  const page = await opened({ name: 'bob' });
  assert.equal(await status('wrong-key', '127.0.0.9'), 403); // invalid_key
  await page.waitForSelector('#t-ref >> text=127.0.0.9');
  await page.click('#t-ref [aria-label="Block 127.0.0.9"] >> nth=0');
  assert.equal(await page.inputValue('#net'), '127.0.0.9');
  await page.selectOption('#net-for', '1d');
  await page.fill('#net-why', HOSTILE);
  await page.click('#ask-yes');
  await page.waitForSelector('.toast >> text=127.0.0.9/32 is blocked');
  assert.deepEqual(await audited(), [['bob', 'network_block', '127.0.0.9/32']]);
  assert.deepEqual([await status('key-5', '127.0.0.9'), await status('key-5', '127.0.0.8')], [403, 200]);
  await page.waitForSelector('#t-net >> text=until');
  assert.ok((await page.textContent('#t-net')).includes(HOSTILE));
  await act(page, '[aria-label="Unblock 127.0.0.9/32"]', { done: '127.0.0.9/32 is unblocked' });
  assert.deepEqual(await audited(), [['bob', 'network_unblock', '127.0.0.9/32']]);
  assert.equal(await status('key-5', '127.0.0.9'), 200);

  await asks(page, '#networks [data-act=blocknet]');
  await page.waitForSelector('#ask-err >> text=Enter an address');
  await page.fill('#net', 'somewhere');
  await page.click('#ask-yes');
  await page.waitForSelector('#ask-err >> text=That is no network');
  expected(page, 400);
  // What locks out many has to be typed.
  await page.fill('#net', '10.0.0.0/7');
  await page.click('#ask-yes');
  await page.waitForSelector('#ask-h >> text=Block all of 10.0.0.0/7');
  expected(page, 409);
  await page.click('#ask-yes');
  await page.waitForSelector('#ask-err >> text=Type 10.0.0.0/7');
  await page.fill('#word', '10.0.0.0/7');
  await page.click('#ask-yes');
  await page.waitForSelector('.toast >> text=10.0.0.0/7 is blocked');
  await act(page, '[aria-label="Unblock 10.0.0.0/7"]', { done: '10.0.0.0/7 is unblocked' });
  await page.waitForSelector('#t-net >> text=No network is blocked');
  for (const text of ['Blocked a network', 'Unblocked a network']) await page.waitForSelector(`#t-aud >> text=${text}`);
  assert.notEqual(await page.title(), '1');
  faultless(page);
  await page.end();
});

test('accounts are searched, sorted and paged', async () => {
  const many = QUICK ? 60 : 100_000;
  const lines = Array.from({ length: many }, (_, i) => JSON.stringify({ name: `many-${String(i).padStart(6, '0')}`, tier: i % 2 ? '$1' : '$5' }));
  const answer = await fetch(`${tiergate.adminUrl}/accounts/import`, { method: 'POST', headers: { authorization: `Bearer ${tiergate.token}`, 'content-type': 'application/x-ndjson' }, body: lines.join('\n') });
  assert.equal(answer.status, 201);
  const { total } = await operator('GET', '/accounts?limit=1');
  const page = await opened();
  const rows = n => page.waitForFunction(n => document.querySelectorAll('#t-acc .open').length === n, n);
  const foot = text => page.waitForSelector(`#acc-foot >> text=${text}`);
  const all = total.toLocaleString('en');
  await rows(25);
  await foot(`The 25 of ${all} accounts that have used most.`);
  await page.click('#acc-next');
  await rows(50);
  await page.click('[data-act=sort][data-on=name]');
  await rows(25);
  await foot(`25 of ${all} accounts.`);
  await page.click('#acc-next');
  await foot(`25 of ${all} accounts, after`);
  await page.fill('#find', `many-${String(many - 17).padStart(6, '0')}`);
  await foot('1 of 1 account that matches.');
  await rows(1);
  await page.fill('#find', 'many-00004');
  await foot('10 of 10 accounts that match.');
  await page.selectOption('#of-tier', '$1');
  await rows(5);
  await page.fill('#find', 'TANUKI@example');
  await page.waitForSelector('#t-acc >> text=No account matches');
  await page.selectOption('#of-tier', '');
  await rows(1);
  faultless(page);
  await page.end();
});
