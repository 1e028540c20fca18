//! The program itself, as a process of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use super::folder::Folder;
use super::soon;

/// `tiergate serve`, which is killed when it is dropped.
pub struct Program {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    child: Child,
    folder: Folder,
    log: Arc<Mutex<String>>,
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
    let mut child = Command::new(env!("CARGO_BIN_EXE_tiergate"))
        .args(args)
        .current_dir(folder)
        .env_remove("TIERGATE_ADMIN_TOKEN")
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

impl Program {
    /// Starts it with this tiers.yaml, whose addresses should have port 0.
    pub async fn start(yaml: &str) -> Self {
        Self::start_showing(yaml, "info").await
    }

    /// The same, with a log that shows as much as `RUST_LOG` would.
    pub async fn start_showing(yaml: &str, shown: &str) -> Self {
        let folder = Folder::new();
        let config = folder.path().join("tiers.yaml");
        let data_dir = folder.path().join("data");
        std::fs::write(&config, format!("{yaml}\ndata_dir: {}\n", data_dir.display())).expect("a file");
        let mut child = Command::new(env!("CARGO_BIN_EXE_tiergate"))
            .args(["serve", "--log-format", "json", "--config"])
            .arg(&config)
            .env("RUST_LOG", shown)
            .env_remove("TIERGATE_ADMIN_TOKEN")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let mut log = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let kept = Arc::new(Mutex::new(String::new()));
        let keep = |line: &str| {
            let mut kept = kept.lock().expect("nobody panics with it");
            kept.push_str(line);
            kept.push('\n');
        };
        let (address, admin) = soon("the door opens", async {
            while let Some(line) = log.next_line().await.expect("a log") {
                keep(&line);
                let line: serde_json::Value = serde_json::from_str(&line).expect("logs are JSON");
                let address = |of: &str| line[of].as_str().and_then(|address| address.parse().ok());
                if let (Some(public), Some(admin)) = (address("public"), address("admin")) {
                    return (public, admin);
                }
            }
            panic!("it says where it listens");
        })
        .await;
        let all = Arc::clone(&kept);
        tokio::spawn(async move {
            while let Ok(Some(line)) = log.next_line().await {
                let mut all = all.lock().expect("nobody panics with it");
                all.push_str(&line);
                all.push('\n');
            }
        });
        Self {
            address,
            admin,
            child,
            folder,
            log: kept,
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

    /// Sends it `TERM` or `INT`.
    pub async fn signal(&self, signal: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args(["-s", signal, &id]).status().await;
        assert!(sent.expect("there is a kill").success());
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
