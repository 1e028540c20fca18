//! Many clients at once.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::client::{Client, Target};
use super::job::Job;
use super::pace::{Pace, spin};
use crate::Result;
use crate::callers::Callers;

/// How clients send.
#[derive(Debug, Default)]
pub struct LoadOptions {
    /// At a fixed rate, or each its next request when it has its answer.
    pub pace: Option<Pace>,
    /// Whether to keep the core awake.
    pub spin: bool,
}

/// What clients have counted.
#[derive(Debug, Default)]
pub struct Tally {
    pub(super) answers: Cell<u64>,
    pub(super) successes: Cell<u64>,
    /// From when a request was due until its answer was complete.
    pub(super) latencies: RefCell<Vec<Duration>>,
    failure: RefCell<Option<String>>,
}

/// Running clients, which end when it is dropped.
#[derive(Debug)]
pub struct Load {
    running: JoinSet<()>,
    clients: u32,
    tally: Rc<Tally>,
}

impl Load {
    /// Starts that many clients. Must be called in a `LocalSet`.
    pub fn start(target: Target, clients: u32, job: &Job, callers: Callers, options: LoadOptions) -> Self {
        let (job, callers, pace) = (Rc::new(job.clone()), Rc::new(callers), Rc::new(options.pace));
        let tally: Rc<Tally> = Rc::default();
        let mut running = JoinSet::new();
        for number in 0..clients {
            let client = Client::new(target, number);
            let (job, callers, pace, tally) = (job.clone(), callers.clone(), pace.clone(), tally.clone());
            running.spawn_local(async move {
                if let Err(error) = run(client, &job, &callers, pace.as_ref().as_ref(), &tally).await {
                    tally.failure.borrow_mut().get_or_insert_with(|| error.to_string());
                }
            });
        }
        if options.spin {
            running.spawn_local(spin());
        }
        Self {
            running,
            clients,
            tally,
        }
    }

    /// Waits until the callers have all come. Returns the number of answers.
    pub async fn finish(mut self) -> Result<u64> {
        while self.running.join_next().await.is_some() {}
        self.ensure_no_failure()?;
        Ok(self.tally.answers.get())
    }

    /// Fails if a client has met anything but what it expected.
    pub fn ensure_no_failure(&self) -> Result<()> {
        match &*self.tally.failure.borrow() {
            Some(failure) => Err(failure.clone().into()),
            None => Ok(()),
        }
    }

    /// How many clients there are.
    pub(super) fn clients(&self) -> u32 {
        self.clients
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }
}

async fn run(mut client: Client, job: &Job, callers: &Callers, pace: Option<&Pace>, tally: &Tally) -> Result<()> {
    while let Some(caller) = callers.next() {
        let due = match pace {
            Some(pace) => pace.due().await,
            None => Instant::now(),
        };
        let is_success = client.send(job, caller).await?;
        tally.latencies.borrow_mut().push(due.elapsed());
        tally.answers.set(tally.answers.get() + 1);
        tally.successes.set(tally.successes.get() + u64::from(is_success));
    }
    Ok(())
}
