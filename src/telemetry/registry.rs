//! The series of the metrics page and their owners.
//!
//! A series belongs to the holders of its handle: the meters of a generation hold those of its file's names, and jobs in flight
//! hold their generation. So a name that stays in the file keeps its count across reloads, and one that is no longer held is
//! gone. The last [`GONE_MAX`] counters that are gone stay on the page, so that their last counts are scraped and a name that
//! returns soon continues. A gauge that is gone is removed at once.
//!
//! There is no timer: series are removed on a scrape or on `Registry::retire_unused`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::LabelSet;
use metrics_exporter_prometheus::formatting::{write_help_line, write_metric_line, write_type_line};
use parking_lot::Mutex;

use super::database::{COMMIT_BUCKETS, COMMIT_SECONDS, GROUP_BUCKETS, GROUP_SIZE};
use super::meters::SECONDS_BUCKETS;

/// Counters that stay on the page after they are gone: those of some twenty tiers.
pub const GONE_MAX: usize = 1_024;
/// The same for histograms. Each takes twenty lines of the page; a tier has two and an upstream one.
pub const GONE_HISTOGRAMS_MAX: usize = 64;

/// All series of one server.
#[derive(Debug, Default)]
pub(super) struct Registry(Mutex<Tables>);

#[derive(Debug, Default)]
struct Tables {
    counters: SeriesTable<AtomicU64>,
    gauges: SeriesTable<AtomicU64>,
    histograms: SeriesTable<Spread>,
}

/// The series of one kind.
#[derive(Debug)]
struct SeriesTable<S> {
    families: BTreeMap<String, Family<S>>,
    /// Series that are gone, oldest first: a sequence number, family and labels.
    gone: BTreeSet<(u64, String, String)>,
    /// The next sequence number.
    next: u64,
}

/// The series of one name.
#[derive(Debug)]
struct Family<S> {
    about: SharedString,
    /// By labels, as the page shows them.
    series: BTreeMap<String, Series<S>>,
}

#[derive(Debug)]
struct Series<S> {
    labels: LabelSet,
    of: Arc<S>,
    /// Its sequence number, if it is gone.
    gone: Option<u64>,
}

/// The values observed by a histogram.
#[derive(Debug)]
struct Spread {
    /// Upper bounds, ascending.
    bounds: &'static [f64],
    /// Values up to each bound and above the previous one; last, those above all bounds.
    counts: Box<[AtomicU64]>,
    /// The sum of all values, as the bits of a float.
    sum: AtomicU64,
}

impl Registry {
    /// The page in the text format of Prometheus, version 0.0.4.
    pub(super) fn page(&self) -> String {
        let mut tables = self.0.lock();
        tables.retire_unused();
        let mut page = String::new();
        tables
            .counters
            .write("counter", &mut page, |page, name, labels, counter| {
                line(page, name, None, labels, counter.load(Ordering::Acquire));
            });
        tables.gauges.write("gauge", &mut page, |page, name, labels, gauge| {
            line(page, name, None, labels, f64::from_bits(gauge.load(Ordering::Acquire)));
        });
        tables
            .histograms
            .write("histogram", &mut page, |page, name, labels, spread| {
                spread.write(page, name, labels);
            });
        page
    }

    /// Removes series that are gone, beyond those that stay. Call it when names may have been removed.
    pub(super) fn retire_unused(&self) {
        self.0.lock().retire_unused();
    }
}

impl Tables {
    fn retire_unused(&mut self) {
        self.counters.retire_unused(GONE_MAX);
        self.gauges.retire_unused(0);
        self.histograms.retire_unused(GONE_HISTOGRAMS_MAX);
    }
}

impl Recorder for Registry {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, about: SharedString) {
        self.0.lock().counters.describe(&name, about);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, about: SharedString) {
        self.0.lock().gauges.describe(&name, about);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, about: SharedString) {
        self.0.lock().histograms.describe(&name, about);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.0.lock().counters.series(key, AtomicU64::default))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.0.lock().gauges.series(key, AtomicU64::default))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let spread = || Spread::new(buckets(key.name()));
        Histogram::from_arc(self.0.lock().histograms.series(key, spread))
    }
}

/// The bucket bounds of that histogram.
fn buckets(name: &str) -> &'static [f64] {
    match name {
        COMMIT_SECONDS => &COMMIT_BUCKETS,
        GROUP_SIZE => &GROUP_BUCKETS,
        _ => &SECONDS_BUCKETS,
    }
}

impl<S> Default for SeriesTable<S> {
    fn default() -> Self {
        Self {
            families: BTreeMap::new(),
            gone: BTreeSet::new(),
            next: 0,
        }
    }
}

impl<S> Default for Family<S> {
    fn default() -> Self {
        Self {
            about: SharedString::const_str(""),
            series: BTreeMap::new(),
        }
    }
}

impl<S> SeriesTable<S> {
    fn describe(&mut self, name: &KeyName, about: SharedString) {
        self.families.entry(name.as_str().to_owned()).or_default().about = about;
    }

    /// The series of that key, possibly one that was gone.
    fn series(&mut self, key: &Key, new: impl FnOnce() -> S) -> Arc<S> {
        let family = self.families.entry(key.name().to_owned()).or_default();
        let labels = LabelSet::from_key_and_global(key, &Default::default());
        let written: Vec<String> = labels.to_strings().collect();
        let series = family.series.entry(written.join(",")).or_insert_with(|| Series {
            labels,
            of: Arc::new(new()),
            gone: None,
        });
        Arc::clone(&series.of)
    }

    /// Drops all but the last `kept` series without a holder. Handles are given out under the same lock, so a series without a
    /// holder can't get one meanwhile.
    fn retire_unused(&mut self, kept: usize) {
        for (name, family) in &mut self.families {
            for (labels, series) in &mut family.series {
                let is_held = Arc::strong_count(&series.of) > 1;
                match series.gone {
                    Some(number) if is_held => {
                        self.gone.remove(&(number, name.clone(), labels.clone()));
                        series.gone = None;
                    }
                    None if !is_held => {
                        self.gone.insert((self.next, name.clone(), labels.clone()));
                        series.gone = Some(self.next);
                        self.next += 1;
                    }
                    _ => {}
                }
            }
        }
        while self.gone.len() > kept {
            let Some((_, name, labels)) = self.gone.pop_first() else {
                break;
            };
            if let Some(family) = self.families.get_mut(&name) {
                family.series.remove(&labels);
            }
        }
    }

    /// Writes the families that have series.
    fn write(&self, kind: &str, page: &mut String, each: impl Fn(&mut String, &str, &LabelSet, &S)) {
        for (name, family) in self.families.iter().filter(|(_, family)| !family.series.is_empty()) {
            write_help_line(page, name, None, None, &family.about);
            write_type_line(page, name, None, None, kind);
            for series in family.series.values() {
                each(page, name, &series.labels, &series.of);
            }
            page.push('\n');
        }
    }
}

impl Spread {
    fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0.0_f64.to_bits()),
        }
    }

    fn write(&self, page: &mut String, name: &str, labels: &LabelSet) {
        let bounds = self.bounds.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
        let mut count = 0;
        for (bound, more) in bounds.zip(&self.counts) {
            count += more.load(Ordering::Acquire);
            let le = Some(("le", bound));
            write_metric_line(page, name, Some("bucket"), labels, le, count, None);
        }
        let sum = f64::from_bits(self.sum.load(Ordering::Acquire));
        line(page, name, Some("sum"), labels, sum);
        line(page, name, Some("count"), labels, count);
    }
}

impl HistogramFn for Spread {
    fn record(&self, value: f64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.counts[at].fetch_add(1, Ordering::Release);
        let add = |sum| Some((f64::from_bits(sum) + value).to_bits());
        // The closure always returns a value, so the update can't fail.
        let _before = self.sum.fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
    }
}

fn line(page: &mut String, name: &str, suffix: Option<&'static str>, labels: &LabelSet, value: impl Display) {
    write_metric_line(page, name, suffix, labels, None::<(_, &str)>, value, None);
}

#[cfg(test)]
mod tests {
    use metrics::{Label, Level};

    use super::*;

    const METADATA: Metadata<'static> = Metadata::new("tiergate", Level::INFO, None);

    fn key(name: &'static str, tier: &str) -> Key {
        Key::from_parts(name, vec![Label::new("tier", tier.to_owned())])
    }

    fn counter(registry: &Registry, tier: &str) -> Counter {
        registry.register_counter(&key("jobs_total", tier), &METADATA)
    }

    #[test]
    fn the_page_is_valid_prometheus_text() {
        let registry = Registry::default();
        registry.describe_counter(KeyName::from_const_str("jobs_total"), None, "Jobs.".into());
        registry.describe_gauge(KeyName::from_const_str("slots"), None, "Never had.".into());
        let counted = counter(&registry, "say \"a\"\n");
        counted.increment(3);
        let gauge = registry.register_gauge(&Key::from_name("queue_capacity"), &METADATA);
        gauge.set(0.5);
        let spread = registry.register_histogram(&key(GROUP_SIZE, "a"), &METADATA);
        for value in [1.0, 1.5, 2.0, 5_000.0] {
            spread.record(value);
        }
        let page = registry.page();
        assert!(!page.contains("slots"), "{page}");
        for part in [
            "# HELP jobs_total Jobs.\n# TYPE jobs_total counter\njobs_total{tier=\"say \\\"a\\\"\\n\"} 3\n\n",
            "# TYPE queue_capacity gauge\nqueue_capacity 0.5\n\n",
            "# TYPE tiergate_database_group_size histogram\ntiergate_database_group_size_bucket{tier=\"a\",le=\"1\"} 1\n\
             tiergate_database_group_size_bucket{tier=\"a\",le=\"2\"} 3\n",
            "tiergate_database_group_size_bucket{tier=\"a\",le=\"1024\"} 3\n\
             tiergate_database_group_size_bucket{tier=\"a\",le=\"+Inf\"} 4\n\
             tiergate_database_group_size_sum{tier=\"a\"} 5004.5\ntiergate_database_group_size_count{tier=\"a\"} 4\n",
        ] {
            assert!(page.contains(part), "{part}\nin\n{page}");
        }
    }

    /// Regression: every name that was ever in the file stayed on the page and in memory, and five hundred edits with new tiers
    /// made the page 12 MB long.
    #[test]
    fn unbounded_label_values_take_bounded_memory() {
        let registry = Registry::default();
        let stays = counter(&registry, "stays");
        let mut longest = 0;
        for file in 0..5 * GONE_MAX {
            stays.increment(1);
            // The next generation still has the name and continues its count.
            let again = counter(&registry, "stays");
            let name = format!("tier-{file:06}");
            let (new, gauge) = (
                counter(&registry, &name),
                registry.register_gauge(&key("slots", &name), &METADATA),
            );
            let spread = registry.register_histogram(&key("wait_seconds", &name), &METADATA);
            new.increment(1);
            gauge.set(1);
            spread.record(1.0);
            registry.retire_unused();
            drop((again, new, gauge, spread));
            if file % GONE_MAX == 0 {
                longest = longest.max(registry.page().len());
            }
        }
        let page = registry.page();
        assert!(page.contains(&format!("jobs_total{{tier=\"stays\"}} {}\n", 5 * GONE_MAX)));
        assert!(!page.contains("slots"), "a gauge without a holder");
        assert_eq!(page.matches("jobs_total{").count(), GONE_MAX + 1);
        assert_eq!(page.matches("wait_seconds_count{").count(), GONE_HISTOGRAMS_MAX);
        assert!(page.len() < longest + 4_096, "{} after {longest}", page.len());
    }

    #[test]
    fn a_series_used_again_keeps_counting_and_is_evicted_last() {
        let registry = Registry::default();
        counter(&registry, "back").increment(2);
        registry.retire_unused();
        let back = counter(&registry, "back");
        back.increment(1);
        for file in 0..2 * GONE_MAX {
            counter(&registry, &file.to_string()).increment(1);
            registry.retire_unused();
        }
        assert!(registry.page().contains("jobs_total{tier=\"back\"} 3\n"), "it is held");
        drop(back);
        for file in 0..GONE_MAX {
            assert!(
                registry.page().contains("jobs_total{tier=\"back\"} 3\n"),
                "after {file} others"
            );
            counter(&registry, &format!("later-{file}")).increment(1);
        }
        assert!(!registry.page().contains("\"back\""));
    }
}
