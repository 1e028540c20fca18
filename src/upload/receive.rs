//! Receives a body: as much as came with the head at once, the rest after its job has been admitted to upload.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use tokio::sync::Notify;

use super::body::ReceivedBody;
use super::budget::{Room, UploadRoom};
use super::error::UploadError;
use super::spool::{SpoolDir, SpoolFile};
use crate::clock::Clock;
use crate::policy::time::{Span, Timestamp};

/// The most that is read of a body before its job is admitted, save for the connection's read buffer.
const AHEAD_BYTES_MAX: u64 = 64 << 10;
/// Bytes are written to a file in parts of at least this size.
const SPOOL_WRITE_BYTES: u64 = 256 << 10;
/// Sizes of the blocks in which a body of unknown length is kept in memory: the first, and the largest.
const BLOCK_BYTES: [usize; 2] = [4 << 10, 64 << 10];
/// A body's average rate is looked at from then on.
const RATE_AFTER: Span = Span::from_secs(30);

/// How slowly a body may arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyPace {
    /// The longest time without a byte.
    pub timeout: Duration,
    /// The least average rate in bytes per second, after 30 s.
    pub rate_min: u64,
    /// The longest time for the whole body.
    pub upload_max: Duration,
}

/// Parts of a body in memory, in blocks of which no more is unused than used, or than the first block.
#[derive(Debug, Default)]
struct Blocks {
    full: Vec<Bytes>,
    open: BytesMut,
    bytes: u64,
}

impl Blocks {
    /// Appends the chunk. `more` is how many bytes the whole body still has with it, if that is known.
    fn push(&mut self, mut chunk: &[u8], more: Option<u64>) {
        let mut more = more.and_then(|more| usize::try_from(more).ok());
        while !chunk.is_empty() {
            if self.open.len() == self.open.capacity() {
                self.seal();
                let doubled = usize::try_from(self.bytes).unwrap_or(usize::MAX).max(BLOCK_BYTES[0]);
                let next = more.unwrap_or(doubled);
                self.open = BytesMut::with_capacity(next.clamp(1, BLOCK_BYTES[1]));
            }
            let (part, rest) = chunk.split_at(chunk.len().min(self.open.capacity() - self.open.len()));
            self.open.extend_from_slice(part);
            self.bytes += part.len() as u64;
            more = more.map(|more| more.saturating_sub(part.len()));
            chunk = rest;
        }
    }

    fn seal(&mut self) {
        if !self.open.is_empty() {
            self.full.push(std::mem::take(&mut self.open).freeze());
        }
    }

    fn take(&mut self) -> Vec<Bytes> {
        self.seal();
        self.bytes = 0;
        std::mem::take(&mut self.full)
    }
}

/// A body that is arriving.
#[derive(Debug)]
pub struct Upload<B: Body> {
    incoming: B,
    fault_of: fn(&B::Error) -> UploadError,
    limit: u64,
    received: u64,
    blocks: Blocks,
    progress: Arc<UploadProgress>,
}

impl<B: Body<Data = Bytes> + Unpin> Upload<B> {
    /// A body of at most `limit` bytes. `fault_of` says what an error of it means.
    pub fn new(incoming: B, limit: u64, fault_of: fn(&B::Error) -> UploadError) -> Self {
        let progress = Arc::new(UploadProgress::default());
        if incoming.is_end_stream() {
            progress.set_complete();
        }
        Self {
            incoming,
            fault_of,
            limit,
            received: 0,
            blocks: Blocks::default(),
            progress,
        }
    }

    /// The body's progress, which outlives the body.
    pub fn progress(&self) -> &Arc<UploadProgress> {
        &self.progress
    }

    /// Whether all of it has arrived.
    pub fn is_complete(&self) -> bool {
        self.progress.is_complete()
    }

    /// The rest, if the body has not completely arrived.
    pub fn into_unread(self) -> Option<B> {
        (!self.is_complete()).then_some(self.incoming)
    }

    /// Reads what has already arrived, without waiting for more, and no more than 64 KiB and one read buffer: the job is not
    /// admitted yet.
    ///
    /// # Errors
    /// The client is gone, or the body is malformed or too long.
    pub async fn take_arrived(&mut self) -> Result<(), UploadError> {
        loop {
            let before = self.received;
            poll_fn(|cx| self.poll_arrived(cx)).await?;
            if self.is_enough_ahead() || self.received == before {
                return Ok(());
            }
            // hyper hands over one chunk at a time, and the end after the last: it may have read more.
            tokio::task::yield_now().await;
        }
    }

    fn is_enough_ahead(&self) -> bool {
        self.is_complete() || self.received >= AHEAD_BYTES_MAX
    }

    fn poll_arrived(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UploadError>> {
        while !self.is_enough_ahead() {
            match self.poll_chunk(cx) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault)),
                Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes room in memory for what has arrived. `false`: there is none, and it must go to a file.
    ///
    /// # Errors
    /// Not in a file either.
    pub fn take_room(&self, room: &UploadRoom, now: Timestamp) -> Result<bool, UploadError> {
        let taken = room.take(self.received, now).map_err(|_| UploadError::TooMany)?;
        Ok(taken == Room::Memory)
    }

    /// The body, which is complete and in memory.
    pub fn take_received(&mut self, room: Option<UploadRoom>) -> ReceivedBody {
        if let Some(room) = &room {
            room.complete();
        }
        ReceivedBody::in_memory(self.blocks.take(), room)
    }

    /// Receives the rest. Room has been taken for what has arrived, in memory or else `spooled`.
    ///
    /// # Errors
    /// The client is gone; the body is malformed, too long or too slow; or there is no room for it.
    pub async fn receive(
        &mut self,
        room: UploadRoom,
        mut spooled: bool,
        dir: &SpoolDir,
        pace: BodyPace,
        clock: Clock,
    ) -> Result<ReceivedBody, UploadError> {
        let mut file = SpoolFile::new(dir.clone());
        let mut watch = PaceWatch::starting(pace, clock.now());
        let mut alarm = pin!(clock.sleep_until(watch.deadline()));
        loop {
            if spooled && (self.blocks.bytes >= SPOOL_WRITE_BYTES || self.is_complete()) {
                let began = clock.now();
                if let Err(error) = file.append(self.blocks.take()).await {
                    dir.note_failure(&error, clock.now());
                    return Err(self.progress.set_fault(UploadError::TooMany));
                }
                watch.paused(clock.now().since(began));
            }
            if self.is_complete() {
                break;
            }
            let arrived = poll_fn(|cx| {
                if room.poll_ended(cx).is_ready() {
                    return Poll::Ready(Err(UploadError::TooMany));
                }
                if let Poll::Ready(arrived) = self.poll_chunk(cx) {
                    return Poll::Ready(arrived);
                }
                while alarm.as_mut().poll(cx).is_ready() {
                    if watch.deadline() <= clock.now() {
                        return Poll::Ready(Err(UploadError::TooSlow));
                    }
                    alarm.set(clock.sleep_until(watch.deadline()));
                }
                Poll::Pending
            });
            let bytes = arrived.await.map_err(|fault| self.progress.set_fault(fault))?;
            let now = clock.now();
            watch.received(bytes, now);
            let taken = room.take(bytes, now);
            let taken = taken.map_err(|_| self.progress.set_fault(UploadError::TooMany))?;
            spooled |= taken == Room::Spool;
        }
        room.complete();
        Ok(match file.finish() {
            Some((file, bytes)) => ReceivedBody::in_file(file, bytes, room),
            None => ReceivedBody::in_memory(self.blocks.take(), Some(room)),
        })
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<u64, UploadError>> {
        let mut bytes = 0;
        match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
            None => self.progress.set_complete(),
            Some(Err(error)) => return Poll::Ready(Err(self.progress.set_fault((self.fault_of)(&error)))),
            Some(Ok(frame)) => {
                if let Ok(chunk) = frame.into_data() {
                    bytes = chunk.len() as u64;
                    self.received += bytes;
                    self.progress.set_received(self.received);
                    if self.received > self.limit {
                        return Poll::Ready(Err(self.progress.set_fault(UploadError::TooLong { limit: self.limit })));
                    }
                    let rest = self.incoming.size_hint().exact();
                    self.blocks.push(&chunk, rest.map(|rest| rest + bytes));
                }
                if self.incoming.is_end_stream() {
                    self.progress.set_complete();
                }
            }
        }
        Poll::Ready(Ok(bytes))
    }
}

/// When a body is too slow.
#[derive(Debug)]
struct PaceWatch {
    pace: BodyPace,
    began: Timestamp,
    latest: Timestamp,
    bytes: u64,
}

impl PaceWatch {
    fn starting(pace: BodyPace, now: Timestamp) -> Self {
        Self {
            pace,
            began: now,
            latest: now,
            bytes: 0,
        }
    }

    fn received(&mut self, bytes: u64, now: Timestamp) {
        self.latest = now;
        self.bytes += bytes;
    }

    /// tiergate itself read nothing for that time.
    fn paused(&mut self, span: Span) {
        self.began = self.began + span;
        self.latest = self.latest + span;
    }

    /// When the body is too slow, if nothing more arrives until then.
    fn deadline(&self) -> Timestamp {
        let BodyPace {
            timeout,
            rate_min,
            upload_max,
        } = self.pace;
        let in_time = u128::from(self.bytes) * 1_000_000_000 / u128::from(rate_min.max(1));
        let in_time = Span::from_nanos(u64::try_from(in_time).unwrap_or(u64::MAX));
        let by_rate = self.began + in_time.max(RATE_AFTER);
        (self.latest + timeout.into())
            .min(by_rate)
            .min(self.began + upload_max.into())
    }
}

/// The progress of a body, for those who don't have the body itself.
#[derive(Debug, Default)]
pub struct UploadProgress {
    complete: AtomicBool,
    received: AtomicU64,
    waits_for_client: AtomicBool,
    fault: OnceLock<UploadError>,
    changed: Notify,
}

impl UploadProgress {
    /// Whether the body has completely arrived.
    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// Completes when the body has completely arrived.
    pub async fn complete(&self) {
        while !self.is_complete() {
            self.changed.notified().await;
        }
    }

    /// Bytes of the body that were read from the client.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Whether the upstream server would read more than the client has sent.
    pub fn waits_for_client(&self) -> bool {
        self.waits_for_client.load(Ordering::Relaxed)
    }

    /// Why the body broke off, if it did.
    pub fn fault(&self) -> Option<UploadError> {
        self.fault.get().copied()
    }

    /// All of it has arrived.
    pub fn set_complete(&self) {
        self.complete.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    /// So many bytes have been read so far.
    pub fn set_received(&self, bytes: u64) {
        self.received.store(bytes, Ordering::Relaxed);
    }

    /// Whether the upstream server waits for the client now.
    pub fn set_waits_for_client(&self, waits: bool) {
        self.waits_for_client.store(waits, Ordering::Relaxed);
    }

    /// It broke off. Returns why: the first fault counts.
    pub fn set_fault(&self, fault: UploadError) -> UploadError {
        *self.fault.get_or_init(|| fault)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::net::IpAddr;

    use http_body::Frame;
    use http_body_util::BodyExt;
    use tokio::sync::mpsc;

    use super::*;
    use crate::policy::caller::Network;
    use crate::policy::rules::Priority;
    use crate::upload::{BodyBounds, UploadBudget, Usage};

    const PACE: BodyPace = BodyPace {
        timeout: Duration::from_secs(10),
        rate_min: 1024,
        upload_max: Duration::from_secs(3600),
    };

    const ROOMY: BodyBounds = BodyBounds {
        memory: 64 << 20,
        memory_each: 1 << 20,
        spool: 1 << 30,
    };

    /// A body whose chunks are sent by the test.
    struct Sent(mpsc::UnboundedReceiver<Bytes>);

    impl Body for Sent {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let chunk = ready!(self.0.poll_recv(cx));
            Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
        }
    }

    struct Receiving {
        budget: Arc<UploadBudget>,
        folder: tempfile::TempDir,
        clock: Clock,
        pace: BodyPace,
    }

    impl Receiving {
        fn new(bounds: BodyBounds) -> Self {
            Self {
                budget: UploadBudget::new(bounds),
                folder: tempfile::tempdir().expect("a folder"),
                clock: Clock::start(),
                pace: PACE,
            }
        }

        fn dir(&self) -> SpoolDir {
            SpoolDir::new(self.folder.path().join("spool")).keeping_free(0)
        }

        async fn all_of(
            &self,
            chunks: mpsc::UnboundedReceiver<Bytes>,
            dir: SpoolDir,
        ) -> Result<ReceivedBody, UploadError> {
            let network = Network::of(IpAddr::from([192, 0, 2, 1]));
            let mut upload = Upload::new(Sent(chunks), 100 << 20, |never| match *never {});
            let room = self.budget.begin(network, Priority::LOWEST, self.clock.now());
            upload.take_arrived().await?;
            let spooled = !upload.take_room(&room, self.clock.now())?;
            upload.receive(room, spooled, &dir, self.pace, self.clock).await
        }
    }

    /// Bytes that differ at each place.
    fn sample(length: usize) -> Bytes {
        (0..length).map(|at| (at % 251) as u8 ^ (at / 251) as u8).collect()
    }

    async fn replayed(body: &ReceivedBody) -> Bytes {
        let all = body.replay().collect().await.expect("it is readable");
        all.to_bytes()
    }

    #[tokio::test]
    async fn a_body_is_the_same_however_it_is_kept() {
        for (length, memory_each) in [
            (0, 1),
            (1, 0),
            (5_000, 1 << 20),
            (300_000, 1 << 20),
            (3_000_000, 100_000),
        ] {
            for chunk in [1_000, 65_536] {
                let receiving = Receiving::new(BodyBounds { memory_each, ..ROOMY });
                let (sender, chunks) = mpsc::unbounded_channel();
                let all = sample(length);
                for chunk in all.chunks(chunk) {
                    sender.send(Bytes::copy_from_slice(chunk)).expect("it is read");
                }
                drop(sender);
                let body = receiving.all_of(chunks, receiving.dir()).await.expect("it arrives");
                assert_eq!(body.len(), length as u64);
                let used = receiving.budget.used();
                let in_memory = length as u64 <= memory_each;
                let expected = if in_memory {
                    [length as u64, 0]
                } else {
                    [0, length as u64]
                };
                assert_eq!([used.memory, used.spool], expected);
                let again = body.replay();
                assert_eq!(replayed(&body).await, all);
                drop(body);
                // What is being sent keeps its room.
                assert_eq!(receiving.budget.used(), used);
                assert_eq!(again.collect().await.expect("readable").to_bytes(), all);
                assert_eq!(receiving.budget.used(), Usage::default());
                // No file has a name.
                let left = std::fs::read_dir(receiving.folder.path().join("spool"));
                assert_eq!(left.map_or(0, Iterator::count), 0);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_arrives_and_a_stalled_one_does_not() {
        let receiving = Receiving::new(ROOMY);
        // 1.5 MB at 15 kB/s: 100 s.
        let (sender, chunks) = mpsc::unbounded_channel();
        let clock = receiving.clock;
        let phone = async {
            for _ in 0..100 {
                clock.sleep(Span::from_secs(1)).await;
                sender.send(sample(15_000)).expect("it is read");
            }
            drop(sender);
        };
        let (body, ()) = tokio::join!(receiving.all_of(chunks, receiving.dir()), phone);
        assert_eq!(body.expect("it arrives").len(), 1_500_000);

        let (sender, chunks) = mpsc::unbounded_channel();
        sender.send(sample(1_000_000)).expect("it is read");
        let began = clock.now();
        assert_eq!(
            receiving.all_of(chunks, receiving.dir()).await.err(),
            Some(UploadError::TooSlow)
        );
        assert_eq!(clock.now().since(began).as_secs_ceil(), 10);
        assert_eq!(receiving.budget.used(), Usage::default());
        drop(sender);
    }

    #[tokio::test(start_paused = true)]
    async fn an_average_below_the_least_rate_ends_after_30_s() {
        let receiving = Receiving::new(ROOMY);
        let (sender, chunks) = mpsc::unbounded_channel();
        let clock = receiving.clock;
        let drips = async {
            let began = clock.now();
            while sender.send(sample(5_000)).is_ok() {
                clock.sleep(Span::from_secs(5)).await;
            }
            clock.now().since(began).as_secs_ceil()
        };
        // 1,000 bytes a second of 1,024: the six chunks that came before 30 s are enough for 29.3 s.
        let (body, lasted) = tokio::join!(receiving.all_of(chunks, receiving.dir()), drips);
        assert_eq!(body.err(), Some(UploadError::TooSlow));
        assert!((30..=35).contains(&lasted), "{lasted}");
    }

    /// A folder that can't be written refuses uploads that don't fit in memory, and only those.
    #[tokio::test]
    async fn without_a_file_system_only_memory_is_used() {
        let receiving = Receiving::new(BodyBounds {
            memory_each: 1_000,
            ..ROOMY
        });
        let full = receiving.dir().keeping_free(u64::MAX);
        let nowhere = SpoolDir::new("/proc/nowhere".into());
        for dir in [full, nowhere] {
            for (length, expected) in [(1_000, None), (1_001, Some(UploadError::TooMany))] {
                let (sender, chunks) = mpsc::unbounded_channel();
                sender.send(sample(length)).expect("it is read");
                drop(sender);
                assert_eq!(receiving.all_of(chunks, dir.clone()).await.err(), expected);
            }
        }
        assert_eq!(receiving.budget.used(), Usage::default());
    }

    #[test]
    fn blocks_waste_at_most_half() {
        for length in [1, 10, 4_096, 4_097, 100_000, 1_000_000] {
            for chunk in [1, 100, 70_000] {
                for is_known in [false, true] {
                    let all = sample(length);
                    let mut blocks = Blocks::default();
                    let mut left = length as u64;
                    for chunk in all.chunks(chunk) {
                        blocks.push(chunk, is_known.then_some(left));
                        left -= chunk.len() as u64;
                    }
                    let wasted = blocks.open.capacity() - blocks.open.len();
                    assert!(
                        wasted <= length.max(BLOCK_BYTES[0]) && (!is_known || wasted == 0),
                        "{length} {chunk}: {wasted}"
                    );
                    assert_eq!(blocks.bytes, length as u64);
                    assert_eq!(blocks.take().concat(), all);
                }
            }
        }
    }
}
