//! Metrics of the process, by the names that all Prometheus clients use. Read from /proc on each scrape; on systems without it
//! there are none.

use std::fmt::{Display, Write as _};
use std::sync::LazyLock;

/// One metric.
struct ProcessMetric {
    name: &'static str,
    kind: &'static str,
    about: &'static str,
    value: f64,
}

/// Appends the process's metrics to the page, as far as they can be read.
pub(super) fn write(page: &mut String) {
    for ProcessMetric {
        name,
        kind,
        about,
        value,
    } in read().unwrap_or_default()
    {
        line(page, format_args!("# HELP {name} {about}"));
        line(page, format_args!("# TYPE {name} {kind}"));
        line(page, format_args!("{name} {value}\n"));
    }
}

fn line(page: &mut String, text: impl Display) {
    // Writing to a String can't fail.
    let _written = writeln!(page, "{text}");
}

/// `None`: this system has no /proc.
fn read() -> Option<Vec<ProcessMetric>> {
    let metric = |name, kind, about, value| ProcessMetric {
        name,
        kind,
        about,
        value,
    };
    let stat = Stat::of(&std::fs::read_to_string("/proc/self/stat").ok()?)?;
    let mut metrics = vec![
        metric(
            "process_cpu_seconds_total",
            "counter",
            "Processor time in user and system mode, in seconds.",
            stat.cpu_ticks as f64 / *TICKS_PER_SECOND,
        ),
        metric(
            "process_resident_memory_bytes",
            "gauge",
            "Resident memory in bytes.",
            stat.resident_pages as f64 * rustix::param::page_size() as f64,
        ),
    ];
    metrics.extend(open_descriptors().map(|open| {
        let about = "Open file descriptors.";
        metric("process_open_fds", "gauge", about, open as f64)
    }));
    let descriptors_max = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    metrics.extend(descriptors_max.map(|max| {
        let about = "The limit of open file descriptors.";
        metric("process_max_fds", "gauge", about, max as f64)
    }));
    metrics.extend(BOOTED.map(|booted| {
        let about = "When the process started, in Unix seconds.";
        let started = booted + stat.started_ticks as f64 / *TICKS_PER_SECOND;
        metric("process_start_time_seconds", "gauge", about, started)
    }));
    Some(metrics)
}

static TICKS_PER_SECOND: LazyLock<f64> = LazyLock::new(|| rustix::param::clock_ticks_per_second() as f64);

/// When the machine started, in Unix seconds. Read once: it moves when the clock is set, but a process starts only once.
static BOOTED: LazyLock<Option<f64>> = LazyLock::new(|| boot_time(&std::fs::read_to_string("/proc/stat").ok()?));

fn boot_time(stat: &str) -> Option<f64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "));
    line?.trim().parse().ok()
}

/// The open descriptors, without the one by which they are listed.
fn open_descriptors() -> Option<usize> {
    let listed = std::fs::read_dir("/proc/self/fd").ok()?.count();
    Some(listed.saturating_sub(1))
}

/// What is read of /proc/self/stat (proc_pid_stat(5)).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// In user and system mode.
    cpu_ticks: u64,
    /// Since the machine started.
    started_ticks: u64,
    resident_pages: u64,
}

impl Stat {
    fn of(text: &str) -> Option<Self> {
        // The program's name may contain spaces and parentheses; the last one ends it, and the third field follows.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            started_ticks: field(22)?,
            resident_pages: field(24)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_stat_are_found_after_any_name() {
        let rest =
            "S 1 7 7 0 -1 4194560 900 0 3 0 120 45 0 0 20 0 9 0 123456 250000000 2048 18446744073709551615 1 1 0";
        for name in ["tiergate", "a (b) c", ")) 1 2 3", ""] {
            let stat = Stat::of(&format!("42 ({name}) {rest}\n"));
            let expected = Stat {
                cpu_ticks: 165,
                started_ticks: 123_456,
                resident_pages: 2_048,
            };
            assert_eq!(stat, Some(expected), "{name}");
        }
        assert_eq!(Stat::of("42 (tiergate) S 1"), None);
        assert_eq!(Stat::of(""), None);
    }

    #[test]
    fn the_boot_time_is_read() {
        assert_eq!(boot_time("cpu 1 2\nbtime 1700000000\nprocesses 3\n"), Some(1.7e9));
        assert_eq!(boot_time("cpu 1 2\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn opened_files_are_counted_and_used_time_grows() {
        let value = |name: &str| {
            let metrics = read().expect("Linux has /proc");
            metrics.iter().find(|metric| metric.name == name).expect(name).value
        };
        let before = value("process_open_fds");
        // Other tests of this process open and close files meanwhile, but not hundreds.
        let files: Vec<_> = (0..300).map(|_| std::fs::File::open("/dev/null")).collect();
        assert!(value("process_open_fds") >= before + 200.0);
        drop(files);
        assert!(value("process_max_fds") > before);
        assert!(value("process_resident_memory_bytes") > 1e6);
        let (cpu, mut spun) = (value("process_cpu_seconds_total"), 0_u64);
        while value("process_cpu_seconds_total") <= cpu {
            spun = std::hint::black_box(spun + 1);
        }
        let (started, booted) = (
            value("process_start_time_seconds"),
            BOOTED.expect("Linux has /proc/stat"),
        );
        assert!(started >= booted, "{started} {booted}");
    }
}
