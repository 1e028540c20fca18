//! Prometheus beside the demo, for as long as it runs: it scrapes tiergate every second and evaluates the rules of
//! deploy/prometheus.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, fs, process};

const RULES: &str = include_str!("../../deploy/prometheus/rules.yml");

/// A running Prometheus. It is stopped, and its data removed, when this is dropped.
pub struct Prometheus {
    child: Child,
    folder: PathBuf,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Prometheus {
    /// Starts the `prometheus` that is installed, with a data folder of its own. `listen` with port 0 takes a free one.
    ///
    /// # Errors
    /// It isn't installed, or can't be started; the text says what to do.
    pub fn start(metrics: SocketAddr, listen: SocketAddr) -> Result<Self, String> {
        let address = free(listen).map_err(|error| format!("can't listen on {listen}: {error} (see --observe)"))?;
        let folder = env::temp_dir().join(format!("tiergate-demo-prometheus-{}", process::id()));
        let config = write_config(&folder, metrics).map_err(|error| format!("{}: {error}", folder.display()))?;
        let log = fs::File::create(folder.join("log")).map_err(|error| format!("{}: {error}", folder.display()))?;
        let started = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        match started {
            Ok(child) => Ok(Self { child, folder, address }),
            Err(error) => {
                remove(&folder);
                Err(match error.kind() {
                    io::ErrorKind::NotFound => "it isn't installed (Debian: apt install prometheus)".to_owned(),
                    _ => format!("can't start prometheus: {error}"),
                })
            }
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It has ended already if these fail.
        let _ = self.child.kill();
        let _ = self.child.wait();
        remove(&self.folder);
    }
}

/// The system empties its temporary folder if this fails.
fn remove(folder: &Path) {
    let _ = fs::remove_dir_all(folder);
}

/// That address, with a free port in place of 0.
fn free(listen: SocketAddr) -> io::Result<SocketAddr> {
    TcpListener::bind(listen)?.local_addr()
}

fn write_config(folder: &Path, metrics: SocketAddr) -> io::Result<PathBuf> {
    fs::create_dir(folder)?;
    fs::write(folder.join("rules.yml"), RULES)?;
    let config = folder.join("prometheus.yml");
    let yaml = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 5s }}\nrule_files: [rules.yml]\nscrape_configs:\n  - job_name: \
         tiergate\n    static_configs: [{{ targets: [\"{metrics}\"] }}]\n"
    );
    fs::write(&config, yaml)?;
    Ok(config)
}

/// Where Prometheus listens unless an address is given: its usual port is that of tiergate's admin listener.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:9095";

/// The queue by priority, with its free places on top: together they are its capacity.
const QUEUE: &str = "sum by (priority) (avg_over_time(tiergate_queue_depth[15s])) or label_replace(\
    sum(tiergate_queue_capacity) - sum(avg_over_time(tiergate_queue_depth[15s])), \"priority\", \"free\", \"\", \"\")";

/// The page with the queue's graph.
pub fn graph(address: SocketAddr) -> String {
    let address = if address.ip().is_unspecified() {
        SocketAddr::from((Ipv4Addr::LOCALHOST, address.port()))
    } else {
        address
    };
    let query = QUEUE.replace(' ', "%20").replace('"', "%22");
    format!("http://{address}/graph?g0.expr={query}&g0.tab=0&g0.stacked=1&g0.range_input=5m")
}
