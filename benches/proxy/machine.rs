//! What the numbers were measured on, and with.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Result;

/// The machine and the programs.
#[derive(Debug)]
pub struct Machine {
    cores: usize,
    processor: String,
    kernel: String,
    load: String,
    programs: Vec<String>,
}

impl Machine {
    /// Looks, and fails if a program is missing.
    pub fn look(tiergate: &Path) -> Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
        let model = model
            .and_then(|line| line.split_once(": "))
            .map_or("", |(_, name)| name);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let load = fs::read_to_string("/proc/loadavg")?;
        Ok(Self {
            // Not those that are left to this process, which has chosen one.
            cores: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
            processor: model.to_owned(),
            kernel: kernel.trim().to_owned(),
            load: load.split(' ').next().unwrap_or_default().to_owned(),
            programs: vec![
                version(tiergate, "--version")?,
                version(Path::new("haproxy"), "-v")?,
                version(Path::new("nginx"), "-v")?,
                version(Path::new("wrk"), "-v")?,
            ],
        })
    }

    /// For JSON.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "cores": self.cores,
            "processor": self.processor,
            "kernel": self.kernel,
            "load_at_start": self.load,
            "programs": self.programs,
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cores of {}, Linux {}, load {} at the start; {}",
            self.cores,
            self.processor,
            self.kernel,
            self.load,
            self.programs.join(", ")
        )
    }
}

/// The name and version in the first line that it prints: `HAProxy version 2.6.12-1` or `nginx version: nginx/1.22.1`.
fn version(program: &Path, flag: &str) -> Result<String> {
    let output = Command::new(program).arg(flag).output();
    let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
    let text = [output.stdout, output.stderr].concat();
    let line = String::from_utf8_lossy(&text)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned();
    let line = line.replace("nginx version: nginx/", "nginx ").replace(" version", "");
    let line = line.replace(" debian/", " ");
    Ok(line.split(' ').take(2).collect::<Vec<_>>().join(" "))
}
