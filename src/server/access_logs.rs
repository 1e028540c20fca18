//! The access log across configurations: one whose settings stay is kept.

use std::sync::Arc;

use parking_lot::Mutex;
use tracing::error;

use super::ServeError;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::telemetry::access_log::{
    self, AccessLog, AccessLogSettings, AddressDisplay, DroppedLines, LineFormat, Which,
};

/// The access log in force.
#[derive(Debug)]
pub(super) struct AccessLogs {
    current: Mutex<Option<Arc<AccessLog>>>,
    dropped: DroppedLines,
    clock: Clock,
}

impl AccessLogs {
    /// The access log of the first configuration.
    ///
    /// # Errors
    /// Its file can't be opened, or its thread can't be started.
    pub(super) fn open(config: &Config, dropped: DroppedLines, clock: Clock) -> Result<Self, ServeError> {
        let logs = Self {
            current: Mutex::default(),
            dropped,
            clock,
        };
        if let Some(settings) = settings(config) {
            let file = settings.file.clone();
            let log = logs.start(settings);
            *logs.current.lock() = Some(log.map_err(|error| ServeError::AccessLog(file, error))?);
        }
        Ok(logs)
    }

    /// The access log of that configuration, which may be the one in force. One that can't be opened is reported, and stays
    /// off until the next reload.
    pub(super) fn of(&self, config: &Config) -> Option<Arc<AccessLog>> {
        let mut current = self.current.lock();
        let wanted = settings(config);
        if current.as_ref().map(|log| log.settings()) != wanted.as_ref() {
            *current = wanted.and_then(|settings| {
                let name = access_log::name(settings.file.as_deref());
                self.start(settings)
                    .inspect_err(|error| error!(file = %name, %error, "can't open the access log; it stays off"))
                    .ok()
            });
        }
        current.clone()
    }

    fn start(&self, settings: AccessLogSettings) -> std::io::Result<Arc<AccessLog>> {
        AccessLog::open(settings, self.dropped.clone(), self.clock)
    }

    /// Waits, for a bounded time, until the last lines are written.
    pub(super) fn close(&self) {
        if let Some(log) = &*self.current.lock() {
            log.close();
        }
    }
}

fn settings(config: &Config) -> Option<AccessLogSettings> {
    let log = config.access_log.as_ref()?;
    Some(AccessLogSettings {
        which: match log.what {
            config::Logged::All => Which::All,
            config::Logged::Metered => Which::Metered,
            config::Logged::Errors => Which::Errors,
        },
        format: match log.format {
            config::AccessLogFormat::Json => LineFormat::Json,
            config::AccessLogFormat::Logfmt => LineFormat::Logfmt,
            config::AccessLogFormat::Combined => LineFormat::Combined,
        },
        addresses: addresses(config),
        file: log.file.clone(),
        lines_per_second_max: log.max_per_second,
    })
}

/// How the access log and traces write clients' addresses.
pub(super) fn addresses(config: &Config) -> AddressDisplay {
    match config.log_addresses {
        config::LogAddresses::Masked => AddressDisplay::Masked,
        config::LogAddresses::Full => AddressDisplay::Full,
        config::LogAddresses::None => AddressDisplay::None,
    }
}
