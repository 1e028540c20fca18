//! `tiergate network`, `tiergate block` and `tiergate unblock`: what operators say of networks.
//!
//! Absent on purpose: what an address means. It goes to the door as it was written, and the door says what is wrong with it.

use std::io::Write;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::client::{Client, escaped};
use super::limits::{self, Given};
use super::table;
use super::{CliError, Target, unless_enough};

/// Networks that are asked for at once.
const PAGE: usize = 1_000;

/// Networks: give them numbers of their own for request limits, list, show, remove.
#[derive(Debug, Args)]
pub struct Network {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    command: Command,
}

/// Turn a network away, or list those that are by command and in tiers.yaml.
#[derive(Debug, Args)]
#[command(subcommand_negates_reqs = true)]
pub struct Block {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    list: Option<Blocks>,
    /// An address, of which IPv6 means its /64, or a network such as 192.0.2.0/24
    #[arg(required = true)]
    address: Option<String>,
    /// How long, such as 1d or 12h; unless this or --until is said, until it is unblocked
    #[arg(long = "for", value_name = "TIME", conflicts_with = "until")]
    lasts: Option<String>,
    /// Until that day (UTC) or time, such as 2027-01-01
    #[arg(long, value_name = "DATE")]
    until: Option<String>,
    /// For operators to see
    #[arg(long)]
    why: Option<String>,
    /// Yes, also a network wider than /8 (IPv4) or /16 (IPv6), which holds a large part of all addresses
    #[arg(long)]
    yes: bool,
}

/// Let a network in again.
#[derive(Debug, Args)]
pub struct Unblock {
    #[command(flatten)]
    target: Target,
    /// An address, of which IPv6 means its /64, or a network such as 192.0.2.0/24
    address: String,
}

impl Network {
    /// Whether programs are to read the answer, or why there is none.
    pub fn is_for_programs(&self) -> bool {
        self.target.json
    }
}

impl Block {
    /// Whether programs are to read the answer, or why there is none.
    pub fn is_for_programs(&self) -> bool {
        self.target.json
    }
}

impl Unblock {
    /// Whether programs are to read the answer, or why there is none.
    pub fn is_for_programs(&self) -> bool {
        self.target.json
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say something of a network. What isn't named stays as it is
    Set {
        /// An address, of which IPv6 means its /64, or a network such as 192.0.2.0/24
        address: String,
        /// A number of its own for a request limit, or `NAME=` for the usual one
        #[arg(long, value_name = "NAME=N", value_parser = limits::number)]
        limit: Vec<Given>,
        /// What operators want to remember; empty takes it away
        #[arg(long)]
        note: Option<String>,
        /// Yes, also a number of 0 for a network wider than /8 (IPv4) or /16 (IPv6), which locks out a large part of everybody
        #[arg(long)]
        yes: bool,
    },
    /// List all networks of which something is said, those blocked in tiers.yaml too
    List,
    /// Show what is said of a network, and of an address what the rules of limits have blocked
    Show {
        /// Its address
        address: String,
    },
    /// Take back all that is said of a network, a block included
    Remove {
        /// Its address
        address: String,
    },
}

#[derive(Debug, Subcommand)]
enum Blocks {
    /// List the networks that are turned away by command and in tiers.yaml. What rules (`block_after`) have blocked is not in it:
    /// ask `network show ADDRESS` and `account show NAME`
    List,
}

/// Does what is asked, and writes the answer to `out`, as far as somebody reads it.
///
/// # Errors
/// It was not done, or not shown.
pub fn run(network: Network, out: &mut impl Write) -> Result<(), CliError> {
    unless_enough(answer(network, out))
}

/// Blocks, or lists what is blocked, and writes the answer to `out`, as far as somebody reads it.
///
/// # Errors
/// It was not done, or not shown.
pub fn block(block: Block, out: &mut impl Write) -> Result<(), CliError> {
    unless_enough(answer_block(block, out))
}

/// Unblocks, and writes the answer to `out`, as far as somebody reads it.
///
/// # Errors
/// It was not done, or not shown, or the network is blocked still, as a part of another.
pub fn unblock(unblock: Unblock, out: &mut impl Write) -> Result<(), CliError> {
    unless_enough(answer_unblock(unblock, out))
}

fn answer(network: Network, out: &mut impl Write) -> Result<(), CliError> {
    let Network { target, command } = network;
    let client = Client::of(&target)?;
    let (said, answer) = match command {
        Command::List => return list(&client, target.json, out),
        Command::Show { address } => ("", client.ask(&Method::GET, &path(&address)?, None)?),
        Command::Set {
            address,
            limit,
            note,
            yes,
        } => {
            let mut fields = Map::new();
            let limits = limits::fields(limit);
            fields.extend((!limits.is_empty()).then(|| ("limits".to_owned(), limits.into())));
            let note = note.map(|note| Some(note).filter(|note| !note.is_empty()));
            fields.extend(note.map(|note| ("note".to_owned(), note.into())));
            if fields.is_empty() {
                return Err(CliError::Unfit("nothing to change was named; see --help".to_owned()));
            }
            ("changed", change(&client, &address, fields.into(), yes)?)
        }
        Command::Remove { address } => ("removed", client.ask(&Method::DELETE, &path(&address)?, None)?),
    };
    tell(said, &answer, target.json, out)
}

fn answer_block(block: Block, out: &mut impl Write) -> Result<(), CliError> {
    let is_said = block.lasts.is_some() || block.until.is_some() || block.why.is_some() || block.yes;
    let address = match (block.list, block.address) {
        (None, Some(address)) => address,
        (Some(Blocks::List), None) if !is_said => {
            return list_blocks(&Client::of(&block.target)?, block.target.json, out);
        }
        _ => {
            return Err(CliError::Unfit(
                "a list takes no address and no other options".to_owned(),
            ));
        }
    };
    let mut fields = Map::new();
    fields.extend(block.lasts.map(|lasts| ("for".to_owned(), lasts.into())));
    fields.extend(block.until.map(|until| ("until".to_owned(), until.into())));
    fields.extend(block.why.map(|why| ("why".to_owned(), why.into())));
    let client = Client::of(&block.target)?;
    let body = json!({ "block": fields });
    let answer = change(&client, &address, body, block.yes)?;
    tell("blocked", &answer, block.target.json, out)
}

fn answer_unblock(unblock: Unblock, out: &mut impl Write) -> Result<(), CliError> {
    let client = Client::of(&unblock.target)?;
    let body = json!({ "block": null });
    let answer = client.ask(&Method::PATCH, &path(&unblock.address)?, Some(&body))?;
    let by: Vec<String> = blocked_by(&answer).collect();
    if by.is_empty() {
        let said = match answer["was_blocked"].as_bool() {
            Some(false) => "nothing was blocked",
            _ => "unblocked",
        };
        return tell(said, &answer, unblock.target.json, out);
    }
    let network = table::cell(&answer["network"]);
    Err(CliError::StillBlocked(network, by.join(", ")))
}

/// Changes what is said of the network; `yes`: also if that locks out a very wide one.
fn change(client: &Client, address: &str, mut body: Value, yes: bool) -> Result<Value, CliError> {
    if yes {
        body["confirm"] = true.into();
    }
    let answer = client.ask(&Method::PATCH, &path(address)?, Some(&body));
    answer.map_err(|error| match error {
        CliError::Refused { said, body } if body["reason"] == "wide_network" => CliError::Refused {
            said: said.replace("send \"confirm\": true", "say --yes"),
            body,
        },
        error => error,
    })
}

/// The network's place at the door, which would take an empty address for another path.
fn path(address: &str) -> Result<String, CliError> {
    if address.is_empty() {
        let error = "write an address such as 192.0.2.7, or a network such as 192.0.2.0/24";
        return Err(CliError::Unfit(error.to_owned()));
    }
    Ok(format!("/networks/{}", escaped(address)))
}

/// The networks by which one is blocked, and whether tiers.yaml blocks them.
fn blocked_by(network: &Value) -> impl Iterator<Item = String> {
    let by = network["blocked_by"].as_array().into_iter().flatten();
    by.map(|by| format!("{} ({})", table::cell(&by["network"]), table::cell(&by["origin"])))
}

fn tell(said: &str, network: &Value, json: bool, out: &mut impl Write) -> Result<(), CliError> {
    if json {
        return Ok(table::json(out, network)?);
    }
    if !said.is_empty() {
        writeln!(out, "{said}:")?;
    }
    let block = &network["block"];
    let blocked = match (network["listed"].as_bool(), block.is_object()) {
        (Some(true), _) => "in tiers.yaml",
        (_, true) => "yes",
        _ => "no",
    };
    let by: Vec<String> = blocked_by(network).collect();
    for (name, value) in [
        ("network", table::cell(&network["network"])),
        ("limits", limits::cell(&network["limits"])),
        ("note", table::cell(&network["note"])),
        ("blocked", blocked.to_owned()),
        ("since", table::cell(&block["since"])),
        ("until", table::cell(&block["until"])),
        ("why", table::cell(&block["why"])),
        ("by rule", table::blocks_by_rule(&network["blocked_by_rule"])),
        ("blocked by", table::cell(&by.join(", ").into())),
    ] {
        writeln!(out, "  {name:<12} {value}")?;
    }
    Ok(())
}

/// All networks, page by page.
fn all(client: &Client) -> Result<Vec<Value>, CliError> {
    let mut networks = Vec::new();
    let mut path = format!("/networks?limit={PAGE}");
    loop {
        let mut page = client.ask(&Method::GET, &path, None)?;
        if let Value::Array(some) = page["networks"].take() {
            networks.extend(some);
        }
        match page["next"].as_str() {
            Some(next) => path = format!("/networks?limit={PAGE}&after={}", escaped(next)),
            None => return Ok(networks),
        }
    }
}

fn list(client: &Client, json: bool, out: &mut impl Write) -> Result<(), CliError> {
    let networks = all(client)?;
    if json {
        return Ok(table::json(out, &json!({ "networks": networks }))?);
    }
    let row = |network: &Value| {
        let state = match (network["listed"].as_bool(), network["block"].is_object()) {
            (Some(true), _) => "blocked in tiers.yaml",
            (_, true) => "blocked",
            _ => "-",
        };
        let cell = |field| table::cell(&network[field]);
        let limits = limits::cell(&network["limits"]);
        let until = table::cell(&network["block"]["until"]);
        [cell("network"), limits, state.to_owned(), until, cell("note")]
    };
    let rows: Vec<_> = networks.iter().map(row).collect();
    let heads = ["NETWORK", "LIMITS", "STATE", "UNTIL", "NOTE"];
    Ok(table::write(out, heads, &rows)?)
}

/// A line for each block: a network that tiers.yaml blocks may be blocked by command as well.
fn list_blocks(client: &Client, json: bool, out: &mut impl Write) -> Result<(), CliError> {
    let mut blocks = Vec::new();
    for network in all(client)? {
        let (name, block) = (&network["network"], &network["block"]);
        let line = |origin| {
            let [since, until, why] = ["since", "until", "why"].map(|field| block[field].clone());
            json!({ "network": name, "since": since, "until": until, "why": why, "origin": origin })
        };
        if network["listed"] == true {
            blocks.push(json!({ "network": name, "since": null, "until": null, "why": null, "origin": "listed" }));
        }
        blocks.extend(block.is_object().then(|| line("stored")));
    }
    if json {
        return Ok(table::json(out, &json!({ "blocks": blocks }))?);
    }
    let row = |block: &Value| ["network", "since", "until", "origin", "why"].map(|field| table::cell(&block[field]));
    let rows: Vec<_> = blocks.iter().map(row).collect();
    let heads = ["NETWORK", "SINCE", "UNTIL", "ORIGIN", "WHY"];
    Ok(table::write(out, heads, &rows)?)
}
