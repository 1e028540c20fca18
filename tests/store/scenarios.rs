//! What every store promises the gate: each scenario runs over each store. A third, shared by several proxies,
//! would only join the list in [`over_every_store`].

use std::net::Ipv4Addr;
use std::sync::Arc;

use tiergate::clock::{Clock, ClockControl};
use tiergate::gate::{CLOCK_STEP_MAX_DEFAULT, Entered, Gate, Generation, Permit};
use tiergate::policy::caller::{AccountId, Caller, Network, NetworkId, UserId};
use tiergate::policy::refusal::{Reason, Refusal};
use tiergate::policy::rules::{Rules, TierId, UpstreamId, WindowId};
use tiergate::policy::{AdmissionRequest, Delegate, Outcome, Policy, RequestBody, WaitLimits};
use tiergate::store::memory::MemoryLedger;
use tiergate::store::{History, Ledger};

use crate::folder::Folder;
use crate::kit::{self, HOUR, MONTH, WallClock, windows};
use crate::rules::{self, TierBuilder};

const DAY: WindowId = WindowId(0);
const MONTHLY: WindowId = WindowId(1);
const BOT: AccountId = AccountId(9);

/// A store that can be closed and opened again.
trait Store {
    /// Opens it, and tells the policy what it remembers.
    fn open(&self, policy: &mut Policy, clock: Clock) -> Arc<dyn Ledger>;

    /// The process ends without closing anything.
    fn end(&mut self) {}
}

struct InMemory(Arc<MemoryLedger>);

impl Store for InMemory {
    fn open(&self, policy: &mut Policy, clock: Clock) -> Arc<dyn Ledger> {
        self.0.restore(policy, clock.now());
        Arc::clone(&self.0) as _
    }
}

/// A database that is closed each time.
struct Closed(Folder);

impl Store for Closed {
    fn open(&self, policy: &mut Policy, clock: Clock) -> Arc<dyn Ledger> {
        open(&self.0, policy, clock)
    }
}

/// A database whose process is killed each time.
struct Killed(Folder);

impl Store for Killed {
    fn open(&self, policy: &mut Policy, clock: Clock) -> Arc<dyn Ledger> {
        open(&self.0, policy, clock)
    }

    fn end(&mut self) {
        self.0 = kit::as_killed(self.0.path());
    }
}

fn open(folder: &Folder, policy: &mut Policy, clock: Clock) -> Arc<dyn Ledger> {
    let settings = kit::settings(&WallClock::at(clock.wall()));
    let opened = kit::open_with(folder.path(), settings, &windows(), History::default());
    let database = opened.expect("the folder can be used");
    database.restore(policy, clock.now()).expect("the database can be read");
    database
}

fn over_every_store(scenario: impl AsyncFn(Instance)) {
    let stores: [(&str, Box<dyn Store>); 3] = [
        ("memory", Box::new(InMemory(Arc::default()))),
        ("a database", Box::new(Closed(Folder::new()))),
        ("a database that is killed", Box::new(Killed(Folder::new()))),
    ];
    for (name, store) in stores {
        println!("over {name}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(scenario(Instance::open(store)));
    }
}

/// A gate over a store, with hands to move its clock.
struct Instance {
    /// Dropped before the store, which its database writes to until then.
    gate: Option<Arc<Gate>>,
    store: Box<dyn Store>,
    clock_control: &'static ClockControl,
    clock: Clock,
}

impl Instance {
    fn open(store: Box<dyn Store>) -> Self {
        let clock_control: &'static ClockControl = Box::leak(Box::default());
        let mut instance = Self {
            store,
            clock_control,
            clock: Clock::moved_by(clock_control, MONTH + HOUR),
            gate: None,
        };
        instance.reopen();
        instance
    }

    /// The process ends.
    fn leave(&mut self) {
        if self.gate.is_some() {
            self.store.end();
        }
        self.gate = None;
    }

    /// The process ends and another begins.
    fn reopen(&mut self) {
        self.leave();
        let rules = Arc::new(rules());
        let mut policy = Policy::new(Arc::clone(&rules));
        policy.follow_clock(self.clock.wall(), self.clock.now(), CLOCK_STEP_MAX_DEFAULT);
        let ledger = self.store.open(&mut policy, self.clock);
        self.gate = Some(Gate::new(policy, Generation::unobserved(rules), self.clock, ledger));
    }

    fn gate(&self) -> &Arc<Gate> {
        self.gate.as_ref().expect("it is open")
    }

    fn enter(&self, ask: &AdmissionRequest) -> Result<Permit, Refusal> {
        let entered = self.gate().enter(&self.gate().generation(), ask);
        match entered.expect("nobody reloads")? {
            Entered::Running(pass) => Ok(pass),
            other => panic!("there are slots for all: {other:?}"),
        }
    }

    async fn succeed(&self, ask: &AdmissionRequest) {
        let pass = self.enter(ask).expect("there is room");
        pass.succeed(200).await.expect("the store is well");
    }

    /// What the caller has used and holds, in the day and in the month.
    fn taken(&self, caller: Caller) -> [(u64, u64); 2] {
        let gate = self.gate();
        let balance = gate.account_of(&caller, [DAY, MONTHLY].into_iter());
        [0, 1].map(|window| (balance.usages[window].used, balance.usages[window].held))
    }
}

fn rules() -> Rules {
    let [day, month] = [DAY, MONTHLY].map(|window| windows()[window.index()].clone());
    let tier = |tier: TierBuilder, daily, monthly| {
        let tier = tier.concurrency(64).quota("daily", daily, day.clone());
        tier.quota("monthly", monthly, month.clone())
    };
    rules::rules()
        .windows(windows())
        .tier("free", |free| tier(free, 10, 15))
        .tier("paid", |paid| tier(paid, 1_000, 10_000))
        .upstream("search", &[1_000])
        .build()
}

const STRANGER: Caller = Caller::Network(NetworkId(7));

fn ask(caller: Caller) -> AdmissionRequest {
    AdmissionRequest {
        caller,
        from: Network::V4(Ipv4Addr::LOCALHOST),
        tier: TierId(0),
        own: None,
        delegate: None,
        cost: 1,
        pool: UpstreamId(0),
        body: RequestBody::Complete,
        waits: WaitLimits::default(),
    }
}

#[test]
fn only_successes_are_debited_durably() {
    over_every_store(async |mut instance| {
        for _ in 0..3 {
            instance.succeed(&ask(STRANGER)).await;
        }
        instance
            .enter(&ask(STRANGER))
            .expect("room")
            .settle(Outcome::Failed, 500);
        instance
            .enter(&ask(STRANGER))
            .expect("room")
            .settle(Outcome::Cancelled, 0);
        drop(instance.enter(&ask(STRANGER)).expect("room"));
        let in_progress = instance.enter(&ask(STRANGER)).expect("room");
        assert_eq!(instance.taken(STRANGER), [(3, 1), (3, 1)]);
        drop(in_progress);
        for _ in 0..3 {
            instance.reopen();
            assert_eq!(instance.taken(STRANGER), [(3, 0), (3, 0)]);
        }
    });
}

#[test]
fn remaining_quota_survives_a_restart() {
    over_every_store(async |mut instance| {
        for used in 0..10 {
            instance.succeed(&ask(STRANGER)).await;
            if used % 3 == 0 {
                instance.reopen();
            }
        }
        let refusal = instance.enter(&ask(STRANGER)).expect_err("all is used");
        assert_eq!(refusal.reason(), Reason::QuotaDepleted);
    });
}

#[test]
fn windows_expire_whether_or_not_the_proxy_ran() {
    over_every_store(async |mut instance| {
        for _ in 0..5 {
            instance.succeed(&ask(STRANGER)).await;
        }
        instance.leave();
        instance.clock_control.advance(HOUR.saturating_mul(25));
        instance.reopen();
        assert_eq!(instance.taken(STRANGER), [(0, 0), (5, 0)], "a day has passed");
        for _ in 0..10 {
            instance.succeed(&ask(STRANGER)).await;
        }
        instance.reopen();
        let refusal = instance.enter(&ask(STRANGER)).expect_err("the month's are used");
        assert_eq!(refusal.reason(), Reason::QuotaDepleted);
        instance.leave();
        instance.clock_control.advance(HOUR.saturating_mul(24 * 30));
        instance.reopen();
        assert_eq!(instance.taken(STRANGER), [(0, 0), (0, 0)], "a month has begun");
    });
}

#[test]
fn a_users_search_counts_for_its_account_too() {
    over_every_store(async |mut instance| {
        let user = Caller::User {
            of: BOT,
            user: UserId(3),
        };
        let asks = AdmissionRequest {
            delegate: Some(Box::new(Delegate {
                account: BOT,
                tier: TierId(1),
                own: None,
                users_max: 5,
            })),
            cost: 2,
            ..ask(user)
        };
        instance.succeed(&asks).await;
        instance.succeed(&asks).await;
        instance.reopen();
        assert_eq!(instance.taken(user), [(4, 0), (4, 0)]);
        assert_eq!(instance.taken(Caller::Account(BOT)), [(4, 0), (4, 0)]);
    });
}

#[test]
fn sixty_four_concurrent_searches_take_the_ten_left() {
    over_every_store(async |mut instance| {
        let entered: Vec<_> = (0..64).map(|_| instance.enter(&ask(STRANGER))).collect();
        let (let_in, refused): (Vec<_>, Vec<_>) = entered.into_iter().partition(Result::is_ok);
        assert_eq!((let_in.len(), refused.len()), (10, 54));
        let commits: Vec<_> = let_in.into_iter().flatten().map(|pass| pass.succeed(200)).collect();
        for commit in commits {
            commit.await.expect("the store is well");
        }
        assert_eq!(instance.taken(STRANGER), [(10, 0), (10, 0)]);
        instance.reopen();
        assert_eq!(instance.taken(STRANGER), [(10, 0), (10, 0)]);
    });
}

#[test]
fn a_search_counts_in_the_month_it_was_admitted() {
    over_every_store(async |mut instance| {
        instance.clock_control.advance(HOUR.saturating_mul(24 * 30 - 2));
        let begun = instance.enter(&ask(STRANGER)).expect("room");
        instance.clock_control.advance(HOUR.saturating_mul(2));
        assert_eq!(instance.taken(STRANGER)[1], (0, 0), "what it holds is the old month's");
        begun.succeed(200).await.expect("the store is well");
        assert_eq!(instance.taken(STRANGER), [(1, 0), (0, 0)]);
        instance.reopen();
        assert_eq!(instance.taken(STRANGER), [(1, 0), (0, 0)]);
    });
}
