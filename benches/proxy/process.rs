//! A process of a contestant: pinned to the proxy's core, measured, and ended with this program at the latest.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Result;

/// How long a process may take to end after it was asked to.
const ENDING_MAX: Duration = Duration::from_secs(3);
const KB: u64 = 1_024; // of /proc

/// A running process and its children.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` on that core, in that folder; what it prints goes to a file there. The kernel ends it if this program
    /// dies.
    pub fn start(core: usize, program: &Path, arguments: &[&str], folder: &Path) -> Result<Self> {
        let log = folder.join("output.log");
        let output = File::create(&log)?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "taskset", "-c", &core.to_string()])
            .arg(program)
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        Ok(Self { child, log })
    }

    /// Fails if it has ended, with the last that it printed.
    pub fn ensure_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                let printed = fs::read_to_string(&self.log).unwrap_or_default();
                let last = printed.len().saturating_sub(2_000);
                let last = printed.get(last..).unwrap_or(&printed);
                Err(format!("it has ended ({status}): {last}").into())
            }
        }
    }

    /// The processor time of all its threads and those of its children, ended threads included.
    pub fn processor_time(&self) -> Result<Duration> {
        self.pids()?.into_iter().map(processor_time).sum()
    }

    /// Resident memory of it and its children. Memory that these share counts for each.
    pub fn resident_bytes(&self) -> Result<u64> {
        self.pids()?.into_iter().map(resident_bytes).sum()
    }

    fn pids(&self) -> Result<Vec<u32>> {
        let parent = self.child.id();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))?;
        let children = children.split_whitespace().map(str::parse);
        let mut pids = children.collect::<std::result::Result<Vec<u32>, _>>()?;
        pids.push(parent);
        Ok(pids)
    }
}

impl Drop for Process {
    /// Asks it to end, so that it ends its children, and kills it if it doesn't.
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.child);
        // Fails if it has ended.
        let _ = kill_process(pid, Signal::TERM);
        let asked = Instant::now();
        while asked.elapsed() < ENDING_MAX {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// User and system time of a process in /proc/PID/stat, which counts all threads.
fn processor_time(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = ticks(&stat).ok_or("/proc/PID/stat has another form")?;
    Ok(Duration::from_secs_f64(
        ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
    ))
}

/// Fields 14 and 15, `utime` and `stime`. The program's name, the second, may contain spaces and brackets.
fn ticks(stat: &str) -> Option<u64> {
    let (_, from_third) = stat.rsplit_once(") ")?;
    let mut fields = from_third.split(' ').skip(11);
    let mut field = || fields.next()?.parse::<u64>().ok();
    Some(field()? + field()?)
}

fn resident_bytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    Ok(number.ok_or("/proc/PID/status has no VmRSS")? * KB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_any_name() {
        let stat = "12 (a ) b) S 1 12 12 0 -1 4194560 1 2 3 4 150 27 8 9 20 0 1 0 100";
        assert_eq!(ticks(stat), Some(177));
    }

    #[test]
    fn this_process_has_memory_and_used_time() {
        let pid = std::process::id();
        assert!(resident_bytes(pid).expect("Linux has /proc") > 1 << 20);
        assert!(processor_time(pid).is_ok());
    }
}
