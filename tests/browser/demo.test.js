// The demo's page, with the demo itself.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { after, before, beforeEach, test } from 'node:test';
import { QUICK, TIERS, closeBrowser, join, open, pictures, until } from './kit.js';

const PROGRAM = process.env.TIERGATE_DEMO ?? '../../target/debug/tiergate-demo';
/** One slot and no places: while somebody searches, everybody else is refused. */
const YAML = `listen: 127.0.0.1:0
admin: { listen: 127.0.0.1:0 }
queue: { length: 0 }
tiers:
${TIERS.map(([name, priority, concurrency]) => `  "${name}": { priority: ${priority}, concurrency: ${concurrency} }`).join('\n')}
anonymous: free
upstreams:
  search: { servers: [ { url: "http://127.0.0.1:1", slots: 1 } ] }
routes:
  - { path: /search, upstream: search, metered: true, max_body: 25MiB }
  - { path: "/image/{*rest}", upstream: search }
`;

/** How long a search takes: long enough for the page to show it on a busy machine. */
const SEARCH_MS = 2000;

let folder, demo, url, admin, token, sample;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tiergate-browser-demo-'));
  const file = join(folder, 'tiers.yaml');
  writeFileSync(file, YAML);
  demo = spawn(PROGRAM, ['--config', file, '--count', '24', '--search-ms', String(SEARCH_MS), '--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0', '--upstream-port', '0'], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  demo.stdout.on('data', bytes => { output += bytes; });
  await until('the pictures are indexed', () => {
    if (demo.exitCode !== null) throw new Error(output);
    return output.includes('as a stranger');
  });
  url = output.match(/search page +(http:\S+)/)[1];
  [, admin, token] = output.match(/operator's page +(http:\S+) +token (\S+)/);
  sample = Buffer.from(await (await fetch(`${url}demo/sample/2`)).arrayBuffer());
});
after(async () => {
  await closeBrowser();
  demo.kill('SIGTERM');
  if (demo.exitCode === null) await once(demo, 'exit');
  rmSync(folder, { recursive: true, force: true });
});

// A search that was given up while it ran goes on, and counts as its caller's.
beforeEach(() => until('nothing runs', async () => (await operator('GET', 'queue')).running.length === 0));

const configOf = page => page.$eval('#config', script => JSON.parse(script.textContent));
const verdict = (page, text) => page.waitForSelector(`#result h2:has-text("${text}")`);
const searchAs = (page, tier) => page.check(`.caller:has-text("${tier}") input`);
/** What the operator's token gets. */
async function operator(method, path) {
  const answer = await fetch(admin + path, { method, headers: { authorization: `Bearer ${token}` } });
  return answer.json();
}
/** Somebody else's search, which takes the only slot; resolves to its status. The slot stays taken until `/dispatch/resume`. */
async function occupy(page) {
  await page.waitForSelector('.caller:has-text("Stranger") >> text=at once');
  const { header, guests } = await configOf(page);
  const answer = fetch(`${url}search`, { method: 'POST', body: sample, headers: { [header]: guests.at(-1).key } });
  await until('it runs', async () => (await operator('GET', 'queue')).running.length === 1);
  // It ends when it ends, however slow this machine is; the page's own search mustn't get the slot then.
  await operator('POST', 'dispatch/pause');
  return answer.then(({ status }) => status);
}

test('a sample is found, and how long it took is told', async () => {
  const page = await open(url);
  await searchAs(page, '$20');
  await page.click('.sample >> nth=2');
  await page.waitForSelector('text=Searching as $20');
  await page.waitForSelector('#slots .slot[data-p="5"]'); // beside it: the queue
  await verdict(page, 'It is scene-');
  const { samples } = await configOf(page);
  assert.match(await page.textContent('#result h2'), new RegExp(`scene-0*${samples[2].original}\\.jpg`));
  assert.equal(await page.locator('#matches li').count(), 7);
  await until('the thumbnails are there', () => page.$$eval('#matches img', images => images.every(image => image.complete && image.naturalWidth > 0)));
  assert.match(await page.textContent('.spent'), /waited.*searched2\.\d s.*in all, as \$20/s);
  assert.match(await page.textContent('#say'), /^It is scene-\d+\.jpg, .* searched 2\.\d s\.$/);
  assert.deepEqual(page.faults, []);
  await page.end();
});

test('a picture from outside is found; what is none is told', async () => {
  const page = await open(url);
  await page.setInputFiles('#file', { name: 'notes.txt', mimeType: 'text/plain', buffer: Buffer.from('no picture') });
  await verdict(page, 'That is no picture');
  await page.setInputFiles('#file', { name: 'found.jpg', mimeType: 'image/jpeg', buffer: sample });
  await verdict(page, 'It is scene-');
  // A drop, as the browser reports it.
  await page.evaluate(async () => {
    const data = new DataTransfer();
    data.items.add(new File([await (await fetch('/demo/sample/1')).blob()], 'dropped.jpg', { type: 'image/jpeg' }));
    document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));
  });
  await page.waitForSelector('text=Searching as a stranger');
  await page.click('#cancel');
  await verdict(page, 'Given up');
  assert.deepEqual(page.faults, []);
  await page.end();
});

test('a refusal is told in words, and can be tried again', async () => {
  const page = await open(url);
  const other = occupy(page);
  await page.waitForSelector('.caller:has-text("Stranger") >> text=not now');
  await page.click('.sample >> nth=0');
  await verdict(page, 'The queue is full');
  assert.match(await page.textContent('#result'), /No priority would have got in.*Refused as a stranger.*It cost no quota/s);
  assert.equal(await other, 200);
  await operator('POST', 'dispatch/resume');
  await until('the slot is free', () => page.$('.caller:has-text("Stranger") >> text=at once'));
  await page.click('#again');
  await verdict(page, 'It is scene-');
  // The browser itself reports the 503.
  assert.equal(page.faults.filter(fault => !fault.includes('503')).length, 0, page.faults);
  await page.end();
});

test('everything can be done with the keyboard', { skip: QUICK }, async () => {
  const page = await open(url);
  await page.focus('input[name=caller]:checked');
  for (let i = 0; i < 6; i++) await page.keyboard.press('ArrowRight');
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'file');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.waitForSelector('text=Searching as $100');
  for (let i = 0; i < 8; i++) await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await verdict(page, 'Given up');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'again');
  await page.end();
});

test('it looks right, and axe-core finds nothing serious', async () => {
  const found = async page => { await searchAs(page, '$100'); await page.click('.sample >> nth=1'); await verdict(page, 'It is scene-'); };
  const faults = await pictures('demo', url, found, QUICK ? [[360, 'dark']] : undefined);
  assert.deepEqual(faults, []);
});
