//! The program itself, as a process of its own.

use std::net::SocketAddr;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::folder::Folder;
use super::soon;

/// `tiergate serve`, which is killed when it is dropped.
pub struct Program {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    child: Child,
    folder: Folder,
}

impl Program {
    /// Starts it with this tiers.yaml, whose addresses should have port 0.
    pub async fn start(yaml: &str) -> Self {
        let folder = Folder::new();
        let config = folder.path().join("tiers.yaml");
        let data_dir = folder.path().join("data");
        std::fs::write(&config, format!("{yaml}\ndata_dir: {}\n", data_dir.display())).expect("a file");
        let mut child = Command::new(env!("CARGO_BIN_EXE_tiergate"))
            .args(["serve", "--log-format", "json", "--config"])
            .arg(&config)
            .env_remove("RUST_LOG")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let mut log = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let (address, admin) = soon("the door opens", async {
            while let Some(line) = log.next_line().await.expect("a log") {
                let line: serde_json::Value = serde_json::from_str(&line).expect("logs are JSON");
                let address = |of: &str| line[of].as_str().and_then(|address| address.parse().ok());
                if let (Some(public), Some(admin)) = (address("public"), address("admin")) {
                    return (public, admin);
                }
            }
            panic!("it says where it listens");
        })
        .await;
        tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
        Self {
            address,
            admin,
            child,
            folder,
        }
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
