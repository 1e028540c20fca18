//! The configuration, exchanged while the door is open. A file is read, validated whole, compared with what runs, and swapped; a
//! bad one changes nothing.
//!
//! What can fail comes first (the operator's token, the list of accounts). Then, without another wait: the ledger's pace and
//! windows; under the locks of the request limits and of the hall, in this order, the rules of both, the workers and the door that
//! requests come to, which knows the file's accounts; the blocked networks. A request goes on by the routes and keys that it came
//! by. What it asks of the limits or of the hall by an older door is stale, and whoever is told so finds the newest door: so
//! nobody is judged by two files together, and nothing is dropped.
//!
//! A panic before the first of these steps is a reload that has failed. From there on half may be done, so it ends the door, for its
//! supervisor to start it again.
//!
//! Absent on purpose: noticing that the file was saved (`watch`), and what is different (`config::diff`).

#[cfg(test)]
mod overtaken;

use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::clock_steps::fill;
use super::data_dir::{history, listed, open_token, pace, tell_of_lost_tiers};
use super::places::Places;
use super::watch::{Saved, Unreadable, Watch};
use super::watchers::Watchers;
use super::{Fault, House, Source, attempt, blocking, connections_max, generation, settings};
use crate::config::diff::{Diff, Line, diff};
use crate::config::{self, Config, ConfigErrors, System};
use crate::gate::Filling;
use crate::http::admin::config::{Asked, Json, Reloaded, Running, Taken};
use crate::http::door::Door;
use crate::policy::time::{Span, UnixTime};
use crate::store::audit::{self, Actor, Stamp};
use crate::store::{AdminToken, JobHistory, KnownAccounts, RelistError};
use crate::telemetry::{ConfigMeters, Reload};

/// Places are looked for so often before whoever is in the house is left where it is, whatever the file says.
const ATTEMPTS_MAX: usize = 8;

/// How often it is looked whether somebody is still where the file has nothing any more.
const TIDY_EVERY: Span = Span::from_secs(1);

/// A configuration that runs, and all that depends on it.
pub(super) struct Live {
    parts: Parts,
    watchers: Watchers,
    /// Doors of before, as far as requests are under way by them.
    older: Vec<Weak<Door>>,
}

/// What is exchanged, and what stays.
pub(super) struct Parts {
    pub(super) house: Arc<House>,
    /// Where the configuration comes from; `None`: it is no file's.
    pub(super) source: Option<Source>,
    /// As it runs, which differs from the file in what needs a restart.
    pub(super) config: Arc<ArcSwap<Config>>,
    pub(super) places: Places,
    pub(super) door: Arc<ArcSwap<Door>>,
    pub(super) token: Arc<ArcSwap<AdminToken>>,
    pub(super) running: Arc<ArcSwap<Running>>,
    pub(super) meters: ConfigMeters,
}

/// What is exchanged in one go.
struct Exchanged {
    places: Places,
    older: Vec<Weak<Door>>,
    filling: Option<(Filling, JobHistory)>,
}

impl Live {
    /// What runs from the start on.
    pub(super) fn new(parts: Parts) -> Self {
        let (gate, workers) = (Arc::clone(&parts.house.gate), Arc::clone(&parts.house.workers));
        let mut watchers = Watchers::new(gate, workers);
        watchers.watch(&parts.places);
        let older = Vec::new();
        Self { parts, watchers, older }
    }

    /// Follows the file, SIGHUP and operators for as long as it is polled.
    pub(super) async fn follow(mut self, mut hang_up: Option<Signal>, mut asked: mpsc::Receiver<Asked>) {
        let mut watch = self.parts.source.as_ref().and_then(|source| {
            // A pipe has been read, and holds nothing any more.
            let seen = source.seen.clone();
            (seen != Err(Unreadable::NoFile)).then(|| Watch::start(&source.file, seen, *self.parts.house.gate.clock()))
        });
        loop {
            let clock = *self.parts.house.gate.clock();
            tokio::select! {
                () = clock.sleep(TIDY_EVERY), if self.parts.places.has_unlisted() => self.tidy().await,
                saved = changed(&mut watch) => {
                    self.take(saved, "saved").await;
                }
                () = heard(&mut hang_up) => match &mut watch {
                    Some(watch) => {
                        let saved = watch.now().await;
                        self.take(saved, "SIGHUP").await;
                    }
                    None => warn!("SIGHUP: there is no file to read again"),
                },
                asked = asked.recv() => match asked {
                    // Who has asked may not wait any more.
                    Some(Asked::Reload(answer)) => drop(answer.send(self.reload(watch.as_mut()).await)),
                    Some(Asked::Compare(text, answer)) => drop(answer.send(self.compare(text.to_vec()).await)),
                    None => return,
                },
            }
        }
    }

    async fn reload(&mut self, watch: Option<&mut Watch>) -> Reloaded {
        let Some(watch) = watch else {
            return Reloaded::NoFile;
        };
        let saved = watch.now().await;
        let taken = self.take(saved, "asked for").await;
        match taken.result == Reload::Failed.name() {
            true => Reloaded::Failed(taken),
            false => Reloaded::Done(taken),
        }
    }

    /// What would change if those bytes were the file's, or what is wrong with them.
    async fn compare(&self, bytes: Vec<u8>) -> Result<Json, Json> {
        match self.read("what was sent", bytes).await {
            Ok((config, _)) => Ok(Line::to_json(
                &self.described(&diff(&self.parts.config.load(), &config)),
            )),
            Err(wrong) => Err(wrong.to_json()),
        }
    }

    /// The configuration in those bytes, with what the command line says instead, and what is shown of it.
    async fn read(&self, name: &str, bytes: Vec<u8>) -> Result<(Config, Json), ConfigErrors> {
        let (of, source) = (name.to_owned(), self.parts.source.clone());
        let read = attempt(move || {
            let config = match source {
                Some(source) => {
                    let config = Config::parse_for(&source.file, &of, &bytes, &System)?;
                    source.overrides.apply(config).map_err(|misfit| {
                        ConfigErrors::of_whole(
                            &of,
                            misfit.to_string(),
                            "the command line doesn't fit the file any more",
                        )
                    })?
                }
                None => Config::parse_in(&of, &bytes, &System)?,
            };
            Ok((config, config::document(&bytes)))
        });
        read.await.unwrap_or_else(|fault| Err(faulty(name, fault)))
    }

    /// Takes up what stands in the file. `why` it was read is for the log.
    async fn take(&mut self, saved: Saved, why: &'static str) -> Taken {
        let at = self.parts.house.gate.clock().wall();
        let name = self.parts.source.as_ref().map_or_else(String::new, Source::name);
        let read = match saved {
            Ok(bytes) => self.read(&name, bytes).await,
            Err(unreadable) => {
                let message = format!("the file can't be read: {unreadable}");
                Err(ConfigErrors::of_whole(
                    &name,
                    message,
                    "see that it exists and may be read",
                ))
            }
        };
        let taken = match read {
            Ok((config, document)) => self.exchange(&name, config, document, at).await,
            Err(wrong) => Err(wrong),
        };
        let (reload, taken) = taken.unwrap_or_else(|wrong| {
            error!(
                file = name,
                why, "the configuration is wrong, the one before goes on:\n{wrong}"
            );
            let taken = Taken {
                at,
                result: Reload::Failed.name(),
                changes: Line::to_json(&[]),
                wrong: wrong.to_json(),
            };
            (Reload::Failed, taken)
        });
        self.parts.meters.reloaded(reload, at);
        let before = self.parts.running.load();
        self.parts.running.store(Arc::new(Running {
            last: taken.clone(),
            ..Running::clone(&before)
        }));
        if reload != Reload::Failed {
            info!(file = name, why, result = reload.name(), "the configuration was read");
        }
        taken
    }

    /// Lets the door run that configuration, as far as it can without a restart.
    async fn exchange(
        &mut self,
        name: &str,
        config: Config,
        document: Json,
        at: UnixTime,
    ) -> Result<(Reload, Taken), ConfigErrors> {
        let before = self.parts.config.load_full();
        let prepared = attempt(move || {
            let all = diff(&before, &config);
            let config = Arc::new(config.applied_to(&before));
            let live = diff(&before, &config);
            // Read anew in any case: what it names may hold another one.
            let token = open_token(&config);
            (all, config, live, token)
        });
        let (all, config, live, token) = prepared.await.map_err(|fault| faulty(name, fault))?;
        let token = token.map_err(|error| {
            ConfigErrors::of_whole(
                name,
                error.to_string(),
                "see to the operator's token, which `admin` names",
            )
        })?;
        let reload = if live.is_empty() {
            Reload::Unchanged
        } else {
            self.swap(name, &config, at).await?;
            Reload::Applied
        };
        self.parts.token.store(Arc::new(token));
        let restart: Vec<Line> = self.described(&all).into_iter().filter(|line| line.restart).collect();
        let changes = self.described(&live);
        for line in &changes {
            info!(file = name, "{line}");
        }
        for line in &restart {
            warn!(file = name, "{line}");
        }
        let changes = Line::to_json(&changes);
        if reload == Reload::Applied {
            self.log_reload(name, &changes, at).await;
        }
        let before = self.parts.running.load();
        self.parts.running.store(Arc::new(Running {
            since: if reload == Reload::Applied { at } else { before.since },
            document,
            restart: Line::to_json(&restart),
            ..Running::clone(&before)
        }));
        let taken = Taken {
            at,
            result: reload.name(),
            changes,
            wrong: Json::Null,
        };
        Ok((reload, taken))
    }

    async fn swap(&mut self, name: &str, config: &Arc<Config>, at: UnixTime) -> Result<(), ConfigErrors> {
        let exchanged = {
            let (settling, places) = (self.settling(config), self.parts.places.clone());
            blocking(move || exchange(settling, &places, at)).await
        };
        let Exchanged { places, older, filling } = exchanged.map_err(|error| {
            ConfigErrors::of_whole(
                name,
                error.to_string(),
                "mend `accounts`, which is compared with the stored ones",
            )
        })?;
        self.parts.house.unmetered.resize(config.connections.unmetered_max);
        self.parts.house.connections.resize(connections_max(config));
        self.watchers.watch(&places);
        (self.parts.places, self.older) = (places, older);
        self.parts.config.store(Arc::clone(config));
        tell_of_lost_tiers(&config.rules, self.parts.house.store.directory());
        for (gone, upstream, server) in self.parts.places.doubled() {
            warn!(
                gone,
                upstream,
                server,
                "a server of an upstream that is gone is another's: until the one is done, it has the slots of both"
            );
        }
        if let Some((filling, past)) = filling {
            // Beside everything else.
            let gate = Arc::clone(&self.parts.house.gate);
            tokio::task::spawn_blocking(move || fill(&gate, filling, past));
        }
        Ok(())
    }

    /// Tells the audit log. The file is in force whether or not that succeeds.
    async fn log_reload(&self, name: &str, changes: &Json, at: UnixTime) {
        let (database, file) = (Arc::clone(&self.parts.house.database), name.to_owned());
        let detail = [("changes", changes.clone())].into_iter().collect();
        let stamp = Stamp::new(at, Actor::tiers_yaml());
        let logged = blocking(move || audit::record(&database, stamp, "reload", file, detail)).await;
        if let Err(error) = logged {
            warn!(%error, "the reload is missing in the audit log");
        }
    }

    fn settling(&self, config: &Arc<Config>) -> Settling {
        Settling {
            house: Arc::clone(&self.parts.house),
            config: Arc::clone(config),
            door: Arc::clone(&self.parts.door),
            older: self.older.clone(),
        }
    }

    /// Takes away the upstreams that the file has no more and where nobody is, and nobody on the way.
    async fn tidy(&mut self) {
        self.older.retain(is_used);
        let occupied = self.parts.house.gate.occupied();
        if !self.older.is_empty() || !self.parts.places.has_idle(&occupied) {
            return;
        }
        let mut settling = self.settling(&self.parts.config.load_full());
        let places = self.parts.places.clone();
        let settled = blocking(move || (settling.settle(&places, Whom::InHouse).0, settling.older)).await;
        (self.parts.places, self.older) = settled;
        self.watchers.watch(&self.parts.places);
    }

    fn described(&self, diff: &Diff) -> Vec<Line> {
        let tiers = self.parts.house.store.directory().tiers();
        diff.describe(&|tier| Some(tiers.get(tier).map_or(0, |accounts| *accounts as usize)))
    }
}

/// What is needed to swap what is made of a configuration.
struct Settling {
    house: Arc<House>,
    config: Arc<Config>,
    door: Arc<ArcSwap<Door>>,
    older: Vec<Weak<Door>>,
}

/// Who may still have to find an upstream at its place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whom {
    /// Whoever is in the house, and whoever comes to it by a door of before.
    UnderWay,
    /// Whoever is in the house.
    InHouse,
}

/// Swaps what is made of the configuration. Blocks on the disk before anything is changed.
///
/// # Errors
/// The listed accounts collide with stored ones, or the disk refuses them. Nothing has changed.
fn exchange(mut settling: Settling, places: &Places, at: UnixTime) -> Result<Exchanged, RelistError> {
    let (house, config) = (Arc::clone(&settling.house), Arc::clone(&settling.config));
    let relisting = house.store.prepare_list(&listed(&config), at)?;
    house.database.set_pace(pace(&config));
    house.database.upkeep().set(&config.rules.windows, history(&config));
    // Operators see the list already; requests know it by their door's generation.
    relisting.take();
    let (mut places, filling) = settling.settle(places, Whom::UnderWay);
    house.store.networks().relist(config.blocked_networks.clone());
    // From now on nobody takes up an older door.
    settling.older.retain(is_used);
    if settling.older.is_empty() && places.has_idle(&house.gate.occupied()) {
        (places, _) = settling.settle(&places, Whom::InHouse);
    }
    Ok(Exchanged {
        places,
        older: settling.older,
        filling: filling.map(|filling| (filling, house.database.past())),
    })
}

fn is_used(door: &Weak<Door>) -> bool {
    door.strong_count() > 0
}

impl Settling {
    /// Gives the hall, the limits and the door their new rules, and everybody in the house its worker where it was.
    fn settle(&mut self, before: &Places, whom: Whom) -> (Places, Option<Filling>) {
        let Self {
            house,
            config,
            door: shared,
            older,
        } = self;
        let accounts = Arc::new(KnownAccounts::of(house.store.directory()));
        let mut attempts = 0;
        loop {
            let occupied = match attempts {
                0..ATTEMPTS_MAX => house.gate.occupied(),
                _ => before.everywhere(),
            };
            attempts += 1;
            let places = match whom {
                Whom::UnderWay => before.arrange(config, &before.led_to(&occupied)),
                Whom::InHouse => before.arrange(config, &occupied),
            };
            let rules = Arc::new(places.rules(config));
            let generation = generation(config, rules, Arc::clone(&accounts), &house.exposition);
            let door = Arc::new(settings::door(config, house, &places, &generation));
            let mut replaced = None;
            let suits = |occupied: &_| {
                let suits = places.suit(before, occupied);
                if suits {
                    // Before anybody is sent there; and nobody is let in by the rules of before from now on, save who is on the way.
                    house.workers.replace(places.upstreams());
                    replaced = Some(shared.swap(door));
                }
                suits
            };
            let reload = || house.gate.reload(Arc::clone(&generation), suits);
            match house.limiter.reload(&generation.rules, reload) {
                Ok(reloaded) => {
                    older.extend(replaced.as_ref().map(Arc::downgrade));
                    return (places, reloaded.filling);
                }
                // Somebody has come meanwhile to a place that was about to be given away.
                Err(_unsuited) => {}
            }
        }
    }
}

/// What changes nothing broke off: as if the file were wrong.
fn faulty(name: &str, fault: Fault) -> ConfigErrors {
    ConfigErrors::of_whole(
        name,
        format!("it could not be taken up: {fault}"),
        "the one before goes on; please report it with the file",
    )
}

async fn changed(watch: &mut Option<Watch>) -> Saved {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// SIGHUP, heard from now on: whoever does not hear it is ended by it. To be called within a runtime, before anything that takes time.
/// `None`, and the log says so: it can't be heard.
pub fn hang_ups() -> Option<Signal> {
    match signal(SignalKind::hangup()) {
        Ok(hang_up) => Some(hang_up),
        Err(error) => {
            warn!(%error, "SIGHUP can't be heard: `tiergate reload` reads the file again");
            None
        }
    }
}

async fn heard(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}
