//! Two hundred reloads of random files, valid and faulty, while 64 clients search and some request images. Each answer
//! must be one that the file before or the file after allows, and no request stays unanswered.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use tokio::sync::{Barrier, watch};
use tokio::task::JoinSet;

use crate::edits::{CallerKind, File, LISTED};
use crate::support::dice::Dice;
use crate::support::{Answer, Client, Mirror, Proxy, UpstreamServer, metric_sum, soon};

const RELOADS: usize = 200;
/// After so many reloads the clients pause, and the counts must match what they were answered.
const RELOADS_PER_REST: usize = 25;
const SERVERS: usize = 4;
/// Clients that search.
const SEARCHING: usize = 64;
/// Clients that request images.
const LOOKING: usize = 6;

/// A caller and its clients.
#[derive(Debug)]
struct Caller {
    kind: CallerKind,
    /// Header lines.
    shows: String,
    clients: u64,
    sent: AtomicU64,
}

/// What clients and the operator share.
struct Scene {
    proxy: SocketAddr,
    seed: u64,
    servers: Vec<SocketAddr>,
    /// Every valid file, in the order of saving.
    files: Mutex<Vec<Arc<File>>>,
    /// How many of them have been applied at least.
    surely: AtomicUsize,
    /// While this is set, clients pause before their next request.
    rest: watch::Sender<bool>,
    /// All clients and the operator meet here to pause.
    resting: Barrier,
    ended: AtomicBool,
    told: Mutex<HashMap<String, u64>>,
}

impl Scene {
    /// The files that may have been in force since the given number of files was surely applied.
    fn since(&self, surely: usize) -> Vec<Arc<File>> {
        self.files.lock().expect("no holder panics")[surely - 1..].to_vec()
    }

    fn surely(&self) -> usize {
        self.surely.load(SeqCst)
    }

    fn server(&self, answer: &Answer) -> Option<usize> {
        let text = answer.text();
        let host = text.lines().find_map(|line| line.strip_prefix("host: "))?;
        self.servers.iter().position(|server| server.to_string() == host.trim())
    }

    fn note(&self, said: &str) {
        let mut told = self.told.lock().expect("no holder panics");
        *told.entry(said.to_owned()).or_default() += 1;
    }

    /// Between two requests: continues, pauses, or ends.
    async fn goes_on(&self) -> bool {
        if *self.rest.borrow() {
            self.resting.wait().await;
            self.resting.wait().await;
        }
        !self.ended.load(SeqCst)
    }
}

fn callers(stored: &[String]) -> Vec<Arc<Caller>> {
    let caller = |kind, shows: String, clients| {
        Arc::new(Caller {
            kind,
            shows,
            clients,
            sent: AtomicU64::new(0),
        })
    };
    let key = |key: &str| format!("x-api-key: {key}\r\n");
    let from = |at: usize| format!("x-forwarded-for: 203.0.113.{at}\r\n");
    let listed = (0..LISTED).map(|at| caller(CallerKind::Listed(at), key(&format!("listed-{at}")), 4));
    let stored = stored.iter().map(|text| caller(CallerKind::Stored, key(text), 4));
    let alone = (0..16).map(|at| caller(CallerKind::Anonymous, from(at), 1));
    let shared = (100..104).map(|at| caller(CallerKind::Anonymous, from(at), 4));
    listed.chain(stored).chain(alone).chain(shared).collect()
}

/// Whether a request may have reached this server: by a route of one file, through the servers that another gives the
/// upstream.
fn leads(files: &[Arc<File>], route: impl Fn(&File) -> Option<usize>, server: usize) -> bool {
    let mut upstreams = files.iter().filter_map(|file| route(file));
    upstreams.any(|upstream| files.iter().any(|file| file.has(upstream, server)))
}

async fn searches(scene: Arc<Scene>, caller: Arc<Caller>) {
    let mut client = Client::connect(scene.proxy).await;
    while scene.goes_on().await {
        let surely = scene.surely();
        caller.sent.fetch_add(1, SeqCst);
        client.request("GET", "/search", &caller.shows).await;
        let answer = soon("an answer", client.try_answer("GET")).await;
        let answer = answer.unwrap_or_else(|error| panic!("TIERGATE_SEED={}: broken off: {error}", scene.seed));
        let (sent, files) = (caller.sent.load(SeqCst), scene.since(surely));
        let said = if answer.status() == 200 {
            let server = scene.server(&answer).expect("an upstream's answer");
            assert!(
                leads(&files, |file| Some(file.searching()), server),
                "TIERGATE_SEED={}: a search came to server {server} by none of {files:#?}",
                scene.seed
            );
            "200".to_owned()
        } else {
            answer.reason()
        };
        let may = |file: &Arc<File>| {
            let by_tier = file.may_refuse_by_tier(&said, caller.kind, sent, caller.clients);
            by_tier || file.may_refuse(&said, caller.kind, sent, SEARCHING as u64)
        };
        assert!(
            said == "200" || files.iter().any(may),
            "TIERGATE_SEED={}: {} {} to {:?} after {sent}, by none of {files:#?}",
            scene.seed,
            answer.head.line,
            answer.text(),
            caller.kind
        );
        scene.note(&said);
    }
}

async fn looks(scene: Arc<Scene>, at: usize) {
    let mut client = Client::connect(scene.proxy).await;
    while scene.goes_on().await {
        let surely = scene.surely();
        let shows = format!("x-forwarded-for: 198.51.100.{at}\r\n");
        client.request("GET", "/image/1.png", &shows).await;
        let answer = soon("an answer", client.try_answer("GET")).await;
        let answer = answer.unwrap_or_else(|error| panic!("TIERGATE_SEED={}: broken off: {error}", scene.seed));
        let files = scene.since(surely);
        let may = |file: &Arc<File>| match answer.status() {
            404 => file.images().is_none(),
            429 => file.may_refuse("rate_limited", CallerKind::Anonymous, u64::MAX, 0),
            _ => false,
        };
        let seen = || {
            scene
                .server(&answer)
                .is_some_and(|server| leads(&files, File::images, server))
        };
        assert!(
            files.iter().any(may) || (answer.status() == 200 && seen()),
            "TIERGATE_SEED={}: {} {} for an image, by none of {files:#?}",
            scene.seed,
            answer.head.line,
            answer.text()
        );
    }
}

/// Queued and running jobs are compared with the room there was since the last pause. Jobs that were there when room
/// shrank stay, and so do those that run at a removed server.
struct Room {
    queue_length: u64,
    slots: HashMap<(String, usize), u64>,
}

impl Room {
    fn of(file: &File) -> Self {
        let mut room = Self {
            queue_length: 0,
            slots: HashMap::new(),
        };
        room.widen(file);
        room
    }

    /// Before this file is applied.
    fn widen(&mut self, file: &File) {
        self.queue_length = self.queue_length.max(file.queue_length);
        for (upstream, server, more) in file.slots() {
            let slots = self.slots.entry((upstream, server)).or_default();
            *slots = (*slots).max(more);
        }
    }

    /// While this file is surely in force.
    fn check(&mut self, file: &File, queue: &serde_json::Value, seed: u64) {
        let waiting = queue["waiting"].as_array().map_or(0, Vec::len) as u64;
        assert_eq!(queue["seats"], file.queue_length, "TIERGATE_SEED={seed}");
        assert!(
            waiting <= self.queue_length,
            "TIERGATE_SEED={seed}: {waiting} wait in {} places",
            self.queue_length
        );
        self.queue_length = file.queue_length.max(waiting);
        for pool in queue["pools"].as_array().expect("pools") {
            let name = pool["upstream"].as_str().expect("a name");
            let running = pool["running"].as_u64().expect("a number");
            let slots = self.slots.iter().filter(|((of, _), _)| of == name);
            let slots: u64 = slots.map(|(_, slots)| slots).sum();
            assert!(
                running <= slots,
                "TIERGATE_SEED={seed}: {running} run on {slots} slots of {name}"
            );
            // A removed one keeps its slots while a job runs there.
            let mut listed = file.slots().filter(|(of, ..)| of == name).peekable();
            if listed.peek().is_some() {
                let slots: u64 = listed.map(|(_, _, slots)| slots).sum();
                assert_eq!(pool["slots"], slots, "TIERGATE_SEED={seed}: {name}");
            }
        }
    }
}

/// Checks that no job is left, and that the metrics match what clients were answered.
async fn accounts_add_up(proxy: &Proxy, scene: &Scene) {
    proxy.jobs_until(0, 0).await;
    let told = scene.told.lock().expect("no holder panics").clone();
    let told = |said: &str| told.get(said).copied().unwrap_or(0) as f64;
    assert_metric(
        proxy,
        "tiergate_jobs_total",
        r#"outcome="succeeded""#,
        told("200"),
        scene.seed,
    )
    .await;
    assert_metric(
        proxy,
        "tiergate_jobs_total",
        r#"outcome="displaced""#,
        told("displaced"),
        scene.seed,
    )
    .await;
    let waited_out = told("waited_too_long");
    assert_metric(
        proxy,
        "tiergate_refusals_total",
        r#"reason="waited_too_long""#,
        waited_out,
        scene.seed,
    )
    .await;
    for reason in ["concurrency_exceeded", "quota_depleted", "queue_full", "displaced"] {
        let labels = format!("reason=\"{reason}\"");
        assert_metric(proxy, "tiergate_refusals_total", &labels, told(reason), scene.seed).await;
    }
    // There were no other outcomes.
    let all = told("200") + told("displaced") + waited_out;
    assert_metric(proxy, "tiergate_jobs_total", "", all, scene.seed).await;
    for upstream in ["u0", "u1", "u2", "u3"] {
        let running = proxy
            .metric(&format!("tiergate_jobs_running{{upstream=\"{upstream}\"}}"))
            .await;
        assert!(
            running.abs() < 0.5,
            "TIERGATE_SEED={}: a slot of {upstream} is lost",
            scene.seed
        );
    }
}

/// Waits until the metric has the expected value, as jobs are counted a moment after they end.
async fn assert_metric(proxy: &Proxy, name: &str, labels: &str, expected: f64, seed: u64) {
    let mut counted = 0.0;
    for _ in 0..200 {
        counted = metric_sum(proxy.admin, name, labels).await;
        if counted >= expected {
            break;
        }
    }
    assert!(
        (counted - expected).abs() < 0.5,
        "TIERGATE_SEED={seed}: {name} {labels}: {counted} counted, {expected} told"
    );
}

async fn reloads(proxy: &Proxy, result: &str) -> f64 {
    proxy
        .metric(&format!("tiergate_config_reloads_total{{result=\"{result}\"}}"))
        .await
}

/// Applies a valid file: by a reload, or by waiting until it is noticed.
async fn apply(proxy: &Proxy, scene: &Scene, file: &File, ask: bool) {
    proxy.save(&file.yaml(&scene.servers));
    if ask {
        let answer = proxy.operator("POST", "/reload", "").await;
        assert_eq!(answer.status(), 200, "TIERGATE_SEED={}: {}", scene.seed, answer.text());
    }
    soon("the file is applied", async {
        loop {
            let shown = proxy.operator("GET", "/config", "").await.json();
            if shown["config"]["drain_timeout"] == file.mark() {
                assert!(
                    shown["last"]["wrong"].is_null(),
                    "TIERGATE_SEED={}: {shown}",
                    scene.seed
                );
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Saves a faulty file.
async fn spoil(proxy: &Proxy, seed: u64, yaml: &str, ask: bool) {
    let before = reloads(proxy, "failed").await;
    let shown = proxy.operator("GET", "/config", "").await.json();
    proxy.save(yaml);
    if ask {
        let answer = proxy.operator("POST", "/reload", "").await;
        assert_eq!(answer.status(), 422, "TIERGATE_SEED={seed}: {}\n{yaml}", answer.text());
    }
    soon("the file is rejected", async {
        while reloads(proxy, "failed").await <= before {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let after = proxy.operator("GET", "/config", "").await.json();
    assert_eq!((&after["config"], &after["since"]), (&shown["config"], &shown["since"]));
    assert_eq!(after["last"]["result"], "failed");
}

/// Stores an account; returns its key.
async fn stored(proxy: &Proxy, name: &str) -> String {
    let body = format!(r#"{{ "name": "{name}", "tier": "t{}" }}"#, crate::edits::STORED);
    assert_eq!(proxy.operator("POST", "/accounts", &body).await.status(), 201);
    let minted = proxy.operator("POST", &format!("/accounts/{name}/keys"), "{}").await;
    minted.json()["key"].as_str().expect("a key").to_owned()
}

/// Checks that every caller can use its whole concurrency: none of it is still held.
async fn nothing_is_held(proxy: &Proxy, scene: &Scene, callers: &[Arc<Caller>], file: &File) {
    let server = UpstreamServer::start().await;
    let mut servers = scene.servers.clone();
    servers.fill(server.address);
    proxy.save(&file.yaml(&servers));
    assert_eq!(proxy.operator("POST", "/reload", "").await.status(), 200);
    let mut clients = Vec::new();
    for caller in callers {
        for _ in 0..file.concurrency(caller.kind) {
            let mut client = Client::connect(scene.proxy).await;
            client.request("GET", "/search", &caller.shows).await;
            clients.push(client);
        }
    }
    let mut arrived = Vec::new();
    for _ in 0..clients.len() {
        arrived.push(server.request().await);
    }
    proxy.jobs_until(0, clients.len()).await;
    for caller in callers {
        let mut client = Client::connect(scene.proxy).await;
        let answer = client.ask("GET", "/search", &caller.shows).await;
        assert_eq!(answer.reason(), "concurrency_exceeded", "{caller:?}");
    }
    for mut arrived in arrived {
        arrived.answer("").await;
    }
    for mut client in clients {
        assert_eq!(client.answer().await.status(), 200);
    }
    proxy.jobs_until(0, 0).await;
}

/// Statuses and reasons that must each occur at least once.
const TOLD: [&str; 6] = [
    "200",
    "concurrency_exceeded",
    "quota_depleted",
    "queue_full",
    "displaced",
    "rate_limited",
];

#[tokio::test]
async fn answers_during_a_reload_follow_one_of_the_two_files() {
    let (mut dice, seed) = Dice::of_environment();
    println!("TIERGATE_SEED={seed}");
    let mut mirrors = Vec::new();
    for _ in 0..SERVERS {
        mirrors.push(Mirror::start().await);
    }
    let servers: Vec<SocketAddr> = mirrors.iter().map(|mirror| mirror.address).collect();
    let first = Arc::new(File::by_chance(0, SERVERS, &mut dice));
    let proxy = Proxy::start_live(&first.yaml(&servers));
    let keys = [stored(&proxy, "stored-0").await, stored(&proxy, "stored-1").await];
    let callers = callers(&keys);
    let scene = Arc::new(Scene {
        proxy: proxy.address,
        seed,
        servers,
        files: Mutex::new(vec![Arc::clone(&first)]),
        surely: AtomicUsize::new(1),
        rest: watch::Sender::new(false),
        resting: Barrier::new(SEARCHING + LOOKING + 1),
        ended: AtomicBool::new(false),
        told: Mutex::default(),
    });
    let mut clients = JoinSet::new();
    for caller in &callers {
        for _ in 0..caller.clients {
            clients.spawn(searches(Arc::clone(&scene), Arc::clone(caller)));
        }
    }
    assert_eq!(clients.len(), SEARCHING);
    for at in 0..LOOKING {
        clients.spawn(looks(Arc::clone(&scene), at));
    }
    let mut operator = std::pin::pin!(operate(&proxy, &scene, first, &mut dice));
    loop {
        tokio::select! {
            () = &mut operator => break,
            Some(ended) = clients.join_next() => ended.expect("every answer is allowed by one of the files"),
        }
    }
    while let Some(ended) = clients.join_next().await {
        ended.expect("every answer is allowed by one of the files");
    }
    accounts_add_up(&proxy, &scene).await;
    let told = scene.told.lock().expect("no holder panics").clone();
    println!("{told:?}");
    for said in TOLD {
        assert!(told.contains_key(said), "{said} did not occur: {told:?}");
    }
    // Without quotas that are used up by now.
    let unlimited = File::unlimited(RELOADS + 1);
    apply(&proxy, &scene, &unlimited, true).await;
    nothing_is_held(&proxy, &scene, &callers, &unlimited).await;
}

/// Saves file after file and checks what becomes of each.
async fn operate(proxy: &Proxy, scene: &Scene, first: Arc<File>, dice: &mut Dice) {
    let seed = scene.seed;
    let mut room = Room::of(&first);
    let mut present = first;
    let mut spoiled = String::new();
    for number in 1..=RELOADS {
        let file = Arc::new(File::by_chance(number, SERVERS, dice));
        let ask = dice.below(5) > 0;
        room.check(&present, &proxy.queue().await, seed);
        if dice.below(4) == 0 {
            // A file saved unchanged is not read again.
            let before = std::mem::replace(&mut spoiled, file.broken(&scene.servers, dice));
            while spoiled == before {
                spoiled = file.broken(&scene.servers, dice);
            }
            spoil(proxy, seed, &spoiled, ask).await;
        } else {
            room.widen(&file);
            scene.files.lock().expect("no holder panics").push(Arc::clone(&file));
            apply(proxy, scene, &file, ask).await;
            let files = scene.files.lock().expect("no holder panics").len();
            scene.surely.store(files, SeqCst);
            present = file;
        }
        room.check(&present, &proxy.queue().await, seed);
        if number % RELOADS_PER_REST == 0 {
            scene.rest.send_replace(true);
            soon("all clients pause", scene.resting.wait()).await;
            accounts_add_up(proxy, scene).await;
            room = Room::of(&present);
            scene.rest.send_replace(false);
            scene.ended.store(number == RELOADS, SeqCst);
            scene.resting.wait().await;
        }
    }
    assert_eq!(
        reloads(proxy, "failed").await + reloads(proxy, "applied").await,
        RELOADS as f64
    );
}
