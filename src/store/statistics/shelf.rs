//! The folder of rollups: what of it is good, what is superseded, and where the damaged go.
//!
//! Files on the shelf cover no segment twice. A merged file may be found together with those that it was made of, if the door
//! ended between the two: then these are removed. What is damaged, or covers partly what another covers, is reported, and kept
//! under another name for whoever can make something of it. Its segments are then not covered: as far as the journal still has
//! them, their entries count again.
//!
//! Absent on purpose: when files are merged (`merging`).

use std::cmp::Reverse;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{error, info, warn};

use super::layout::{Fault, Grain};
use super::rollup::Rollup;
use super::runs::Runs;
use super::writer::{UNFINISHED, sync_folder};

/// Damaged files that are kept; beyond that, those of the earliest segments go.
pub const DAMAGED_KEPT: usize = 16;

/// Mode of the folder: nobody else looks into it.
const FOLDER_MODE: u32 = 0o700;

/// What the names of damaged files end with.
const DAMAGED: &str = "damaged";

/// Finds the good rollups of a folder, which is made if it isn't there, and the segments that they cover.
///
/// # Errors
/// The disk's.
pub(super) fn open(folder: &Path) -> io::Result<(Vec<Arc<Rollup>>, Runs)> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
    let (mut good, mut damaged) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
        if extension == UNFINISHED {
            fs::remove_file(&path)?;
        } else if [Grain::Hour, Grain::Day]
            .iter()
            .any(|grain| grain.extension() == extension)
        {
            match Rollup::open(path.clone()) {
                Ok(rollup) => good.push(rollup),
                Err(Fault::Damaged(what)) => damaged.push((path, what)),
                Err(Fault::Disk(error)) => return Err(error),
            }
        }
    }

    // The most comprehensive first, and of two alike the merged one.
    good.sort_by_key(|rollup| (Reverse(rollup.segments().count()), rollup.grain() == Grain::Hour));
    let (mut shelf, mut covered): (Vec<Arc<Rollup>>, Runs) = <_>::default();
    for rollup in good {
        if covered.contains_all(rollup.segments()) {
            info!(path = %rollup.path().display(), "statistics: a file is superseded and goes");
            rollup.obsolete();
        } else if covered.meets(rollup.segments()) {
            damaged.push((rollup.path().to_owned(), "it covers partly what another file covers"));
        } else {
            covered.add(rollup.segments());
            shelf.push(Arc::new(rollup));
        }
    }
    for (path, what) in damaged {
        set_aside(&path, what);
    }
    sync_folder(folder)?;
    Ok((shelf, covered))
}

/// Reports a damaged file and gives it another name, under which it is not read again.
pub(super) fn set_aside(path: &Path, what: &str) {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(DAMAGED);
    let aside = PathBuf::from(name);
    let moved = fs::rename(path, &aside);
    error!(
        path = %path.display(), aside = %aside.display(), what, ?moved,
        "statistics: a file is damaged and set aside; what it covers is missing where the journal doesn't have it any more"
    );
    if let Some(folder) = path.parent()
        && let Err(error) = drop_excess_damaged(folder)
    {
        warn!(%error, "statistics: old damaged files can't be removed");
    }
}

fn drop_excess_damaged(folder: &Path) -> io::Result<()> {
    let mut damaged = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new(DAMAGED)) {
            damaged.push(path);
        }
    }
    // Names begin with the first segment.
    damaged.sort_unstable();
    let excess = damaged.len().saturating_sub(DAMAGED_KEPT);
    damaged.iter().take(excess).try_for_each(fs::remove_file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::writer::Writer;
    use super::*;

    /// The folder was made with 0755 and its files with 0644, though nobody else is to look into what the door knows.
    #[test]
    fn the_folder_and_its_files_are_for_their_owner_only() {
        let folder = std::env::temp_dir().join(format!("tiergate-shelf-{}", std::process::id()));
        open(&folder).expect("it is made");
        let writer = Writer::begin(&folder, Grain::Hour).expect("it is begun");
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        let files: Vec<PathBuf> = fs::read_dir(&folder)
            .expect("it is there")
            .map(|entry| entry.expect("it can be read").path())
            .collect();
        assert_eq!(files.iter().map(|file| mode(file)).collect::<Vec<_>>(), [0o600]);
        drop(writer);
        fs::remove_dir_all(&folder).expect("it is ours");
    }
}
