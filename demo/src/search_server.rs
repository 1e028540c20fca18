//! The search service behind tiergate: `POST /search` and `GET /image/{name}`, in trace.moe's shape, and a page.
//!
//! tiergate handles queue, quotas, keys and slow clients. The bounds here protect only this process: the upload, the concurrent
//! searches, and the time that an upload may take.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use http::{HeaderMap, StatusCode, Uri, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::index::{self, Index};
use crate::page::{self, Page};

/// Searches in this process at once, uploads included. tiergate sends no more than it has slots; other clients may.
const SEARCHES_MAX: usize = 16;
/// The largest upload in bytes: 25 MiB, as at trace.moe.
const UPLOAD_BYTES_MAX: usize = 25 * 1024 * 1024;
/// The longest that an upload may take.
const UPLOAD_MAX: Duration = Duration::from_secs(30);
/// Matches in an answer.
const MATCHES: usize = 10;
/// Seconds per image: an image has no position in a film, so its index stands for it, as if each were shown this long.
const SCENE_S: f64 = 2.0;

/// How much the service does at once, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct SearchPace {
    /// Searches computed at once, one thread each; `slots` in tiers.yaml.
    pub workers: u32,
    /// The least time that a search takes, as if the index were larger.
    pub search_time: Duration,
}

struct Service {
    index: Arc<Index>,
    pace: SearchPace,
    searches: Semaphore,
    workers: Arc<Semaphore>,
}

/// Serves until `shutdown`, then finishes what has begun.
///
/// # Errors
/// The listener is broken.
pub async fn serve(
    listener: TcpListener,
    page: Page,
    pace: SearchPace,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let workers = pace.workers as usize;
    let service = Service {
        index: page.index(),
        pace,
        searches: Semaphore::new(SEARCHES_MAX.max(workers)),
        workers: Arc::new(Semaphore::new(workers)),
    };
    let router = Router::new()
        .route("/search", post(search))
        .route("/image/{name}", get(image))
        .layer(DefaultBodyLimit::max(UPLOAD_BYTES_MAX))
        .with_state(Arc::new(service))
        .merge(page::router(page));
    // With Nagle's algorithm, the kernel would hold back the end of an image until the client acknowledges its beginning.
    let listener = listener.tap_io(|socket| _ = socket.set_nodelay(true));
    axum::serve(listener, router).with_graceful_shutdown(shutdown).await
}

/// A failed request: a status, and a message for the client.
struct SearchError(StatusCode, String);

impl IntoResponse for SearchError {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

async fn search(State(service): State<Arc<Service>>, request: Request) -> Result<Json<Value>, SearchError> {
    let busy = |_| SearchError(StatusCode::SERVICE_UNAVAILABLE, "Too many searches at once".to_owned());
    let _place = service.searches.try_acquire().map_err(busy)?;
    let (base, cut_borders) = (base_url(request.headers()), asks_to_cut_borders(request.uri()));

    let late = |_| SearchError(StatusCode::REQUEST_TIMEOUT, "The upload took too long".to_owned());
    let upload = tokio::time::timeout(UPLOAD_MAX, upload(request))
        .await
        .map_err(late)??;

    // Acquired after the upload, so that a slow one occupies no worker. The thread holds the permit, not this future, which is
    // dropped when the client hangs up while the thread goes on.
    let worker = Arc::clone(&service.workers)
        .acquire_owned()
        .await
        .expect("the semaphore is never closed");
    let (index, least) = (Arc::clone(&service.index), service.pace.search_time);
    let found = spawn_blocking(move || {
        let _worker = worker;
        let began = Instant::now();
        let query = index::decode(&upload)?;
        let answer = answer(&index, &base, &index.search(&query, cut_borders, MATCHES));
        thread::sleep(least.saturating_sub(began.elapsed()));
        Ok(answer)
    });
    let broken = |error: image::ImageError| SearchError(StatusCode::BAD_REQUEST, format!("Not an image: {error}"));
    let failed = |_| SearchError(StatusCode::INTERNAL_SERVER_ERROR, "The search failed".to_owned());
    found.await.map_err(failed)?.map(Json).map_err(broken)
}

fn answer(index: &Index, base: &str, matches: &[index::Match]) -> Value {
    let results = matches.iter().map(|found| {
        let name = &index.pictures()[found.place].name;
        let (from, url) = (
            found.place as f64 * SCENE_S,
            format!("{base}/image/{}", percent_encoded(name)),
        );
        json!({
            "filename": name,
            "place": found.place,
            "from": from,
            "to": from + SCENE_S,
            "similarity": found.similarity,
            "image": url,
            "video": url, // a film of one frame
        })
    });
    json!({ "frameCount": index.pictures().len(), "error": "", "result": results.collect::<Vec<_>>() })
}

/// The bytes of the image: the whole body, or the first file of a form.
async fn upload(request: Request) -> Result<Bytes, SearchError> {
    let media_type = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    let is_form = media_type.to_ascii_lowercase().starts_with("multipart/form-data");
    let upload = if is_form {
        first_file(request).await?
    } else {
        whole_body(request).await?
    };
    if upload.is_empty() {
        return Err(SearchError(
            StatusCode::BAD_REQUEST,
            "No image in the request".to_owned(),
        ));
    }
    Ok(upload)
}

async fn whole_body(request: Request) -> Result<Bytes, SearchError> {
    Bytes::from_request(request, &())
        .await
        .map_err(|rejection| SearchError(rejection.status(), rejection.body_text()))
}

async fn first_file(request: Request) -> Result<Bytes, SearchError> {
    let broken = |error: axum::extract::multipart::MultipartError| SearchError(error.status(), error.body_text());
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|rejection| SearchError(rejection.status(), rejection.body_text()))?;
    while let Some(field) = form.next_field().await.map_err(broken)? {
        if matches!(field.name(), Some("image" | "file")) {
            return field.bytes().await.map_err(broken);
        }
    }
    Err(SearchError(
        StatusCode::BAD_REQUEST,
        "The form has no field `image` or `file`".to_owned(),
    ))
}

/// trace.moe's clients send `?cutBorders` without a value; others with one.
fn asks_to_cut_borders(uri: &Uri) -> bool {
    uri.query().is_some_and(|query| {
        query
            .split('&')
            .any(|pair| pair.split('=').next() == Some("cutBorders"))
    })
}

/// The base URL that the client uses: from tiergate's forwarded headers, or else from the request.
fn base_url(headers: &HeaderMap) -> String {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let scheme = text("x-forwarded-proto").unwrap_or("http");
    text("x-forwarded-host")
        .or_else(|| text("host"))
        .map_or_else(String::new, |host| format!("{scheme}://{host}"))
}

fn percent_encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    name.bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

async fn image(State(service): State<Arc<Service>>, Path(name): Path<String>) -> Result<Response, SearchError> {
    let gone = || SearchError(StatusCode::NOT_FOUND, "No such image".to_owned());
    let media_type = service.index.named(&name).ok_or_else(gone)?.media_type;
    let bytes = spawn_blocking(move || service.index.named(&name).and_then(|picture| picture.bytes().ok()));
    let bytes = bytes.await.ok().flatten().ok_or_else(gone)?;
    Ok(([(header::CONTENT_TYPE, media_type)], bytes).into_response())
}
