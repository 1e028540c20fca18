//! The demo's page, through the proxy: what it needs is there, and it can do what it says.

mod support;

use bytes::Bytes;
use http::{Response, StatusCode, header};
use serde_json::Value;

use crate::support::{COUNT, INDEX, behind_the_proxy, get, json, post, send};

/// The JSON in the page.
fn config(page: &Response<Bytes>) -> Value {
    let html = std::str::from_utf8(page.body()).unwrap();
    let (_, after) = html
        .split_once(r#"<script type="application/json" id="config">"#)
        .unwrap();
    serde_json::from_str(after.split_once("</script>").unwrap().0).unwrap()
}

#[tokio::test]
async fn the_page_and_its_files_come_through_the_proxy() {
    behind_the_proxy(&INDEX, async |proxy| {
        let page = send(proxy, get("/")).await;
        assert_eq!(page.status(), StatusCode::OK);
        assert_eq!(page.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        let html = std::str::from_utf8(page.body()).unwrap().to_owned();
        assert!(html.contains(&format!("which of {COUNT} it is")) && !html.contains("{{"));
        let quoted = html.split('"').filter(|text| text.starts_with("/demo/"));
        let files: Vec<_> = quoted.map(str::to_owned).collect();
        assert_eq!(files.len(), 3, "{files:?}");
        for file in files {
            let answer = send(proxy, get(&file)).await;
            assert_eq!(answer.status(), StatusCode::OK, "{file}");
            assert!(!answer.body().is_empty());
        }
        assert_eq!(send(proxy, get("/demo/none")).await.status(), StatusCode::NOT_FOUND);
        let status = send(
            proxy,
            get(&format!("{}.json", config(&page)["status"].as_str().unwrap())),
        )
        .await;
        assert_eq!(json(&status)["now"]["queue"]["length"], 8);
    })
    .await;
}

#[tokio::test]
async fn a_sample_is_found_by_a_guest_with_its_key() {
    behind_the_proxy(&INDEX, async |proxy| {
        let config = config(&send(proxy, get("/")).await);
        let sample = send(proxy, get("/demo/sample/5")).await;
        assert_eq!(sample.headers()[header::CONTENT_TYPE], "image/jpeg");

        let guest = &config["guests"][0];
        let mut search = post("/search?cutBorders", "image/jpeg", sample.body().to_vec());
        let name = config["header"]
            .as_str()
            .unwrap()
            .parse::<header::HeaderName>()
            .unwrap();
        search
            .headers_mut()
            .insert(name, guest["key"].as_str().unwrap().parse().unwrap());
        let answer = send(proxy, search).await;
        assert_eq!(answer.status(), StatusCode::OK, "{answer:?}");
        assert!(answer.headers().contains_key("server-timing"));
        assert_eq!(json(&answer)["result"][0]["place"], config["samples"][5]["original"]);
        assert_eq!(guest["tier"], "$1");
    })
    .await;
}

#[tokio::test]
async fn thumbnails_come_as_one_strip() {
    behind_the_proxy(&INDEX, async |proxy| {
        let height = async |path: &str| {
            let answer = send(proxy, get(path)).await;
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
            image::load_from_memory(answer.body()).unwrap().height()
        };
        assert_eq!(height("/demo/strip/3,14,59").await, 3 * 144);
        assert_eq!(height("/demo/samples.jpg?1").await, 8 * 144);
        // Nonsense is left out, and what there may be of it is bounded.
        assert_eq!(height("/demo/strip/x,5000,7").await, 144);
        assert_eq!(height(&format!("/demo/strip/{}", "1,".repeat(500))).await, 16 * 144);
        assert_eq!(send(proxy, get("/demo/sample/8")).await.status(), StatusCode::NOT_FOUND);
    })
    .await;
}
