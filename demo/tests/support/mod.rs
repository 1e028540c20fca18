//! What the demo's tests share: small pictures, and the repository's proxy in front of the search service.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use std::{env, fs, process};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tiergate_demo::index::Index;
use tiergate_demo::page::{Callers, Page};
use tiergate_demo::progress::IndexProgress;
use tiergate_demo::proxy::{self, Addresses, Config, Proxy};
use tiergate_demo::search_server::{self, SearchPace};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Small pictures: these tests run without optimisation too.
pub const SIZE: (u32, u32) = (160, 90);
pub const COUNT: usize = 60;
/// As fast as it can.
pub const PACE: SearchPace = SearchPace {
    workers: 2,
    search_time: Duration::ZERO,
};
/// The longest that any of these tests may take to get its answers.
const PATIENCE: Duration = Duration::from_secs(120);

pub static INDEX: LazyLock<Arc<Index>> =
    LazyLock::new(|| Arc::new(Index::made(7, COUNT, SIZE, &IndexProgress::hidden())));

/// Opens the repository's proxy in front of the search service, both on free ports, and asks.
pub async fn behind_the_proxy<T>(index: &Arc<Index>, ask: impl AsyncFnOnce(SocketAddr) -> T) -> T {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let addresses = Addresses {
        listen: free,
        admin: free,
        upstream: listener.local_addr().unwrap(),
    };
    let mut config = tiers_yaml(&addresses);
    let guests = proxy::add_accounts(&mut config, "guest", 1, 1).unwrap();
    let callers = Callers {
        anonymous: "free".to_owned(),
        guests,
        status: proxy::status_path(&config),
    };
    let proxy = Proxy::bind(config).unwrap();
    let address = proxy.public_address();

    let (close_proxy, close_search) = (CancellationToken::new(), CancellationToken::new());
    let front = async {
        proxy
            .run(close_proxy.clone().cancelled_owned())
            .await
            .expect("the proxy ends well");
        close_search.cancel();
    };
    let page = Page::new(Arc::clone(index), &callers);
    let back = search_server::serve(listener, page, PACE, close_search.clone().cancelled_owned());
    let asking = async {
        let answers = within_patience(ask(address)).await;
        close_proxy.cancel();
        answers
    };
    let (answers, (), back) = within_patience(async { tokio::join!(asking, front, back) }).await;
    back.expect("the search service ends well");
    answers
}

/// The repository's configuration with the demo's addresses.
pub fn tiers_yaml(addresses: &Addresses) -> Config {
    let tiers = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("tiers.yaml");
    let mut config = proxy::load(&tiers, addresses).unwrap();
    // One test's proxy must not find, nor remove, the data of another's.
    let own = format!("tiergate-demo-test-{}-{}", process::id(), addresses.upstream.port());
    config.data_dir = env::temp_dir().join(own);
    config
}

pub async fn within_patience<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it doesn't hang")
}

/// One request on a connection of its own.
pub async fn send(to: SocketAddr, mut request: Request<Full<Bytes>>) -> Response<Bytes> {
    request
        .headers_mut()
        .insert(header::HOST, to.to_string().parse().unwrap());
    let stream = TcpStream::connect(to).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let exchange = async {
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        Response::from_parts(head, body.collect().await.unwrap().to_bytes())
    };
    tokio::pin!(exchange);
    tokio::select! {
        response = &mut exchange => response,
        // The server may close the connection after its answer, which is then still to be read.
        _ = connection => exchange.await,
    }
}

pub fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).body(Full::default()).unwrap()
}

pub fn post(path: &str, media_type: &str, body: Vec<u8>) -> Request<Full<Bytes>> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::CONTENT_TYPE, media_type);
    request.body(Full::new(body.into())).unwrap()
}

pub fn json(answer: &Response<Bytes>) -> Value {
    serde_json::from_slice(answer.body()).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

/// A temporary folder that goes when the test does.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(test: &str) -> Self {
        let folder = env::temp_dir().join(format!("tiergate-demo-test-{test}-{}", process::id()));
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
