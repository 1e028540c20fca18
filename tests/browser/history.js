// Sixty days of traffic, written into the roll-ups of a tiergate that doesn't run: days and nights, rush hours, a fault.
const bucket = ms => {
  const doublings = Math.max(0, Math.floor(Math.log2(ms | 1)) - 4);
  return doublings * 16 + (ms >> doublings);
};
const REFUSED = [
  ['queue_full', 503, 0.44],
  ['displaced', 503, 0.2],
  ['waited_too_long', 503, 0.05],
  ['concurrency_exceeded', 402, 0.12],
  ['quota_depleted', 402, 0.06],
  ['rate_limited', 429, 0.1],
  ['bad_request', 400, 0.02],
];
const SHARES = { free: 0.3, $1: 0.06, $5: 0.12, $10: 0.14, $20: 0.12, $50: 0.1, $100: 0.16 };

/** SQL for the tables `traffic` and `service_time`, ending now. Always the same numbers for the same time of day. */
export function history(now = Date.now()) {
  let seed = 7;
  const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
  const sql = ['BEGIN;'];
  for (const [period, n, k, wave] of [
    [60, 60, 1, i => 0.62 + 0.3 * Math.sin(i / 17) + i / 260],
    [3600, 72, 52, i => 0.62 + 0.38 * Math.sin((i / 24 - 0.3) * 2 * Math.PI)],
    [86400, 60, 1180, i => 0.7 + 0.18 * Math.sin((i / 7) * 2 * Math.PI) + i / 300],
  ]) {
    const last = Math.floor(now / 1000 / period) * period;
    for (let i = 0; i < n; i++) {
      const start = (last - (n - 1 - i) * period) * 1000,
        x = Math.max(0.08, wave(i) + (random() - 0.5) * 0.16),
        over = Math.max(0, x - 0.66);
      const served = Math.round(Math.min(86, x * 84 + random() * 5) * k),
        fault = period === 60 && i > 20 && i < 26;
      const row = (tier, outcome, reason, status, jobs, wait = 0, service = 0) => {
        if (jobs > 0)
          sql.push(
            `INSERT INTO traffic VALUES (${period}, ${start}, '${tier}', '${outcome === 'refused' ? '' : 'search'}', '${outcome}', '${reason}', ${status}, ${jobs}, 0, ${Math.round(wait)}, ${Math.round(service)});`,
          );
      };
      const mid = 3600 + x * 1500 + random() * 300 + (fault ? 1300 : 0);
      for (const [tier, share] of Object.entries(SHARES)) {
        const jobs = Math.round(served * share),
          mean = {
            free: 1.5 * x * x,
            $1: 0.5 * x ** 3,
            $5: 1.2 * x ** 3,
            $10: 1.2 * x * x,
            $20: 0.6 * x * x,
            $50: 0.4 * x * x,
            $100: 1.1 * x,
          }[tier];
        row(tier, 'succeeded', '', 200, jobs, mean * period * 1000 * (tier === 'free' && x > 0.9 ? 0.5 : 1), jobs * mid);
      }
      const out = over * 150 * (0.5 + random()) * k + 3 * k;
      for (const [reason, status, share] of REFUSED) row('free', 'refused', reason, status, Math.round(out * share));
      row('$5', 'refused', 'upstream_timeout', 504, fault ? 9 : Math.round(random() * 0.6 * k));
      const times = [0.22, 0.5, 0.5, 0.72, 0.72, 0.85, 1, 1, 1.1, 1.2, 1.34, 1.6, 1.86, 3.1].map(f =>
        Math.round(mid * f * (f > 3 ? 0.8 + random() * 0.7 : 1)),
      );
      const buckets = new Map();
      for (const ms of times) {
        const b = bucket(ms),
          of = buckets.get(b) ?? { n: 0, min: ms, max: ms };
        buckets.set(b, { n: of.n + 1, min: Math.min(of.min, ms), max: Math.max(of.max, ms) });
      }
      for (const [b, of] of buckets)
        sql.push(
          `INSERT INTO service_time VALUES (${period}, ${start}, ${b}, ${of.n * Math.max(1, Math.round(served / times.length))}, ${of.min}, ${of.max});`,
        );
    }
  }
  sql.push('COMMIT;');
  return sql.join('\n');
}

/** SQL for so many successes of a listed account, spread over the last 20 hours. */
export function used(account, n, now = Date.now()) {
  const row = (_, i) => {
    const at = now - 20 * 3600e3 + Math.floor((i * 19.9 * 3600e3) / n);
    return `INSERT INTO job SELECT 1, ${i + 1}, ${at}, ${at + 5000}, id, 0, 0, '$20', 'search', 5, 'succeeded', 200, 1, 1, 0, 5000 FROM account WHERE name = '${account}';`;
  };
  return `BEGIN;\n${Array.from({ length: n }, row).join('\n')}\nCOMMIT;\n`;
}
