//! The one thread that writes: it takes all queued items, writes them in one transaction, and notifies their waiters when that
//! is synced.
//!
//! A group that can't be written stays here and is retried. Records withdrawn before they are written are left out; those
//! withdrawn during the write are marked in the next transaction, before anything else is done.

use std::sync::Arc;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::commit::{Settlement, Ticket};
use super::queue::{Arrival, Debit, Next, Work, WriteQueue};
use super::wake_batch::WakeBatch;
use crate::store::database::WriteError;
use crate::store::database::identity::Identity;
use crate::store::record::LedgerEntry;
use crate::store::rows::{self, Numbers};
use crate::telemetry::DatabaseMeters;

/// An item that is not durable yet.
struct PendingEntry {
    entry: LedgerEntry,
    ticket: Option<Ticket>,
    /// Its number once written.
    number: Option<i64>,
}

impl PendingEntry {
    fn is_withdrawn(&self) -> bool {
        self.ticket.as_ref().is_some_and(Ticket::is_withdrawn)
    }
}

pub(in crate::store) struct Writer {
    connection: Connection,
    identity: Identity,
    queue: Arc<WriteQueue>,
    meters: Arc<DatabaseMeters>,
    /// The numbers of the next rows.
    next: Numbers,
    /// In order of arrival; written items come first.
    group: Vec<PendingEntry>,
    /// Numbers of written jobs that were withdrawn.
    withdrawn: Vec<i64>,
    /// The waiters of durable debits, to be woken together.
    wakes: WakeBatch,
    /// Whether the last attempt failed.
    failing: bool,
}

/// Ends the queue however the writer ends, so that no one waits for it or takes it for running.
struct EndsQueue(Arc<WriteQueue>);

impl Drop for EndsQueue {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Writer {
    /// A writer on that connection. `identity` watches its files.
    pub fn new(
        connection: Connection,
        identity: Identity,
        queue: Arc<WriteQueue>,
        meters: Arc<DatabaseMeters>,
    ) -> rusqlite::Result<Self> {
        Ok(Self {
            next: Numbers::next(&connection)?,
            connection,
            identity,
            queue,
            meters,
            group: Vec::new(),
            withdrawn: Vec::new(),
            wakes: WakeBatch::default(),
            failing: false,
        })
    }

    /// Writes until the queue is closed and empty. What can't be written then fails.
    pub fn run(mut self) {
        let _ends = EndsQueue(Arc::clone(&self.queue));
        let (mut arrivals, mut notes) = (Vec::new(), Vec::new());
        let mut next = Next::Write;
        while next == Next::Write {
            next = self.queue.take(&mut arrivals, &mut notes);
            for entry in notes.drain(..) {
                self.add(entry, None);
            }
            loop {
                match self.serve(&mut arrivals) {
                    Ok(()) => break,
                    Err(why) => self.fail(&why, &mut arrivals),
                }
                if next == Next::Close {
                    return;
                }
                next = self.queue.take_after_failure(&mut arrivals);
            }
        }
    }

    fn add(&mut self, entry: LedgerEntry, ticket: Option<Ticket>) {
        self.group.push(PendingEntry {
            entry,
            ticket,
            number: None,
        });
    }

    /// Writes all arrivals, in order.
    fn serve(&mut self, arrivals: &mut Vec<Arrival>) -> Result<(), String> {
        let mut came = std::mem::take(arrivals).into_iter();
        for arrival in came.by_ref() {
            let done = match arrival {
                Arrival::Debit(Debit { record, ticket }) => {
                    self.add(LedgerEntry::Job(record), ticket);
                    Ok(())
                }
                Arrival::Work(work) => match self.commit_all() {
                    Ok(()) => {
                        self.work(work);
                        Ok(())
                    }
                    Err(why) => {
                        arrivals.push(Arrival::Work(work));
                        Err(why)
                    }
                },
                Arrival::Fence(post) => match self.commit_all() {
                    Ok(()) => {
                        post.reached(self.next.job);
                        Ok(())
                    }
                    Err(why) => {
                        arrivals.push(Arrival::Fence(post));
                        Err(why)
                    }
                },
            };
            if let Err(why) = done {
                arrivals.extend(came);
                return Err(why);
            }
        }
        self.commit_all()
    }

    /// Makes the group durable, then marks what was withdrawn meanwhile.
    fn commit_all(&mut self) -> Result<(), String> {
        self.group.retain(|item| item.number.is_some() || !item.is_withdrawn());
        if self.failing && self.group.is_empty() {
            self.probe()?;
        }
        while !(self.group.is_empty() && self.withdrawn.is_empty()) {
            self.commit()?;
        }
        self.queue.landed();
        Ok(())
    }

    /// Tests whether rows can be written again, while no record waits and metered requests are rejected.
    fn probe(&mut self) -> Result<(), String> {
        rows::probe(&self.connection).map_err(|error| error.to_string())?;
        self.identity.check()?;
        self.recovered();
        Ok(())
    }

    fn commit(&mut self) -> Result<(), String> {
        let (next, numbers) = self.write().map_err(|error| error.to_string())?;
        self.withdrawn.clear();
        for (item, number) in self.group.iter_mut().zip(numbers) {
            item.number = Some(number);
        }
        self.next = next;
        // Data written to a deleted file is lost with the process.
        self.identity.check()?;
        self.recovered();
        self.settle();
        Ok(())
    }

    /// Writes the unwritten items. Returns the next numbers, and those of the group's items.
    fn write(&mut self) -> rusqlite::Result<(Numbers, Vec<i64>)> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        rows::mark_withdrawn(&transaction, &self.withdrawn)?;
        let mut next = self.next;
        let mut numbers = Vec::with_capacity(self.group.len());
        insert(&transaction, &self.group, &mut next, &mut numbers)?;
        transaction.commit()?;
        Ok((next, numbers))
    }

    fn settle(&mut self) {
        self.meters.committed(self.group.len(), self.queue.landed());
        for item in self.group.drain(..) {
            let Some(ticket) = item.ticket else { continue };
            if ticket.settle_later(Ok(()), &mut self.wakes) == Settlement::Withdrawn {
                self.withdrawn.extend(item.number);
            }
        }
        self.wakes.wake();
    }

    fn work(&mut self, work: Work) {
        work(match self.identity.check() {
            Ok(()) => Ok(&mut self.connection),
            Err(why) => Err(WriteError(why)),
        });
    }

    fn recovered(&mut self) {
        if std::mem::take(&mut self.failing) {
            tracing::info!("the database can be written again");
            self.queue.set_failed(false);
        }
    }

    /// Stops writing until the next attempt. Changes are refused at once; debits and fences wait for it.
    fn fail(&mut self, why: &str, arrivals: &mut Vec<Arrival>) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(
                error = why,
                "the database can't be written: rejecting metered requests until it can"
            );
        }
        self.queue.set_failed(true);
        let mut kept = Vec::with_capacity(arrivals.len());
        for arrival in arrivals.drain(..) {
            match arrival {
                Arrival::Work(work) => work(Err(WriteError(why.to_owned()))),
                other => kept.push(other),
            }
        }
        *arrivals = kept;
    }
}

fn insert(
    transaction: &Transaction<'_>,
    group: &[PendingEntry],
    next: &mut Numbers,
    numbers: &mut Vec<i64>,
) -> rusqlite::Result<()> {
    let mut rows = rows::Inserts::new(transaction)?;
    for item in group {
        numbers.push(match item.number {
            Some(number) => number,
            None => rows.insert(&item.entry, next)?,
        });
    }
    Ok(())
}
