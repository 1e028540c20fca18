//! wrk as the load, as a check of our own clients.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::client::Target;
use crate::Result;
use crate::setup::Setup;

const SCRIPT: &str = include_str!("wrk.lua");

/// What wrk has counted.
#[derive(Debug, PartialEq)]
pub struct Counted {
    /// Requests that were answered.
    pub requests: u64,
}

/// Runs wrk on that core, with that many connections for at least that long (it counts whole seconds). Fails if an answer has
/// another status than 200.
pub async fn run(
    core: usize,
    target: Target,
    setup: &Setup,
    connections: u32,
    length: Duration,
    folder: &Path,
) -> Result<Counted> {
    let script = folder.join("wrk.lua");
    fs::write(&script, SCRIPT)?;
    let seconds = length.as_secs_f64().ceil().max(1.0);
    let output = Command::new("setpriv")
        .args(["--pdeathsig", "TERM", "taskset", "-c", &core.to_string(), "wrk", "-t1"])
        .args([format!("-c{connections}"), format!("-d{seconds}s")])
        .args(["--script".as_ref(), script.as_os_str()])
        .arg(format!("http://{target}/search"))
        .args(["--", &setup.accounts.to_string(), &setup.addresses.to_string()])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    let printed = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(format!("wrk failed: {printed}{}", String::from_utf8_lossy(&output.stderr)).into());
    }
    parse(&printed)
}

fn parse(printed: &str) -> Result<Counted> {
    let wrong = printed.lines().find(|line| {
        let line = line.trim();
        line.starts_with("Non-2xx") || line.starts_with("Socket errors")
    });
    if let Some(line) = wrong {
        return Err(format!("wrk: {}", line.trim()).into());
    }
    let requests = printed.lines().find_map(|line| line.split_once(" requests in "));
    let requests = requests.and_then(|(number, _)| number.trim().parse().ok());
    let requests = requests.ok_or_else(|| format!("wrk printed no number of requests: {printed}"))?;
    Ok(Counted { requests })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_and_wrong_answers_refused() {
        let right = "Running 1s test\n  23456 requests in 1.00s, 30.1MB read\nRequests/sec: 23456.0\n";
        assert_eq!(parse(right).expect("right"), Counted { requests: 23_456 });
        let wrong = format!("{right}  Non-2xx or 3xx responses: 3\n");
        assert!(parse(&wrong).is_err());
        assert!(parse("").is_err());
    }
}
