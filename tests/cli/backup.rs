//! `tiergate backup` and `tiergate restore`, while a server runs and while none does.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::data::{Site, Stopped, data, json, run, said, wrong};
use crate::support::Client;

async fn units(folder: &Path, args: &[&str]) -> u64 {
    let usage = json(folder, &[&["usage", "acme"], args].concat()).await;
    usage["total"]["units"].as_u64().expect("a number")
}

#[tokio::test]
async fn a_backup_is_made_online_and_restored() {
    let site = Site::start().await;
    let folder = site.folder.path().to_owned();
    site.search("acme", "/search", 3).await;
    let made = said(&folder, &["backup", "saved.db"]).await;
    assert!(
        made.contains("accounts: 2, finished jobs: 3") && made.contains("Not in it:\n  network.key"),
        "{made}"
    );
    let saved = folder.join("saved.db");
    let mode = fs::metadata(&saved).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(
        fs::read_dir(&folder).expect("a folder").count(),
        3,
        "nothing is left beside it"
    );

    // What a killed backup left behind is removed by the next one.
    let left = [".saved.db.1.partial", ".saved.db.1.partial-journal"].map(|name| folder.join(name));
    left.iter().for_each(|file| fs::write(file, "half").expect("a file"));
    said(&folder, &["backup", "saved.db", "--force"]).await;
    assert!(left.iter().all(|file| !file.exists()));

    // It overwrites no file without --force, and never the database itself.
    let said_no = wrong(&folder, &["backup", "saved.db"]).await;
    assert_eq!(said_no, "error: saved.db already exists; --force overwrites it\n");
    said(&folder, &["backup", "saved.db", "--force"]).await;
    let said_no = wrong(&folder, &["backup", "data/tiergate.db", "--force"]).await;
    assert!(said_no.contains("is in the data folder"), "{said_no}");

    site.search("acme", "/search", 2).await;
    let said_no = wrong(&folder, &["restore", "saved.db", "--force"]).await;
    assert!(
        said_no.contains("a server is running on the data folder") && said_no.contains("stop it first"),
        "{said_no}"
    );
    let stopped = site.stop().await;
    let said_no = wrong(&folder, &["restore", "saved.db"]).await;
    assert!(
        said_no.contains("was used before; --force moves its database aside"),
        "{said_no}"
    );
    assert_eq!(units(&folder, &[]).await, 10, "nothing has changed");
    let restored = said(&folder, &["restore", "saved.db", "--force"]).await;
    assert!(restored.contains("the previous data is in "), "{restored}");
    assert_eq!(units(&folder, &[]).await, 6);
    let audit = json(&folder, &["audit"]).await;
    assert_eq!(
        audit["changes"].as_array().and_then(|all| all.last()).expect("a row")["action"],
        "restore"
    );
    assert_moved_aside_data_can_be_restored(stopped, &folder).await;
}

/// What a restore moved aside is restored in the same way.
async fn assert_moved_aside_data_can_be_restored(stopped: Stopped, folder: &Path) {
    let site = stopped.start().await;
    assert_eq!(site.search("acme", "/search", 1).await, 200);
    assert_eq!(units(folder, &[]).await, 8);
    let _kept = site.stop().await;
    let before = fs::read_dir(data(folder))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("before-"))
        })
        .expect("it was moved aside");
    let old = before.join("tiergate.db");
    said(folder, &["restore", old.to_str().expect("text"), "--force"]).await;
    assert_eq!(units(folder, &[]).await, 10);
    assert!(
        said(folder, &["db", "verify"])
            .await
            .lines()
            .all(|line| line.starts_with("ok"))
    );
}

#[tokio::test]
async fn a_backup_moves_to_a_new_folder_with_its_key() {
    let site = Site::start().await;
    let folder = site.folder.path().to_owned();
    site.search("", "/thumbnail", 3).await;
    let stopped = site.stop().await;
    said(&folder, &["backup", "saved.db"]).await;
    fs::copy(data(&folder).join("network.key"), folder.join("key")).expect("it is there");
    let text = said(&folder, &["restore", "saved.db", "--data-dir", "other"]).await;
    assert!(text.contains("There is no network.key in the folder"), "{text}");
    fs::remove_dir_all(data(&folder)).expect("it is ours");
    let bad = folder.join("bad-key");
    fs::write(&bad, "no key").expect("a file");
    let said_no = wrong(&folder, &["restore", "saved.db", "--key", "bad-key"]).await;
    assert!(said_no.contains("bad-key is not a key"), "{said_no}");
    assert!(!data(&folder).exists(), "nothing was begun");
    said(&folder, &["restore", "saved.db", "--key", "key"]).await;
    let mode = |name: &str| {
        let found = fs::metadata(data(&folder).join(name)).expect("it is there");
        found.permissions().mode() & 0o777
    };
    assert_eq!(["network.key", "tiergate.db", "id"].map(mode), [0o600; 3]);
    let site = stopped.start().await;
    assert_eq!(
        site.search("", "/thumbnail", 1).await,
        402,
        "the stranger is known still"
    );
}

#[tokio::test]
async fn restoring_an_invalid_backup_changes_nothing() {
    let site = Site::start().await;
    let folder = site.folder.path().to_owned();
    site.search("acme", "/search", 1).await;
    said(&folder, &["backup", "saved.db"]).await;
    let _kept = site.stop().await;
    let saved = fs::read(folder.join("saved.db")).expect("it is there");
    let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).expect("a file");
    write("empty.db", &[]);
    write("text.db", &b"this is no database at all, it is text. ".repeat(40));
    write("short.db", &saved[..saved.len() / 2]);
    let mut newer = saved.clone();
    newer[60..64].copy_from_slice(&99_u32.to_be_bytes());
    write("newer.db", &newer);
    let mut foreign = saved.clone();
    foreign[68..72].copy_from_slice(&7_u32.to_be_bytes());
    write("foreign.db", &foreign);
    for (name, why) in [
        ("empty.db", "it is empty"),
        ("text.db", "it is not an SQLite database"),
        ("short.db", "it is damaged"),
        (
            "newer.db",
            "it was written by a newer tiergate (its schema is version 99)",
        ),
        ("foreign.db", "it is another program's database"),
        ("missing.db", "No such file"),
    ] {
        let said_no = wrong(&folder, &["restore", name, "--force"]).await;
        assert!(
            said_no.contains(&format!("{name} can't be restored: {why}")),
            "{name}: {said_no}"
        );
    }
    assert_eq!(units(&folder, &[]).await, 2);
    let names = fs::read_dir(data(&folder)).expect("a folder");
    let names = names.map(|entry| entry.expect("an entry").file_name());
    assert!(
        names
            .into_iter()
            .all(|name| !name.to_string_lossy().contains("before-"))
    );
}

/// Every answer that was received before the backup started is debited in it.
#[tokio::test]
async fn a_backup_under_load_has_every_earlier_debit() {
    let site = Site::start().await;
    let folder = site.folder.path().to_owned();
    let (answered, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let clients = (0..4).map(|_| {
        let (answered, done, address) = (Arc::clone(&answered), Arc::clone(&done), site.program.address);
        tokio::spawn(async move {
            let mut client = Client::connect(address).await;
            while !done.load(Ordering::Relaxed) {
                let answer = client.ask("GET", "/thumbnail", "x-api-key: key-acme\r\n").await;
                if answer.status() == 200 {
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            }
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut taken = Vec::new();
    for name in ["one.db", "two.db", "three.db"] {
        let before = answered.load(Ordering::SeqCst);
        let output = run(&folder, &["backup", name]).await;
        assert!(output.status.success(), "{output:?}");
        taken.push((name, before, answered.load(Ordering::SeqCst) + 4));
    }
    done.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("it goes on until it is told");
    }
    let _kept = site.kill().await;
    for (name, least, most) in taken {
        said(&folder, &["restore", name, "--force"]).await;
        let units = units(&folder, &[]).await;
        assert!((least..=most).contains(&units), "{name}: {units} of {least} to {most}");
        said(&folder, &["db", "verify"]).await;
    }
}
