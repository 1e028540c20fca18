// Life: what changes quickly is asked for once a second, the rest every five; never while the page is hidden or on hold.
const FAST = 1000,
  SLOW = 5000;
let timer = 0,
  slowAt = 0,
  onHold = false,
  lost = false,
  busy = null;

async function refreshFast(force) {
  const [status, queue, servers, refusals] = await Promise.all([api('/status'), api('/queue'), api('/servers'), api('/refusals')]);
  Object.assign(latest, { status, queue, servers: servers.servers, refusals });
  drawFast(force);
}

function drawFast(force) {
  const { status } = latest;
  $('#version').textContent = `tiergate ${status.version} · up ${uptime(status.uptime_s)}`;
  drawProblems(status);
  drawSwitches(status);
  drawTiles();
  drawRoom(latest);
  drawTiers(status);
  drawJobs(latest, force);
  drawServers(latest, force);
  drawRefusals(latest, force);
}

async function refreshSlow(force) {
  const [traffic, config, audit, networks, metrics] = await Promise.all([
    api('/traffic'),
    api('/config'),
    api(`/audit?limit=${auditRows}`),
    api(`/networks?limit=${networksShown}`),
    api('/metrics'),
    loadAccounts(force),
  ]);
  Object.assign(latest, { traffic, config, audit, networks, metrics: numbersOf(String(metrics)) });
  drawServers(latest, force);
  drawConfig(latest, force);
  drawDatabase(latest, force);
  drawAudit(latest, force);
  drawNetworks(latest, force);
}

/** Asks for everything that is due; with `force` for all of it, and draws it whatever somebody is in. */
async function refresh(force) {
  if (busy && !force) return busy;
  busy = (async () => {
    try {
      await refreshFast(force);
      if (force || performance.now() >= slowAt) {
        slowAt = performance.now() + SLOW;
        await refreshSlow(force);
        drawTiles();
      }
      lost = false;
    } catch (fault) {
      if (!csrf) return;
      if (!(fault instanceof Fault)) throw fault;
      lost = true;
      slowAt = 0;
    }
    drawLife();
  })();
  try {
    await busy;
  } finally {
    busy = null;
  }
}

function drawLife() {
  set($('#s-live'), lost ? sign('bad', 'No answer') : onHold ? sign('off', 'On hold', 'pause') : sign('ok', 'Live'));
  document.body.classList.toggle('stale', lost);
}

function loop() {
  clearTimeout(timer);
  if (!csrf || onHold || document.hidden) return;
  if (performance.now() > ends) return showLogin('The session has ended after twelve hours: log in again.');
  refresh().finally(() => {
    timer = setTimeout(loop, FAST);
  });
}

function begin() {
  slowAt = 0;
  lost = false;
  set($('#s-live'), sign('off', 'Connecting…'));
  for (const [at, columns] of [
    ['#t-wait', 5],
    ['#t-run', 5],
    ['#t-servers', 5],
    ['#t-ref', 6],
    ['#t-acc', 6],
    ['#t-net', 4],
    ['#t-aud', 5],
  ])
    set($(at), `<tr><td colspan="${columns}"><span class="skel m"></span></td></tr>`);
  loop();
}

$('#hold').addEventListener('click', () => {
  onHold = !onHold;
  $('#hold').setAttribute('aria-pressed', String(onHold));
  $('#hold').textContent = onHold ? 'Go on' : 'Hold';
  drawLife();
  loop();
});
document.addEventListener('visibilitychange', loop);

/* ---- a box that scrolls is a stop for the keyboard, one that fits is not ---- */
const boxes = new ResizeObserver(entries => {
  for (const { target } of entries) {
    const box = target.closest('.scroll');
    if (box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight) {
      box.tabIndex = 0;
      box.setAttribute('role', 'region');
      const label = target.getAttribute('aria-label') ?? document.getElementById(target.getAttribute('aria-labelledby')).firstChild.textContent;
      box.setAttribute('aria-label', `${label.trim()}, table`);
    } else for (const name of ['tabindex', 'role', 'aria-label']) box.removeAttribute(name);
  }
});
for (const table of $$('.scroll > table')) boxes.observe(table);

/* ---- where one is ---- */
const sections = $$('main section[id]');
function drawHere() {
  const top = section => section.getBoundingClientRect().top,
    isEnd = scrollY && scrollY + innerHeight > document.documentElement.scrollHeight - 2;
  // The last one that has come up to a quarter of the window; of two side by side the left one.
  const here = isEnd ? sections.at(-1) : sections.reduce((best, one) => (top(one) <= innerHeight / 4 && top(one) > top(best) ? one : best));
  for (const link of $$('#nav a'))
    if (link.hash === `#${here.id}`) link.setAttribute('aria-current', 'true');
    else link.removeAttribute('aria-current');
}
addEventListener('scroll', drawHere, { passive: true });

for (const e of $$('[data-host]')) e.textContent = location.hostname;
api('/session').then(
  session => {
    if (!session.csrf) return showLogin();
    takeSession(session);
    showApp();
  },
  fault => {
    showLogin(fault.message);
  },
);
