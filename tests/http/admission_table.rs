//! The admission table of trace.moe (rules §3.3), row by row: eight queue places, who holds them, and which
//! priorities are admitted.

use crate::support::{Answer, Client, Plan, Proxy, UpstreamServer, soon};

/// The queued priorities, and which of 0, 2, 5 and 6 are admitted.
const TABLE: [(&[u8], &[u8]); 6] = [
    (&[], &[0, 2, 5, 6]),
    (&[6, 5, 2, 0, 0, 0, 0], &[0, 2, 5, 6]),
    (&[6, 6, 6, 5, 2, 2, 2, 0], &[2, 5, 6]),
    (&[6, 6, 6, 5, 2, 2, 2, 2], &[5, 6]),
    (&[6, 6, 6, 6, 6, 6, 5, 5], &[6]),
    (&[6, 6, 6, 6, 6, 6, 6, 6], &[]),
];

/// A proxy whose only slot is taken, and its queued clients in order of arrival.
async fn filled(server: &UpstreamServer, queued: &[u8]) -> (Proxy, Client, Vec<(u8, Client)>) {
    let proxy = Plan {
        cores: 1,
        servers: &[(server.address, 1)],
        ..Plan::default()
    }
    .start();
    let running = enqueue(&proxy, 3).await;
    proxy.jobs_until(0, 1).await;
    let mut clients = Vec::new();
    for priority in queued {
        clients.push((*priority, enqueue(&proxy, *priority).await));
        proxy.jobs_until(clients.len(), 1).await;
    }
    (proxy, running, clients)
}

async fn enqueue(proxy: &Proxy, priority: u8) -> Client {
    let mut client = Client::connect(proxy.address).await;
    client.search(&format!("p{priority}")).await;
    client
}

fn is_refused(answer: &Answer, reason: &str) {
    assert_eq!((answer.status(), answer.reason().as_str()), (503, reason));
    let retry_after: u64 = answer.get("retry-after").expect("a time").parse().expect("seconds");
    assert!((1..=300).contains(&retry_after));
}

#[tokio::test]
async fn the_admission_table_row_by_row() {
    let server = UpstreamServer::start().await;
    for (queued, admitted) in TABLE {
        for probe in [0, 2, 5, 6] {
            let (proxy, _running, mut clients) = filled(&server, queued).await;
            let mut newcomer = enqueue(&proxy, probe).await;
            if !admitted.contains(&probe) {
                is_refused(&newcomer.answer().await, "queue_full");
                proxy.jobs_until(queued.len(), 1).await;
            } else if queued.len() < 8 {
                proxy.jobs_until(queued.len() + 1, 1).await;
            } else {
                let lowest = *queued.iter().min().expect("the queue is full");
                assert_eq!(displaced(&mut clients).await, lowest, "{queued:?} {probe}");
                proxy.jobs_until(8, 1).await;
            }
        }
    }
}

/// The priority of the one client that was displaced: the newest of its priority.
async fn displaced(clients: &mut [(u8, Client)]) -> u8 {
    let lowest = clients.iter().map(|(priority, _)| *priority).min();
    let newest = clients.iter().rposition(|(priority, _)| Some(*priority) == lowest);
    let (priority, client) = &mut clients[newest.expect("a client is queued")];
    is_refused(&client.answer().await, "displaced");
    *priority
}

#[tokio::test]
async fn the_newest_of_the_lowest_priority_is_displaced_first() {
    let server = UpstreamServer::start().await;
    let (proxy, mut running, mut clients) = filled(&server, &[2, 0, 5, 0, 2, 0, 5, 5]).await;
    let mut newcomers = Vec::new();
    for out in [5, 3, 1, 4, 0] {
        newcomers.push(enqueue(&proxy, 6).await);
        is_refused(&clients[out].1.answer().await, "displaced");
    }
    let mut refused = enqueue(&proxy, 5).await;
    is_refused(&refused.answer().await, "queue_full");
    assert_eq!(
        proxy
            .metric(r#"tiergate_jobs_total{tier="p0",outcome="displaced"}"#)
            .await,
        3.0
    );

    // The rest are served by priority, then in order of arrival.
    let mut arrived = server.request().await;
    arrived.answer("").await;
    assert_eq!(running.answer().await.status(), 200);
    for newcomer in &mut newcomers {
        arrived = crate::support::Arrived::on(arrived.stream).await;
        assert_eq!(arrived.head.get("x-tiergate-priority"), Some("6"));
        arrived.answer("").await;
        assert_eq!(newcomer.answer().await.status(), 200);
    }
    for left in [2, 6, 7] {
        arrived = crate::support::Arrived::on(arrived.stream).await;
        arrived.answer("").await;
        assert_eq!(soon("its turn", clients[left].1.answer()).await.status(), 200);
    }
    proxy.jobs_until(0, 0).await;
}
