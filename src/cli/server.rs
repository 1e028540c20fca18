//! `tiergate server`: list upstream servers, drain them and take them back.

use std::io::Write;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::client::{AdminClient, escaped};
use super::{CliError, ServerTarget, ignore_broken_pipe, table};

/// List upstream servers, drain them and take them back.
///
/// A drained server gets no new requests; those that it has finish. It stays drained over reloads and restarts, until it is taken
/// back.
#[derive(Debug, Args)]
#[command(after_help = "Example: tiergate server drain 10.0.0.1:8081")]
pub struct ServerArgs {
    #[command(flatten)]
    target: ServerTarget,
    #[command(subcommand)]
    command: ServerCommand,
}

#[derive(Debug, Subcommand)]
enum ServerCommand {
    /// List the upstream servers with their health and slots
    #[command(after_help = "Example: tiergate server list --json")]
    List,
    /// Drain a server: no new requests, running ones finish
    #[command(after_help = "Example: tiergate server drain 10.0.0.1:8081 --upstream search")]
    Drain(ServerChoice),
    /// Take a drained server back
    #[command(after_help = "Example: tiergate server undrain 10.0.0.1:8081")]
    Undrain(ServerChoice),
}

/// Which server.
#[derive(Debug, Args)]
struct ServerChoice {
    /// The server's address, as `tiergate server list` shows it
    server: String,
    /// The upstream that it belongs to, if several have a server of that address
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
}

impl ServerArgs {
    /// Whether the output, errors included, is JSON.
    pub fn wants_json(&self) -> bool {
        self.target.json
    }
}

/// Runs the command, and writes the answer to `out`.
///
/// # Errors
/// No server answers, or there is no such upstream server.
pub fn run(server: ServerArgs, out: &mut impl Write) -> Result<(), CliError> {
    let json = server.target.json;
    let client = AdminClient::of(&server.target)?;
    let (method, choice) = match server.command {
        ServerCommand::List => return ignore_broken_pipe(list(&client, json, out)),
        ServerCommand::Drain(choice) => (Method::POST, choice),
        ServerCommand::Undrain(choice) => (Method::DELETE, choice),
    };
    let upstream = upstream_of(&client, &choice)?;
    let path = format!("/servers/{}/{}/drain", escaped(&upstream), escaped(&choice.server));
    let answer = client.ask(&method, &path, None)?;
    if json {
        return Ok(table::json(out, &answer)?);
    }
    ignore_broken_pipe(write_text(&answer, out))
}

/// The upstream of the chosen server.
fn upstream_of(client: &AdminClient, choice: &ServerChoice) -> Result<String, CliError> {
    if let Some(upstream) = &choice.upstream {
        let both = !upstream.is_empty() && !choice.server.is_empty();
        let error = || CliError::Unfit("write a server's address and an upstream's name".to_owned());
        return both.then(|| upstream.clone()).ok_or_else(error);
    }
    let answer = client.ask(&Method::GET, "/servers", None)?;
    let servers: Vec<&Value> = answer["servers"].as_array().into_iter().flatten().collect();
    let text = |server: &Value, field: &str| server[field].as_str().unwrap_or_default().to_owned();
    let chosen = servers.iter().filter(|server| text(server, "server") == choice.server);
    let upstreams: Vec<String> = chosen.map(|server| text(server, "upstream")).collect();
    match upstreams.as_slice() {
        [one] => Ok(one.clone()),
        [] => {
            let all: Vec<String> = servers.iter().map(|server| text(server, "server")).collect();
            let error = format!(
                "there is no upstream server {}; there are {}",
                choice.server,
                all.join(", ")
            );
            Err(CliError::Unfit(error))
        }
        several => Err(CliError::Unfit(format!(
            "several upstreams have the server {}: pass --upstream with one of {}",
            choice.server,
            several.join(", ")
        ))),
    }
}

fn write_text(answer: &Value, out: &mut impl Write) -> Result<(), CliError> {
    let cell = |name: &str| table::cell(&answer[name]);
    let (server, upstream) = (cell("server"), cell("upstream"));
    let (drained, changed) = (answer["drained"] == true, answer["changed"] == true);
    match (drained, changed) {
        (true, true) => writeln!(
            out,
            "{server} of {upstream} is drained: {} searches still run there, and no more will begin",
            cell("running")
        ),
        (true, false) => writeln!(out, "{server} of {upstream} was drained already"),
        (false, true) => writeln!(out, "{server} of {upstream} is taken back"),
        (false, false) => writeln!(out, "{server} of {upstream} was not drained"),
    }?;
    Ok(())
}

fn list(client: &AdminClient, json: bool, out: &mut impl Write) -> Result<(), CliError> {
    let answer = client.ask(&Method::GET, "/servers", None)?;
    if json {
        return Ok(table::json(out, &answer)?);
    }
    let row = |server: &Value| {
        let cell = |name: &str| table::cell(&server[name]);
        let health = match (server["up"].as_bool(), server["why_down"].as_str()) {
            (None, _) => "not in tiers.yaml".to_owned(),
            (Some(true), _) => "up".to_owned(),
            (Some(false), None) => "down".to_owned(),
            (Some(false), Some(why)) => format!("down: {why}"),
        };
        let drained = cell("drained_since");
        let slots = format!("{} of {}", cell("running"), cell("slots"));
        [cell("upstream"), cell("server"), slots, drained, health]
    };
    let servers = answer["servers"].as_array().into_iter().flatten();
    let rows: Vec<_> = servers.map(row).collect();
    Ok(table::write(
        out,
        ["UPSTREAM", "SERVER", "SLOTS BUSY", "DRAINED SINCE", "HEALTH"],
        &rows,
    )?)
}
