//! What would change if one configuration took the place of another, in the operator's words and the file's order.
//!
//! The promise: [`diff`] is empty if and only if the two are equal. So each function here takes a struct apart without `..`: a
//! new field does not compile until it is compared. `said` collects, `lists` says what became of the items of a list, `words`
//! is how values are written, `line` is what leaves this room; the rest is a section a file.
//!
//! Absent on purpose: any judgement of a change, who has an account beside those that a file lists, and secrets: of keys only
//! their number is told.

mod answers;
mod edge;
mod levels;
mod line;
mod lists;
mod said;
mod words;
mod work;

use std::fmt;

use super::value::show_size;
use super::{Admin, Config, History};
use crate::policy::rules::Rules;
use said::{Said, fields};
use words::{length, path, switch, word};

pub use line::Line;

/// What would change, in the file's order. Empty if and only if nothing would.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    differences: Vec<Difference>,
}

/// One thing that would change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Of what: a tier, a limit, a route, a section or a setting, such as ``tier `$5` `` or `queue`.
    pub subject: String,
    /// What would change of it, in one printable line, such as `daily quota 500 → 800`.
    pub change: String,
    /// The tier's name, if the subject is one.
    pub tier: Option<String>,
    /// Whether it takes a restart: see [`Config::applied_to`].
    pub restart: bool,
}

impl Diff {
    /// All differences, in the file's order.
    pub fn differences(&self) -> &[Difference] {
        &self.differences
    }

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.differences.is_empty()
    }

    /// What a running door can't change, in the file's order.
    pub fn needs_restart(&self) -> impl Iterator<Item = &Difference> {
        self.differences.iter().filter(|difference| difference.restart)
    }

    /// The lines to show, with how many accounts each tier has, as far as `accounts_of` knows; what needs a restart comes last.
    pub fn describe(&self, accounts_of: &dyn Fn(&str) -> Option<usize>) -> Vec<Line> {
        let live = self.differences.iter().filter(|difference| !difference.restart);
        let line = |difference: &Difference| {
            let Difference {
                subject,
                change,
                tier,
                restart,
            } = difference.clone();
            let accounts = tier.as_deref().and_then(accounts_of);
            Line {
                subject,
                change,
                tier,
                accounts,
                restart,
            }
        };
        live.chain(self.needs_restart()).map(line).collect()
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.describe(&|_| None)
            .iter()
            .try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl Config {
    /// This configuration with the running one's values where a change takes a restart: `listen`, `admin.listen`, `data_dir`
    /// and `cores`. It is what a door that runs the other really runs once this one was applied to it.
    pub fn applied_to(self, running: &Self) -> Self {
        Self {
            listen: running.listen,
            admin: Admin {
                listen: running.admin.listen,
                token: self.admin.token,
            },
            data_dir: running.data_dir.clone(),
            cores: running.cores,
            ..self
        }
    }
}

/// What would change if `new` took the place of `old`. Empty if and only if they are equal.
pub fn diff(old: &Config, new: &Config) -> Diff {
    let Config {
        listen,
        admin,
        data_dir,
        durability,
        commit_every,
        commit_patience,
        history,
        clock_step_max,
        drain_timeout,
        cores,
        connections,
        rules,
        keys,
        trusted_proxies,
        forwarded_header,
        proxy_protocol,
        blocked_networks,
        limits,
        ratelimit_fields,
        answers,
        cors,
        paths,
        upstreams,
        routes,
        accounts,
    } = old;
    let Rules {
        queue,
        windows,
        tiers,
        anonymous,
        pools,
        limits: counted,
        callers_max,
    } = rules;
    let Admin {
        listen: operators,
        token,
    } = admin;
    let mut said = Said::default();

    let after_restart = &mut said.about("listen").after_restart();
    after_restart.field("", listen, &new.listen, ToString::to_string);
    let after_restart = &mut said.about("admin").after_restart();
    after_restart.field("listen", operators, &new.admin.listen, ToString::to_string);
    edge::token(token.as_ref(), new.admin.token.as_ref(), &mut said.about("admin"));
    let after_restart = &mut said.about("data_dir").after_restart();
    after_restart.field("", data_dir, &new.data_dir, |folder| path(folder));
    said.about("durability").field("", durability, &new.durability, word);
    said.about("commit_every")
        .field("", commit_every, &new.commit_every, length);
    let patience = &mut said.about("commit_patience");
    patience.field("", commit_patience, &new.commit_patience, length);
    let about = &mut said.about("history");
    fields!(
        about,
        history,
        new.history,
        History {
            keep: length,
            max: |bytes| show_size(*bytes),
        }
    );
    let about = &mut said.about("clock_step_max");
    about.field("", clock_step_max, &new.clock_step_max, length);
    said.about("drain_timeout")
        .field("", drain_timeout, &new.drain_timeout, length);
    let after_restart = &mut said.about("cores").after_restart();
    after_restart.field("", cores, &new.cores, |cores| match cores {
        Some(cores) => cores.to_string(),
        None => "all that there are".to_owned(),
    });
    edge::connections(connections, &new.connections, &mut said.about("connections"));

    levels::queue(queue, &new.rules.queue, &mut said.about("queue"));
    let before = said.len();
    levels::tiers((&list(tiers), rules), (&list(&new.rules.tiers), &new.rules), &mut said);
    if said.len() == before {
        levels::windows(&list(windows), &list(&new.rules.windows), &mut said);
    }
    let tier_name = |rules: &Rules, id| rules.tier(id).name.to_string();
    let (old_name, new_name) = (tier_name(rules, *anonymous), tier_name(&new.rules, new.rules.anonymous));
    said.about("anonymous").field("", &old_name, &new_name, String::clone);

    edge::keys(keys, &new.keys, &mut said.about("keys"));
    edge::networks(
        trusted_proxies,
        &new.trusted_proxies,
        &mut said.about("trusted_proxies"),
    );
    edge::forwarded_header(
        *forwarded_header,
        new.forwarded_header,
        &mut said.about("forwarded_header"),
    );
    edge::networks(proxy_protocol, &new.proxy_protocol, &mut said.about("proxy_protocol"));
    edge::networks(
        blocked_networks,
        &new.blocked_networks,
        &mut said.about("blocked_networks"),
    );
    levels::limits((counted, limits), (&new.rules.limits, &new.limits), &mut said);
    let max_callers = &mut said.about("max_callers");
    max_callers.field("", callers_max, &new.rules.callers_max, u32::to_string);
    let fields = &mut said.about("ratelimit_fields");
    fields.field("", ratelimit_fields, &new.ratelimit_fields, switch);
    answers::answers(answers, &new.answers, &mut said);
    edge::cors(cors.as_ref(), new.cors.as_ref(), &mut said.about("cors"));
    edge::paths(paths, &new.paths, &mut said.about("paths"));

    work::upstreams(
        (upstreams, &list(pools)),
        (&new.upstreams, &list(&new.rules.pools)),
        &mut said,
    );
    work::routes((routes, upstreams), (&new.routes, &new.upstreams), &mut said);
    levels::accounts((accounts, rules), (&new.accounts, &new.rules), &mut said);
    Diff {
        differences: said.into_differences(),
    }
}

fn list<I: crate::policy::Id, T: Clone>(table: &crate::policy::Table<I, T>) -> Vec<T> {
    table.iter().cloned().collect()
}
