//! The command line.

use std::io::{ErrorKind, Stdout, Write, stderr, stdout};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use tiergate::cli::CliError;
use tiergate::cli::account::{self, AccountArgs};
use tiergate::cli::admission::{self, AdmissionArgs};
use tiergate::cli::audit::{self, Audit};
use tiergate::cli::backup::{self, Backup, RestoreArgs};
use tiergate::cli::check::{self, CheckArgs};
use tiergate::cli::db::{self, DbArgs};
use tiergate::cli::diff::{self, DiffArgs, DiffOutcome};
use tiergate::cli::job::{self, JobArgs};
use tiergate::cli::jobs::{self, JobsArgs};
use tiergate::cli::key::{self, KeyArgs};
use tiergate::cli::network::{self, BlockArgs, NetworkArgs, UnblockArgs};
use tiergate::cli::pause::{self, PauseArgs};
use tiergate::cli::reload::{self, ReloadArgs};
use tiergate::cli::resume::{self, ResumeArgs};
use tiergate::cli::schema;
use tiergate::cli::server::{self as upstream_server, ServerArgs};
use tiergate::cli::status::{self, Condition, Status};
use tiergate::cli::tiers::{self, Tiers};
use tiergate::cli::top::{self, TopArgs};
use tiergate::cli::usage::{self, UsageArgs};
use tiergate::clock::Clock;
use tiergate::config::presets::{PRESETS, Preset};
use tiergate::config::{Config, Overrides, System};
use tiergate::server::{self, Source, config_watch};
use tiergate::store::OldData;
use tiergate::telemetry::logs::{self, Format};
use tokio::signal::unix::{SignalKind, signal};

/// A reverse proxy with admission control: priority queue, concurrency, quotas and rate limits by sponsor tier
///
/// tiergate admits requests to a queue of fixed length, ordered by the priority of each caller's sponsor tier, holds callers to
/// their concurrency, quotas and rate limits, and forwards admitted requests to upstream servers. One file, tiers.yaml,
/// configures everything.
#[derive(Debug, Parser)]
#[command(
    version,
    propagate_version = true,
    after_help = "Example: tiergate serve --config tiers.yaml"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy
    ///
    /// SIGTERM or Ctrl-C shuts it down: running requests finish, queued ones are rejected; a second signal exits immediately.
    /// SIGHUP reloads tiers.yaml, and so does saving it.
    #[command(after_help = "Example: tiergate serve --config /etc/tiergate/tiers.yaml --data-dir /var/lib/tiergate")]
    Serve(Serve),
    Check(CheckArgs),
    /// Show what an edit of tiers.yaml would change
    ///
    /// Compares two files, or a file with the running configuration. Exit code 0; 1 if anything would change and --exit-code is
    /// given; 2 on errors.
    Diff(DiffArgs),
    Tiers(Tiers),
    /// Print the JSON Schema of tiers.yaml, for editors that complete and validate YAML
    #[command(after_help = "Example: tiergate schema > tiers.schema.json")]
    Schema,
    Reload(ReloadArgs),
    Status(Status),
    Top(TopArgs),
    Pause(PauseArgs),
    Resume(ResumeArgs),
    Admission(AdmissionArgs),
    Server(ServerArgs),
    Job(JobArgs),
    /// Manage accounts on the running server
    Account(AccountArgs),
    /// Manage the API keys of accounts on the running server
    Key(KeyArgs),
    /// Manage networks on the running server: their own request limits, notes and blocks
    Network(NetworkArgs),
    /// Block a network on the running server, or list blocked networks
    Block(BlockArgs),
    /// Unblock a network on the running server
    Unblock(UnblockArgs),
    Usage(UsageArgs),
    Jobs(JobsArgs),
    Audit(Audit),
    Backup(Backup),
    Restore(RestoreArgs),
    Db(DbArgs),
    /// Print a preset to start a tiers.yaml from; without a name, list the presets
    #[command(after_help = "Example: tiergate preset trace-moe > tiers.yaml")]
    Preset {
        /// Name of the preset
        #[arg(value_parser = presets())]
        name: Option<String>,
    },
}

#[derive(Debug, Args)]
struct Serve {
    /// Path to the configuration file
    #[arg(long, value_name = "FILE", default_value = "tiers.yaml")]
    config: PathBuf,
    /// Use a preset instead of a file
    #[arg(long, value_name = "NAME", value_parser = presets(), conflicts_with = "config")]
    preset: Option<String>,
    /// Send requests to this server, http://host:port, instead of those in the file. NAME=URL applies to one upstream; repeat it
    /// for others
    #[arg(long, value_name = "[NAME=]URL")]
    upstream: Vec<String>,
    /// Address of the public listener, instead of the file's
    #[arg(long, value_name = "ADDRESS", value_parser = tiergate::cli::address)]
    listen: Option<SocketAddr>,
    /// Address of the admin listener, instead of the file's
    #[arg(long, value_name = "ADDRESS", value_parser = tiergate::cli::address)]
    admin: Option<SocketAddr>,
    /// Data folder, for all state that survives a restart, instead of the file's
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Start with an empty database; existing data is moved aside, not deleted
    #[arg(long)]
    new_data: bool,
    /// Log format. RUST_LOG sets the level: error, warn, info (default), debug
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(options) => serve(&options),
        Command::Preset { name } => preset(name.as_deref()),
        Command::Schema => rendered(schema::run(&mut stdout()), false),
        // These four report their result in the exit code.
        Command::Diff(command) => return compare(command),
        Command::Check(command) => match check::run(&command, &mut stdout(), &mut stderr()) {
            Ok(verdict) => return ExitCode::from(verdict.code()),
            Err(error) => rendered(Err(error), false),
        },
        Command::Status(command) => {
            let json = command.wants_json();
            match status::run(&command, &mut stdout()) {
                Ok(Condition::Well) => Ok(()),
                Ok(Condition::Wrong) => return ExitCode::FAILURE,
                Err(error) => rendered(Err(error), json),
            }
        }
        Command::Db(command) => match db::run(&command, &mut stdout()) {
            Ok(true) => Ok(()),
            Ok(false) => return ExitCode::FAILURE,
            Err(error) => rendered(Err(error), command.wants_json()),
        },
        Command::Tiers(command) => output(command.wants_json(), |out| tiers::run(&command, out)),
        Command::Usage(command) => output(command.wants_json(), |out| usage::run(&command, out)),
        Command::Jobs(command) => output(command.wants_json(), |out| jobs::run(&command, out)),
        Command::Audit(command) => output(command.wants_json(), |out| audit::run(&command, out)),
        Command::Backup(command) => output(command.wants_json(), |out| backup::run(&command, out)),
        Command::Restore(command) => output(command.wants_json(), |out| backup::restore(&command, out)),
        Command::Reload(command) => output(command.wants_json(), |out| reload::run(command, out)),
        Command::Top(command) => output(command.wants_json(), |out| top::run(&command, out)),
        Command::Pause(command) => output(command.wants_json(), |out| pause::run(command, out)),
        Command::Resume(command) => output(command.wants_json(), |out| resume::run(command, out)),
        Command::Admission(command) => output(command.wants_json(), |out| admission::run(command, out)),
        Command::Server(command) => output(command.wants_json(), |out| upstream_server::run(command, out)),
        Command::Job(command) => output(command.wants_json(), |out| job::run(command, out)),
        Command::Account(command) => output(command.wants_json(), |out| account::run(command, out)),
        Command::Key(command) => output(command.wants_json(), |out| key::run(command, out)),
        Command::Network(command) => output(command.wants_json(), |out| network::run(command, out)),
        Command::Block(command) => output(command.wants_json(), |out| network::block(command, out)),
        Command::Unblock(command) => output(command.wants_json(), |out| network::unblock(command, out)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a command that writes its result to standard output. An error is text, or a line of JSON.
fn output(json: bool, run: impl FnOnce(&mut Stdout) -> Result<(), CliError>) -> Result<(), String> {
    rendered(run(&mut stdout()), json)
}

/// Exit codes as in diff(1), so that scripts can tell changes from errors.
fn compare(command: DiffArgs) -> ExitCode {
    let json = command.wants_json();
    match diff::run(command, &mut stdout()) {
        Ok(DiffOutcome::Nothing) => ExitCode::SUCCESS,
        Ok(DiffOutcome::Changes) => ExitCode::from(1),
        Err(error) => {
            eprintln!("{}", message(&error, json));
            ExitCode::from(2)
        }
    }
}

fn rendered(done: Result<(), CliError>, json: bool) -> Result<(), String> {
    done.map_err(|error| message(&error, json))
}

/// An error as text or as a line of JSON.
fn message(error: &CliError, json: bool) -> String {
    match json {
        true => error.to_json().to_string(),
        false => error.to_string(),
    }
}

fn presets() -> PossibleValuesParser {
    PRESETS.map(|preset| preset.name).into()
}

fn preset(name: Option<&str>) -> Result<(), String> {
    let mut out = stdout().lock();
    let written = match name.and_then(Preset::named) {
        Some(preset) => out.write_all(preset.text.as_bytes()),
        None => PRESETS.iter().try_for_each(|preset| {
            let about = preset.text.lines().next().unwrap_or_default();
            writeln!(out, "{:<10} {}", preset.name, about.trim_start_matches("# "))
        }),
    };
    // Ignore EPIPE.
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(format!("error: {error}")),
        _ => Ok(()),
    }
}

/// Reads the file or preset, applies the command line's overrides, and keeps the source for reloads.
fn load(options: &Serve) -> Result<(Config, Option<Source>), String> {
    let overrides = Overrides {
        upstreams: options.upstream.clone(),
        listen: options.listen,
        admin: options.admin,
        data_dir: options.data_dir.clone(),
    };
    let (config, seen) = match options.preset.as_deref().and_then(Preset::named) {
        Some(preset) => (preset.config(), None),
        None => {
            let seen = config_watch::read(&options.config);
            let config = match &seen {
                Ok(bytes) => Config::parse_for(&options.config, &options.config.display().to_string(), bytes, &System),
                // A pipe can be read once, and can't be followed.
                Err(_) => Config::load(&options.config),
            };
            (config, Some(seen))
        }
    };
    let config = overrides.apply(config.map_err(|errors| match options.log_format {
        LogFormat::Text => errors.to_string(),
        // On one line, in the form of `tiergate check --json`.
        LogFormat::Json => errors.to_json().to_string(),
    })?);
    let config = config.map_err(|error| format!("error: {error}"))?;
    let file = options.config.clone();
    Ok((config, seen.map(|seen| Source { file, seen, overrides })))
}

fn serve(options: &Serve) -> Result<(), String> {
    logs::start(match options.log_format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    });
    let error = |error: &dyn std::fmt::Display| format!("error: {error}");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| error(&e))?;
    let served = runtime.block_on(async {
        // First, since SIGHUP may arrive while a slow disk is read.
        let hang_ups = server::hang_ups();
        let (config, source) = load(options)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(|e| error(&e))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| error(&e))?;
        let sockets = server::bind(&config).map_err(|e| error(&e))?;
        let old_data = match options.new_data {
            true => OldData::SetAside,
            false => OldData::Use,
        };
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            // A second signal exits without draining.
            tokio::spawn(async move {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                std::process::exit(130);
            });
        };
        server::run(config, source, hang_ups, sockets, old_data, Clock::start(), shutdown)
            .await
            .map_err(|e| error(&e))
    });
    // Don't wait for pending DNS lookups.
    runtime.shutdown_background();
    served
}
