//! Relative paths in a file start in the folder of the file's path as it was given. Links aren't followed: a ConfigMap keeps its
//! files behind links into folders that come and go.

use std::path::{Path, PathBuf};

/// Folders whose entries are open descriptors of a process, such as `/dev/fd/63` for `<(sops -d tiers.enc.yaml)`.
const DESCRIPTOR_FOLDERS: [&str; 2] = ["/dev/fd", "/proc"];

/// The folder of relative paths in that file. Empty is the working directory: for a file in it, and for a descriptor, which is in
/// no folder.
pub(super) fn folder_of(file: &Path) -> &Path {
    match is_descriptor(file) {
        true => Path::new(""),
        false => file.parent().unwrap_or(Path::new("")),
    }
}

/// Whether that path is an open descriptor, such as a shell's pipe, and not a file in a folder.
pub(super) fn is_descriptor(file: &Path) -> bool {
    file == Path::new("/dev/stdin") || DESCRIPTOR_FOLDERS.iter().any(|folder| file.starts_with(folder))
}

/// A path in a file, relative to the working directory. `..` stays: the folder before it may be a link.
pub(super) fn resolved(folder: &Path, written: impl AsRef<Path>) -> PathBuf {
    folder.join(written).components().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(file: &str, written: &str) -> String {
        resolved(folder_of(Path::new(file)), written).display().to_string()
    }

    #[test]
    fn a_relative_path_starts_at_the_files_folder() {
        for (file, written, expected) in [
            ("tiers.yaml", "./data", "./data"),
            ("./tiers.yaml", "./data", "./data"),
            ("etc/tiers.yaml", "./data", "etc/data"),
            ("etc/tiers.yaml", ".", "etc"),
            ("../conf/tiers.yaml", "data/proxy", "../conf/data/proxy"),
            ("/etc/tiergate/tiers.yaml", "./data", "/etc/tiergate/data"),
            (
                "/etc/tiergate/tiers.yaml",
                "../../var/data",
                "/etc/tiergate/../../var/data",
            ),
            ("/tiers.yaml", "data", "/data"),
        ] {
            assert_eq!(seen(file, written), expected, "{file}: {written}");
        }
    }

    #[test]
    fn an_absolute_path_is_unchanged() {
        assert_eq!(seen("etc/tiers.yaml", "/var/lib/tiergate"), "/var/lib/tiergate");
    }

    #[test]
    fn a_file_descriptor_has_no_folder() {
        for file in ["/dev/stdin", "/dev/fd/63", "/proc/self/fd/0", "/proc/1/fd/7"] {
            assert_eq!(seen(file, "./data"), "./data", "{file}");
        }
        assert_eq!(seen("/dev/shm/tiers.yaml", "./data"), "/dev/shm/data");
    }
}
