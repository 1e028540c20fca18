// What the browser tests share: a tiergate of their own, a little upstream that answers when it is told, and a browser that notices
// everything that shouldn't happen.
import { spawn, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { chromium } from 'playwright-core';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
/** Whether the short form was asked for. */
export const QUICK = process.env.TIERGATE_BROWSER_FORM === 'quick';
const PROGRAM = resolve(process.env.TIERGATE ?? '../../target/debug/tiergate');
export const SCREENSHOTS = resolve(import.meta.dirname ?? '.', '../../target/screenshots');
const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--host-resolver-rules=MAP images.example 127.0.0.1',
];
/** The longest that a test waits for anything. */
export const PATIENCE = 20_000;

export const sha256 = text => createHash('sha256').update(text).digest('hex');

/** Waits until `is()` answers with something, which is returned; for so many ms at most. */
export async function until(what, is, patience = PATIENCE) {
  const end = Date.now() + patience;
  for (;;) {
    const found = await is();
    if (found) return found;
    if (Date.now() > end) throw new Error(`in vain: ${what}`);
    await new Promise(later => setTimeout(later, 15));
  }
}

/** An upstream server that keeps each request until the test answers it. */
export class Upstream {
  /** Requests that wait for an answer. */
  held = [];
  /** If set, every request is answered after so many milliseconds. */
  after = null;

  static async start() {
    const upstream = new Upstream();
    upstream.server = http.createServer((request, response) => {
      request.resume();
      const entry = { request, response };
      upstream.held.push(entry);
      response.on('close', () => {
        upstream.held = upstream.held.filter(held => held !== entry);
      });
      if (upstream.after !== null) setTimeout(() => upstream.answer(200, entry), upstream.after);
    });
    upstream.server.keepAliveTimeout = 60_000;
    upstream.server.listen(0, '127.0.0.1');
    await once(upstream.server, 'listening');
    upstream.address = `127.0.0.1:${upstream.server.address().port}`;
    return upstream;
  }

  /** Answers the request that has waited longest, or this one. */
  answer(status = 200, entry = this.held[0]) {
    this.held = this.held.filter(held => held !== entry);
    entry?.response.writeHead(status, { 'content-type': 'application/json' });
    entry?.response.end('{"result":[]}');
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

/** A running `tiergate serve`, in a folder of its own that outlives it until it is removed. */
export class Tiergate {
  /** `yaml` leaves out listen, admin and data_dir. */
  static async start(yaml, { folder = mkdtempSync(join(tmpdir(), 'tiergate-browser-')), port = 0, admin = 0 } = {}) {
    const tiergate = new Tiergate();
    tiergate.folder = folder;
    const file = join(folder, 'tiers.yaml');
    writeFileSync(file, `listen: 127.0.0.1:${port}\nadmin: { listen: 127.0.0.1:${admin} }\ndata_dir: ./data\n${yaml}`);
    tiergate.child = spawn(PROGRAM, ['serve', '--config', file, '--log-format', 'json'], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { PATH: process.env.PATH },
    });
    tiergate.log = '';
    tiergate.child.stderr.on('data', bytes => {
      tiergate.log += bytes;
    });
    const listening = await until('it listens', () => {
      if (tiergate.child.exitCode !== null) throw new Error(tiergate.log);
      return tiergate.log.split('\n').find(line => line.includes('"listening"'));
    });
    const address = name => listening.match(new RegExp(`"${name}":"([^"]+)"`))[1];
    [tiergate.address, tiergate.adminAddress] = [address('public'), address('admin')];
    tiergate.url = `http://${tiergate.address}`;
    tiergate.adminUrl = `http://${tiergate.adminAddress}`;
    return tiergate;
  }

  /** The operator's token. */
  get token() {
    return readFileSync(join(this.folder, 'data', 'admin.token'), 'utf8').trim();
  }

  /** Runs SQL in its database, while it doesn't run. */
  sql(text) {
    execFileSync('sqlite3', [join(this.folder, 'data', 'tiergate.db')], { input: text });
  }

  async json(path) {
    const answer = await fetch(this.url + path);
    if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
    return answer.json();
  }

  /** Waits until so many wait and run. */
  async holds(waiting, running) {
    await until(`${waiting} waiting and ${running} running`, async () => {
      const page = await (await fetch(`${this.adminUrl}/queue`, { headers: { authorization: `Bearer ${this.token}` } })).json();
      return page.waiting.length === waiting && page.running.length === running;
    });
  }

  async stop(signal = 'SIGKILL') {
    if (this.child.exitCode === null) {
      this.child.kill(signal);
      await once(this.child, 'exit');
    }
  }

  async remove() {
    await this.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A client with one request, which it gives up when told. `answered` resolves to its status; to null if it gave up. */
export function ask(tiergate, key, { path = '/search', from = '127.0.0.1' } = {}) {
  const client = {};
  client.answered = new Promise(resolve => {
    client.request = http.get(
      tiergate.url + path,
      { agent: false, localAddress: from, headers: key ? { 'x-api-key': key } : {} },
      response => {
        response.resume();
        resolve(response.statusCode);
      },
    );
    client.request.on('error', () => resolve(null));
  });
  client.giveUp = () => client.request.destroy();
  return client;
}

let browser;
/** The browser, started once. */
async function theBrowser() {
  browser ??= await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: FLAGS, headless: true });
  return browser;
}

export async function closeBrowser() {
  await browser?.close();
  browser = undefined;
}

/** An address as which the browser knows 127.0.0.1. */
export const NAMED = 'images.example';

/**
 * A page in a context of its own (empty storage, no cache). `page.faults` lists errors on its console, exceptions, requests to other
 * hosts, and answers that are faults; a test says which of them it expects. `page.asked` has all its requests.
 */
export async function open(url, { width = 1280, height = 900, scheme = 'light', script = true, motion = 'reduce' } = {}) {
  const context = await (
    await theBrowser()
  ).newContext({ viewport: { width, height }, colorScheme: scheme, javaScriptEnabled: script, reducedMotion: motion });
  const page = await context.newPage();
  page.faults = [];
  page.asked = [];
  page.on('console', message => {
    if (['error', 'warning'].includes(message.type())) page.faults.push(`console: ${message.text()}`);
  });
  page.on('pageerror', error => page.faults.push(`exception: ${error}`));
  page.on('request', request => {
    page.asked.push(request);
    if (new URL(request.url()).origin !== new URL(url).origin) page.faults.push(`foreign: ${request.url()}`);
  });
  await page.goto(url);
  page.end = () => context.close();
  return page;
}

/** What axe-core finds serious or critical, in words. */
export async function seriousFaults(page) {
  await page.evaluate(AXE);
  const found = await page.evaluate(() => axe.run(document, { resultTypes: ['violations'] }));
  const serious = found.violations.filter(violation => ['serious', 'critical'].includes(violation.impact));
  return serious.flatMap(violation => violation.nodes.map(node => `${violation.id}: ${node.target} ${node.failureSummary}`));
}

const KINDS = [
  [1280, 'light'],
  [1280, 'dark'],
  [360, 'light'],
  [360, 'dark'],
];
/** Pictures of the whole page, narrow and wide, light and dark; each is also looked at by axe-core, and for sideways scrolling. */
export async function pictures(name, url, prepare = async () => {}, kinds = KINDS) {
  mkdirSync(SCREENSHOTS, { recursive: true });
  const faults = [];
  for (const [width, scheme] of kinds) {
    const page = await open(url, { width, scheme });
    await prepare(page);
    await page.screenshot({ path: join(SCREENSHOTS, `${name}-${width}-${scheme}.png`), fullPage: true });
    const about = `${name} ${width} ${scheme}`;
    if (await page.evaluate(() => document.documentElement.scrollWidth > innerWidth))
      faults.push(`${about}: it scrolls sideways`);
    faults.push(
      ...(await seriousFaults(page)).map(fault => `${about}: ${fault}`),
      ...page.faults.map(fault => `${about}: ${fault}`),
    );
    await page.end();
  }
  return faults;
}

/** The tiers of trace.moe: name, priority, concurrency, quota of a day. */
export const TIERS = [
  ['free', 0, 1, 100],
  ['$1', 2, 1, 100],
  ['$5', 2, 1, 500],
  ['$10', 5, 1, 1000],
  ['$20', 5, 2, 2000],
  ['$50', 5, 3, 5000],
  ['$100', 6, 4, 10000],
];
/**
 * A tiers.yaml with these tiers, and for each paid one the account `acme-PRICE` with the key `key-PRICE`. With `crowd` there are so
 * many more of each (`acme-PRICE-1`, …), on the tiers' own terms; otherwise everybody may have 300 requests at once.
 */
export function tiersYaml(upstreams, { places = 8, crowd = 0, more = '' } = {}) {
  const accounts = TIERS.slice(1).flatMap(([name]) =>
    ['', ...Array.from({ length: crowd }, (_, i) => `-${i + 1}`)].map(number => [name, name.slice(1) + number]),
  );
  const terms = ([name, priority, concurrency, quota]) =>
    `  "${name}": { priority: ${priority}, concurrency: ${crowd ? concurrency : 300}, quota: { limit: ${crowd ? quota : 10000}, rolling: 24h } }`;
  const servers = upstreams.map(([address, slots]) => `{ url: "http://${address}", slots: ${slots} }`).join(', ');
  return `queue: { length: ${places}, max_wait: 5m }
tiers:
${TIERS.map(terms).join('\n')}
anonymous: free
keys: { headers: [x-api-key] }
accounts:
${accounts.map(([tier, name]) => `  - { name: acme-${name}, tier: "${tier}", key_sha256: ${sha256(`key-${name}`)} }`).join('\n')}
upstreams:
  search: { servers: [ ${servers} ], timeout: 5m }
routes:
  - { path: /search, upstream: search, metered: true }
drain_timeout: 1s
${more}`;
}
/** The key of some tier of that priority; none for the lowest. */
export const keyOf = priority => ({ 0: '', 2: 'key-5', 5: 'key-10', 6: 'key-100' })[priority];

export { existsSync, join };
