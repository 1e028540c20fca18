// The demo's page: sends pictures to /search as any client would, and follows the events of tiergate's status page.
const config = JSON.parse($('#config').textContent);
const UPLOAD_MAX = 25 * 1024 * 1024;
const LIKELY = .88, PERHAPS = .8; // similarities: copies are above the first, different pictures below the second
const callers = [{ tier: config.anonymous, key: null }, ...config.guests];
let caller = callers[0];

/* ---- thumbnails ---- */
/** An image that shows one thumbnail of a strip of `of`. */
function thumb(src, place, of, alt) {
  const image = document.createElement('img');
  image.className = 'thumb';
  image.alt = alt;
  image.src = src;
  image.style.objectPosition = `0 ${of > 1 ? place / (of - 1) * 100 : 0}%`;
  return image;
}

function drawSamples() {
  $('#samples').replaceChildren(...config.samples.map((sample, i) => {
    const item = document.createElement('li'), button = document.createElement('button');
    button.type = 'button';
    button.className = 'sample';
    button.append(thumb(`/demo/samples.jpg?${config.run}`, i, config.samples.length, `Sample ${i + 1}:`), ` ${sample.change}`);
    button.addEventListener('click', () => search(async signal => {
      const answer = await fetch(`/demo/sample/${i}?${config.run}`, { signal, credentials: 'omit' });
      if (!answer.ok) throw await refusal(answer);
      return answer.blob();
    }));
    item.append(button);
    return item;
  }));
  if (!config.samples.length) $('#h-samples').hidden = true;
}

/* ---- who searches ---- */
function drawCallers() {
  set($('#callers'), callers.map((each, i) => `<label class="caller"><input type="radio" name="caller" value="${i}"${i ? '' : ' checked'}><span class="mark"></span><b class="name">${each.key ? esc(each.tier) : 'Stranger'}</b><small></small></label>`).join(''));
  $('#callers').addEventListener('change', e => { caller = callers[e.target.value]; });
}

/** Beside each caller: what would become of a search now. */
function drawOutlook(now) {
  const upstream = now?.upstreams.find(each => each.routes.includes('/search')) ?? now?.upstreams[0];
  for (const [i, label] of $$('.caller').entries()) {
    const outlook = upstream?.admission.find(each => each.tiers.includes(callers[i].tier));
    const priority = outlook?.priority ?? callers[i].priority;
    set($('.mark', label), priority === undefined ? '' : square(priority, true));
    set($('small', label), !outlook ? '' : !outlook.admitted ? sign('bad', 'not now') : outlook.how === 'slot' ? sign('ok', 'at once') : sign('ok', outlook.wait_s === null ? 'would wait' : outlook.wait_s < 1 ? '< 1 s' : `≈ ${roughly(outlook.wait_s)}`));
  }
}

/* ---- a search ---- */
const say = text => { $('#say').textContent = text; };
let running = null, preview = null, last = null, ticking = 0;

/** Answers that aren't matches, in words: a title, what it means, and how many seconds to stay away. */
class Refused extends Error {
  constructor(title, text, after = null) { super(title); this.text = text; this.after = after; }
}

const WORDS = {
  queue_full: body => ['The queue is full', `All places are taken by searches that go before yours. ${body.lowest_admitted_priority == null ? 'No priority would have got in.' : `Priority ${body.lowest_admitted_priority} and above would have got in.`}`],
  displaced: body => ['Your place was taken', `A search of priority ${body.displaced_by_priority} came while all places were taken, and yours had to go.`],
  waited_too_long: () => ['That took too long', 'You waited as long as anybody may, and no slot became free.'],
  wait_too_long: () => ['That would take too long', 'The wait would have been longer than was asked for.'],
  rate_limited: body => ['Too many requests', `At most ${body.limit ?? 'so many'} requests may come from one address in a while.`],
  quota_depleted: body => ['The quota is used up', `${body.limit} searches are free in this window, and all are used.`],
  concurrency_exceeded: () => ['One thing at a time', 'This caller has as many searches under way as it may.'],
  blocked: () => ['Blocked', 'This address or account is blocked.'],
  invalid_key: () => ['The key is unknown', 'The demo was started again: load this page again.'],
  body_too_large: () => ['The file is too large', 'Send at most 25 MiB.'],
  shutting_down: () => ['The demo is being stopped', 'New searches are not taken any more.'],
  upstream_unreachable: () => ['The search is out of order', 'It could not be reached.'],
  upstream_failed: () => ['The search is out of order', 'It broke off in the middle.'],
  upstream_timeout: () => ['The search took too long', 'It was given up.'],
};

async function refusal(answer) {
  const body = await answer.json().catch(() => ({}));
  const [title, text] = WORDS[body.reason]?.(body) ?? ['That did not work', body.error ?? `The answer was ${answer.status}.`];
  const after = Number(answer.headers.get('retry-after') ?? NaN);
  return new Refused(title, text, Number.isFinite(after) ? after : null);
}

/** The milliseconds of `queue;dur=12.5, upstream;dur=431.0`. */
const timing = answer => Object.fromEntries([...(answer.headers.get('server-timing') ?? '').matchAll(/(\w+);dur=([\d.]+)/g)].map(([, name, dur]) => [name, +dur]));

/** Searches for the picture that `take` gets. What was under way is given up. */
async function search(take) {
  running?.abort();
  clearInterval(ticking);
  const mine = running = new AbortController(), began = performance.now(), as = caller;
  last = take;
  try {
    drawBusy(as, began);
    const picture = await take(mine.signal);
    show(picture);
    if (picture.size > UPLOAD_MAX) throw new Refused(...WORDS.body_too_large());
    drawBusy(as, began);
    const headers = as.key ? { [config.header]: as.key } : {};
    const answer = await fetch('/search?cutBorders', { method: 'POST', body: picture, headers, signal: mine.signal, credentials: 'omit' });
    if (!answer.ok) throw await refusal(answer);
    const found = await answer.json();
    if (running === mine) drawFound(as, found.result, timing(answer), performance.now() - began);
  } catch (fault) {
    if (running !== mine) return; // another one has begun
    if (mine.signal.aborted) drawGivenUp();
    else drawRefused(as, fault instanceof Refused ? fault : new Refused('No answer', 'The demo can’t be reached. Does it still run?'), performance.now() - began);
  } finally {
    if (running === mine) { running = null; clearInterval(ticking); }
  }
}

function show(picture) {
  if (preview) URL.revokeObjectURL(preview);
  preview = URL.createObjectURL(picture);
}

const who = as => as.key ? `as ${as.tier}` : 'as a stranger';
const asked = () => preview ? `<img class="asked" src="${preview}" alt="The picture that you asked for">` : '<span class="skel"></span>';

/** The result: the picture that was asked for beside `html`. */
function draw(html, more = '') {
  const result = $('#result'), isInside = result.contains(document.activeElement), isFirst = !result.firstChild;
  result.innerHTML = `<div class="verdict"><figure>${asked()}<figcaption>Your picture</figcaption></figure><div>${html}</div></div>${more}`;
  if (isInside) ($('button', result) ?? result).focus(); // the button that was pressed is gone
  if (isFirst) result.scrollIntoView({ block: 'nearest', behavior: calm.matches ? 'auto' : 'smooth' });
}

function drawBusy(as, began) {
  draw(`<h2>Searching ${esc(who(as))}</h2><p>In the queue or in a slot for <b id="for"></b></p><span class="skel gap-t"></span><button class="btn" type="button" id="cancel">Give up</button>`);
  const tick = () => { const at = $('#for'); if (at) at.textContent = `${((performance.now() - began) / 1000).toFixed(1)} s`; };
  clearInterval(ticking);
  ticking = setInterval(tick, 100);
  tick();
  $('#cancel').addEventListener('click', () => running?.abort());
}

function drawGivenUp() {
  draw(`<h2>${sign('off', 'Given up')}</h2><p>If your search waited, its place is free again. If it ran already, it goes on to its end.</p>${again('Search again')}`);
  bindAgain();
  say('Given up.');
}

const again = text => `<button class="btn" type="button" id="again">${text}</button>`;
const bindAgain = () => $('#again')?.addEventListener('click', () => search(last));

function drawRefused(as, refused, took) {
  const stranger = as.key || !config.guests.length ? '' : ` Sponsors go first: search as ${esc(config.guests.at(-1).tier)} and compare.`;
  draw(`<h2>${sign('bad', refused.message)}</h2><p>${esc(refused.text)}</p><p class="dim">Refused ${esc(who(as))} after ${time(took)}.${refused.after === null ? '' : ` <span id="after"></span>`} It cost no quota.${stranger}</p>${again('Try again')}`);
  bindAgain();
  say(`${refused.message}. ${refused.text}`);
  const until = performance.now() + (refused.after ?? 0) * 1000;
  clearInterval(ticking);
  const tick = () => {
    const left = Math.ceil((until - performance.now()) / 1000), at = $('#after');
    if (!at || left <= 0) clearInterval(countdown);
    if (at) at.textContent = left > 0 ? `Try again in ${left < 90 ? `${left} s` : roughly(left)}.` : 'Try again now.';
  };
  const countdown = setInterval(tick, 500);
  tick();
}

function drawFound(as, matches, timings, took) {
  const best = matches[0], sure = best?.similarity ?? 0;
  const [kind, verdict] = sure >= LIKELY ? ['ok', `It is ${best.filename}`] : sure >= PERHAPS ? ['warn', `Perhaps ${best.filename}`] : ['off', 'Nothing like it'];
  const waited = timings.queue ?? 0, searched = timings.upstream ?? 0, rest = Math.max(0, took - waited - searched);
  const percent = similarity => `${(similarity * 100).toFixed(1)} %`;
  const about = sure >= PERHAPS ? `${percent(sure)} similar. The next best has ${percent(matches[1]?.similarity ?? 0)}.` : `The nearest picture is only ${percent(sure)} similar.`;
  const parts = [['waited', 'waited', waited], ['searched', 'searched', searched], ['rest', 'on the way', rest]];
  let x = 0;
  const bar = parts.map(([part, , ms]) => { const width = ms / took * 100, rect = `<rect class="${part}" x="${x.toFixed(2)}%" width="${width.toFixed(2)}%" height="100%"/>`; x += width; return rect; }).join('');
  const times = parts.map(([part, text, ms]) => `<div><dt><i class="${part}"></i>${text}</dt><dd>${time(ms)}</dd></div>`).join('');
  draw(`<h2>${sign(kind, verdict)}</h2><p>${about}</p><div class="spent"><svg aria-hidden="true">${bar}</svg><dl>${times}<div><dt>in all, ${esc(who(as))}</dt><dd>${time(took)}</dd></div></dl></div>`, `<ol class="matches" id="matches" aria-label="Matches, the most similar first"></ol>`);
  drawMatches(sure >= PERHAPS ? matches.slice(0, 7) : matches, sure >= PERHAPS, percent);
  say(`${verdict}, ${about} Waited ${time(waited)}, searched ${time(searched)}.`);
}

function drawMatches(matches, isFound, percent) {
  const strip = `/demo/strip/${matches.map(match => match.place).join(',')}?${config.run}`;
  $('#matches').replaceChildren(...matches.map((match, i) => {
    const item = document.createElement('li'), link = document.createElement('a'), row = document.createElement('div');
    if (!i && isFound) item.className = 'is-it';
    link.href = `/image/${encodeURIComponent(match.filename)}`;
    link.target = '_blank';
    row.className = 'row';
    row.innerHTML = `<span class="file">${esc(match.filename)}</span><b>${percent(match.similarity)}</b>`;
    link.append(thumb(strip, i, matches.length, ''), row);
    link.insertAdjacentHTML('beforeend', `<svg class="fill thin" aria-hidden="true"><rect width="${(match.similarity * 100).toFixed(1)}%" rx="2"/></svg>`);
    item.append(link);
    return item;
  }));
}

/* ---- pictures from outside ---- */
function takeFile(files) {
  const file = [...(files ?? [])].find(each => ['image/jpeg', 'image/png'].includes(each.type));
  if (file) return search(async () => file);
  running?.abort();
  running = null;
  drawRefused(caller, new Refused('That is no picture', 'Drop a JPEG or PNG file.'), 0);
}
$('#file').addEventListener('change', e => { if (e.target.files.length) takeFile(e.target.files); e.target.value = ''; });
addEventListener('paste', e => { if (e.clipboardData?.files.length) takeFile(e.clipboardData.files); });
let inside = 0;
const over = is => document.body.classList.toggle('over', is);
addEventListener('dragenter', e => { e.preventDefault(); over(++inside > 0); });
addEventListener('dragleave', () => over(--inside > 0));
addEventListener('dragover', e => e.preventDefault());
addEventListener('drop', e => { e.preventDefault(); over((inside = 0) > 0); takeFile(e.dataTransfer.files); });

/* ---- the queue ---- */
const RETRY_FIRST = 1000, RETRY_MAX = 30_000;
let now = null, received = 0, retry = RETRY_FIRST;
/** Seconds since a time of the server's, by the server's clock. */
const since = at => Math.max(0, (Date.parse(now.time) - Date.parse(at) + performance.now() - received) / 1000);

function drawQueuePanel() {
  const { headline, queue, upstreams } = now;
  set($('#headline'), sign(headline.state, headline.title));
  set($('#lede'), esc(headline.text));
  set($('#n-places'), `${count(queue.taken)} of ${plural(queue.length, 'place', 'places')} taken`);
  drawQueue($('#places'), queue, place => since(place.since));
  $('#gate').classList.toggle('shut', now.paused);
  set($('#gate'), now.paused ? `${icon('pause')}<span>paused</span>` : icon('gate'));
  const sum = of => upstreams.reduce((n, upstream) => n + upstream[of], 0);
  set($('#n-slots'), `${count(sum('busy'))} of ${plural(sum('available'), 'slot', 'slots')} busy`);
  set($('#slots'), upstreams.map(upstream => slotList(upstream, `Slots of ${upstream.routes.join(', ')}`)).join(''));
  drawOutlook(now);
}

function live(kind, text) {
  set($('#live'), sign(kind, text));
  $('#queue').classList.toggle('stale', kind === 'bad');
}

function follow() {
  const events = new EventSource(`${config.status}/events`);
  events.addEventListener('open', () => { retry = RETRY_FIRST; live('ok', 'Live'); });
  events.addEventListener('now', e => { now = JSON.parse(e.data); received = performance.now(); drawQueuePanel(); });
  events.addEventListener('error', () => {
    events.close();
    live('bad', 'Connection lost');
    setTimeout(follow, retry);
    retry = Math.min(RETRY_MAX, retry * 2);
  });
}

drawCallers();
drawSamples();
drawOutlook(null);
if (config.status) {
  follow();
  setInterval(() => { if (now) drawQueue($('#places'), now.queue, place => since(place.since)); }, 1000);
} else {
  $('#to-status').hidden = true;
  live('off', 'Not known');
  $('#headline').textContent = 'The status page is off, so the queue isn’t shown here.';
}
