//! The hall once more, so plain that it is obviously right: one list of jobs, and every question answered by looking at
//! all of them. Written from docs/rules.md (§3, §4, §6), not from the policy.
//!
//! Absent on purpose: speed, and any structure that could disagree with the list of jobs. What the jobs themselves don't
//! tell is kept as it happened: whose turn it is (a ring of callers, as one would stand around a table), every
//! displacement, every slot time and every slot ever handed out.

use std::sync::Arc;

use tiergate_policy::caller::{AccountId, Caller, UserId};
use tiergate_policy::rules::{
    Priority, Quota, Rules, ServerId, ServerRules, Tier, TierId, UpstreamId, UpstreamRules, Window, WindowId, Within,
};
use tiergate_policy::time::{Span, Timestamp, UnixTime};
use tiergate_policy::{ClockStep, Outcome, Own, Relocation, State, Stats, Usage};

use super::debits::{Debits, leaves, width};
use super::request::AdmissionRequest;

/// A job is named by how many were let in before it.
pub type Number = usize;

/// A job in the house.
#[derive(Clone, Debug)]
pub struct Job {
    pub number: Number,
    pub caller: Caller,
    pub tier: TierId,
    pub priority: Priority,
    pub pool: UpstreamId,
    pub entered: Timestamp,
    pub admitted: UnixTime,
    pub cost: u32,
    pub state: State,
    /// When it took its place: asked for a slot, or, while uploading, came in, or began to move. Counts events, not time.
    placed: u64,
}

impl Job {
    /// §5.9: a user's jobs count against the account that asks for it as well.
    fn counts_for(&self, caller: Caller) -> bool {
        self.counted().contains(&caller)
    }

    fn counted(&self) -> Vec<Caller> {
        match self.caller {
            Caller::User { of, .. } => vec![self.caller, Caller::Account(of)],
            Caller::Account(_) | Caller::Network(_) => vec![self.caller],
        }
    }

    pub fn has_seat(&self) -> bool {
        matches!(self.state, State::Uploading | State::Waiting)
    }

    pub fn moves(&self) -> bool {
        matches!(self.state, State::Moving { .. })
    }

    fn runs_on(&self, pool: UpstreamId, server: ServerId) -> bool {
        self.pool == pool && matches!(self.state, State::Running { server: on, .. } if on == server)
    }
}

/// A slot for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handed {
    pub number: Number,
    pub server: ServerId,
    pub admitted: UnixTime,
    pub waited: Span,
    pub priority: Priority,
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum No {
    ShuttingDown,
    TooManyUsers {
        limit: u32,
    },
    QuotaDepleted {
        name: Arc<str>,
        limit: u64,
        used: u64,
        retry_after: Option<Span>,
    },
    ConcurrencyExceeded {
        limit: u32,
        used: u32,
    },
    QueueFull {
        seats: u32,
        admits_from: Option<Priority>,
    },
    WaitTooLong {
        asked: Span,
        estimate: Span,
    },
}

/// What became of an arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entered {
    Running(Handed),
    Seated {
        number: Number,
        until: Timestamp,
        displaced: Option<Number>,
    },
    No(No),
}

#[derive(Debug)]
struct Server {
    id: ServerId,
    slots: u32,
    up: bool,
    /// The event at which it last got a job.
    got: Option<u64>,
}

#[derive(Debug)]
struct Pool {
    servers: Vec<Server>,
    /// How long each slot was held that was given back.
    slot_times: Vec<Span>,
    /// The priority of each job that got a slot.
    handed: Vec<Priority>,
    /// Slots handed to those who stood in line.
    to_the_waiting: u64,
    /// Whose turn it is in `fair`, for each priority, with the event at which each joined the ring or was last served.
    rings: Vec<Vec<(Caller, u64)>>,
}

impl Pool {
    fn new(rules: &UpstreamRules) -> Self {
        Self {
            servers: rules.servers.entries().map(server).collect(),
            slot_times: Vec::new(),
            handed: Vec::new(),
            to_the_waiting: 0,
            rings: vec![Vec::new(); Priority::COUNT],
        }
    }
}

fn server((id, rules): (ServerId, &ServerRules)) -> Server {
    Server {
        id,
        slots: rules.slots,
        up: true,
        got: None,
    }
}

/// The wall clock: what the system's last read, and when; and the latest time that was told since it was last followed back,
/// before which it doesn't go.
#[derive(Debug, Default)]
struct Wall {
    reading: UnixTime,
    taken: Timestamp,
    latest: UnixTime,
}

#[derive(Debug)]
pub struct Model {
    rules: Rules,
    /// In the order of arrival.
    jobs: Vec<Job>,
    pools: Vec<(UpstreamId, Pool)>,
    debits: Debits,
    wall: Wall,
    /// Users of delegating accounts, each with when it was last let in.
    users: Vec<(AccountId, UserId, UnixTime)>,
    /// When those who have gone were last looked for: never, since the account's first user.
    users_swept: Vec<(AccountId, UnixTime)>,
    /// Every displacement: when, and by whom.
    displacements: Vec<(Timestamp, Caller)>,
    stats: Stats,
    closing: bool,
    let_in: usize,
    events: u64,
}

impl Model {
    pub fn new(rules: Rules) -> Self {
        Self {
            jobs: Vec::new(),
            pools: rules
                .upstreams
                .entries()
                .map(|(id, pool)| (id, Pool::new(pool)))
                .collect(),
            debits: Debits::new(&rules.windows),
            wall: Wall::default(),
            users: Vec::new(),
            users_swept: Vec::new(),
            displacements: Vec::new(),
            stats: Stats::default(),
            closing: false,
            let_in: 0,
            events: 0,
            rules,
        }
    }

    // ---- what can be seen

    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    pub fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    pub fn pools(&self) -> impl Iterator<Item = UpstreamId> + Clone + use<> {
        let ids: Vec<UpstreamId> = self.pools.iter().map(|(id, _)| *id).collect();
        ids.into_iter()
    }

    pub fn servers(&self, pool: UpstreamId) -> impl Iterator<Item = ServerId> + Clone + use<> {
        let ids: Vec<ServerId> = self.pool(pool).servers.iter().map(|server| server.id).collect();
        ids.into_iter()
    }

    /// The slots of a server that count: none while it is down.
    pub fn slots_of(&self, pool: UpstreamId, server: ServerId) -> u32 {
        let server = self.server(pool, server);
        if server.up { server.slots } else { 0 }
    }

    pub fn slots(&self, pool: UpstreamId) -> u32 {
        self.servers(pool).map(|server| self.slots_of(pool, server)).sum()
    }

    pub fn running_on(&self, pool: UpstreamId, server: ServerId) -> u32 {
        count(self.jobs.iter().filter(|job| job.runs_on(pool, server)))
    }

    pub fn jobs_of(&self, caller: Caller) -> u32 {
        count(self.jobs.iter().filter(|job| job.counts_for(caller)))
    }

    /// Everybody who has a job in the house, or for whom one counts.
    pub fn callers(&self) -> Vec<Caller> {
        let mut callers: Vec<Caller> = self.jobs.iter().flat_map(Job::counted).collect();
        callers.sort_unstable();
        callers.dedup();
        callers
    }

    pub fn windows(&self) -> impl Iterator<Item = WindowId> + Clone + use<> {
        let ids: Vec<WindowId> = self.rules.windows.ids().collect();
        ids.into_iter()
    }

    pub fn debits(&self) -> &Debits {
        &self.debits
    }

    pub fn seated(&self) -> u32 {
        count(self.jobs.iter().filter(|job| job.has_seat()))
    }

    pub fn lowest_seated(&self) -> Option<Priority> {
        self.jobs
            .iter()
            .filter(|job| job.has_seat())
            .map(|job| job.priority)
            .min()
    }

    /// Those who have asked for a slot of the pool and stand in line for it.
    fn in_line(&self, pool: UpstreamId) -> impl Iterator<Item = &Job> {
        self.jobs
            .iter()
            .filter(move |job| job.pool == pool && job.state == State::Waiting)
    }

    pub fn moving(&self, pool: UpstreamId) -> u32 {
        count(self.jobs.iter().filter(|job| job.pool == pool && job.moves()))
    }

    pub fn displaced_within_a_minute(&self, caller: Caller, now: Timestamp) -> u32 {
        let lately = |at: Timestamp| now.since(at) < Span::from_secs(60);
        count(
            self.displacements
                .iter()
                .filter(|(at, by)| *by == caller && lately(*at)),
        )
    }

    // ---- what can happen

    /// §2.4: users, quotas, concurrency, then a slot, then a seat; §3.9: then the wait.
    pub fn enter(&mut self, ask: &AdmissionRequest, now: Timestamp) -> Entered {
        self.events += 1;
        self.stats.arrived += 1;
        let entered = self.admit(ask, now);
        if let Entered::No(_) = entered {
            self.stats.refused += 1;
        }
        entered
    }

    fn admit(&mut self, ask: &AdmissionRequest, now: Timestamp) -> Entered {
        if self.closing {
            return Entered::No(No::ShuttingDown);
        }
        let wall = self.wall_clock(now);
        let limits = self
            .users_have_room(ask, wall)
            .and_then(|()| self.quotas_have_room(ask, wall, now))
            .and_then(|()| self.concurrency_has_room(ask));
        if let Err(no) = limits {
            return Entered::No(no);
        }
        let tier = self.rules.tier(ask.tier).clone();
        // §6: with no free seat to upload in, it uploads in a slot that would be idle, and displaces nobody.
        let could_sit = self.seated() < self.rules.queue.length && ask.prefer_wait != Some(Span::ZERO);
        if (ask.ready || !could_sit)
            && let Some(server) = self.free(ask.pool)
        {
            let number = self.insert(ask, tier.priority, now, wall);
            return Entered::Running(self.hand(number, server, now));
        }
        let seat = self.seat_for(ask, &tier, now);
        let (victim, longest) = match seat.and_then(|victim| Ok((victim, self.longest_wait(ask, &tier)?))) {
            Ok(found) => found,
            Err(no) => return Entered::No(no),
        };
        if let Some(victim) = victim {
            self.remove(victim);
            self.displacements.push((now, ask.caller));
            self.stats.displaced += 1;
        }
        let number = self.insert(ask, tier.priority, now, wall);
        if ask.ready {
            self.stand_in_line(number);
        }
        Entered::Seated {
            number,
            until: now + longest,
            displaced: victim,
        }
    }

    /// §5.9: the account has at most so many users. A user is one of them for as long as it may have a debit, counted from when
    /// it was last let in; who has gone is looked for when the number is full, at most once a minute.
    fn users_have_room(&mut self, ask: &AdmissionRequest, wall: UnixTime) -> Result<(), No> {
        let (Caller::User { of, user }, Some(delegate)) = (ask.caller, &ask.delegate) else {
            return Ok(());
        };
        let limit = delegate.users_max;
        let full = |model: &Self| {
            let of_account = || model.users.iter().filter(|known| known.0 == of);
            of_account().all(|known| known.1 != user) && count(of_account()) >= limit
        };
        let swept = self.users_swept.iter().find(|swept| swept.0 == of).map(|swept| swept.1);
        if full(self) && swept.is_some_and(|swept| wall.since(swept) >= Span::from_secs(60)) {
            let memory = self.memory();
            self.users.retain(|known| known.0 != of || wall.since(known.2) < memory);
            self.users_swept.retain(|swept| swept.0 != of);
            self.users_swept.push((of, wall));
        }
        if full(self) {
            Err(No::TooManyUsers { limit })
        } else {
            Ok(())
        }
    }

    /// How long a debit may count: a rolling window and the bucket by which it is late; a month of 31 days and the hour that it
    /// is longer by where clocks are put back in it.
    fn memory(&self) -> Span {
        let memory = |window: &Window| match window {
            Window::Rolling(length) => *length + Span::from_millis(width(*length)),
            Window::Calendar(_) => Span::from_secs(31 * 86_400 + 3_600),
        };
        self.rules.windows.iter().map(memory).max().unwrap_or(Span::ZERO)
    }

    fn note_user(&mut self, caller: Caller, at: UnixTime) {
        let Caller::User { of, user } = caller else { return };
        match self.users.iter_mut().find(|known| (known.0, known.1) == (of, user)) {
            Some(known) => known.2 = known.2.max(at),
            None => self.users.push((of, user, at)),
        }
        if self.users_swept.iter().all(|swept| swept.0 != of) {
            self.users_swept.push((of, UnixTime::default()));
        }
    }

    /// §5.2: debited + held + cost ≤ limit, in every quota of the caller and of the account that asks for it. Of those that have
    /// no room, the refusal names the one that keeps the job out for longest, for good above all; the first of several.
    /// Where the clock stands still, it does so until the system's has caught up.
    fn quotas_have_room(&self, ask: &AdmissionRequest, wall: UnixTime, now: Timestamp) -> Result<(), No> {
        let cost = u64::from(ask.cost);
        let mut longest: Option<((bool, Option<Span>), No)> = None;
        for (caller, tier, own) in self.parties(ask) {
            for quota in &tier.quotas {
                let limit = own_limit(own.as_deref(), quota);
                let used = self.debits.used(quota.window, caller, wall) + self.held(quota.window, caller, wall);
                if used + cost <= limit || !quota.enforce {
                    continue;
                }
                let missing = used + cost - limit;
                let back = self.debits.back(quota.window, caller, missing, wall);
                let retry_after = back
                    .filter(|_| cost <= limit)
                    .map(|back| back.since(self.wall_expected(now)));
                let lasts = (cost > limit, retry_after);
                if longest.as_ref().is_none_or(|(longest, _)| lasts > *longest) {
                    let name = Arc::clone(&quota.name);
                    let no = No::QuotaDepleted {
                        name,
                        limit,
                        used,
                        retry_after,
                    };
                    longest = Some((lasts, no));
                }
            }
        }
        longest.map_or(Ok(()), |(_, no)| Err(no))
    }

    /// Quotas that would refuse it and aren't enforced, by name.
    pub fn overdrawn(&mut self, ask: &AdmissionRequest, now: Timestamp) -> Vec<Arc<str>> {
        let (wall, cost) = (self.wall_clock(now), u64::from(ask.cost));
        let mut names: Vec<Arc<str>> = Vec::new();
        for (caller, tier, own) in self.parties(ask) {
            for quota in tier.quotas.iter().filter(|quota| !quota.enforce) {
                let used = self.debits.used(quota.window, caller, wall) + self.held(quota.window, caller, wall);
                if used + cost > own_limit(own.as_deref(), quota) && !names.contains(&quota.name) {
                    names.push(Arc::clone(&quota.name));
                }
            }
        }
        names
    }

    /// §4.
    fn concurrency_has_room(&self, ask: &AdmissionRequest) -> Result<(), No> {
        for (caller, tier, own) in self.parties(ask) {
            let limit = own.and_then(|own| own.concurrency).unwrap_or(tier.concurrency);
            let used = self.jobs_of(caller);
            if used >= limit {
                return Err(No::ConcurrencyExceeded { limit, used });
            }
        }
        Ok(())
    }

    /// On whose terms the job must be possible: those of its caller, and of the account that asks for it.
    pub fn parties(&self, ask: &AdmissionRequest) -> Vec<(Caller, &Tier, Option<Arc<Own>>)> {
        let mut parties = vec![(ask.caller, self.rules.tier(ask.tier), ask.own.clone())];
        if let Some(delegate) = &ask.delegate {
            let account = Caller::Account(delegate.account);
            parties.push((account, self.rules.tier(delegate.tier), delegate.own.clone()));
        }
        parties
    }

    /// What jobs in the house hold of the window; of a calendar's, only those that were let in within the present period.
    fn held(&self, window: WindowId, caller: Caller, wall: UnixTime) -> u64 {
        let window = &self.rules.windows[window];
        let counts = |job: &Job| match window {
            Window::Rolling(_) => true,
            Window::Calendar(_) => leaves(window, job.admitted).is_none_or(|leaves| wall < leaves),
        };
        let jobs = self.jobs.iter().filter(|job| job.counts_for(caller) && counts(job));
        jobs.map(|job| u64::from(job.cost)).sum()
    }

    pub fn usage(&mut self, window: WindowId, caller: Caller, now: Timestamp) -> Usage {
        let wall = self.wall_clock(now);
        let used = self.debits.used(window, caller, wall);
        Usage {
            used,
            held: self.held(window, caller, wall),
            next_free: self.debits.back(window, caller, 1, wall),
            next_reset: match &self.rules.windows[window] {
                Window::Rolling(_) => self.debits.back(window, caller, used.max(1), wall),
                window @ Window::Calendar(_) => leaves(window, wall).filter(|_| used > 0),
            },
        }
    }

    /// A debit of the past; one from the future counts as of now.
    pub fn remember(&mut self, window: WindowId, caller: Caller, admitted: UnixTime, units: u64, now: Timestamp) {
        let at = admitted.min(self.wall_clock(now));
        self.debits.remember(window, caller, at, units);
        self.note_user(caller, at);
    }

    /// §5.11: it goes back only where it is followed back.
    pub fn wall_clock(&mut self, now: Timestamp) -> UnixTime {
        self.wall.latest = self.wall.latest.max(self.wall_expected(now));
        self.wall.latest
    }

    /// What the system's wall clock should read.
    pub fn wall_expected(&self, now: Timestamp) -> UnixTime {
        self.wall.reading + now.since(self.wall.taken)
    }

    /// §5.11: rather than to stand still for longer than `step_max` it goes back, and all that is dated later is dated as of then.
    pub fn follow_clock(&mut self, reading: UnixTime, now: Timestamp, step_max: Span) -> ClockStep {
        let expected = self.wall_expected(now);
        let by = self.wall.latest.max(expected).since(reading);
        (self.wall.reading, self.wall.taken) = (reading, now);
        if by > step_max {
            self.go_back(reading);
            ClockStep::Followed { by, to: reading }
        } else if reading >= expected {
            ClockStep::Forward(reading.since(expected))
        } else {
            ClockStep::Back(expected.since(reading))
        }
    }

    fn go_back(&mut self, to: UnixTime) {
        self.wall.latest = to;
        let jobs = self.jobs.iter_mut().map(|job| &mut job.admitted);
        let seen = self.users.iter_mut().map(|(.., seen)| seen);
        let swept = self.users_swept.iter_mut().map(|(_, swept)| swept);
        jobs.chain(seen).chain(swept).for_each(|at| *at = to.min(*at));
        self.debits.go_back(to);
    }

    /// Somebody has read back all debits.
    pub fn refilled(&mut self) {
        for (_, caller, admitted, _) in self.debits.all() {
            self.note_user(caller, admitted);
        }
    }

    /// §3.1, §3.2, §3.4: a free seat, or that of somebody of the lowest priority, if that is lower.
    fn seat_for(&self, ask: &AdmissionRequest, tier: &Tier, now: Timestamp) -> Result<Option<Number>, No> {
        let seats = self.rules.queue.length;
        if self.seated() < seats {
            return Ok(None);
        }
        let lowest = self.lowest_seated();
        let may = self.displaced_within_a_minute(ask.caller, now) < tier.displacements_per_minute;
        match lowest {
            Some(lowest) if lowest < tier.priority && may => Ok(Some(self.served_last(lowest))),
            _ => Err(No::QueueFull {
                seats,
                admits_from: lowest.and_then(Priority::above),
            }),
        }
    }

    /// §3.9: the least of the four; and no waiting in vain.
    fn longest_wait(&self, ask: &AdmissionRequest, tier: &Tier) -> Result<Span, No> {
        let mut longest = self.rules.queue.max_wait;
        for other in [tier.max_wait, ask.max_wait, ask.prefer_wait].into_iter().flatten() {
            longest = longest.min(other);
        }
        if let Some(asked) = ask.prefer_wait {
            let ahead = self.ahead_of(ask.pool, tier.priority, ask.caller);
            let estimate = self.estimate_behind(ask.pool, tier.priority, ahead);
            let enough_seen = self.pool(ask.pool).slot_times.len() >= 20;
            if asked.is_zero() || (ahead > 0 && enough_seen && estimate > asked) {
                return Err(No::WaitTooLong { asked, estimate });
            }
        }
        Ok(longest)
    }

    /// §6: a job that was uploading asks for a slot, and has no place in line until it does.
    pub fn ask_slot(&mut self, number: Number, now: Timestamp) -> Option<Handed> {
        self.events += 1;
        let events = self.events;
        let job = self.job_mut(number).filter(|job| job.state == State::Uploading)?;
        job.state = State::Waiting;
        job.placed = events;
        let pool = job.pool;
        match self.free(pool) {
            Some(server) => Some(self.hand(number, server, now)),
            None => {
                self.stand_in_line(number);
                None
            }
        }
    }

    /// Whether the job had a seat, and if so in which state it lost it.
    pub fn expire(&mut self, number: Number) -> Option<State> {
        let state = self.job(number).filter(|job| job.has_seat())?.state;
        self.remove(number);
        self.stats.waited_out += 1;
        Some(state)
    }

    pub fn hang_up(&mut self, number: Number) -> bool {
        let seated = self.job(number).is_some_and(Job::has_seat);
        if seated {
            self.remove(number);
            self.stats.hung_up += 1;
        }
        seated
    }

    pub fn give_back_slot(&mut self, number: Number, now: Timestamp) -> Option<Handed> {
        let job = self.job_mut(number)?;
        let State::Running { since, .. } = job.state else {
            return None;
        };
        job.state = State::Ending;
        let pool = job.pool;
        self.pool_mut(pool).slot_times.push(now.since(since));
        self.hand_to_next(pool, now)
    }

    pub fn end(&mut self, number: Number, outcome: Outcome, now: Timestamp) -> Option<Handed> {
        self.job(number).filter(|job| !job.has_seat())?;
        // Without effect on a job that moves; nobody waits for what it leaves.
        let next = self.give_back_slot(number, now);
        let job = self.job(number).unwrap().clone();
        self.remove(number);
        // §5.3: only success debits; §5.6: at the time of its admission.
        if outcome == Outcome::Succeeded {
            for caller in job.counted() {
                self.debits.debit(caller, job.admitted, job.cost.into());
            }
        }
        match outcome {
            Outcome::Succeeded => self.stats.succeeded += 1,
            Outcome::Failed => self.stats.failed += 1,
            Outcome::Cancelled => self.stats.cancelled += 1,
        }
        next
    }

    /// As if the job had hung up while it waited: it was handed a slot but has not heard.
    pub fn decline(&mut self, number: Number, now: Timestamp) -> Option<Handed> {
        let job = self.job(number)?.clone();
        let State::Running { .. } = job.state else { return None };
        self.remove(number);
        self.stats.hung_up += 1;
        self.hand_to_next(job.pool, now)
    }

    /// §2.7: that server is down. On another one at once, if one has a free slot; later, if one is up; or not at all.
    pub fn relocate(&mut self, number: Number, now: Timestamp) -> Relocation {
        let Some(job) = self.job(number).cloned() else {
            return Relocation::Nowhere;
        };
        let State::Running { server: from, .. } = job.state else {
            return Relocation::Nowhere;
        };
        self.server_down(job.pool, from);
        if let Some(to) = self.free(job.pool) {
            self.occupy(number, to, now);
            return Relocation::To(to);
        }
        if self.slots(job.pool) == 0 {
            return Relocation::Nowhere;
        }
        self.events += 1;
        let events = self.events;
        let job = self.job_mut(number).unwrap();
        job.state = State::Moving { since: now };
        job.placed = events;
        Relocation::Waits
    }

    /// The job doesn't want the slot that it waits for by moving, or has not heard of: the slot says nothing of how long
    /// slots are held.
    pub fn forgo(&mut self, number: Number, now: Timestamp) -> Option<Handed> {
        let job = self.job_mut(number)?;
        if !matches!(job.state, State::Running { .. } | State::Moving { .. }) {
            return None;
        }
        job.state = State::Ending;
        let pool = job.pool;
        self.hand_to_next(pool, now)
    }

    pub fn server_down(&mut self, pool: UpstreamId, server: ServerId) {
        self.server_mut(pool, server).up = false;
    }

    pub fn server_up(&mut self, pool: UpstreamId, server: ServerId, now: Timestamp) -> Vec<Handed> {
        self.server_mut(pool, server).up = true;
        self.hand_out(pool, now)
    }

    pub fn shut_down(&mut self) -> Vec<Number> {
        self.closing = true;
        let seated: Vec<Number> = self
            .jobs
            .iter()
            .filter(|job| job.has_seat())
            .map(|job| job.number)
            .collect();
        for number in &seated {
            self.remove(*number);
            self.stats.shut_down += 1;
        }
        seated
    }

    /// Tiers are known again by name, those that are gone by where their accounts are listed; those who have a seat get their
    /// tier's new priority and keep their order.
    pub fn reload(
        &mut self,
        rules: Rules,
        listed: impl Fn(AccountId) -> Option<TierId>,
        now: Timestamp,
    ) -> Vec<Handed> {
        for job in &mut self.jobs {
            let name = &self.rules.tier(job.tier).name;
            let same = rules.tiers.entries().find(|(_, tier)| tier.name == *name);
            job.tier = match (same, job.caller) {
                (Some((id, _)), _) => id,
                (None, Caller::Account(account)) => listed(account).unwrap_or(rules.anonymous),
                (None, _) => rules.anonymous,
            };
            if job.has_seat() {
                job.priority = rules.tier(job.tier).priority;
            }
        }
        self.change_pools(&rules);
        self.debits.reload(&rules.windows);
        self.rules = rules;
        self.wall_clock(now);
        self.form_rings_anew();
        self.pools().flat_map(|pool| self.hand_out(pool, now)).collect()
    }

    /// An upstream that the rules no longer have stays as it is while a job is on it. So does a server, but without slots.
    fn change_pools(&mut self, rules: &Rules) {
        let jobs = &self.jobs;
        let is_used = |pool: UpstreamId| jobs.iter().any(|job| job.pool == pool);
        self.pools
            .retain(|(id, _)| rules.upstreams.contains(*id) || is_used(*id));
        for (id, pool) in &mut self.pools {
            let Some(new) = rules.upstreams.get(*id) else { continue };
            for server in &mut pool.servers {
                server.slots = new.servers.get(server.id).map_or(0, |server| server.slots);
            }
            let is_used = |server: ServerId| jobs.iter().any(|job| job.runs_on(*id, server));
            pool.servers.retain(|server| server.slots > 0 || is_used(server.id));
            let known: Vec<ServerId> = pool.servers.iter().map(|server| server.id).collect();
            let added = new.servers.entries().filter(|(id, _)| !known.contains(id));
            pool.servers.extend(added.map(server));
        }
        let known: Vec<UpstreamId> = self.pools().collect();
        let added = rules.upstreams.entries().filter(|(id, _)| !known.contains(id));
        self.pools.extend(added.map(|(id, pool)| (id, Pool::new(pool))));
    }

    fn pool(&self, id: UpstreamId) -> &Pool {
        let (_, pool) = self.pools.iter().find(|(of, _)| *of == id).expect("it is there");
        pool
    }

    fn pool_mut(&mut self, id: UpstreamId) -> &mut Pool {
        let (_, pool) = self.pools.iter_mut().find(|(of, _)| *of == id).expect("it is there");
        pool
    }

    fn server(&self, pool: UpstreamId, id: ServerId) -> &Server {
        let mut servers = self.pool(pool).servers.iter();
        servers.find(|server| server.id == id).expect("it is there")
    }

    fn server_mut(&mut self, pool: UpstreamId, id: ServerId) -> &mut Server {
        let mut servers = self.pool_mut(pool).servers.iter_mut();
        servers.find(|server| server.id == id).expect("it is there")
    }

    /// Callers stand in the ring as the first of their waiting jobs stand in line.
    fn form_rings_anew(&mut self) {
        for pool in self.pools() {
            let mut line: Vec<Job> = self.in_line(pool).cloned().collect();
            line.sort_by_key(|job| job.placed);
            let rings = &mut self.pool_mut(pool).rings;
            rings.iter_mut().for_each(Vec::clear);
            for job in line {
                join(&mut rings[job.priority.index()], job.caller, job.placed);
            }
        }
    }

    // ---- slots

    /// The least busy server that is up and has a free slot; of equally busy ones, the one that got a job longest ago.
    fn free(&self, pool: UpstreamId) -> Option<ServerId> {
        let mut free: Vec<ServerId> = self
            .servers(pool)
            .filter(|server| self.running_on(pool, *server) < self.slots_of(pool, *server))
            .collect();
        free.sort_by(|a, b| {
            let busy = |server| {
                (
                    u64::from(self.running_on(pool, server)),
                    u64::from(self.slots_of(pool, server)),
                )
            };
            let ((a_runs, a_slots), (b_runs, b_slots)) = (busy(*a), busy(*b));
            let got = |server: &ServerId| self.server(pool, *server).got;
            (a_runs * b_slots)
                .cmp(&(b_runs * a_slots))
                .then(got(a).cmp(&got(b)))
                .then(a.cmp(b))
        });
        free.first().copied()
    }

    fn hand(&mut self, number: Number, server: ServerId, now: Timestamp) -> Handed {
        self.occupy(number, server, now);
        let job = self.job(number).unwrap();
        let (priority, waited, pool) = (job.priority, now.since(job.entered), job.pool);
        let admitted = job.admitted;
        self.pool_mut(pool).handed.push(priority);
        Handed {
            number,
            server,
            admitted,
            waited,
            priority,
        }
    }

    /// The same slot for the same job, elsewhere: it has been handed one before.
    fn move_in(&mut self, number: Number, server: ServerId, now: Timestamp) -> Handed {
        let job = self.job(number).unwrap();
        let State::Moving { since } = job.state else {
            panic!("{job:?} doesn't move")
        };
        let (priority, admitted) = (job.priority, job.admitted);
        self.occupy(number, server, now);
        Handed {
            number,
            server,
            admitted,
            waited: now.since(since),
            priority,
        }
    }

    fn occupy(&mut self, number: Number, server: ServerId, now: Timestamp) {
        self.events += 1;
        let events = self.events;
        let job = self.job_mut(number).unwrap();
        job.state = State::Running { server, since: now };
        let pool = job.pool;
        self.server_mut(pool, server).got = Some(events);
    }

    /// §2.7: a free slot goes to who has moved for longest. §3.5, §3.6: otherwise to the next in the order of service;
    /// every Nth to whoever asked first.
    fn hand_to_next(&mut self, pool: UpstreamId, now: Timestamp) -> Option<Handed> {
        let server = self.free(pool)?;
        if let Some(first) = self
            .jobs
            .iter()
            .filter(|job| job.pool == pool && job.moves())
            .min_by_key(|job| job.placed)
        {
            return Some(self.move_in(first.number, server, now));
        }
        self.in_line(pool).next()?;
        self.pool_mut(pool).to_the_waiting += 1;
        let count = self.pool(pool).to_the_waiting;
        let lifeline = self
            .rules
            .queue
            .lifeline
            .is_some_and(|nth| count.is_multiple_of(u64::from(nth)));
        let number = if lifeline {
            self.asked_first(pool)
        } else {
            self.first_in_service(pool)
        };
        self.take_turn(number);
        Some(self.hand(number, server, now))
    }

    fn hand_out(&mut self, pool: UpstreamId, now: Timestamp) -> Vec<Handed> {
        std::iter::from_fn(|| self.hand_to_next(pool, now)).collect()
    }

    fn asked_first(&self, pool: UpstreamId) -> Number {
        self.in_line(pool).min_by_key(|job| job.placed).unwrap().number
    }

    // ---- the order of service

    fn first_in_service(&self, pool: UpstreamId) -> Number {
        let highest = self.in_line(pool).map(|job| job.priority).max().unwrap();
        self.service(pool, highest)[0].number
    }

    /// Those in line for the pool with that priority in the order in which they would be served.
    fn service(&self, pool: UpstreamId, priority: Priority) -> Vec<Served> {
        let line: Vec<Job> = self
            .in_line(pool)
            .filter(|job| job.priority == priority)
            .cloned()
            .collect();
        serve_all(
            line,
            &self.pool(pool).rings[priority.index()],
            self.rules.queue.within_tier,
        )
    }

    /// §3.2: of the seated of that priority, the one that would be served last: first of all those who haven't even
    /// asked, the newest of them; then the last in line. With several pools there is no one line: then, in `fifo`, the
    /// newest of the last ones; in `fair` that of the latest round, then of the latest turn.
    fn served_last(&self, priority: Priority) -> Number {
        let uploading = self
            .jobs
            .iter()
            .filter(|job| job.priority == priority && job.state == State::Uploading);
        if let Some(newest) = uploading.max_by_key(|job| job.placed) {
            return newest.number;
        }
        let last_of_each = self
            .pools()
            .filter_map(|pool| self.service(pool, priority).last().copied());
        last_of_each.max_by_key(|last| (last.round, last.turn)).unwrap().number
    }

    /// How many would be served before a newcomer of that caller.
    fn ahead_of(&self, pool: UpstreamId, priority: Priority, caller: Caller) -> u32 {
        let higher = self.moving(pool) + count(self.in_line(pool).filter(|job| job.priority > priority));
        let mut line: Vec<Job> = self
            .in_line(pool)
            .filter(|job| job.priority == priority)
            .cloned()
            .collect();
        let mut ring = self.pool(pool).rings[priority.index()].clone();
        line.push(Job {
            number: Number::MAX,
            caller,
            tier: TierId(0),
            priority,
            pool,
            entered: Timestamp::ZERO,
            admitted: UnixTime::default(),
            cost: 0,
            state: State::Waiting,
            placed: u64::MAX,
        });
        join(&mut ring, caller, u64::MAX);
        let served = serve_all(line, &ring, self.rules.queue.within_tier);
        let before = served.iter().position(|served| served.number == Number::MAX).unwrap();
        higher + u32::try_from(before).unwrap()
    }

    // ---- the estimate (§3.8)

    /// For a newcomer of that priority behind everybody who moves, and of its own and of higher ones who has asked.
    pub fn estimate(&self, pool: UpstreamId, priority: Priority) -> Span {
        let ahead = self.moving(pool) + count(self.in_line(pool).filter(|job| job.priority >= priority));
        self.estimate_behind(pool, priority, ahead)
    }

    fn estimate_behind(&self, pool: UpstreamId, priority: Priority, ahead: u32) -> Span {
        let up = self.slots(pool);
        let pool = self.pool(pool);
        // With no server up, as if all were.
        let all_slots: u32 = pool.servers.iter().map(|server| server.slots).sum();
        let slots = u128::from(if up == 0 { all_slots } else { up }.max(1));
        let latest = &pool.handed[pool.handed.len().saturating_sub(64)..];
        let all = latest.len() as u128;
        let higher = latest.iter().filter(|other| **other > priority).count() as u128;
        // What is left for this priority and those below: the stretch is all ÷ left, at most eightfold.
        let left = (all - higher).max(all.div_ceil(8)).max(1);
        let nanos = u128::from(mean(&pool.slot_times)) * u128::from(ahead + 1) * all.max(1) / (slots * left);
        Span::from_nanos(nanos.try_into().unwrap_or(u64::MAX))
    }

    // ---- the list of jobs

    fn job(&self, number: Number) -> Option<&Job> {
        self.jobs.iter().find(|job| job.number == number)
    }

    fn job_mut(&mut self, number: Number) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.number == number)
    }

    fn insert(&mut self, ask: &AdmissionRequest, priority: Priority, now: Timestamp, wall: UnixTime) -> Number {
        self.events += 1;
        self.note_user(ask.caller, wall);
        let number = self.let_in;
        self.let_in += 1;
        self.jobs.push(Job {
            number,
            caller: ask.caller,
            tier: ask.tier,
            priority,
            pool: ask.pool,
            entered: now,
            admitted: wall,
            cost: ask.cost,
            state: if ask.ready { State::Waiting } else { State::Uploading },
            placed: self.events,
        });
        number
    }

    fn stand_in_line(&mut self, number: Number) {
        let job = self.job(number).unwrap().clone();
        let ring = &mut self.pool_mut(job.pool).rings[job.priority.index()];
        join(ring, job.caller, job.placed);
    }

    /// The job, still in line, gets a slot: its caller goes to the end of the ring, or out of it.
    fn take_turn(&mut self, number: Number) {
        self.events += 1;
        let job = self.job(number).unwrap().clone();
        let others = self
            .in_line(job.pool)
            .any(|other| other.number != number && other.caller == job.caller && other.priority == job.priority);
        let events = self.events;
        let ring = &mut self.pool_mut(job.pool).rings[job.priority.index()];
        ring.retain(|(caller, _)| *caller != job.caller);
        if others {
            ring.push((job.caller, events));
        }
    }

    /// Out of the house. A caller with nobody left in line leaves the ring.
    fn remove(&mut self, number: Number) {
        let job = self.job(number).unwrap().clone();
        self.jobs.retain(|job| job.number != number);
        if job.state == State::Waiting {
            let others = self
                .in_line(job.pool)
                .any(|other| other.caller == job.caller && other.priority == job.priority);
            if !others {
                let ring = &mut self.pool_mut(job.pool).rings[job.priority.index()];
                ring.retain(|(caller, _)| *caller != job.caller);
            }
        }
    }
}

/// One job of the order of service, with its caller's turn and the round in which it is served.
#[derive(Clone, Copy, Debug)]
struct Served {
    number: Number,
    round: u32,
    turn: u64,
}

/// Serves a whole line, one by one.
fn serve_all(mut line: Vec<Job>, ring: &[(Caller, u64)], within: Within) -> Vec<Served> {
    line.sort_by_key(|job| job.placed);
    let mut order = Vec::new();
    match within {
        Within::Fifo => {
            for job in line {
                order.push(Served {
                    number: job.number,
                    round: 0,
                    turn: job.placed,
                });
            }
        }
        Within::Fair => {
            let mut ring: Vec<(Caller, u64, u32)> = ring.iter().map(|(caller, turn)| (*caller, *turn, 0)).collect();
            while !ring.is_empty() {
                let (caller, turn, round) = ring.remove(0);
                let Some(at) = line.iter().position(|job| job.caller == caller) else {
                    continue;
                };
                let job = line.remove(at);
                order.push(Served {
                    number: job.number,
                    round,
                    turn,
                });
                ring.push((caller, turn, round + 1));
            }
            assert!(line.is_empty(), "whoever stands in line has a turn");
        }
    }
    order
}

fn join(ring: &mut Vec<(Caller, u64)>, caller: Caller, turn: u64) {
    if ring.iter().all(|(other, _)| *other != caller) {
        ring.push((caller, turn));
    }
}

/// The mean of the first 32 slot times; from then on each new one moves it by 1/32 of the difference. 1 s before any.
fn mean(slot_times: &[Span]) -> u64 {
    if slot_times.is_empty() {
        return Span::from_secs(1).as_nanos();
    }
    let mut mean = 0_i128;
    for (seen, time) in slot_times.iter().enumerate() {
        let weight = (seen as i128 + 1).min(32);
        mean += (i128::from(time.as_nanos()) - mean) / weight;
    }
    mean.try_into().unwrap()
}

fn count<T>(them: impl Iterator<Item = T>) -> u32 {
    u32::try_from(them.count()).unwrap()
}

/// What the caller has of its own instead of what its tier gives.
pub fn own_limit(own: Option<&Own>, quota: &Quota) -> u64 {
    let of_its_own = own.and_then(|own| own.quotas.iter().find(|(name, _)| *name == quota.name));
    of_its_own.map_or(quota.limit, |(_, limit)| *limit)
}
