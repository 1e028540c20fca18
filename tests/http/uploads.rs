//! Uploads that are refused: the client gets to read why (semantics §8), whatever it was about to send.

use tokio::io::AsyncWriteExt;

use crate::support::{Arrived, Client, Door, Worker, seven_tiers};

const UPLOAD_BYTES: usize = 25 << 20;

/// A worker whose slot and a queue whose seat are taken: `key-10` is at its concurrency, lower tiers find no seat.
struct FullHouse {
    door: Door,
    worker: Worker,
    running: (Client, Arrived),
    waiting: Client,
}

impl FullHouse {
    async fn new(more: &str) -> Self {
        let worker = Worker::start().await;
        let door = Door::open(&seven_tiers(1, &[(worker.address, 1)], more));
        let mut running = Client::connect(door.address).await;
        running.search("key-100").await;
        let arrived = worker.request().await;
        let mut waiting = Client::connect(door.address).await;
        waiting.search("key-10").await;
        door.house_until(1, 1).await;
        Self {
            door,
            worker,
            running: (running, arrived),
            waiting,
        }
    }

    async fn empty(mut self) -> (Door, Worker) {
        self.running.1.answer("{}").await;
        assert_eq!(self.running.0.answer().await.status(), 200);
        Arrived::on_either(self.running.1.stream, &self.worker)
            .await
            .answer("{}")
            .await;
        assert_eq!(self.waiting.answer().await.status(), 200);
        self.door.house_until(0, 0).await;
        (self.door, self.worker)
    }
}

/// What is refused in a [`FullHouse`], with status and reason.
const REFUSED: [(&str, &str, u16, &str); 5] = [
    ("/search", "x-api-key: key-10\r\n", 402, "concurrency_exceeded"),
    ("/search", "x-api-key: key-1\r\n", 503, "queue_full"),
    ("/search", "x-api-key: guess\r\n", 403, "invalid_key"),
    ("/nowhere", "", 404, "not_found"),
    ("/image/1", "", 413, "body_too_large"),
];

async fn post(client: &mut Client, path: &str, headers: &str) {
    client
        .request("POST", path, &format!("{headers}content-length: {UPLOAD_BYTES}\r\n"))
        .await;
}

/// The bug: the door closed as soon as it had thrown 256 KiB away. That resets the connection under a client that still
/// sends, and a reset may overtake the answer.
#[tokio::test]
async fn a_client_that_sends_and_reads_at_once_meets_no_reset() {
    let house = FullHouse::new("").await;
    let body = vec![0; UPLOAD_BYTES];
    for (path, headers, status, reason) in REFUSED {
        let mut client = Client::connect(house.door.address).await;
        post(&mut client, path, headers).await;
        let (mut reader, mut writer) = client.into_halves();
        let answered = async {
            let answer = reader.answer().await;
            answer.assert_refused(status, reason);
            assert_eq!(answer.get("connection"), Some("close"));
            assert_eq!(reader.rest().await, b"");
        };
        tokio::select! {
            () = answered => {}
            sent = writer.write_all(&body) => panic!("{reason}: nobody takes 25 MiB: {sent:?}"),
        }
    }
    house.empty().await;
}
