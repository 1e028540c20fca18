//! One measurement: a contestant is started, validated, warmed up and measured.

use std::time::Duration;

use super::{Kind, Metric, Sample, Scenario, idle};
use crate::Result;
use crate::callers::Callers;
use crate::contestant::{Contestant, Running};
use crate::lab::Lab;
use crate::load::{Expected, Job, Load, LoadOptions, Pace, Window, wrk};
use crate::setup::Setup;

/// How long a measurement may take beyond its window: a start with 100,000 accounts, 200,000 requests to warm up.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long what is left of a contestant may take to end.
const SETTLE: Duration = Duration::from_millis(20);
/// Clients that warm up.
const WARM_UP_CLIENTS: u32 = 64;
/// Clients with a new connection for each request.
const NEW_CONNECTION_CLIENTS: u32 = 16;
/// Clients with long bodies.
const BODY_CLIENTS: u32 = 4;
/// What they send or receive for each second of a measurement: a core relays about as much.
const BODY_BYTES_PER_S: f64 = 500e6;
/// Work of the upstream server where slots are what matters.
const SERVICE: Duration = Duration::from_millis(20);
const SERVICE_SLOTS: u32 = 2;
const HANDOVER_CLIENTS: u32 = 16;
/// Ten times what the slots can do in a second.
const OVERLOAD_RATE: u32 = 10 * SERVICE_SLOTS * 50;
const OVERLOAD_CLIENTS: u32 = 256;

/// A contestant that is being measured.
struct Measuring<'l> {
    running: Running,
    contestant: Contestant,
    setup: Setup,
    lab: &'l Lab,
    window: Duration,
}

/// Measures that contestant. Must be called in a `LocalSet`.
pub async fn measure(
    scenario: &Scenario,
    contestant: Contestant,
    lab: &Lab,
    window: Duration,
    divisor: u32,
) -> Result<Sample> {
    let setup = scenario.setup.divided_by(divisor);
    let work = async {
        let running = Running::start(contestant, &setup, lab).await?;
        let mut measuring = Measuring {
            running,
            contestant,
            setup,
            lab,
            window,
        };
        let sample = measuring.measure(scenario.kind, divisor).await?;
        measuring.running.ensure_running()?;
        Ok(sample)
    };
    let done = tokio::time::timeout(window + PATIENCE, work).await;
    // What the ended process has sent before is read and forgotten.
    tokio::time::sleep(SETTLE).await;
    lab.backend.reset();
    done.unwrap_or_else(|_| Err("it took too long".into()))
}

impl Measuring<'_> {
    async fn measure(&mut self, kind: Kind, divisor: u32) -> Result<Sample> {
        match kind {
            Kind::Refused {
                status,
                new_connections,
            } => return self.refused(status, new_connections).await,
            _ => self.validate().await?,
        }
        match kind {
            Kind::Closed(clients) => self.closed(clients).await,
            Kind::Wrk(connections) => self.wrk(connections).await,
            Kind::Queueing => self.queueing().await,
            Kind::OneCore => self.one_core().await,
            Kind::Open(rate) => self.open(rate / divisor).await,
            Kind::Upload(bytes) => self.bodies(Job::upload(bytes), bytes).await,
            Kind::Download(bytes) => self.bodies(Job::download(bytes), bytes).await,
            Kind::Handover => self.handover().await,
            Kind::Overload => self.overload().await,
            Kind::Idle(connections) => self.idle(connections / divisor).await,
            Kind::Refused { .. } => unreachable!("it was measured above"),
        }
    }

    async fn validate(&self) -> Result<()> {
        self.running.validate(self.contestant, &self.setup, self.lab).await
    }

    /// Every account and every address comes once, and is answered.
    async fn warm_up(&self) -> Result<()> {
        let callers = Callers::each_once(&self.setup);
        let clients = WARM_UP_CLIENTS.min(self.room());
        let load = self.start(clients, &Job::search(), callers, LoadOptions::default());
        load.finish().await?;
        Ok(())
    }

    fn start(&self, clients: u32, job: &Job, callers: Callers, options: LoadOptions) -> Load {
        Load::start(self.running.target, clients, job, callers, options)
    }

    fn start_random(&self, clients: u32, job: &Job, options: LoadOptions) -> Load {
        self.start(clients, job, Callers::at_random(&self.setup), options)
    }

    async fn window(&self, load: &Load) -> Result<Window> {
        let begin = || self.lab.backend.reset_slots();
        Window::measure(load, self.running.process(), self.window, begin).await
    }

    /// Processor time for each request, and memory.
    fn costs(&self, window: &Window) -> Result<Sample> {
        let mut sample = vec![
            (
                Metric::PerRequest,
                window.processor.as_secs_f64() * 1e6 / window.answers as f64,
            ),
            (Metric::Rate, window.answers as f64 / window.elapsed.as_secs_f64()),
            (
                Metric::ProxyBusy,
                100.0 * window.processor.as_secs_f64() / window.elapsed.as_secs_f64(),
            ),
        ];
        if let Some(process) = self.running.process() {
            sample.push((Metric::Resident, process.resident_bytes()? as f64 / 1e6));
        }
        Ok(sample)
    }

    async fn closed(&self, clients: u32) -> Result<Sample> {
        self.warm_up().await?;
        let load = self.start_random(clients, &Job::search(), LoadOptions::default());
        let window = self.window(&load).await?;
        self.costs(&window)
    }

    async fn wrk(&self, connections: u32) -> Result<Sample> {
        self.warm_up().await?;
        let process = self.running.process().ok_or("wrk measures proxies")?;
        let before = process.processor_time()?;
        let (core, folder) = (self.lab.cores.load, self.lab.folder());
        let counted = wrk::run(core, self.running.target, &self.setup, connections, self.window, folder).await?;
        let processor = process.processor_time()?.saturating_sub(before);
        let per_request = processor.as_secs_f64() * 1e6 / counted.requests as f64;
        Ok(vec![(Metric::PerRequest, per_request)])
    }

    async fn queueing(&self) -> Result<Sample> {
        self.warm_up().await?;
        self.lab.backend.log_slots();
        let load = self.start_random(self.room(), &Job::search(), LoadOptions::default());
        let window = self.window(&load).await?;
        let slots = self.lab.backend.take_slots().ok_or("the slots were logged")?;
        if slots.most() != self.setup.slots {
            return Err(format!("{} jobs at once instead of {}", slots.most(), self.setup.slots).into());
        }
        self.costs(&window)
    }

    /// As many clients as slots and places can take.
    fn room(&self) -> u32 {
        self.setup.slots + self.setup.places
    }

    async fn refused(&self, status: u16, new_connections: bool) -> Result<Sample> {
        // What each caller has is used up by this.
        self.warm_up().await?;
        self.running.validate_refusal(self.contestant, status).await?;
        let clients = if new_connections {
            NEW_CONNECTION_CLIENTS
        } else {
            WARM_UP_CLIENTS
        };
        let job = Job::refused(status, new_connections);
        let load = self.start_random(clients, &job, LoadOptions::default());
        let window = self.window(&load).await?;
        self.costs(&window)
    }

    async fn one_core(&self) -> Result<Sample> {
        self.warm_up().await?;
        let _shared = self.lab.share_core()?;
        let load = self.start_random(1, &Job::search(), LoadOptions::default());
        let window = self.window(&load).await?;
        Ok(latencies(&window))
    }

    async fn open(&self, rate: u32) -> Result<Sample> {
        self.warm_up().await?;
        let options = LoadOptions {
            pace: Some(Pace::per_second(rate)),
            spin: false,
        };
        let load = self.start_random(WARM_UP_CLIENTS, &Job::search(), options);
        let window = self.window(&load).await?;
        let mut sample = self.costs(&window)?;
        sample.extend(latencies(&window));
        Ok(sample)
    }

    /// A fixed amount, from the first byte to the last: a window of time would cut bodies in two.
    async fn bodies(&self, job: Job, bytes: usize) -> Result<Sample> {
        let process = self.running.process().ok_or("only proxies are measured")?;
        let all = BODY_BYTES_PER_S * self.window.as_secs_f64();
        let requests = ((all / bytes as f64) as u32).max(BODY_CLIENTS);
        let before = process.processor_time()?;
        let callers = Callers::first(&self.setup, requests);
        let answers = self
            .start(BODY_CLIENTS, &job, callers, LoadOptions::default())
            .finish()
            .await?;
        let processor = process.processor_time()?.saturating_sub(before);
        let megabytes = answers as f64 * bytes as f64 / 1e6;
        Ok(vec![
            (Metric::PerMegabyte, processor.as_secs_f64() * 1e6 / megabytes),
            (Metric::Resident, process.resident_bytes()? as f64 / 1e6),
        ])
    }

    async fn handover(&self) -> Result<Sample> {
        self.lab.backend.set_service(SERVICE);
        self.lab.backend.log_slots();
        let options = LoadOptions { pace: None, spin: true };
        let load = self.start_random(HANDOVER_CLIENTS, &Job::search(), options);
        self.window(&load).await?;
        let slots = self.lab.backend.take_slots().ok_or("the slots were logged")?;
        Ok(vec![
            (Metric::SlotIdleHalf, slots.idle_us(0.5)),
            (Metric::SlotIdleMost, slots.idle_us(0.99)),
            (Metric::SlotsBusy, slots.busy_percent(SERVICE_SLOTS)),
        ])
    }

    async fn overload(&self) -> Result<Sample> {
        self.lab.backend.set_service(SERVICE);
        self.lab.backend.log_slots();
        let options = LoadOptions {
            pace: Some(Pace::per_second(OVERLOAD_RATE)),
            spin: false,
        };
        let job = Job {
            expected: Expected::ResultOrFull,
            ..Job::search()
        };
        let load = self.start_random(OVERLOAD_CLIENTS, &job, options);
        let window = self.window(&load).await?;
        let slots = self.lab.backend.take_slots().ok_or("the slots were logged")?;
        let possible = window.elapsed.as_secs_f64() / SERVICE.as_secs_f64() * f64::from(SERVICE_SLOTS);
        Ok(vec![
            (Metric::Goodput, 100.0 * window.successes as f64 / possible),
            (Metric::SlotsBusy, slots.busy_percent(SERVICE_SLOTS)),
            (Metric::Rate, window.answers as f64 / window.elapsed.as_secs_f64()),
        ])
    }

    async fn idle(&self, connections: u32) -> Result<Sample> {
        self.warm_up().await?;
        let process = self.running.process().ok_or("only proxies have memory")?;
        let before = process.resident_bytes()?;
        let kept = idle::open(self.running.target, connections, &self.setup).await?;
        tokio::time::sleep(self.window.min(Duration::from_secs(1))).await;
        let resident = process.resident_bytes()?;
        drop(kept);
        let each = resident.saturating_sub(before) as f64 / f64::from(connections);
        Ok(vec![
            (Metric::Resident, resident as f64 / 1e6),
            (Metric::EachConnection, each),
        ])
    }
}

fn latencies(window: &Window) -> Sample {
    let of = |metric, share| (metric, window.latency_us(share));
    vec![
        of(Metric::LatencyHalf, 0.5),
        of(Metric::LatencyMost, 0.99),
        of(Metric::LatencyNearlyAll, 0.999),
    ]
}
