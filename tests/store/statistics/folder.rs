//! A fresh folder that goes with its test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tiergate-statistics-{}-{number}", process::id()));
        fs::create_dir_all(&path).expect("a temporary folder can be made");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Names and lengths of its files, by name.
    pub fn files(&self) -> Vec<(String, u64)> {
        let mut files: Vec<_> = fs::read_dir(&self.0)
            .expect("the folder is there")
            .map(|entry| {
                let entry = entry.expect("it can be read");
                let length = entry.metadata().expect("it is there").len();
                (entry.file_name().to_string_lossy().into_owned(), length)
            })
            .collect();
        files.sort();
        files
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}
