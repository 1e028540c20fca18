// The status page, with a real tiergate and real requests.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { mkdirSync } from 'node:fs';
import { history, used } from './history.js';
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

/** The references' table: who has a place, and which of 0, 2, 5 and 6 are let in. */
const TABLE = [
  [[], [0, 2, 5, 6]],
  [
    [6, 5, 2, 0, 0, 0, 0],
    [0, 2, 5, 6],
  ],
  [
    [6, 6, 6, 5, 2, 2, 2, 0],
    [2, 5, 6],
  ],
  [
    [6, 6, 6, 5, 2, 2, 2, 2],
    [5, 6],
  ],
  [[6, 6, 6, 6, 6, 6, 5, 5], [6]],
  [[6, 6, 6, 6, 6, 6, 6, 6], []],
];

let upstream,
  tiergate,
  clients = [];
/** Requests of these priorities, one after the other, each in its place before the next comes. */
async function fill(priorities, running = 1, crowd = false) {
  const had = clients.length;
  for (const [i, priority] of priorities.entries()) {
    const another = crowd ? had + i + 1 : '';
    clients.push(
      ask(tiergate, keyOf(priority) && crowd ? `${keyOf(priority)}-${another}` : keyOf(priority), {
        from: `127.0.0.${another || 1}`,
      }),
    );
    await tiergate.holds(Math.max(0, had + i + 1 - running), Math.min(running, had + i + 1));
  }
}
async function empty() {
  for (const client of clients) client.giveUp();
  clients = [];
  await until('the upstream is idle', async () => {
    while (upstream.held.length) upstream.answer();
    return true;
  });
  await until('nobody waits', async () => {
    while (upstream.held.length) upstream.answer();
    const { now } = await tiergate.json('/status.json');
    return now.queue.taken === 0 && now.upstreams[0].busy === 0;
  });
}
const placesOf = page => page.$$eval('.place', places => places.map(place => place.dataset.p ?? ''));
const admittedBy = page =>
  page.$$eval('[data-admits]', rows =>
    rows
      .filter(row => row.querySelector('.sign.ok'))
      .map(row => Number(row.dataset.admits))
      .sort(),
  );
const faultless = page => assert.deepEqual(page.faults, []);

before(async () => {
  upstream = await Upstream.start();
  tiergate = await Tiergate.start(tiersYaml([[upstream.address, 1]]));
});
after(async () => {
  await closeBrowser();
  await tiergate?.remove();
  upstream?.stop();
});

test('the page shows each row of the queue table', async () => {
  const page = await open(`${tiergate.url}/status`);
  for (const [row, letIn] of QUICK ? TABLE.slice(2, 3) : TABLE) {
    await fill([6]); // runs
    await fill(row);
    const want = [...row, ...Array(8 - row.length).fill('')].map(String);
    await until(`places ${want}`, async () => JSON.stringify(await placesOf(page)) === JSON.stringify(want));
    await until(`${letIn} are let in`, async () => JSON.stringify(await admittedBy(page)) === JSON.stringify(letIn));
    assert.deepEqual(await page.$$eval('.slot', slots => slots.map(slot => slot.dataset.p)), ['6']);
    const { now } = await tiergate.json('/status.json');
    assert.deepEqual(
      now.queue.places.map(place => place.priority),
      row,
    );
    assert.deepEqual(
      now.upstreams[0].admission
        .filter(line => line.admitted)
        .map(line => line.priority)
        .sort(),
      letIn,
    );
    // What it says is what happens.
    for (const priority of QUICK ? [0] : [0, 2, 5, 6].filter(priority => !letIn.includes(priority)))
      assert.equal(await ask(tiergate, keyOf(priority)).answered, 503);
    await empty();
    await until('it is open again', async () => (await page.textContent('#headline')) === 'Open: no queue');
  }
  faultless(page);
  await page.end();
});

test('a change is shown within a second', async () => {
  const page = await open(`${tiergate.url}/status`);
  const shown = [];
  for (let i = 1; i <= (QUICK ? 2 : 8); i++) {
    const begun = Date.now();
    clients.push(ask(tiergate, 'key-5'));
    const taken = Math.max(0, i - 1),
      busy = 1;
    await page.waitForFunction(
      ([taken, busy]) =>
        document.querySelectorAll('.place[data-p]').length === taken &&
        document.querySelectorAll('.slot[data-p]').length === busy,
      [taken, busy],
      { polling: 20 },
    );
    shown.push(Date.now() - begun);
  }
  console.log(`shown after ${shown.join(', ')} ms`);
  assert.ok(Math.max(...shown) < 1000, `${shown}`);
  await empty();
  await page.waitForFunction(() => document.querySelectorAll('.place[data-p], .slot[data-p]').length === 0);
  faultless(page);
  await page.end();
});

test('without a script it says the same', async () => {
  await fill([6, 5, 0]);
  const [plain, scripted] = [await open(`${tiergate.url}/status`, { script: false }), await open(`${tiergate.url}/status`)];
  await scripted.waitForFunction(() => document.querySelector('#live .ok'));
  for (const part of ['#headline', '#lede', '#n-places', '#n-slots', '#pools', '#now', '#stats', '#why', '#pct']) {
    // Elements and words; a sign's icon, an estimate's digits may have moved on.
    const read = page =>
      page.$eval(part, e =>
        e.textContent
          .replace(/\s+/g, ' ')
          .replace(/\d+ (s|ms|min)/g, 'N')
          .trim(),
      );
    assert.equal(await read(plain), await read(scripted), part);
  }
  assert.deepEqual(await placesOf(plain), ['5', '0', '', '', '', '', '', '']);
  assert.equal(await plain.isVisible('#pause'), false, 'what needs a script is hidden');
  await plain.click('nav >> text=60 days');
  assert.equal(await plain.textContent('[data-unit]'), 'per day');
  assert.equal((await plain.$$('#t-ans tbody tr')).length, 60);
  faultless(plain);
  faultless(scripted);
  await plain.end();
  await scripted.end();
  await empty();
});

test('a key is kept in memory, and sent to /me alone', async () => {
  const page = await open(`${tiergate.url}/status`);
  await page.waitForSelector('text=Your network, without a key');
  await page.fill('#key', 'key-99');
  await page.click('text=Show >> visible=true');
  await page.waitForSelector('text=Nobody has this key');
  assert.equal(await page.getAttribute('#key', 'aria-invalid'), 'true');
  page.faults = page.faults.filter(fault => !fault.includes('403')); // the browser logs it
  await page.fill('#key', 'key-20');
  await page.keyboard.press('Enter');
  await page.waitForSelector('#mine >> text=acme-20');
  assert.match(await page.textContent('#mine'), /\$20 tier, priority 5.*0 of 300.*0 of 10,000.*rolling 24h/s);
  assert.equal(await page.inputValue('#key'), '');
  const told = page.asked.filter(
    request => JSON.stringify(request.headers()).includes('key-20') || request.url().includes('key-'),
  );
  assert.ok(told.length > 0 && told.every(request => request.url() === `${tiergate.url}/me`), 'sent to /me alone');
  const kept = await page.evaluate(async () => [
    localStorage.length,
    sessionStorage.length,
    document.cookie,
    (await indexedDB.databases()).length,
    document.documentElement.outerHTML.includes('key-20'),
  ]);
  assert.deepEqual(kept, [0, 0, '', 0, false]);
  await page.reload();
  await page.waitForSelector('text=Your network, without a key');
  faultless(page);
  await page.end();
});

test('it works by keyboard, and axe-core finds nothing serious', async () => {
  await fill([6, 6, 5, 2, 0]);
  const page = await open(`${tiergate.url}/status`, { motion: 'no-preference' });
  await page.waitForFunction(() => document.querySelector('#live .ok'));
  assert.deepEqual(await seriousFaults(page), []);
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to the queue');
  await page.focus('#c-ans');
  await page.keyboard.press('End');
  assert.match(await page.textContent('#k-ans'), /\d\d:\d\d, so far/);
  await page.keyboard.press('Escape');
  assert.match(await page.textContent('#k-ans'), /^Total/);
  await page.click('#t-occ summary');
  await page.waitForSelector('#t-occ tbody tr'); // it is filled by the event of its opening, a moment after the click
  assert.equal((await page.$$('#t-occ tbody tr')).length, 60);
  await page.click('#pause');
  assert.match(await page.textContent('#live'), /Paused/);
  faultless(page);
  await page.end();
  await empty();
});

test('a lost connection is told, and found again', { skip: QUICK }, async () => {
  const second = await Tiergate.start(tiersYaml([[upstream.address, 1]]));
  const page = await open(`${second.url}/status`);
  await page.waitForFunction(() => document.querySelector('#live .ok'));
  const port = second.address.split(':')[1];
  await second.stop();
  await page.waitForSelector('text=Connection lost');
  await page.waitForSelector('text=No news for');
  assert.match(await page.textContent('#headline'), /^At \d\d:\d\d:\d\d: Open: no queue$/);
  const again = await Tiergate.start(tiersYaml([[upstream.address, 1]]), { folder: second.folder, port });
  await page.click('text=Try now');
  await page.waitForFunction(() => document.querySelector('#live .ok') && !document.querySelector('.stale'));
  assert.equal(await page.textContent('#headline'), 'Open: no queue');
  await page.end();
  await again.remove();
});

test('pictures, narrow and wide, light and dark', { skip: QUICK }, async () => {
  const servers = [await Upstream.start(), await Upstream.start(), await Upstream.start()],
    [a, b, c] = servers;
  const yaml = tiersYaml(
    [
      [a.address, 4],
      [b.address, 4],
      [c.address, 2],
    ],
    { crowd: 24 },
  );
  const first = await Tiergate.start(yaml);
  await first.stop('SIGTERM');
  first.sql(history() + used('acme-20', 1730));
  const main = tiergate,
    faults = [];
  tiergate = await Tiergate.start(yaml, { folder: first.folder });
  faults.push(...(await pictures('status-quiet', `${tiergate.url}/status`, page => page.waitForSelector('#mine .id'))));
  // Some searches, so that there is an estimate; then all servers are busy, and one goes down.
  for (const server of servers) server.after = 900;
  await Promise.all(Array.from({ length: 22 }, (_, i) => ask(tiergate, `key-50-${i + 1}`).answered));
  for (const server of servers) server.after = null;
  clients = [];
  await fill([6, 5, 2, 0, 5, 5, 2, 6, 5, 2], 10, true);
  c.stop();
  const lost = ask(tiergate, 'key-100-23');
  await until('the server is marked down', async () => (await tiergate.json('/status.json')).now.upstreams[0].available === 8);
  lost.giveUp();
  await until('what ran there is gone', async () => (await tiergate.json('/status.json')).now.upstreams[0].busy === 8);
  clients = clients.slice(0, 8);
  await fill([0], 8, true);
  await new Promise(later => setTimeout(later, 2100));
  await fill([6, 5, 5, 2, 2, 2, 6], 8, true);
  const ready = async page => {
    await page.fill('#key', 'key-20');
    await page.click('text=Show >> visible=true');
    await page.waitForSelector('#mine >> text=acme-20');
  };
  faults.push(...(await pictures('status-busy', `${tiergate.url}/status`, ready)));
  const page = await open(`${tiergate.url.replace('127.0.0.1', NAMED)}/status?period=3d`);
  await ready(page);
  mkdirSync(SCREENSHOTS, { recursive: true });
  await page.screenshot({
    path: join(SCREENSHOTS, 'status.png'),
    clip: { x: 0, y: 0, width: 1280, height: 1400 },
    fullPage: true,
  });
  await page.end();
  for (const client of clients) client.giveUp();
  clients = [];
  await tiergate.remove();
  tiergate = main;
  for (const server of [a, b]) server.stop();
  assert.deepEqual(faults, []);
});

test('long queues are drawn smaller, then as bars', { skip: QUICK }, async () => {
  const main = tiergate,
    faults = [];
  for (const [places, taken, shape] of [
    [16, 11, '.places.medium'],
    [40, 25, '.places.small'],
    [2000, 120, '.lanes'],
  ]) {
    const server = await Upstream.start();
    tiergate = await Tiergate.start(tiersYaml([[server.address, 40]], { places }));
    clients = [];
    await fill(
      Array.from({ length: 40 }, (_, i) => [6, 5, 2, 0][i % 4]),
      40,
    );
    for (let i = 0; i < taken; i++) clients.push(ask(tiergate, keyOf([6, 5, 2, 0, 0][i % 5])));
    await tiergate.holds(taken, 40);
    faults.push(
      ...(await pictures(`status-queue-${places}`, `${tiergate.url}/status`, page => page.waitForSelector(shape), [
        [1280, 'light'],
        [360, 'dark'],
      ])),
    );
    for (const client of clients) client.giveUp();
    await tiergate.remove();
    server.stop();
  }
  tiergate = main;
  clients = [];
  assert.deepEqual(faults, []);
});
