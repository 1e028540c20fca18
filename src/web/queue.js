// The queue as places, or as bars if it is long; and slots.
const PLACES_DRAWN = 64;
const MOVE = { duration: 260, easing: 'cubic-bezier(.2,.7,.2,1)' };

/** Draws `queue` ({ length, taken, by_priority, places }, as in status.json) into the box. `ageOf` says how many seconds a place is taken. */
function drawQueue(box, queue, ageOf) {
  const drawn = Math.max(queue.length, queue.taken);
  if (!drawn) {
    box._key = null;
    return set(box, '<p class="dim xs">There is nowhere to wait: a request gets a slot at once, or none.</p>');
  }
  if (drawn > PLACES_DRAWN || !queue.places) {
    const lane = p => {
      const n = queue.by_priority[p],
        share = Math.max(n ? 0.4 : 0, (n / Math.max(1, drawn)) * 100).toFixed(1);
      return `<tr><th scope="row">${square(p)}</th><td><svg class="fill" aria-hidden="true"><rect data-p="${p}" width="${share}%" rx="6"/></svg></td><td class="num">${count(n)}</td></tr>`;
    };
    box._key = null;
    return set(
      box,
      `<table class="lanes" aria-labelledby="h-places"><thead class="sr"><tr><th scope="col">Priority</th><th scope="col">Share of the queue</th><th scope="col">Requests</th></tr></thead><tbody>${Object.keys(
        queue.by_priority,
      )
        .map(Number)
        .sort((a, b) => b - a)
        .map(lane)
        .join('')}</tbody></table>`,
    );
  }
  let list = $('ol.places', box);
  if (!list) {
    box._html = null;
    box.innerHTML =
      '<ol class="places" aria-labelledby="h-places"></ol><p class="rail"><span>← next to be served</span><span>first to be displaced →</span></p>';
    list = $('ol.places', box);
    box._key = null;
  }
  const old = new Map($$('.place[data-id]', list).map(e => [e.dataset.id, e]));
  const want = queue.places.map(place => {
    const e = old.get(String(place.id)) ?? newPlace(place),
      text = age(ageOf(place));
    if (e.dataset.p !== String(place.priority)) {
      e.dataset.p = place.priority;
      $('b', e).textContent = place.priority;
    }
    if (e.lastChild.textContent !== text) e.lastChild.textContent = text;
    return e;
  });
  const key = `${queue.places.map(place => place.id)}/${queue.length}`;
  if (box._key === key) return;
  box._key = key;
  const before = new Map([...old].map(([id, e]) => [id, [e.offsetLeft, e.offsetTop]]));
  list.className = `places${drawn > 16 ? ' small' : drawn > 8 ? ' medium' : ''}`;
  list.dataset.cols = Math.max(1, Math.min(16, drawn));
  for (let i = want.length; i < queue.length; i++) want.push(freePlace());
  list.replaceChildren(...want);
  if (!calm.matches && list._drawn) for (const e of want) move(e, before);
  list._drawn = true;
}

function newPlace(place) {
  const e = document.createElement('li');
  e.className = 'place';
  e.dataset.id = place.id;
  e.dataset.p = place.priority;
  e.innerHTML = '<span class="sr">priority</span><b></b><span class="sr">, waiting</span><span class="age"></span>';
  $('b', e).textContent = place.priority;
  return e;
}

function freePlace() {
  const e = document.createElement('li');
  e.className = 'place free';
  e.innerHTML = '<span class="sr">free</span>';
  return e;
}

/** Only what moved moves. */
function move(e, before) {
  if (!e.dataset.id) return;
  const was = before.get(e.dataset.id);
  if (!was)
    return e.animate(
      [
        { transform: 'translateY(-6px)', opacity: 0 },
        { transform: 'none', opacity: 1 },
      ],
      MOVE,
    );
  const [x, y] = [was[0] - e.offsetLeft, was[1] - e.offsetTop];
  if (x || y) e.animate([{ transform: `translate(${x}px,${y}px)` }, { transform: 'none' }], MOVE);
}

/** Slots of one upstream: { slots, available, busy, running }, as a list. `running` is null if there are too many to list. */
function slotList(of, label) {
  const li = (kind, text, more = '') => `<li class="slot${kind}"${more}>${text}</li>`,
    hidden = text => `<span class="sr">${text}</span>`;
  const taken = of.running
    ? of.running.map(job => li('', `${hidden('priority')}${+job.priority}`, ` data-p="${+job.priority}"`))
    : Array(Math.min(of.busy, PLACES_DRAWN)).fill(li(' busy', hidden('busy')));
  const free = Math.max(0, of.available - of.busy),
    gone = Math.max(0, of.slots - Math.max(of.available, of.busy));
  const all = [
    ...taken,
    ...Array(free).fill(li(' free', hidden('free'))),
    ...Array(gone).fill(li(' gone', hidden('not available'))),
  ];
  const more = Math.max(of.slots, of.busy) - PLACES_DRAWN;
  return `<ul class="slots${all.length > 24 ? ' many' : all.length < 5 ? ' few' : ''}" aria-label="${esc(label)}">${all.slice(0, PLACES_DRAWN).join('')}</ul>${more > 0 ? `<p class="xs dim">and ${count(more)} more</p>` : ''}`;
}
