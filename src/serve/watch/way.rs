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
    /// In the order of the way, at most [`LINKS_MAX`] and one. Their folders are no links, and neither are the folders'
    /// folders.
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// The turns of the way to `name` in a folder, which `prepare` fills and which itself is no link.
    fn turns(test: &str, name: &str, prepare: impl Fn(&Path)) -> Vec<String> {
        let folder = std::env::temp_dir().join(format!("tiergate-way-{test}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let folder = folder.canonicalize().expect("it is there");
        prepare(&folder);
        let way = Way::of(&folder.join(name));
        let mut folders: Vec<&Path> = way.turns.iter().filter_map(|turn| turn.parent()).collect();
        folders.sort();
        folders.dedup();
        let mut listed: Vec<&Path> = way.folders.iter().map(|(folder, _)| folder.as_path()).collect();
        listed.sort();
        assert_eq!(listed, folders);
        let below = |turn: &PathBuf| turn.strip_prefix(&folder).unwrap_or(turn).display().to_string();
        let turns = way.turns.iter().map(below).collect();
        fs::remove_dir_all(&folder).expect("it can be removed");
        turns
    }

    #[test]
    fn a_file_is_its_only_turn_there_or_not() {
        let there = |folder: &Path| fs::write(folder.join("a"), "").expect("a file");
        assert_eq!(turns("file", "a", there), ["a"]);
        assert_eq!(
            turns("file", "./b/../a", |folder| {
                there(folder);
                fs::create_dir(folder.join("b")).expect("a folder");
            }),
            ["a"]
        );
        assert_eq!(turns("file", "a", |_| {}), ["a"]);
    }

    #[test]
    fn where_it_breaks_off_is_a_turn() {
        assert_eq!(turns("break", "etc/door/tiers.yaml", |_| {}), ["etc"]);
        let below_a_file = |folder: &Path| fs::write(folder.join("etc"), "").expect("a file");
        assert_eq!(turns("break", "etc/door/tiers.yaml", below_a_file), ["etc/door"]);
    }

    #[test]
    fn every_link_is_a_turn() {
        let kubernetes = |folder: &Path| {
            fs::create_dir(folder.join("..1")).expect("a folder");
            fs::write(folder.join("..1/a"), "").expect("a file");
            symlink("..1", folder.join("..data")).expect("a link");
            symlink("..data/a", folder.join("a")).expect("a link");
        };
        assert_eq!(turns("links", "a", kubernetes), ["a", "..data", "..1/a"]);
        let elsewhere = |folder: &Path| {
            fs::create_dir_all(folder.join("b/c")).expect("a folder");
            fs::write(folder.join("b/d"), "").expect("a file");
            symlink(folder.join("b/c"), folder.join("l")).expect("a link");
            symlink("../d", folder.join("b/c/a")).expect("a link");
        };
        assert_eq!(turns("links", "l/a", elsewhere), ["l", "b/c/a", "b/d"]);
    }

    #[test]
    fn links_that_go_round_end() {
        let round = |folder: &Path| symlink("a", folder.join("a")).expect("a link");
        assert_eq!(turns("round", "a", round).len(), LINKS_MAX + 1);
        let growing = |folder: &Path| symlink("a/a/a/a", folder.join("a")).expect("a link");
        assert_eq!(turns("round", "a", growing).len(), LINKS_MAX + 1);
    }
}
