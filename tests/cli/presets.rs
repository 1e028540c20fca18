//! `tiergate preset`, and `tiergate serve --preset NAME`: a proxy without a file of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use tiergate::config::presets::PRESETS;

use crate::support::fast::FastServer;
use crate::support::folder::Folder;
use crate::support::program::{Program, Said, run};
use crate::support::{Answer, Client};

/// Ports that the system chooses.
const ADDRESSES: [&str; 4] = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];

/// Starts the preset with these upstreams.
async fn serve(preset: &str, upstreams: &[String]) -> Result<Program, Said> {
    let mut args = vec!["--preset", preset];
    args.extend(ADDRESSES);
    for upstream in upstreams {
        args.extend(["--upstream", upstream]);
    }
    Program::begin_with(Arc::new(Folder::new()), &args, "info")
        .opened()
        .await
}

fn url(server: &FastServer) -> String {
    format!("http://{}", server.address)
}

async fn ask(address: SocketAddr, method: &str, host: &str, path: &str) -> Answer {
    let mut client = Client::connect(address).await;
    client
        .send(format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n\r\n"
        ))
        .await;
    client.answer_to(method).await
}

#[tokio::test]
async fn each_preset_is_served_without_a_file() {
    let server = FastServer::start();
    // A request of each, and its limit.
    let asked = [
        ("trace-moe", "GET", "tiergate.example", "/search", "100"),
        ("shotit", "GET", "api.shotit", "/search", "60"),
        ("anilist", "POST", "tiergate.example", "/", "90"),
        ("amvstrm", "GET", "tiergate.example", "/api/v2/info/1", "60"),
        ("bags", "GET", "tiergate.example", "/ping", "1000"),
    ];
    assert_eq!(asked.map(|(preset, ..)| preset), PRESETS.map(|preset| preset.name));
    for (number, (preset, method, host, path, limit)) in (1..).zip(asked) {
        let program = serve(preset, &[url(&server)])
            .await
            .unwrap_or_else(|said| panic!("{said:?}"));
        let answer = ask(program.address, method, host, path).await;
        assert_eq!(answer.status(), 200, "{preset}: {}", answer.text());
        assert_eq!(answer.get("x-ratelimit-limit"), Some(limit), "{preset}");
        assert_eq!(server.requests(), number, "{preset}");
        assert!(
            program.folder().join("data").is_dir(),
            "{preset} has its data_dir where it was started"
        );
        assert!(!program.folder().join("tiers.yaml").exists());
    }
}

#[tokio::test]
async fn one_upstream_of_a_preset_has_its_own_url() {
    let (all, api) = (FastServer::start(), FastServer::start());
    // In whichever order they are given.
    for upstreams in [
        [url(&all), format!("api={}", url(&api))],
        [format!("api={}", url(&api)), url(&all)],
    ] {
        let before = (all.requests(), api.requests());
        let program = serve("shotit", &upstreams)
            .await
            .unwrap_or_else(|said| panic!("{said:?}"));
        for host in ["shotit", "api.shotit", "media.shotit"] {
            assert_eq!(ask(program.address, "GET", host, "/").await.status(), 200, "{host}");
        }
        assert_eq!((all.requests(), api.requests()), (before.0 + 2, before.1 + 1));
    }
    let alone = serve("shotit", &[format!("api={}", url(&api))])
        .await
        .unwrap_or_else(|said| panic!("{said:?}"));
    let before = api.requests();
    assert_eq!(ask(alone.address, "GET", "api.shotit", "/search").await.status(), 200);
    assert_eq!(api.requests(), before + 1);
}

#[tokio::test]
async fn unknown_presets_and_upstreams_are_reported() {
    let folder = Folder::new();
    for (args, words) in [
        (
            &["serve", "--preset", "trace.moe"][..],
            &["'trace.moe'", "trace-moe", "shotit", "anilist", "amvstrm", "bags"][..],
        ),
        (&["preset", "trace"], &["'trace'", "trace-moe"]),
        (
            &["serve", "--preset", "bags", "--config", "x.yaml"],
            &["cannot be used with"],
        ),
        (
            &["serve", "--preset", "shotit", "--upstream", "apis=http://127.0.0.1:1"],
            &["--upstream", "no upstream apis", "web, api, media"],
        ),
        (
            &["serve", "--preset", "bags", "--upstream", "https://127.0.0.1:1"],
            &[
                "--upstream",
                "https://127.0.0.1:1 is not a server URL",
                "http://host:port",
            ],
        ),
        (
            &["serve", "--preset", "bags", "--upstream", "api="],
            &["--upstream", "not a server URL"],
        ),
        (
            &["serve", "--preset", "bags", "--listen", "here"],
            &["--listen", "here"],
        ),
        // Without either, there is no file in this folder.
        (&["serve"], &["tiers.yaml"]),
    ] {
        let said = run(folder.path(), args, "").await;
        assert!(matches!(said.code, Some(1 | 2)), "{args:?}: {said:?}");
        assert_eq!(said.out, "", "{args:?}");
        for word in words {
            assert!(said.err.contains(word), "{args:?}: {word} is not in {}", said.err);
        }
        let left = std::fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(left, 0, "{args:?}: nothing was begun");
    }
}

#[tokio::test]
async fn presets_are_listed_and_printed_as_valid_files() {
    let folder = Folder::new();
    let listed = run(folder.path(), &["preset"], "").await;
    assert_eq!((listed.code, listed.err.as_str()), (Some(0), ""));
    let lines: Vec<&str> = listed.out.lines().collect();
    assert_eq!(lines.len(), PRESETS.len());
    for (line, preset) in lines.into_iter().zip(PRESETS) {
        assert!(line.starts_with(preset.name) && line.len() > 20, "{line}");
        let printed = run(folder.path(), &["preset", preset.name], "").await;
        assert_eq!((printed.code, printed.out.as_str()), (Some(0), preset.text));
        std::fs::write(folder.path().join("tiers.yaml"), &printed.out).expect("a file");
        let checked = run(folder.path(), &["check"], "").await;
        assert_eq!(checked.code, Some(0), "{checked:?}");
    }
}
