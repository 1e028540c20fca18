//! The way that a file's name leads: through which folders and links, and to which name at its end.
//!
//! Absent on purpose: folders that are no link and are put in another's place. That shows when the way is walked again.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Links that a way leads through at most, as for the system itself.
const LINKS_MAX: usize = 40;

/// Steps of a way at most.
const STEPS_MAX: usize = 4_096;

/// Where a way can turn: the links on it, and its end. The end is the file, or the first name that isn't there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Way {
    /// In the order of the way, at most [`LINKS_MAX`] and one. Their folders are no links, and neither are the folders' folders.
    pub(super) turns: Vec<PathBuf>,
    /// The folders that these lie in, each once, with device and inode; `None` if it isn't there any more.
    pub(super) folders: Vec<(PathBuf, Option<(u64, u64)>)>,
}

impl Way {
    /// The way of an absolute path, as it leads now. Blocks on the disk.
    pub(super) fn of(file: &Path) -> Self {
        let mut way = Self::default();
        let mut folder = PathBuf::from("/");
        let mut ahead = names(file);
        for _ in 0..STEPS_MAX {
            let Some(name) = ahead.pop_front() else { break };
            if name == ".." {
                folder.pop();
                continue;
            }
            let path = folder.join(&name);
            match fs::read_link(&path) {
                Ok(target) => {
                    way.turn(&folder, path);
                    if way.turns.len() > LINKS_MAX {
                        break;
                    }
                    if target.is_absolute() {
                        folder = PathBuf::from("/");
                    }
                    ahead = names(&target).into_iter().chain(ahead).collect();
                }
                // It is there and no link, so the way goes on.
                Err(error) if error.kind() == std::io::ErrorKind::InvalidInput && !ahead.is_empty() => folder = path,
                Err(_) => {
                    way.turn(&folder, path);
                    break;
                }
            }
        }
        way
    }

    fn turn(&mut self, folder: &Path, path: PathBuf) {
        self.turns.push(path);
        if !self.folders.iter().any(|(known, _)| known == folder) {
            let identity = fs::metadata(folder).map(|found| (found.dev(), found.ino()));
            self.folders.push((folder.to_owned(), identity.ok()));
        }
    }
}

/// The names of a path one by one, `..` among them.
fn names(path: &Path) -> VecDeque<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.collect()
}
