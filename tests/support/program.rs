//! The program itself, as a process of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

use super::folder::Folder;
use super::soon;

/// `tiergate serve`, which is killed when it is dropped.
pub struct Program {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    child: Child,
    folder: Arc<Folder>,
    log: Arc<Mutex<String>>,
}

/// `tiergate serve`, which may not have opened yet. It is killed when it is dropped.
pub struct Starting {
    child: Child,
    folder: Arc<Folder>,
    log: Lines<BufReader<ChildStderr>>,
    kept: Arc<Mutex<String>>,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Runs `tiergate` with these arguments and that on its standard input, in that folder.
pub async fn run(folder: &Path, args: &[&str], input: &str) -> Said {
    run_in_environment(folder, args, input, &[]).await
}

/// The same with these variables in its environment, such as those of a `FaultFs`. Killed, it has no code.
pub async fn run_in_environment(folder: &Path, args: &[&str], input: &str, env: &[(String, String)]) -> Said {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tiergate"))
        .args(args)
        .current_dir(folder)
        .env_remove("TIERGATE_ADMIN_TOKEN")
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    // A command that wants no input may have ended already.
    let _unwanted = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = soon("the command ends", child.wait_with_output())
        .await
        .expect("a child");
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("answers are text"),
        err: String::from_utf8(output.stderr).expect("errors are text"),
    }
}

async fn signal(child: &Child, name: &str) {
    let id = child.id().expect("it runs").to_string();
    let sent = Command::new("kill").args(["-s", name, &id]).status().await;
    assert!(sent.expect("there is a kill").success());
}

fn keep(kept: &Mutex<String>, line: &str) {
    let mut kept = kept.lock().expect("nobody panics with it");
    kept.push_str(line);
    kept.push('\n');
}

impl Starting {
    /// Waits until it has opened.
    ///
    /// # Errors
    /// It has ended instead, and said so.
    pub async fn opened(mut self) -> Result<Program, Said> {
        let opened = soon("the proxy starts", async {
            while let Some(line) = self.log.next_line().await.expect("a log") {
                keep(&self.kept, &line);
                // What it says when it does not open is no line of the log.
                let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
                let address = |of: &str| line[of].as_str().and_then(|address| address.parse().ok());
                if let (Some(public), Some(admin)) = (address("public"), address("admin")) {
                    return Some((public, admin));
                }
            }
            None
        });
        let Some((address, admin)) = opened.await else {
            let status = soon("the program ends", self.child.wait()).await.expect("a child");
            return Err(Said {
                code: status.code(),
                out: String::new(),
                err: self.kept.lock().expect("nobody panics with it").clone(),
            });
        };
        let Self {
            child,
            folder,
            mut log,
            kept,
        } = self;
        let all = Arc::clone(&kept);
        tokio::spawn(async move {
            while let Ok(Some(line)) = log.next_line().await {
                keep(&all, &line);
            }
        });
        Ok(Program {
            address,
            admin,
            child,
            folder,
            log: kept,
        })
    }

    /// Sends it a signal, wherever it is.
    pub async fn signal(&self, name: &str) {
        signal(&self.child, name).await;
    }

    /// Kills it as a crash does, wherever it is.
    pub async fn kill(mut self) {
        soon("the program is gone", self.child.kill()).await.expect("a child");
    }
}

impl Program {
    /// Starts it with this tiers.yaml, whose addresses should have port 0.
    pub async fn start(yaml: &str) -> Self {
        Self::start_showing(yaml, "info").await
    }

    /// The same, with a log that shows as much as `RUST_LOG` would.
    pub async fn start_showing(yaml: &str, shown: &str) -> Self {
        let folder = Arc::new(Folder::new());
        Self::begin(folder, yaml, shown)
            .opened()
            .await
            .expect("the proxy starts")
    }

    /// The same, in a folder that may have been used before, and stays.
    pub async fn start_in(folder: &Arc<Folder>, yaml: &str) -> Self {
        let starting = Self::begin(Arc::clone(folder), yaml, "info");
        starting
            .opened()
            .await
            .unwrap_or_else(|said| panic!("it does not open: {}", said.err))
    }

    /// Begins to start it in that folder: its `data_dir` is `data` there.
    pub fn begin(folder: Arc<Folder>, yaml: &str, shown: &str) -> Starting {
        Self::begin_in_environment(folder, yaml, shown, &[])
    }

    /// The same with these variables in its environment, such as those of a `FaultFs`.
    pub fn begin_in_environment(folder: Arc<Folder>, yaml: &str, shown: &str, env: &[(String, String)]) -> Starting {
        let config = folder.path().join("tiers.yaml");
        let data_dir = folder.path().join("data");
        std::fs::write(&config, format!("{yaml}\ndata_dir: {}\n", data_dir.display())).expect("a file");
        let config = config.to_str().expect("the folder's name is text");
        Self::begin_as(folder, &["--config", config], shown, env)
    }

    /// The same as these arguments of `serve` say, in that folder: nothing else is there.
    pub fn begin_with(folder: Arc<Folder>, args: &[&str], shown: &str) -> Starting {
        Self::begin_as(folder, args, shown, &[])
    }

    /// The same with these variables in its environment.
    pub fn begin_as(folder: Arc<Folder>, args: &[&str], shown: &str, env: &[(String, String)]) -> Starting {
        // A shell that becomes the program, so that it has the shell's id: a file that may not grow is an error for it, as
        // a full disk is, and not its death.
        let mut child = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_tiergate")])
            .args(["serve", "--log-format", "json"])
            .args(args)
            .current_dir(folder.path())
            .env("RUST_LOG", shown)
            .envs(env.iter().map(|(name, value)| (name, value)))
            .env_remove("TIERGATE_ADMIN_TOKEN")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let log = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        Starting {
            child,
            folder,
            log,
            kept: Arc::default(),
        }
    }

    /// Where its tiers.yaml and its `data` are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("nobody panics with it").clone()
    }

    /// Runs a command against it.
    pub async fn command(&self, args: &[&str]) -> Said {
        self.command_with(args, "").await
    }

    /// The same, with that on its standard input.
    pub async fn command_with(&self, args: &[&str], input: &str) -> Said {
        let admin = self.admin.to_string();
        let mut all = args.to_vec();
        // It listens on another port than its file says, which is 0.
        all.extend(["--admin", &admin]);
        run(self.folder(), &all, input).await
    }

    /// The id of its process.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Kills it as a crash does: with SIGKILL, and no process but this one. What it had logged.
    pub async fn kill(mut self) -> String {
        soon("the program is gone", self.child.kill()).await.expect("a child");
        self.log()
    }

    /// Sends it `TERM`, `INT` or `HUP`.
    pub async fn signal(&self, name: &str) {
        signal(&self.child, name).await;
    }

    /// Its exit code, once it has ended.
    pub async fn exit_code(&mut self) -> Option<i32> {
        soon("the program ends", self.child.wait())
            .await
            .expect("a child")
            .code()
    }

    /// The most memory that it ever had, in KiB.
    #[cfg(target_os = "linux")]
    pub fn peak_kib(&self) -> u64 {
        let id = self.child.id().expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .expect("a peak");
        peak.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}
