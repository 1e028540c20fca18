// Networks with settings of operators: blocks, notes, request limits.
let networksShown = 25;
const NETWORKS_MAX = 1000;

function drawNetworks({ networks }, force) {
  const row = line => {
    const { network, block, note, listed } = line;
    const state = listed
      ? `${sign('bad', 'blocked')}<div class="dim xs">in tiers.yaml</div>`
      : block
        ? `${sign('bad', 'blocked')}<div class="dim xs">${block.until ? `until ${when(block.until)}` : `since ${when(block.since)}`}</div>`
        : sign('off', 'not blocked');
    const limits = Object.entries(line.limits).map(([name, number]) => `${name} ${count(number)}`);
    const why = [block?.why, note, ...limits].filter(Boolean).map(esc).join(' · ');
    const act = block ? button('unblocknet', network, 'Unblock…', '', network) : listed ? '' : button('blocknet', network, 'Block…', '', network);
    return `<tr><th scope="row"><code>${esc(network)}</code><div class="only-s detail">${why}</div></th><td>${state}</td><td class="opt detail">${why || '–'}</td><td><div class="acts">${act}</div></td></tr>`;
  };
  const list = networks.networks;
  put($('#t-net'), list.map(row).join('') || emptyRow(4, 'No network is blocked', 'Block one here, or from the refusals.'), force);
  foot('#net-foot', list.length ? `${plural(list.length, 'network', 'networks')}${networks.next ? '; there are more' : ''}.` : '');
  $('#net-more').hidden = !networks.next || networksShown >= NETWORKS_MAX;
}
$('#net-more').addEventListener('click', guarded(async () => {
  networksShown = Math.min(NETWORKS_MAX, networksShown * 4);
  await refreshSlow(true);
}));
