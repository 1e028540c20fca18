//! What all measurements share: cores, the upstream server, programs, and a folder that is removed at the end.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::Result;
use crate::args::Args;
use crate::backend::Backend;
use crate::contestant::Prepared;

/// Descriptors for 12,000 connections on both sides of a proxy.
const DESCRIPTORS: u64 = 32_768;

/// The cores that are used.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    /// The proxy's.
    pub proxy: usize,
    /// That of load and upstream server.
    pub load: usize,
}

/// What all measurements share.
#[derive(Debug)]
pub struct Lab {
    /// The cores.
    pub cores: Cores,
    /// The upstream server.
    pub backend: Backend,
    /// tiergate's program.
    pub tiergate: PathBuf,
    /// The bare relay's program.
    pub relay: PathBuf,
    /// tiergate's databases.
    pub prepared: Prepared,
    folder: PathBuf,
    folders: Cell<u32>,
}

impl Lab {
    /// Finds the programs, makes a folder beside them, starts the upstream server, and takes the load's core.
    pub async fn open(args: &Args) -> Result<Self> {
        let &[proxy, load] = args.cores.as_slice() else {
            return Err("--cores needs two numbers, such as 1,0".into());
        };
        let cores = Cores { proxy, load };
        // Tests first that both are there.
        run_on(cores.proxy)?;
        run_on(cores.load)?;
        raise_descriptors()?;
        let beside = std::env::current_exe()?;
        let beside = beside.parent().ok_or("this program has no folder")?;
        let tiergate = match &args.tiergate {
            Some(file) => fs::canonicalize(file)?,
            None => beside.join("tiergate"),
        };
        let relay = beside.join("hyper-relay");
        for program in [&tiergate, &relay] {
            if !program.is_file() {
                return Err(format!("{} is missing: benches/proxy/run builds it", program.display()).into());
            }
        }
        // Not below TMPDIR, which may be in memory: strict durability needs a disk.
        let folder = beside.join(format!("proxy-bench.{}", std::process::id()));
        fs::create_dir(&folder)?;
        Ok(Self {
            cores,
            backend: Backend::start().await?,
            tiergate,
            relay,
            prepared: Prepared::default(),
            folder,
            folders: Cell::new(0),
        })
    }

    /// A new folder for a process.
    pub fn new_folder(&self) -> Result<PathBuf> {
        self.folders.set(self.folders.get() + 1);
        let folder = self.folder.join(self.folders.get().to_string());
        fs::create_dir(&folder)?;
        Ok(folder)
    }

    /// The folder around all of them.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Puts load and upstream server on the proxy's core for as long as the value lives.
    pub fn share_core(&self) -> Result<SharedCore> {
        run_on(self.cores.proxy)?;
        Ok(SharedCore { back: self.cores.load })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // A left-over folder among those of the build harms nobody.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Load and upstream server are on the proxy's core.
#[derive(Debug)]
pub struct SharedCore {
    back: usize,
}

impl Drop for SharedCore {
    fn drop(&mut self) {
        run_on(self.back).expect("it was possible before");
    }
}

/// Moves this thread.
fn run_on(core: usize) -> Result<()> {
    if core >= CpuSet::MAX_CPU {
        return Err(format!("there is no core {core}").into());
    }
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).map_err(|error| format!("can't run on core {core}: {error}").into())
}

/// As many descriptors as are allowed: 10,000 idle connections need as many here, and the proxies inherit the number.
fn raise_descriptors() -> Result<()> {
    let all = |number| Rlimit {
        current: number,
        maximum: number,
    };
    let allowed = getrlimit(Resource::Nofile).maximum;
    // Only root may raise the maximum.
    if allowed.is_some_and(|number| number < DESCRIPTORS) && setrlimit(Resource::Nofile, all(Some(DESCRIPTORS))).is_ok()
    {
        return Ok(());
    }
    Ok(setrlimit(Resource::Nofile, all(allowed))?)
}
