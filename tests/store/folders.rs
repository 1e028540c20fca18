//! Data folders that are not as the last run left them: no server starts silently with an empty database, and no file is
//! changed.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use tiergate::clock::Clock;
use tiergate::gate::CLOCK_STEP_MAX_DEFAULT;
use tiergate::policy::Policy;
use tiergate::policy::time::{Span, Timestamp};
use tiergate::store::{DATABASE_FILE, DataDir, Database, Ledger, OpenError};

use crate::folder::Folder;
use crate::kit::{
    Held, MONTH, PAGE, WallClock, as_killed, debit, open, rules, success, until, used, wait, wal, windows,
};

const JOBS: u32 = 300;

fn wall() -> WallClock {
    WallClock::at(MONTH)
}

fn database_in(folder: &Folder) -> PathBuf {
    folder.path().join(DATABASE_FILE)
}

/// A folder whose database holds jobs, closed.
fn a_used_folder() -> Folder {
    let folder = Folder::in_memory();
    let database = open(folder.path(), &wall()).expect("an empty folder");
    let all: Vec<_> = (1..=JOBS)
        .map(|number| database.commit(success(number, MONTH)))
        .collect();
    for commit in all {
        assert_eq!(wait(commit), Ok(()));
    }
    folder
}

fn accounts_in(database: &Database) -> usize {
    used(database, MONTH).0.len()
}

/// All files below a folder that are not empty, except the lock, which this look takes, and what SQLite keeps of a log
/// in memory.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else if !path.ends_with("lock") && !path.ends_with("tiergate.db-shm") {
            let bytes = fs::read(&path).expect("a file");
            if !(path.ends_with("tiergate.db-wal") && bytes.is_empty()) {
                all.insert(path, bytes);
            }
        }
    }
    all
}

fn refused(folder: &Folder) -> OpenError {
    let error = open(folder.path(), &wall()).map(|_| ()).expect_err("it can't be used");
    println!("{error}");
    error
}

/// It is refused with those words, not changed, and can be moved aside.
fn assert_refused(folder: &Folder, words: &[&str]) {
    let before = contents(folder.path());
    for _ in 0..2 {
        let said = refused(folder).to_string();
        assert!(words.iter().all(|word| said.contains(word)), "{words:?} in {said:?}");
        assert!(
            said.contains("tiergate restore") && said.contains("--new-data"),
            "{said}"
        );
        let after = contents(folder.path());
        assert_eq!(
            before.keys().collect::<Vec<_>>(),
            after.keys().collect::<Vec<_>>(),
            "{words:?}"
        );
        assert!(before == after, "{words:?}: a file was changed");
    }
    let dir = DataDir::take(folder.path()).expect("nobody has it");
    let aside = dir
        .set_aside(MONTH)
        .expect("it can be moved")
        .expect("there is something");
    drop(dir);
    let kept: Vec<Vec<u8>> = contents(&aside).into_values().collect();
    assert!(kept == before.into_values().collect::<Vec<_>>(), "nothing is deleted");
    let database = open(folder.path(), &wall()).expect("it is empty now");
    assert_eq!(accounts_in(&database), 0);
    debit(&database, success(1, MONTH));
}

fn cut(file: &Path, length: u64) {
    let cut = OpenOptions::new()
        .write(true)
        .open(file)
        .and_then(|file| file.set_len(length));
    cut.expect("it can be written");
}

#[test]
fn a_used_folder_without_its_database_is_refused() {
    let folder = a_used_folder();
    fs::remove_file(database_in(&folder)).expect("it is there");
    assert_refused(&folder, &["tiergate.db is missing, though its folder was used before"]);
}

/// Its mark alone shows that it was used.
#[test]
fn a_folder_that_lost_its_database_and_its_id_is_refused() {
    let running = Folder::in_memory();
    let database = open(running.path(), &wall()).expect("an empty folder");
    let folder = as_killed(running.path());
    drop(database);
    for file in [database_in(&folder), folder.path().join("id")] {
        fs::remove_file(file).expect("it is there");
    }
    assert_refused(&folder, &["tiergate.db is missing, though its folder was used before"]);
}

#[test]
fn a_database_that_is_short_is_damaged() {
    for (length, words) in [
        (0, "is damaged (it is empty)"),
        (50, "is damaged (it is cut off within its header)"),
        (PAGE as u64, "bytes, and its header says"),
        (5 * PAGE as u64 + 7, "bytes, and its header says"),
    ] {
        let folder = a_used_folder();
        cut(&database_in(&folder), length);
        assert_refused(&folder, &["tiergate.db is damaged", words]);
    }
}

#[test]
fn a_database_that_starts_with_zeros_is_damaged() {
    let folder = a_used_folder();
    let mut bytes = fs::read(database_in(&folder)).expect("it is there");
    bytes[..PAGE].fill(0);
    fs::write(database_in(&folder), bytes).expect("it can be written");
    assert_refused(&folder, &["tiergate.db is damaged (it begins with zeros)"]);
}

/// Whichever page is torn: it is reported, or nothing is lost.
#[test]
fn a_torn_page_never_loses_a_debit_silently() {
    let whole = a_used_folder();
    let bytes = fs::read(database_in(&whole)).expect("it is there");
    let id = fs::read(whole.path().join("id")).expect("it is there");
    let pages = bytes.len() / PAGE;
    let (mut told, mut harmless) = (0, 0);
    for page in 1..pages {
        let folder = Folder::in_memory();
        let mut torn = bytes.clone();
        torn[page * PAGE..(page + 1) * PAGE - 100].fill(0);
        fs::write(database_in(&folder), torn).expect("a folder to write to");
        fs::write(folder.path().join("id"), &id).expect("a folder to write to");
        let restored = open(folder.path(), &wall())
            .map_err(|error| error.to_string())
            .and_then(|database| {
                let mut policy = Policy::new(rules(&windows()));
                let now = Timestamp::ZERO;
                policy.follow_clock(MONTH, now, CLOCK_STEP_MAX_DEFAULT);
                database.restore(&mut policy, now).map_err(|error| error.to_string())
            });
        match restored {
            Ok(restored) => {
                assert_eq!(restored.debits, u64::from(JOBS), "page {page}");
                harmless += 1;
            }
            Err(error) => {
                assert!(error.contains("damaged") && error.contains("--new-data"), "{error}");
                told += 1;
            }
        }
    }
    println!("{told} of {pages} torn pages are told, {harmless} do no harm");
    assert!(told > 5 && harmless > 0);
}

#[test]
fn another_file_in_its_place_is_foreign() {
    let text = a_used_folder();
    fs::write(database_in(&text), "a text that is longer than a header\n".repeat(9)).expect("it can be written");
    assert_refused(&text, &["(it is not an SQLite database)"]);

    let other = a_used_folder();
    let another = a_used_folder();
    fs::copy(database_in(&another), database_in(&other)).expect("it can be written");
    assert_refused(&other, &["(it is the database", "and its folder belongs to"]);
}

/// Most programs leave the application's id at 0, as an unfinished first start of ours does: this one's tables were made in
/// theirs before it was refused.
#[test]
fn another_programs_database_is_foreign_and_left_alone() {
    for sql in [
        "CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)",
        "PRAGMA journal_mode = wal; CREATE TABLE job (a)",
        "PRAGMA user_version = 7; CREATE TABLE theirs (a)",
        "PRAGMA application_id = 7; CREATE TABLE theirs (a)",
    ] {
        for is_used in [true, false] {
            let folder = if is_used { a_used_folder() } else { Folder::in_memory() };
            let file = database_in(&folder);
            let _none = fs::remove_file(&file);
            let theirs = Connection::open(&file).expect("a folder to write to");
            theirs.execute_batch(sql).expect("plain SQL");
            drop(theirs);
            assert_refused(&folder, &["(it is another program's database)"]);
        }
    }
}

/// To SQLite a removed log looks like a crash before its commits.
#[test]
fn a_log_missing_after_a_crash_is_damage() {
    let folder = a_used_folder();
    let database = open(folder.path(), &wall()).expect("it was closed");
    debit(&database, success(1_000, MONTH));
    let killed = as_killed(folder.path());
    drop(database);
    fs::remove_file(wal(killed.path())).expect("it is there");
    assert_refused(
        &killed,
        &["is damaged (the last run did not stop cleanly, and its log", "is gone"],
    );
    // After a clean stop there is nothing in it.
    let _none = fs::remove_file(wal(folder.path()));
    let database = open(folder.path(), &wall()).expect("it was closed");
    assert_eq!(accounts_in(&database), JOBS as usize + 1);
}

#[test]
fn a_clean_stop_leaves_one_file() {
    let folder = a_used_folder();
    let names: Vec<_> = contents(folder.path())
        .into_keys()
        .map(|path| path.file_name().expect("a file").to_owned())
        .collect();
    assert_eq!(names, ["id", "tiergate.db"]);
}

/// The first start ended before the folder was marked as used.
#[test]
fn a_killed_first_start_is_started_again() {
    let folder = Folder::in_memory();
    let database = open(folder.path(), &wall()).expect("an empty folder");
    let killed = as_killed(folder.path());
    drop(database);
    let id = fs::read(killed.path().join("id")).expect("it is there");
    for name in ["id", "running"] {
        fs::remove_file(killed.path().join(name)).expect("it is there");
    }
    let log = fs::read(wal(killed.path())).expect("a log");
    for part in [log.len(), log.len() / 2, 0] {
        let folder = Folder::in_memory();
        fs::copy(database_in(&killed), database_in(&folder)).expect("a folder to write to");
        fs::write(wal(folder.path()), &log[..part]).expect("a folder to write to");
        let database = open(folder.path(), &wall()).expect("it was never used");
        debit(&database, success(1, MONTH));
        let now = fs::read(folder.path().join("id")).expect("it is marked");
        assert_eq!(now == id, part == log.len(), "the id is the database's");
    }
    fs::write(database_in(&killed), "").expect("it can be written");
    fs::remove_file(wal(killed.path())).expect("it is there");
    assert!(open(killed.path(), &wall()).is_ok());
}

#[test]
fn a_folder_of_an_old_version_is_refused() {
    let folder = Folder::in_memory();
    for name in ["journal", "accounts.redb"] {
        let file = folder.path().join(name);
        fs::create_dir(&file).expect("a folder to write to");
        let said = refused(&folder).to_string();
        assert_eq!(
            said,
            format!(
                "{} is of an unreleased version of tiergate, which this one can't read: move the folder's contents away, or name \
                 another folder with `data_dir`",
                file.display()
            )
        );
        fs::remove_dir(file).expect("it is there");
    }
    assert!(open(folder.path(), &wall()).is_ok());
}

/// Does that to the folder of a running server, which must refuse all metered requests within two seconds and acknowledge
/// nothing.
fn harm(how: impl FnOnce(&Path)) -> (Folder, Arc<Database>) {
    let folder = a_used_folder();
    let database = open(folder.path(), &wall()).expect("it was closed");
    debit(&database, success(1_000, MONTH));
    how(folder.path());
    let clock = Clock::start();
    until("it is noticed", || !database.is_available());
    let took = clock.now().since(Timestamp::ZERO);
    assert!(took < Span::from_secs(2), "{took:?}");
    let late = database.commit(success(2_000, MONTH));
    assert!(database.write(|_| Ok(())).is_err(), "no change is made");
    assert!(late.withdraw().is_err(), "it is not answered");
    (folder, database)
}

#[test]
fn a_removed_or_replaced_database_is_noticed_at_runtime() {
    let gone = |folder: &Path| fs::remove_file(folder.join(DATABASE_FILE)).expect("it is there");
    let replaced = |folder: &Path| {
        let file = folder.join(DATABASE_FILE);
        fs::copy(&file, folder.join("copy")).expect("a copy");
        fs::rename(folder.join("copy"), file).expect("it can be replaced");
    };
    let without_log = |folder: &Path| fs::remove_file(wal(folder)).expect("it is there");
    let no_folder = |folder: &Path| fs::remove_dir_all(folder).expect("it is there");
    let harms: [&dyn Fn(&Path); 4] = [&gone, &replaced, &without_log, &no_folder];
    for how in harms {
        let (folder, database) = harm(how);
        drop(database);
        if folder.path().join("id").exists() && !database_in(&folder).exists() {
            assert!(matches!(refused(&folder), OpenError::Missing { .. }));
        }
    }
}

/// What was written between the removal and the next check is not acknowledged; when the file is back, it counts.
#[test]
fn a_database_moved_away_and_back_keeps_working() {
    let folder = a_used_folder();
    let database = open(folder.path(), &wall()).expect("it was closed");
    let (file, away) = (database_in(&folder), folder.path().join("away"));
    let held = Held::up(&database);
    let waits = database.commit(success(1_000, MONTH));
    fs::rename(&file, &away).expect("it is there");
    drop(held);
    until("it is noticed", || !database.is_available());
    let given_up = database.commit(success(2_000, MONTH));
    assert!(given_up.withdraw().is_err());
    fs::rename(&away, &file).expect("it is there");
    assert_eq!(wait(waits), Ok(()));
    until("it is back", || database.is_available());
    debit(&database, success(3_000, MONTH));
    drop(database);
    let database = open(folder.path(), &wall()).expect("it was closed");
    let all = used(&database, MONTH).0;
    assert_eq!((all.len(), all.get(&2_000)), (JOBS as usize + 2, None));
}

/// Regression: its own checkpoints made the file as long again and took the log as copied, which lost the last commits.
#[test]
fn a_truncated_database_stays_refused_and_keeps_its_log() {
    for length in [0, PAGE as u64, 5 * PAGE as u64 + 7] {
        let mut log = Vec::new();
        let (folder, database) = harm(|folder| {
            log = fs::read(wal(folder)).expect("a log");
            cut(&folder.join(DATABASE_FILE), length);
        });
        drop(database);
        assert!(
            fs::read(wal(folder.path())).expect("a log").starts_with(&log),
            "{length}"
        );
        let refused = refused(&folder);
        assert!(matches!(refused, OpenError::Damaged { .. }), "{length}: {refused}");
    }
}
