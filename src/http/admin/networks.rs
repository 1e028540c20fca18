//! Networks: lists, shows, changes and removes operators' entries.
//!
//! Networks that a limit's rule has blocked can't be listed: they are known by hash only.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::accounts::place;
use super::operator::Stamped;
use super::problem::Problem;
use super::sent::{BodyField, BodyFields, Sent};
use super::wire::RuleBlockLine;
use super::{Admin, limits, on_disk, times};
use crate::policy::caller::{WIDE_BITS_V4, WIDE_BITS_V6};
use crate::policy::rules::Rules;
use crate::policy::time::UnixTime;
use crate::store::network::{canonical, network_of};
use crate::store::{Block, Change, ChangeError, NetworkChange, NetworkEntry};

/// The shortest IPv4 prefix of which every address is unblocked.
const LIFTED_BITS_MIN: u8 = 16;

/// A page of networks, by address.
#[derive(Debug, Serialize)]
pub struct NetworkPage {
    networks: Vec<NetworkLine>,
    /// The value of `after` for the next page; `null` if this is the last.
    next: Option<String>,
}

/// An operator's entry for a network.
#[derive(Debug, Serialize)]
pub struct NetworkLine {
    network: String,
    limits: BTreeMap<String, u32>,
    note: Option<String>,
    block: Option<BlockLine>,
    /// Whether tiers.yaml blocks it, regardless of this entry.
    listed: bool,
}

/// A block of a network.
#[derive(Debug, Serialize)]
struct BlockLine {
    since: String,
    until: Option<String>,
    why: Option<String>,
}

/// A network's entry, and what blocks the network.
#[derive(Debug, Serialize)]
pub struct NetworkDetails {
    #[serde(flatten)]
    line: NetworkLine,
    /// The blocks of this network and of the networks that contain it; the narrowest first.
    blocked_by: Vec<BlockedBy>,
    /// Blocks by limits' rules of the requested address; empty for larger networks.
    blocked_by_rule: Vec<RuleBlockLine>,
    /// After an unblock: whether it had been blocked, by an operator or by a rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    was_blocked: Option<bool>,
}

#[derive(Debug, Serialize)]
struct BlockedBy {
    network: String,
    /// `stored`, or `listed` in tiers.yaml: then it must be unblocked there.
    origin: &'static str,
}

impl NetworkLine {
    /// The entry at that time.
    fn of(entry: &NetworkEntry, now: UnixTime) -> Self {
        let block = entry.at(now).block.map(|block| BlockLine {
            since: times::written(block.since),
            until: block.until.map(times::written),
            why: block.why,
        });
        let limits = entry.limits.iter();
        Self {
            network: entry.network.to_string(),
            limits: limits.map(|(name, number)| (name.to_string(), *number)).collect(),
            note: entry.note.clone(),
            block,
            listed: entry.declared,
        }
    }
}

impl NetworkDetails {
    /// The network at that time. `written` is the network as it was requested.
    fn of(entry: &NetworkEntry, written: &str, admin: &Admin, now: UnixTime) -> Self {
        let around = admin.store.networks().around(entry.network);
        let blocked_by = around
            .iter()
            .filter(|entry| entry.is_blocked(now))
            .map(|entry| BlockedBy {
                network: entry.network.to_string(),
                origin: if entry.declared { "listed" } else { "stored" },
            });
        Self {
            line: NetworkLine::of(entry, now),
            blocked_by: blocked_by.collect(),
            was_blocked: None,
            blocked_by_rule: blocked_by_rule(entry.network, written, admin, now),
        }
    }

    fn is_blocked(&self) -> bool {
        !self.blocked_by.is_empty() || !self.blocked_by_rule.is_empty()
    }
}

fn blocked_by_rule(network: IpNet, written: &str, admin: &Admin, now: UnixTime) -> Vec<RuleBlockLine> {
    // Bits beyond the prefix matter to limits that count narrower networks.
    let address = written.parse::<IpAddr>().ok();
    let address = address.or_else(|| (network_of(network.addr()) == network).then(|| network.addr()));
    let blocks = address.map(|address| admin.limits().blocks_of(address, now));
    blocks
        .unwrap_or_default()
        .into_iter()
        .map(RuleBlockLine::from)
        .collect()
}

/// A change to a network's entry. Absent fields stay as they are, `null` removes.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChangeLine {
    limits: BTreeMap<String, Option<u32>>,
    note: Change<String>,
    block: Change<NewBlock>,
    /// Confirms blocking a very wide network.
    confirm: bool,
}

/// A block for a duration, until a time, or for good.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NewBlock {
    r#for: Option<String>,
    until: Option<String>,
    why: Option<String>,
}

impl BodyFields for ChangeLine {
    fn all() -> Vec<BodyField> {
        vec![
            BodyField::optional(
                "limits",
                "an object of whole numbers or null by the names of request limits",
            ),
            BodyField::optional("note", "text, or null"),
            BodyField::optional("block", "an object with texts as `for` or `until`, and `why`; or null"),
            BodyField::optional("confirm", "true or false"),
        ]
    }
}

impl ChangeLine {
    /// Whether it would block a very wide network, by a block or by a number of 0, without confirmation.
    fn is_unconfirmed(&self, network: IpNet) -> bool {
        let locks_out = matches!(self.block, Change::Set(_)) || self.limits.values().any(|number| *number == Some(0));
        locks_out && !self.confirm && is_wide(canonical(network))
    }

    /// The requested change.
    ///
    /// # Errors
    /// A limit is unknown or counts no networks, or the end of the block is invalid.
    fn change(self, rules: &Rules, now: UnixTime) -> Result<NetworkChange, Problem> {
        // A removed number needs no such limit any more.
        let given = self.limits.iter().filter(|(_, number)| number.is_some());
        limits::check(given.map(|(name, _)| name), rules)?;
        let block = match self.block {
            Change::Set(block) => Change::Set(block.begun(now)?),
            Change::Clear => Change::Clear,
            Change::Keep => Change::Keep,
        };
        Ok(NetworkChange {
            limits: self
                .limits
                .into_iter()
                .map(|(name, number)| (name.into(), number))
                .collect(),
            note: self.note,
            block,
        })
    }
}

impl NewBlock {
    fn begun(self, now: UnixTime) -> Result<Block, Problem> {
        let until = match (self.r#for, self.until) {
            (Some(length), None) => Some(times::after(&length, "for", now)?),
            (None, Some(until)) => Some(times::later(&until, "until", now)?),
            (None, None) => None,
            (Some(_), Some(_)) => {
                return Err(Problem::bad_request("a block takes `for` or `until`, not both"));
            }
        };
        Ok(Block {
            since: now,
            until,
            why: self.why,
        })
    }
}

/// `GET /networks?after=NETWORK&limit=N`.
pub async fn list(State(admin): State<Arc<Admin>>, RawQuery(query): RawQuery) -> Result<Json<NetworkPage>, Problem> {
    let (after, limit) = place(query.as_deref().unwrap_or_default())?;
    let after = match after.as_str() {
        "" => None,
        after => Some(network(after)?),
    };
    let now = admin.gate.clock().wall();
    let mut entries = admin.store.networks().page(after, limit + 1);
    let more = entries.len() > limit;
    entries.truncate(limit);
    let still = entries.iter().filter(|entry| is_still(entry, now));
    Ok(Json(NetworkPage {
        networks: still.map(|entry| NetworkLine::of(entry, now)).collect(),
        next: entries.last().filter(|_| more).map(|last| last.network.to_string()),
    }))
}

/// `GET /networks/{network}`. A network without an entry is shown if it is blocked as part of another one or by a limit's rule.
pub async fn show(State(admin): State<Arc<Admin>>, Path(text): Path<String>) -> Result<Json<NetworkDetails>, Problem> {
    let (network, now) = (network(&text)?, admin.gate.clock().wall());
    let networks = admin.store.networks();
    match networks.get(network).filter(|entry| is_still(entry, now)) {
        Some(entry) => Ok(Json(NetworkDetails::of(&entry, &text, &admin, now))),
        None => {
            let shown = NetworkDetails::of(&NetworkEntry::bare(canonical(network), false), &text, &admin, now);
            if shown.is_blocked() {
                return Ok(Json(shown));
            }
            let mut around = networks.around(network);
            around.retain(|entry| is_still(entry, now));
            Err(Problem::unknown_network(
                around.iter().map(|entry| entry.network.to_string()),
            ))
        }
    }
}

/// `PATCH /networks/{network}`. Answers with the entry, which may be empty now. A block of a very wide network, or a number of 0
/// for it, requires `"confirm": true`.
pub async fn change(
    State(admin): State<Arc<Admin>>,
    Path(text): Path<String>,
    Stamped(stamp): Stamped,
    Sent(line): Sent<ChangeLine>,
) -> Result<Json<NetworkDetails>, Problem> {
    let (network, now) = (network(&text)?, stamp.at);
    if line.is_unconfirmed(network) {
        return Err(Problem::wide_network(&canonical(network)));
    }
    let change = line.change(&admin.rules(), now)?;
    let unblocks = change.block == Change::Clear;
    let stored = admin.store.networks().get(network);
    let was_stored = stored.is_some_and(|entry| entry.at(now).block.is_some());
    let entry = on_disk(&admin, move |store| store.set_network(network, &change, stamp)).await??;
    let was_blocked = was_stored | (unblocks && lift_blocks_made_by_rule(&admin, &text, entry.network));
    Ok(Json(NetworkDetails {
        was_blocked: unblocks.then_some(was_blocked),
        ..NetworkDetails::of(&entry, &text, &admin, now)
    }))
}

/// `DELETE /networks/{network}`. Answers with the removed entry, which is empty if only a rule had blocked the network.
pub async fn remove(
    State(admin): State<Arc<Admin>>,
    Path(text): Path<String>,
    Stamped(stamp): Stamped,
) -> Result<Json<NetworkLine>, Problem> {
    let (network, now) = (network(&text)?, stamp.at);
    let was_lifted = lift_blocks_made_by_rule(&admin, &text, canonical(network));
    let removed = on_disk(&admin, move |store| store.remove_network(network, stamp)).await?;
    let entry = match removed {
        // A network that a rule has blocked may have no entry.
        Err(ChangeError::UnknownNetwork) if was_lifted => Arc::new(NetworkEntry::bare(canonical(network), false)),
        removed => removed?,
    };
    Ok(Json(NetworkLine::of(&entry, now)))
}

/// Lifts blocks by limits' rules when an operator unblocks a network or removes its entry (rules §7.6, §7.18). Such blocks are known
/// by address only: of IPv4 networks larger than [`LIFTED_BITS_MIN`], and of IPv6 ones, only the first address is unblocked, and
/// the address as the operator wrote it, if it was one. Returns whether a rule had blocked any of them.
fn lift_blocks_made_by_rule(admin: &Admin, written: &str, network: IpNet) -> bool {
    let limits = admin.limits();
    let written = written.parse::<IpAddr>().ok();
    let written = written.is_some_and(|address| limits.forgive(address));
    let others = match network {
        IpNet::V4(v4) if v4.prefix_len() >= LIFTED_BITS_MIN => {
            let addresses = (v4.network().to_bits()..=v4.broadcast().to_bits()).map(Ipv4Addr::from_bits);
            addresses.filter(|address| limits.forgive((*address).into())).count() > 0
        }
        network => limits.forgive(network.addr()),
    };
    written || others
}

/// Whether the entry has any effect at that time. An expired block stays stored until the next change.
fn is_still(entry: &NetworkEntry, now: UnixTime) -> bool {
    entry.declared || !entry.at(now).is_bare()
}

/// Whether it is so wide that blocking it locks out a large part of all clients.
const fn is_wide(network: IpNet) -> bool {
    match network {
        IpNet::V4(v4) => v4.prefix_len() < WIDE_BITS_V4,
        IpNet::V6(v6) => v6.prefix_len() < WIDE_BITS_V6,
    }
}

/// Parses a network. Bits beyond the prefix are ignored; a bare IPv6 address means its /64.
fn network(text: &str) -> Result<IpNet, Problem> {
    let address = text.parse::<IpAddr>().ok().map(network_of);
    address.or_else(|| text.parse().ok()).ok_or_else(|| {
        Problem::bad_request(
            "that is no network: write an address such as 192.0.2.7 or 2001:db8::7 (which means its /64), or a network such as \
             192.0.2.0/24 or 2001:db8::/32",
        )
    })
}
