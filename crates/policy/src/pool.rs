//! Slots: which server runs the next job, and how long slots were held recently.
//!
//! A job whose server could not be reached and that finds no slot at another one is not in the queue: it waits here, ahead of
//! all queued jobs. Each of them had a slot here, so there are never more of them than slots.

use super::jobs::List;
use super::rules::{Priority, ServerId, ServerRules};
use super::table::Table;
use super::time::{Span, Timestamp};

/// Slot times needed before a job is refused because of its estimate (rules §3.9).
pub const SLOT_TIMES_MIN: u64 = 20;

/// The assumed slot time before any was measured.
const SLOT_TIME_UNSEEN: Span = Span::from_secs(1);

/// The mean slot time moves by 1/32 of the difference with each new one, so it follows the last few dozen.
const MEAN_WEIGHT: u64 = 32;

/// Number of last slots that are remembered, to see what share of them went to higher priorities.
const RECENT: usize = 64;

/// The share of higher priorities multiplies an estimate by at most this.
const STRETCH_MAX: u64 = 8;

#[derive(Debug)]
struct Server {
    id: ServerId,
    slots: u32,
    running: u32,
    up: bool,
    drained: bool,
    /// When it will be probed next, if it is down and that is known.
    probed_at: Option<Timestamp>,
    /// The pool's count of arrivals when this server last got a job: of two equally busy servers, the one idle for longer comes
    /// first.
    last: u64,
}

impl Server {
    fn new((id, rules): (ServerId, &ServerRules)) -> Self {
        Self {
            id,
            slots: rules.slots,
            running: 0,
            up: true,
            drained: false,
            probed_at: None,
            last: 0,
        }
    }

    /// Whether it may get jobs.
    const fn is_available(&self) -> bool {
        self.up && !self.drained
    }
}

/// The state of one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerState {
    /// Its id.
    pub id: ServerId,
    /// Slots that the rules give it; 0 if it was removed and still has jobs.
    pub slots: u32,
    /// Jobs that hold one.
    pub running: u32,
    /// Whether it is up.
    pub up: bool,
    /// Whether it is drained: it gets no jobs until it is taken back.
    pub drained: bool,
}

impl ServerState {
    /// Slots that count now: none while it is down or drained.
    pub const fn available(&self) -> u32 {
        if self.up && !self.drained { self.slots } else { 0 }
    }
}

/// The slots of one upstream.
#[derive(Debug)]
pub(super) struct Pool {
    /// By ascending id. A server that was removed from the rules stays, without slots, until nothing runs on it.
    servers: Vec<Server>,
    /// Jobs that move, in the order in which they gave up their slots.
    pub(super) moving: List,
    /// Jobs ever placed.
    placed: u64,
    /// Arrivals at servers: jobs ever placed, and moves.
    occupied: u64,
    /// Jobs ever taken from the queue, for the lifeline.
    pub(super) from_queue: u64,
    mean: Span,
    seen: u64,
    recent: [Priority; RECENT],
    /// The number of entries in `recent` by priority.
    shares: [u32; Priority::COUNT],
}

impl Pool {
    pub(super) fn new(rules: &Table<ServerId, ServerRules>) -> Self {
        let mut pool = Self {
            servers: Vec::new(),
            moving: List::default(),
            placed: 0,
            occupied: 0,
            from_queue: 0,
            mean: Span::ZERO,
            seen: 0,
            recent: [Priority::LOWEST; RECENT],
            shares: [0; Priority::COUNT],
        };
        pool.change_to(rules);
        pool
    }

    fn server(&mut self, id: ServerId) -> Option<&mut Server> {
        self.servers.iter_mut().find(|server| server.id == id)
    }

    /// A server on which a job runs.
    fn used(&mut self, id: ServerId) -> &mut Server {
        self.server(id).expect("a server stays while a job is on it")
    }

    /// Its servers, by ascending id.
    pub(super) fn servers(&self) -> impl Iterator<Item = ServerState> {
        self.servers.iter().map(|server| ServerState {
            id: server.id,
            slots: server.slots,
            running: server.running,
            up: server.up,
            drained: server.drained,
        })
    }

    /// Slots of the servers that are up and not drained.
    pub(super) fn slots(&self) -> u32 {
        self.servers
            .iter()
            .filter(|server| server.is_available())
            .map(|server| server.slots)
            .sum()
    }

    /// Jobs that hold a slot, including those on servers that have gone down since.
    pub(super) fn running(&self) -> u32 {
        self.servers.iter().map(|server| server.running).sum()
    }

    pub(super) fn runs_on(&self, server: ServerId) -> bool {
        let mut servers = self.servers.iter();
        servers.any(|of| of.id == server && of.running > 0)
    }

    /// The least busy server that is up, not drained and has a free slot: the one with the smallest share of slots in use, then the longest
    /// idle.
    pub(super) fn free(&self) -> Option<ServerId> {
        let mut best: Option<&Server> = None;
        for server in &self.servers {
            if !server.is_available() || server.running >= server.slots {
                continue;
            }
            let better = best.is_none_or(|best| {
                let (ours, theirs) = (
                    u64::from(server.running) * u64::from(best.slots),
                    u64::from(best.running) * u64::from(server.slots),
                );
                (ours, server.last) < (theirs, best.last)
            });
            if better {
                best = Some(server);
            }
        }
        best.map(|server| server.id)
    }

    /// Gives a slot of that server to a job of that priority.
    pub(super) fn place(&mut self, server: ServerId, priority: Priority) {
        let slot = usize::try_from(self.placed % RECENT as u64).expect("below RECENT");
        if self.placed >= RECENT as u64 {
            self.shares[self.recent[slot].index()] -= 1;
        }
        self.recent[slot] = priority;
        self.shares[priority.index()] += 1;
        self.placed += 1;
        self.occupy(server);
    }

    /// Moves a job to that server. It is the same job, so the shares don't change.
    pub(super) fn occupy(&mut self, server: ServerId) {
        self.occupied += 1;
        let occupied = self.occupied;
        let server = self.used(server);
        server.running += 1;
        server.last = occupied;
    }

    /// Frees a slot that was held for `held`; `None` if that time must not affect the mean.
    pub(super) fn vacate(&mut self, server: ServerId, held: Option<Span>) {
        self.used(server).running -= 1;
        if let Some(held) = held {
            self.seen += 1;
            let weight = self.seen.min(MEAN_WEIGHT);
            let (mean, held) = (self.mean.as_nanos(), held.as_nanos());
            self.mean = Span::from_nanos(if held >= mean {
                mean + (held - mean) / weight
            } else {
                mean - (mean - held) / weight
            });
        }
    }

    /// Marks the server up or down. Nothing happens if it was removed.
    pub(super) fn set_up(&mut self, server: ServerId, up: bool) {
        // A server that is down stays as it is: jobs may find that out long after the first.
        if let Some(server) = self.server(server).filter(|server| server.up != up) {
            server.up = up;
            server.probed_at = None;
        }
    }

    /// Whether the server gets no jobs. Nothing happens if the pool has no such server.
    pub(super) fn set_drained(&mut self, server: ServerId, drained: bool) {
        if let Some(server) = self.server(server) {
            server.drained = drained;
        }
    }

    /// The mean time that a slot was held recently; `None` before any was measured.
    pub(super) fn slot_time(&self) -> Option<Span> {
        (self.seen > 0).then_some(self.mean)
    }

    /// That server, if it is down, will be probed at that time.
    pub(super) fn set_next_probe(&mut self, server: ServerId, at: Timestamp) {
        if let Some(server) = self.server(server).filter(|server| !server.up) {
            server.probed_at = Some(at);
        }
    }

    /// While no server is up: when the first of them is probed, if that is known. Before that none can be back.
    pub(super) fn next_probe(&self) -> Option<Timestamp> {
        if self.slots() > 0 {
            return None;
        }
        let listed = self.servers.iter().filter(|server| server.slots > 0 && !server.drained);
        listed.filter_map(|server| server.probed_at).min()
    }

    /// Changes servers and slots: surplus slots drain, added ones are usable at once. A removed server has none.
    pub(super) fn change_to(&mut self, rules: &Table<ServerId, ServerRules>) {
        for server in &mut self.servers {
            server.slots = rules.get(server.id).map_or(0, |rules| rules.slots);
        }
        self.servers.retain(|server| server.slots > 0 || server.running > 0);
        for entry in rules.entries() {
            if self.server(entry.0).is_none() {
                self.servers.push(Server::new(entry));
            }
        }
        self.servers.sort_unstable_by_key(|server| server.id);
    }

    /// Number of slot times measured.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// How long a job of that priority would wait behind `ahead` others (rules §3.8): (ahead + 1) × mean slot time ÷ slots,
    /// multiplied by the share of the last slots that went to higher priorities, at most by 8.
    pub(super) fn estimate(&self, priority: Priority, ahead: u32) -> Span {
        // With no server available the wait is unknown. Assume that all are: a reasonable time to retry.
        let up = self.slots();
        let all_slots = || self.servers.iter().map(|server| server.slots).sum();
        let slots = u64::from(if up > 0 { up } else { all_slots() }).max(1);
        let mean = if self.seen == 0 { SLOT_TIME_UNSEEN } else { self.mean };
        let all: u64 = self.shares.iter().copied().map(u64::from).sum();
        let higher: u64 = self.shares[priority.index() + 1..].iter().copied().map(u64::from).sum();
        let left = (all - higher).max(all.div_ceil(STRETCH_MAX)).max(1);
        let all = all.max(1);
        let nanos = u128::from(mean.as_nanos()) * u128::from(ahead + 1) * u128::from(all) / u128::from(slots * left);
        Span::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// The shortest time in `Retry-After`.
const RETRY_MIN: Span = Span::from_secs(1);
/// The longest.
const RETRY_MAX: Span = Span::from_secs(300);

/// `Retry-After` for an estimated wait: 1 to 300 s, plus up to a quarter and a second depending on the job's number, so that
/// clients refused together don't retry together (rules §3.10).
pub(super) fn retry_after(estimate: Span, number: u64) -> Span {
    let base = estimate.as_nanos().min(RETRY_MAX.as_nanos() * 4 / 5);
    // The upper 16 bits of a multiplication by 2^64/φ: consecutive numbers land far apart.
    let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48;
    let room = base / 4 + RETRY_MIN.as_nanos();
    let later = u64::try_from((u128::from(room) * u128::from(spread)) >> 16).expect("less than `room`");
    Span::from_nanos((base + later).clamp(RETRY_MIN.as_nanos(), RETRY_MAX.as_nanos()))
}
