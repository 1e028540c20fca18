//! Reloads the configuration of the running server. A file is read, validated whole, compared with the running configuration, and
//! swapped; an invalid one changes nothing.
//!
//! What can fail comes first: the operator's token, and the list of accounts. Then, without another wait: the ledger's commit
//! settings and windows; under the locks of the request limits and of the gate state, in this order, the rules of both, the
//! upstreams, and the site that requests enter, which knows the file's accounts; then the blocked networks. A request keeps the
//! routes and keys of its site. If that site is outdated, the limits and the gate report its rules as stale, and the request
//! looks up the newest site. So no request is judged by two files together, and none is dropped.
//!
//! A panic before the first of these steps is a failed reload. A panic after it may leave the reload half done, so it shuts the
//! server down, for its supervisor to restart it.

#[cfg(test)]
mod overtaken;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::clock_steps::fill;
use super::config_watch::{Saved, Unreadable, Watch};
use super::data_dir::{commit_settings, declared, history, open_token, warn_of_missing_tiers};
use super::health_tasks::HealthTasks;
use super::settings::body_bounds;
use super::upstreams::Upstreams;
use super::{Services, Source, TaskPanicked, attempt, blocking, connections_max, generation, settings};
use crate::config::diff::{Diff, DiffLine, diff};
use crate::config::{self, Config, ConfigErrors, System};
use crate::gate::{self, Backfill};
use crate::http::admin::config::{ConfigLoad, ConfigRequest, Json, ReloadOutcome, Running};
use crate::http::site::Site;
use crate::policy::rules::Rules;
use crate::policy::time::{Span, UnixTime};
use crate::store::audit::{self, Actor, Stamp};
use crate::store::{AccountView, AdminToken, JobHistory};
use crate::telemetry::{ConfigMeters, ReloadResult};

/// How often removed upstreams are checked for remaining use.
const TIDY_EVERY: Span = Span::from_secs(1);

/// The running configuration, and everything that depends on it.
pub(super) struct Reloader {
    parts: Parts,
    health_tasks: HealthTasks,
}

/// What operators see of a file.
struct Described {
    document: Json,
    /// Its warnings.
    lint: Json,
}

/// The parts that a reload swaps, and those that stay.
pub(super) struct Parts {
    pub(super) services: Arc<Services>,
    /// Where the configuration comes from; `None`: not from a file.
    pub(super) source: Option<Source>,
    /// The running configuration. It differs from the file in settings that need a restart.
    pub(super) config: Arc<ArcSwap<Config>>,
    pub(super) upstreams: Upstreams,
    pub(super) site: Arc<ArcSwap<Site>>,
    pub(super) token: Arc<ArcSwap<AdminToken>>,
    pub(super) running: Arc<ArcSwap<Running>>,
    pub(super) meters: ConfigMeters,
}

impl Reloader {
    /// Takes the initial configuration, and starts health checks.
    pub(super) fn new(parts: Parts) -> Self {
        let mut health_tasks = HealthTasks::new(Arc::clone(&parts.services.gate));
        health_tasks.watch(&parts.upstreams);
        Self { parts, health_tasks }
    }

    /// Reloads on changes of the file, SIGHUP and requests of operators, forever.
    pub(super) async fn follow(mut self, mut hang_up: Option<Signal>, mut requests: mpsc::Receiver<ConfigRequest>) {
        let mut watch = self.parts.source.as_ref().and_then(|source| {
            // A pipe is empty once read.
            let seen = source.seen.clone();
            (seen != Err(Unreadable::NoFile))
                .then(|| Watch::start(&source.file, seen, *self.parts.services.gate.clock()))
        });
        loop {
            let clock = *self.parts.services.gate.clock();
            tokio::select! {
                () = clock.sleep(TIDY_EVERY), if self.parts.upstreams.has_removed() => self.tidy().await,
                saved = changed(&mut watch) => {
                    self.take(saved, "saved").await;
                }
                () = heard(&mut hang_up) => match &mut watch {
                    Some(watch) => {
                        let saved = watch.now().await;
                        self.take(saved, "SIGHUP").await;
                    }
                    None => warn!("ignoring SIGHUP: no configuration file to reload"),
                },
                request = requests.recv() => match request {
                    // The requester may be gone.
                    Some(ConfigRequest::Reload(answer)) => drop(answer.send(self.reload(watch.as_mut()).await)),
                    Some(ConfigRequest::Compare { name, bytes, answer }) => {
                        drop(answer.send(self.compare(&name, bytes.to_vec()).await));
                    }
                    None => return,
                },
            }
        }
    }

    async fn reload(&mut self, watch: Option<&mut Watch>) -> ReloadOutcome {
        let Some(watch) = watch else {
            return ReloadOutcome::NoFile;
        };
        let saved = watch.now().await;
        let load = self.take(saved, "request").await;
        match load.result == ReloadResult::Failed.name() {
            true => ReloadOutcome::Failed(load),
            false => ReloadOutcome::Done(load),
        }
    }

    /// What would change with that file, or what is wrong with it.
    async fn compare(&self, name: &str, bytes: Vec<u8>) -> Result<Json, Json> {
        match self.read(name, bytes).await {
            Ok((config, _)) => Ok(DiffLine::to_json(
                &self.described(&diff(&self.parts.config.load(), &config)),
            )),
            Err(wrong) => Err(wrong.to_json()),
        }
    }

    /// Parses a file, and applies the command line's overrides. Returns what is shown beside it.
    async fn read(&self, name: &str, bytes: Vec<u8>) -> Result<(Config, Described), ConfigErrors> {
        let (of, source) = (name.to_owned(), self.parts.source.clone());
        let of_source = source.as_ref().map(|source| source.file.clone());
        let read = attempt(move || {
            let config = match source {
                Some(source) => {
                    let config = Config::parse_for(&source.file, &of, &bytes, &System)?;
                    source.overrides.apply(config).map_err(|error| {
                        ConfigErrors::of_whole(&of, error.to_string(), "the command line no longer fits the file")
                    })?
                }
                None => Config::parse_in(&of, &bytes, &System)?,
            };
            let lint = of_source.map_or(Json::Null, |file| config::warnings(&file, &of, &bytes));
            let document = config::document(&bytes);
            Ok((config, Described { document, lint }))
        });
        read.await.unwrap_or_else(|fault| Err(panicked(name, fault)))
    }

    /// Applies the file. The log names the `trigger` of the reload.
    async fn take(&mut self, saved: Saved, trigger: &'static str) -> ConfigLoad {
        let at = self.parts.services.gate.clock().wall();
        let name = self.parts.source.as_ref().map_or_else(String::new, Source::name);
        let read = match saved {
            Ok(bytes) => self.read(&name, bytes).await,
            Err(unreadable) => {
                let message = format!("the file can't be read: {unreadable}");
                Err(ConfigErrors::of_whole(
                    &name,
                    message,
                    "check that it exists and is readable",
                ))
            }
        };
        let load = match read {
            Ok((config, described)) => self.exchange(&name, config, described, at).await,
            Err(wrong) => Err(wrong),
        };
        let (reload, load) = load.unwrap_or_else(|wrong| {
            error!(
                file = name,
                trigger,
                errors = wrong.count(),
                first = first_of(&wrong),
                "configuration rejected; the previous one stays in force (`tiergate status` shows all errors)"
            );
            let load = ConfigLoad {
                at,
                result: ReloadResult::Failed.name(),
                changes: DiffLine::to_json(&[]),
                wrong: wrong.to_json(),
            };
            (ReloadResult::Failed, load)
        });
        self.parts.meters.reloaded(reload, at);
        let before = self.parts.running.load();
        self.parts.running.store(Arc::new(Running {
            last: load.clone(),
            ..Running::clone(&before)
        }));
        if reload != ReloadResult::Failed {
            info!(file = name, trigger, result = reload.name(), "configuration read");
        }
        load
    }

    /// Applies a configuration, except for what needs a restart.
    async fn exchange(
        &mut self,
        name: &str,
        config: Config,
        Described { document, lint }: Described,
        at: UnixTime,
    ) -> Result<(ReloadResult, ConfigLoad), ConfigErrors> {
        let before = self.parts.config.load_full();
        let prepared = attempt(move || {
            let all = diff(&before, &config);
            let config = Arc::new(config.applied_to(&before));
            let live = diff(&before, &config);
            // Always read again: the file or variable it names may have changed.
            let token = open_token(&config);
            (all, config, live, token)
        });
        let (all, config, live, token) = prepared.await.map_err(|fault| panicked(name, fault))?;
        let token = token.map_err(|error| {
            ConfigErrors::of_whole(name, error.to_string(), "check the operator's token that `admin` names")
        })?;
        let reload = if live.is_empty() {
            ReloadResult::Unchanged
        } else {
            self.swap(name, &config, at).await?;
            ReloadResult::Applied
        };
        self.parts.token.store(Arc::new(token));
        let restart: Vec<DiffLine> = self.described(&all).into_iter().filter(|line| line.restart).collect();
        let changes = self.described(&live);
        for line in &changes {
            info!(file = name, change = %line, "configuration changed");
        }
        for line in &restart {
            warn!(file = name, change = %line, "configuration change not in force");
        }
        let changes = DiffLine::to_json(&changes);
        if reload == ReloadResult::Applied {
            self.log_reload(name, &changes, at).await;
        }
        let before = self.parts.running.load();
        self.parts.running.store(Arc::new(Running {
            since: if reload == ReloadResult::Applied {
                at
            } else {
                before.since
            },
            document,
            lint,
            restart: DiffLine::to_json(&restart),
            ..Running::clone(&before)
        }));
        let load = ConfigLoad {
            at,
            result: reload.name(),
            changes,
            wrong: Json::Null,
        };
        Ok((reload, load))
    }

    async fn swap(&mut self, name: &str, config: &Arc<Config>, at: UnixTime) -> Result<(), ConfigErrors> {
        let exchanged = self.settle(config, move |settling| exchange(settling, at)).await;
        let filling = exchanged.map_err(|(message, advice)| ConfigErrors::of_whole(name, message, advice))?;
        self.parts.services.unmetered.resize(config.connections.unmetered_max);
        self.parts.services.uploads.change_to(body_bounds(config));
        self.parts.services.connections.resize(connections_max(config));
        self.parts.services.status.bound_viewers(connections_max(config));
        self.health_tasks.watch(&self.parts.upstreams);
        self.parts.config.store(Arc::clone(config));
        warn_of_missing_tiers(&config.rules, self.parts.services.store.directory());
        for (gone, upstream, server) in self.parts.upstreams.shared_servers() {
            warn!(
                gone,
                upstream,
                server,
                "an upstream server moved from a removed upstream to another: until the old jobs finish, it has the slots of both"
            );
        }
        if let Some((filling, past)) = filling {
            // In the background.
            let gate = Arc::clone(&self.parts.services.gate);
            tokio::task::spawn_blocking(move || fill(&gate, filling, past));
        }
        Ok(())
    }

    /// Records the reload in the audit log. The file is in force even if that fails.
    async fn log_reload(&self, name: &str, changes: &Json, at: UnixTime) {
        let (database, file) = (Arc::clone(&self.parts.services.database), name.to_owned());
        let detail = [("changes", changes.clone())].into_iter().collect();
        let stamp = Stamp::new(at, Actor::tiers_yaml());
        let logged = blocking(move || audit::record(&database, stamp, "reload", file, detail)).await;
        if let Err(error) = logged {
            warn!(%error, "can't record the reload in the audit log");
        }
    }

    /// Runs `work` on the parts to swap, off the runtime's threads.
    async fn settle<T: Send + 'static>(
        &mut self,
        config: &Arc<Config>,
        work: impl FnOnce(&mut Settling) -> T + Send + 'static,
    ) -> T {
        let mut settling = Settling {
            services: Arc::clone(&self.parts.services),
            config: Arc::clone(config),
            site: Arc::clone(&self.parts.site),
            upstreams: std::mem::take(&mut self.parts.upstreams),
        };
        let done = blocking(move || (work(&mut settling), settling.upstreams)).await;
        self.parts.upstreams = done.1;
        done.0
    }

    /// Drops removed upstreams that are no longer in use.
    async fn tidy(&mut self) {
        if !self.parts.upstreams.has_unused() {
            return;
        }
        let config = self.parts.config.load_full();
        self.settle(&config, Settling::settle).await;
        self.health_tasks.watch(&self.parts.upstreams);
    }

    fn described(&self, diff: &Diff) -> Vec<DiffLine> {
        let tiers = self.parts.services.store.directory().tiers();
        diff.describe(&|tier| Some(tiers.get(tier).map_or(0, |accounts| *accounts as usize)))
    }
}

/// The parts that a swap needs.
struct Settling {
    services: Arc<Services>,
    config: Arc<Config>,
    site: Arc<ArcSwap<Site>>,
    upstreams: Upstreams,
}

/// Applies the configuration. Blocks on the disk before anything is changed.
///
/// # Errors
/// The declared accounts collide with stored ones, or the disk fails; or there is no id left for a new name: what is wrong, and
/// what to do. Nothing has changed.
fn exchange(settling: &mut Settling, at: UnixTime) -> Result<Option<(Backfill, JobHistory)>, (String, &'static str)> {
    let (services, config) = (Arc::clone(&settling.services), Arc::clone(&settling.config));
    let prepared = services
        .store
        .prepare_declared(&declared(&config), at)
        .map_err(|error| {
            let advice = "fix `accounts`: they must not collide with stored accounts";
            (error.to_string(), advice)
        })?;
    let rules = settling.upstreams.apply(&config).map_err(|error| {
        let advice = "restart tiergate to free the ids of unused names";
        (error.to_string(), advice)
    })?;
    services.database.set_commit_settings(commit_settings(&config));
    services
        .database
        .upkeep()
        .set(config.rules.windows.iter(), history(&config));
    // Operators see the list already; requests see it with their site's generation.
    prepared.publish();
    let filling = settling.swap(rules);
    services.store.networks().set_declared(config.blocked_networks.clone());
    if settling.upstreams.has_unused() {
        settling.settle();
    }
    Ok(filling.map(|filling| (filling, services.database.debit_history())))
}

impl Settling {
    /// Applies the same configuration again, without upstreams that are gone by now.
    fn settle(&mut self) {
        if let Ok(rules) = self.upstreams.apply(&self.config) {
            let filling = self.swap(rules);
            debug_assert!(filling.is_none(), "no window is new");
        }
    }

    /// Gives these rules to the limits, the gate and the site.
    fn swap(&self, rules: Rules) -> Option<Backfill> {
        let Self {
            services,
            config,
            site: shared,
            upstreams,
        } = self;
        let accounts = Arc::new(AccountView::of(services.store.directory()));
        upstreams.set_drained(&services.drained);
        let generation = generation(config, Arc::new(rules), accounts, &services.exposition);
        let site = Arc::new(settings::site(config, services, upstreams, &generation));
        // Under both locks, so a request that met the newest limits finds the newest site.
        let mut before = None;
        let exchange = || before = Some(shared.swap(site));
        let reload = || services.gate.reload(Arc::clone(&generation), exchange);
        let gate::Reloaded { filling, woken } = services.limiter.reload(&generation.rules, reload);
        drop(woken);
        // With it go all accounts as that file knew them: not under a lock.
        drop(before);
        // Again: a change may have missed the new servers, and now it finds them in the site.
        upstreams.set_drained(&services.drained);
        upstreams.forget_gone(&services.gate);
        filling
    }
}

/// The first error, on one line.
fn first_of(errors: &ConfigErrors) -> String {
    let name = errors.name();
    match errors.problems().first() {
        Some(problem) => match &problem.span {
            Some(span) => format!("{name}:{}:{}: {}", span.line, span.column, problem.message),
            None => format!("{name}: {}", problem.message),
        },
        None => name.to_owned(),
    }
}

/// Work that changes nothing panicked: reported like an invalid file.
fn panicked(name: &str, fault: TaskPanicked) -> ConfigErrors {
    ConfigErrors::of_whole(
        name,
        format!("it could not be applied: {fault}"),
        "the previous configuration stays in force; please report this with the file",
    )
}

async fn changed(watch: &mut Option<Watch>) -> Saved {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// Handles SIGHUP from now on; its default action ends the process. Call it within a runtime, before anything slow. `None`, with
/// a log line, if it can't be handled.
pub fn hang_ups() -> Option<Signal> {
    match signal(SignalKind::hangup()) {
        Ok(hang_up) => Some(hang_up),
        Err(error) => {
            warn!(%error, "can't handle SIGHUP; use `tiergate reload` instead");
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
