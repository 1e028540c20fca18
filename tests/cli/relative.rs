//! Relative paths: those in a file start at its folder, wherever the program was started; those of a command line at the
//! working directory.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;

use tokio::process::Command;

use crate::support::folder::Folder;
use crate::support::program::{Program, Said, run};
use crate::support::{seven_tiers, soon};

const TOKEN: &str = "hunter2_0123456789abcdef";

/// A file with relative paths alone, which leaves `data_dir` out.
fn yaml() -> String {
    seven_tiers(8, &[], "")
        .replace(
            "servers: [  ]",
            "servers: [ { url: \"http://127.0.0.1:9\", slots: 1 } ]",
        )
        .replace("127.0.0.1:0 }", "127.0.0.1:0, token_file: ./secret }")
}

/// `conf/` with such a file and its token, and an empty `run/`.
fn site() -> Arc<Folder> {
    let folder = Folder::new();
    for name in ["conf", "run"] {
        fs::create_dir(folder.path().join(name)).expect("a folder");
    }
    fs::write(folder.path().join("conf/tiers.yaml"), yaml()).expect("a file");
    fs::write(folder.path().join("conf/secret"), TOKEN).expect("a file");
    Arc::new(folder)
}

/// Starts it in the folder above `conf/`.
async fn serve(folder: &Arc<Folder>, args: &[&str]) -> Program {
    let starting = Program::begin_with(Arc::clone(folder), args, "info");
    starting
        .opened()
        .await
        .unwrap_or_else(|said| panic!("it does not open: {}", said.err))
}

/// Runs a command in `run/`.
async fn elsewhere(folder: &Folder, args: &[&str]) -> Said {
    run(&folder.path().join("run"), args, "").await
}

fn names(folder: &Folder, of: &str) -> Vec<String> {
    let entries = fs::read_dir(folder.path().join(of)).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text"));
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// Regression: `data` was created in the working directory, `/data` included, and commands that ran elsewhere found neither
/// the data nor the token.
#[tokio::test]
async fn data_is_beside_the_file_in_any_working_directory() {
    let folder = site();
    let program = serve(&folder, &["--config", "conf/tiers.yaml"]).await;
    assert_eq!(names(&folder, "."), ["conf", "run"]);
    assert_eq!(names(&folder, "conf"), ["data", "secret", "tiers.yaml"]);
    for args in [&["status"][..], &["account", "list"], &["reload"]] {
        let args = [args, &["--config", "../conf/tiers.yaml"]].concat();
        let said = elsewhere(&folder, &args).await;
        assert_eq!(said.code, Some(0), "{args:?}: {said:?}");
    }
    // Text that is sent takes the file's place.
    fs::copy(
        folder.path().join("conf/tiers.yaml"),
        folder.path().join("run/new.yaml"),
    )
    .expect("a copy");
    let args = ["diff", "--running", "new.yaml", "--config", "../conf/tiers.yaml"];
    let said = elsewhere(&folder, &args).await;
    assert_eq!(
        (said.code, said.out.as_str()),
        (Some(0), "nothing would change\n"),
        "{said:?}"
    );
    assert!(!program.log().contains("needs a restart"), "{}", program.log());
    assert_eq!(names(&folder, "run"), ["new.yaml"]);
}

/// As Kubernetes mounts a ConfigMap: each edit replaces the link's target.
#[tokio::test]
async fn a_link_to_the_file_is_not_followed() {
    let folder = site();
    let conf = folder.path().join("conf");
    fs::create_dir(conf.join("version")).expect("a folder");
    fs::rename(conf.join("tiers.yaml"), conf.join("version/tiers.yaml")).expect("it is there");
    symlink("version/tiers.yaml", conf.join("tiers.yaml")).expect("a link");
    let _program = serve(&folder, &["--config", "conf/tiers.yaml"]).await;
    assert_eq!(names(&folder, "conf/version"), ["tiers.yaml"]);
    let said = elsewhere(&folder, &["status", "--config", "../conf/tiers.yaml"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[tokio::test]
async fn paths_in_arguments_start_at_the_working_directory() {
    let folder = site();
    let args = ["--config", "conf/tiers.yaml", "--data-dir", "own"];
    let program = serve(&folder, &args).await;
    assert_eq!(names(&folder, "."), ["conf", "own", "run"]);
    assert_eq!(names(&folder, "conf"), ["secret", "tiers.yaml"]);
    let args = ["status", "--config", "../conf/tiers.yaml", "--data-dir", "../own"];
    let said = elsewhere(&folder, &args).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    // Nor does a reload move it into the file's folder.
    let said = elsewhere(&folder, &[&["reload"], &args[1..]].concat()).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(!program.log().contains("needs a restart"), "{}", program.log());
}

/// `<(sops -d tiers.enc.yaml)` is a pipe, which is in no folder.
#[tokio::test]
async fn paths_of_a_piped_file_start_at_the_working_directory() {
    let folder = site();
    fs::rename(folder.path().join("conf/secret"), folder.path().join("secret")).expect("it is there");
    let check = Command::new("sh")
        .args([
            "-c",
            "cat conf/tiers.yaml | \"$0\" check /dev/stdin",
            env!("CARGO_BIN_EXE_tiergate"),
        ])
        .current_dir(folder.path())
        .output();
    let output = soon("it ends", check).await.expect("a shell");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("can't be read"), "{said}");
}

#[tokio::test]
async fn check_resolves_paths_as_the_server_does() {
    let folder = site();
    let args = ["check", "../conf/tiers.yaml"];
    let said = elsewhere(&folder, &args).await;
    assert!(said.code == Some(0) && !said.err.contains("can't be read"), "{said:?}");
    fs::rename(folder.path().join("conf/secret"), folder.path().join("run/secret")).expect("it is there");
    let said = elsewhere(&folder, &args).await;
    let advice = "see that it exists in ../conf, where relative paths begin, and that";
    assert!(said.err.contains(advice), "{}", said.err);
}

/// A copy that was edited elsewhere is compared as if it were moved over the file.
#[tokio::test]
async fn an_edited_copy_is_compared_as_if_in_place() {
    let folder = site();
    let edited = yaml().replace("length: 8", "length: 9");
    fs::write(folder.path().join("run/new.yaml"), edited).expect("a file");
    let said = elsewhere(&folder, &["diff", "../conf/tiers.yaml", "new.yaml"]).await;
    assert_eq!(
        (said.code, said.out.as_str()),
        (Some(0), "queue: length 8 → 9\n"),
        "{said:?}"
    );
}
