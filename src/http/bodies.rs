//! Bodies of metered requests: complete before their jobs take a queue place or a slot (rules §2.4).

use std::sync::Arc;

use hyper::body::Incoming;

use crate::clock::Clock;
use crate::policy::caller::Network;
use crate::policy::rules::Priority;
use crate::policy::time::Timestamp;
use crate::upload::{BodyPace, ReceivedBody, SpoolDir, Upload, UploadBudget, UploadError, UploadRoom};

/// Where bodies are kept, and how slowly they may arrive.
#[derive(Clone, Debug)]
pub struct BodySettings {
    /// The room that all share.
    pub budget: Arc<UploadBudget>,
    /// The folder for those that don't fit in memory.
    pub dir: SpoolDir,
    /// How slowly they may arrive.
    pub pace: BodyPace,
}

/// The body of a metered request, with its room.
#[derive(Debug)]
pub(super) struct ArrivingBody {
    upload: Upload<Incoming>,
    /// `None` if it takes up none.
    room: Option<UploadRoom>,
    /// Whether it goes to a file.
    spooled: bool,
}

impl ArrivingBody {
    pub(super) fn new(upload: Upload<Incoming>) -> Self {
        Self {
            upload,
            room: None,
            spooled: false,
        }
    }

    /// Reads what has arrived, unless the client `expects` to be asked for it. It takes up room from then on.
    ///
    /// # Errors
    /// The client is gone, the body is malformed or too long, or there is no room for it.
    pub(super) async fn begin(
        &mut self,
        expects: bool,
        budget: &Arc<UploadBudget>,
        network: Network,
        priority: Priority,
        now: Timestamp,
    ) -> Result<(), UploadError> {
        if self.upload.is_complete() {
            return Ok(());
        }
        if !expects {
            self.upload.take_arrived().await?;
        }
        let room = budget.begin(network, priority, now);
        self.spooled = !self.upload.take_room(&room, now)?;
        self.room = Some(room);
        Ok(())
    }

    /// Whether all of it has arrived, in memory.
    pub(super) fn is_received(&self) -> bool {
        self.upload.is_complete() && !self.spooled
    }

    /// The body, all of which has arrived in memory.
    pub(super) fn take_received(&mut self) -> ReceivedBody {
        self.upload.take_received(self.room.take())
    }

    /// Receives the rest.
    ///
    /// # Errors
    /// The client is gone; the body is malformed, too long or too slow; or there is no room for it.
    pub(super) async fn receive(&mut self, settings: &BodySettings, clock: Clock) -> Result<ReceivedBody, UploadError> {
        let room = self.room.take().expect("a body that arrives takes up room");
        let BodySettings { dir, pace, .. } = settings;
        self.upload.receive(room, self.spooled, dir, *pace, clock).await
    }

    /// The unread rest, if it has not completely arrived.
    pub(super) fn into_unread(self) -> Option<Incoming> {
        self.upload.into_unread()
    }
}
