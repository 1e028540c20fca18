//! `tiergate network`, `tiergate block` and `tiergate unblock`: limits and blocks of networks.

use std::io::Write;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::client::{AdminClient, escaped};
use super::limits::{self, Given};
use super::table;
use super::{CliError, ServerTarget, ignore_broken_pipe};

/// Networks per request.
const PAGE: usize = 1_000;

/// List, show, change and remove networks with request limits, notes or blocks of their own.
#[derive(Debug, Args)]
#[command(after_help = "Example: tiergate network list")]
pub struct NetworkArgs {
    #[command(flatten)]
    target: ServerTarget,
    #[command(subcommand)]
    command: NetworkCommand,
}

/// Block a network, or list the networks that are blocked by command or in tiers.yaml.
#[derive(Debug, Args)]
#[command(subcommand_negates_reqs = true)]
#[command(after_help = "Example: tiergate block 192.0.2.0/24 --for 1d --why scraping")]
pub struct BlockArgs {
    #[command(flatten)]
    target: ServerTarget,
    #[command(subcommand)]
    list: Option<BlockCommand>,
    /// Address (an IPv6 address stands for its /64), or network such as 192.0.2.0/24
    #[arg(required = true)]
    address: Option<String>,
    /// How long to block, such as 1d or 12h [default: until it is unblocked]
    #[arg(long = "for", value_name = "TIME", conflicts_with = "until")]
    lasts: Option<String>,
    /// Block until this day (UTC) or time, such as 2027-01-01
    #[arg(long, value_name = "DATE")]
    until: Option<String>,
    /// Reason, shown to operators
    #[arg(long)]
    why: Option<String>,
    /// Confirm blocking a network wider than /8 (IPv4) or /16 (IPv6), which holds a large part of all addresses
    #[arg(long)]
    yes: bool,
}

/// Unblock a network.
#[derive(Debug, Args)]
#[command(after_help = "Example: tiergate unblock 192.0.2.0/24")]
pub struct UnblockArgs {
    #[command(flatten)]
    target: ServerTarget,
    /// Address (an IPv6 address stands for its /64), or network such as 192.0.2.0/24
    address: String,
}

impl NetworkArgs {
    /// Whether the output, errors included, is JSON.
    pub fn wants_json(&self) -> bool {
        self.target.json
    }
}

impl BlockArgs {
    /// Whether the output, errors included, is JSON.
    pub fn wants_json(&self) -> bool {
        self.target.json
    }
}

impl UnblockArgs {
    /// Whether the output, errors included, is JSON.
    pub fn wants_json(&self) -> bool {
        self.target.json
    }
}

#[derive(Debug, Subcommand)]
enum NetworkCommand {
    /// Change a network; fields that are not given stay as they are
    #[command(after_help = "Example: tiergate network set 192.0.2.0/24 --limit http=300 --note 'campus proxy'")]
    Set {
        /// Address (an IPv6 address stands for its /64), or network such as 192.0.2.0/24
        address: String,
        /// Its own number for a request limit, or `NAME=` to reset it. May be repeated
        #[arg(long, value_name = "NAME=N", value_parser = limits::number)]
        limit: Vec<Given>,
        /// Note for operators; empty clears it
        #[arg(long)]
        note: Option<String>,
        /// Confirm a limit of 0 for a network wider than /8 (IPv4) or /16 (IPv6), which locks out a large part of all addresses
        #[arg(long)]
        yes: bool,
    },
    /// List all networks with own limits, notes or blocks, including those blocked in tiers.yaml
    #[command(after_help = "Example: tiergate network list --json")]
    List,
    /// Show a network; for an address, also blocks by the rules of limits
    #[command(after_help = "Example: tiergate network show 192.0.2.7")]
    Show {
        /// Address or network
        address: String,
    },
    /// Remove everything set for a network, including a block
    #[command(after_help = "Example: tiergate network remove 192.0.2.0/24")]
    Remove {
        /// Address or network
        address: String,
    },
}

#[derive(Debug, Subcommand)]
enum BlockCommand {
    /// List networks blocked by command or in tiers.yaml, but not those blocked by rules (`block_after`)
    ///
    /// For blocks by rules see `tiergate network show ADDRESS` and `tiergate account show NAME`.
    #[command(after_help = "Example: tiergate block list")]
    List,
}

/// Runs the command, and writes the answer to `out`.
///
/// # Errors
/// The command failed, or its output can't be written.
pub fn run(network: NetworkArgs, out: &mut impl Write) -> Result<(), CliError> {
    ignore_broken_pipe(answer(network, out))
}

/// Blocks a network or lists blocks, and writes the answer to `out`.
///
/// # Errors
/// The command failed, or its output can't be written.
pub fn block(block: BlockArgs, out: &mut impl Write) -> Result<(), CliError> {
    ignore_broken_pipe(answer_block(block, out))
}

/// Unblocks a network, and writes the answer to `out`.
///
/// # Errors
/// As above, or another block still covers the network.
pub fn unblock(unblock: UnblockArgs, out: &mut impl Write) -> Result<(), CliError> {
    ignore_broken_pipe(answer_unblock(unblock, out))
}

fn answer(network: NetworkArgs, out: &mut impl Write) -> Result<(), CliError> {
    let NetworkArgs { target, command } = network;
    let client = AdminClient::of(&target)?;
    let (action, answer) = match command {
        NetworkCommand::List => return list(&client, target.json, out),
        NetworkCommand::Show { address } => ("", client.ask(&Method::GET, &path(&address)?, None)?),
        NetworkCommand::Set {
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
                return Err(CliError::Unfit("nothing to change; see --help".to_owned()));
            }
            ("changed", change(&client, &address, fields.into(), yes)?)
        }
        NetworkCommand::Remove { address } => ("removed", client.ask(&Method::DELETE, &path(&address)?, None)?),
    };
    report(action, &answer, target.json, out)
}

fn answer_block(block: BlockArgs, out: &mut impl Write) -> Result<(), CliError> {
    let has_options = block.lasts.is_some() || block.until.is_some() || block.why.is_some() || block.yes;
    let address = match (block.list, block.address) {
        (None, Some(address)) => address,
        (Some(BlockCommand::List), None) if !has_options => {
            return list_blocks(&AdminClient::of(&block.target)?, block.target.json, out);
        }
        _ => {
            return Err(CliError::Unfit(
                "`block list` takes no address and no other options".to_owned(),
            ));
        }
    };
    let mut fields = Map::new();
    fields.extend(block.lasts.map(|lasts| ("for".to_owned(), lasts.into())));
    fields.extend(block.until.map(|until| ("until".to_owned(), until.into())));
    fields.extend(block.why.map(|why| ("why".to_owned(), why.into())));
    let client = AdminClient::of(&block.target)?;
    let body = json!({ "block": fields });
    let answer = change(&client, &address, body, block.yes)?;
    report("blocked", &answer, block.target.json, out)
}

fn answer_unblock(unblock: UnblockArgs, out: &mut impl Write) -> Result<(), CliError> {
    let client = AdminClient::of(&unblock.target)?;
    let body = json!({ "block": null });
    let answer = client.ask(&Method::PATCH, &path(&unblock.address)?, Some(&body))?;
    let by: Vec<String> = blocked_by(&answer).collect();
    if by.is_empty() {
        let action = match answer["was_blocked"].as_bool() {
            Some(false) => "nothing was blocked",
            _ => "unblocked",
        };
        return report(action, &answer, unblock.target.json, out);
    }
    let network = table::cell(&answer["network"]);
    Err(CliError::StillBlocked(network, by.join(", ")))
}

/// Changes a network; `yes` confirms locking out a very wide one.
fn change(client: &AdminClient, address: &str, mut body: Value, yes: bool) -> Result<Value, CliError> {
    if yes {
        body["confirm"] = true.into();
    }
    let answer = client.ask(&Method::PATCH, &path(address)?, Some(&body));
    answer.map_err(|error| match error {
        CliError::Refused { message, body } if body["reason"] == "wide_network" => CliError::Refused {
            message: message.replace("send \"confirm\": true", "pass --yes"),
            body,
        },
        error => error,
    })
}

/// The network's path at the server. An empty address would give another path.
fn path(address: &str) -> Result<String, CliError> {
    if address.is_empty() {
        let error = "write an address such as 192.0.2.7, or a network such as 192.0.2.0/24";
        return Err(CliError::Unfit(error.to_owned()));
    }
    Ok(format!("/networks/{}", escaped(address)))
}

/// The networks whose blocks cover this one, and where each block comes from.
fn blocked_by(network: &Value) -> impl Iterator<Item = String> {
    let by = network["blocked_by"].as_array().into_iter().flatten();
    by.map(|by| format!("{} ({})", table::cell(&by["network"]), table::cell(&by["origin"])))
}

fn report(action: &str, network: &Value, json: bool, out: &mut impl Write) -> Result<(), CliError> {
    if json {
        return Ok(table::json(out, network)?);
    }
    if !action.is_empty() {
        writeln!(out, "{action}:")?;
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
fn all(client: &AdminClient) -> Result<Vec<Value>, CliError> {
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

fn list(client: &AdminClient, json: bool, out: &mut impl Write) -> Result<(), CliError> {
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

/// Lists blocks, one line each: a network blocked in tiers.yaml may be blocked by command as well.
fn list_blocks(client: &AdminClient, json: bool, out: &mut impl Write) -> Result<(), CliError> {
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
