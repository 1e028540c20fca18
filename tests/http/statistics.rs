//! Statistics: `/me?period=…` for the caller, `/stats` for everyone; kept over a restart.

use serde_json::{Value, json};
use tiergate::policy::time::UnixTime;

use super::accounting::{ask, search, with_key};
use crate::support::fast::FastServer;
use crate::support::folder::Folder;
use crate::support::{Proxy, get, seven_tiers, soon};

const NOON: UnixTime = UnixTime::from_secs(1_800_014_400);
const COLUMNS: [&str; 7] = ["200", "400", "402", "405", "500", "503", "total"];

async fn rows(proxy: &Proxy, path: &str, key: &str) -> Vec<Value> {
    let answer = ask(proxy, path, &with_key(key)).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json().as_array().expect("a list").clone()
}

/// The sums of all rows of this page, by column.
async fn sums(proxy: &Proxy, path: &str, key: &str) -> [u64; 7] {
    let rows = rows(proxy, path, key).await;
    let of = |column: &str| rows.iter().map(|row| row[column].as_u64().expect("a number")).sum();
    COLUMNS.map(of)
}

/// Another thread stores the answers, so they show a moment later.
async fn until_sums(proxy: &Proxy, path: &str, key: &str, wanted: [u64; 7]) {
    soon(&format!("{path} says {wanted:?}"), async {
        while sums(proxy, path, key).await != wanted {}
    })
    .await;
}

#[tokio::test]
async fn callers_see_their_own_statistics_and_everyone_the_totals() {
    let server = FastServer::start();
    let yaml = seven_tiers(8, &[(server.address, 4)], "");
    let (proxy, _) = Proxy::start_in_at(Folder::new(), NOON, &yaml);
    for _ in 0..3 {
        assert_eq!(search(&proxy, "key-20").await.status(), 200);
    }
    assert_eq!(search(&proxy, "").await.status(), 200);
    assert_eq!(
        ask(&proxy, "/search?status=500", &with_key("key-20")).await.status(),
        500
    );
    assert_eq!(
        ask(&proxy, "/search?status=418", &with_key("key-20")).await.status(),
        418
    );
    assert_eq!(
        ask(&proxy, "/image/x", &with_key("key-20")).await.status(),
        200,
        "not metered"
    );
    for period in ["minute", "hour", "day"] {
        until_sums(&proxy, &format!("/me?period={period}"), "key-20", [3, 0, 0, 0, 1, 0, 5]).await;
        until_sums(&proxy, &format!("/me?period={period}"), "", [1, 0, 0, 0, 0, 0, 1]).await;
        until_sums(&proxy, &format!("/me?period={period}"), "key-5", [0; 7]).await;
        until_sums(&proxy, &format!("/stats?period={period}"), "", [4, 0, 0, 0, 1, 0, 6]).await;
    }
    let rows = rows(&proxy, "/stats?type=speed&period=minute", "").await;
    let last = rows.last().expect("60 rows");
    assert!(
        last["p0"].as_u64() <= last["p100"].as_u64() && last["p50"].is_u64(),
        "{last}"
    );
    assert_eq!(rows[0]["p50"], json!(null));
}

/// Refusals are stored at the end of the minute or on shutdown, and for a caller only if it has a debit.
#[tokio::test]
async fn refusals_are_counted_and_survive_a_restart() {
    let server = FastServer::start();
    let yaml = seven_tiers(8, &[(server.address, 4)], "").replace("limit: 500,", "limit: 1,");
    let (proxy, _) = Proxy::start_in_at(Folder::new(), NOON, &yaml);
    assert_eq!(search(&proxy, "key-5").await.status(), 200);
    for _ in 0..2 {
        search(&proxy, "key-5").await.assert_refused(402, "quota_depleted");
    }
    search(&proxy, "unknown").await.assert_refused(403, "invalid_key");
    ask(&proxy, "/search/%zz", "").await;
    let (proxy, _) = Proxy::start_in_at(proxy.into_folder(), NOON, &yaml);
    for period in ["minute", "hour", "day"] {
        until_sums(&proxy, &format!("/me?period={period}"), "key-5", [1, 0, 2, 0, 0, 0, 3]).await;
        let of_all = sums(&proxy, &format!("/stats?period={period}"), "").await;
        assert_eq!((of_all[0], of_all[2], of_all[6]), (1, 2, 4), "{of_all:?}");
    }
}

#[tokio::test]
async fn periods_have_their_rows_and_others_are_refused() {
    let server = FastServer::start();
    let (proxy, _) = Proxy::start_at(NOON, &seven_tiers(8, &[(server.address, 1)], ""));
    for (period, count, last) in [
        ("minute", 60, "2027-01-15T12:00:00Z"),
        ("hour", 72, "2027-01-15T12:00:00Z"),
        ("day", 60, "2027-01-15T00:00:00Z"),
    ] {
        for path in [format!("/me?period={period}"), format!("/stats?period={period}")] {
            let rows = rows(&proxy, &path, "").await;
            assert_eq!((rows.len(), &rows[count - 1]["time"]), (count, &json!(last)), "{path}");
        }
    }
    assert_eq!(rows(&proxy, "/stats", "").await.len(), 72, "hourly by default");
    for wrong in [
        "/me?period=year",
        "/me?period=",
        "/me?period=day&period=hour",
        "/stats?period=year",
        "/stats?type=money",
    ] {
        get(proxy.address, wrong).await.assert_refused(400, "bad_request");
    }
    let page = ask(&proxy, "/stats", "x-api-key: guess\r\n").await;
    page.assert_refused(403, "invalid_key");
}
