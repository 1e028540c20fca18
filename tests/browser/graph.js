// A picture of Prometheus' graph of the queue, beside the demo with its traffic: target/screenshots/prometheus.png. The first
// argument is for how many seconds it watches.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { SCREENSHOTS, closeBrowser, join, open, until } from './kit.js';

const PROGRAM = process.env.TIERGATE_DEMO ?? '../../target/debug/tiergate-demo';
const seconds = Number(process.argv[2] ?? 150);

const demo = spawn(
  PROGRAM,
  ['--traffic', '--observe', '127.0.0.1:0', '--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0', '--upstream-port', '0'],
  { stdio: ['ignore', 'pipe', 'inherit'] },
);
try {
  let output = '';
  demo.stdout.on('data', bytes => {
    output += bytes;
  });
  const address = await until('Prometheus is there', () => {
    if (demo.exitCode !== null) throw new Error(output);
    return output.match(/prometheus +(http:\S+)/)?.[1];
  });
  const { origin } = new URL(address);
  await until('the queue has filled', async () => {
    const answer = await fetch(`${origin}/api/v1/query?query=${encodeURIComponent('sum(tiergate_queue_depth) > 6')}`).catch(() => null);
    return answer?.ok && (await answer.json()).data.result.length > 0;
  }, 180_000);
  await new Promise(later => setTimeout(later, seconds * 1000));
  const range = `${Math.max(1, Math.floor(seconds / 60))}m`;
  const page = await open(address.replace('range_input=5m', `range_input=${range}`), { width: 1280, height: 900 });
  await page.waitForSelector('.rickshaw_graph svg path');
  await page.waitForSelector('.rickshaw_legend >> text=free');
  // All of the query, not its first line.
  await page.$eval('#expr0', box => {
    box.style.height = `${box.scrollHeight + 2}px`;
    box.blur();
  });
  mkdirSync(SCREENSHOTS, { recursive: true });
  const { y, height } = await page.locator('#graph_wrapper0').boundingBox();
  await page.screenshot({ path: join(SCREENSHOTS, 'prometheus.png'), clip: { x: 0, y: 0, width: 1280, height: Math.ceil(y + height) }, fullPage: true });
} finally {
  await closeBrowser();
  demo.kill('SIGTERM');
  if (demo.exitCode === null) await once(demo, 'exit');
}
