//! Moments at which something took long, by what it was: what LATENCY tells of.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Samples kept of each kind of event, as many as in Redis.
const SAMPLES_MAX: usize = 160;

/// What can take long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LatencyEvent {
    Command,
    /// One that should not: its time grows at most with the logarithm of anything.
    FastCommand,
    /// A slice of the removal of expired keys.
    ExpireCycle,
    EvictionCycle,
    CommandUnblocking,
    /// Effects, handed to the disk by the journal's thread.
    AofWrite,
    /// The same once more, by what else the disk had to do: a sync, a snapshot, or nothing.
    AofWritePendingFsync,
    AofWriteActiveChild,
    AofWriteAlone,
    /// A sync for which writes wait: `appendfsync always`.
    AofFsync,
    /// New files took the place of the old ones after a rewrite.
    AofRename,
}

impl LatencyEvent {
    pub const ALL: [LatencyEvent; 11] = [
        LatencyEvent::Command,
        LatencyEvent::FastCommand,
        LatencyEvent::ExpireCycle,
        LatencyEvent::EvictionCycle,
        LatencyEvent::CommandUnblocking,
        LatencyEvent::AofWrite,
        LatencyEvent::AofWritePendingFsync,
        LatencyEvent::AofWriteActiveChild,
        LatencyEvent::AofWriteAlone,
        LatencyEvent::AofFsync,
        LatencyEvent::AofRename,
    ];

    /// The name in Redis.
    pub const fn name(self) -> &'static str {
        match self {
            LatencyEvent::Command => "command",
            LatencyEvent::FastCommand => "fast-command",
            LatencyEvent::ExpireCycle => "expire-cycle",
            LatencyEvent::EvictionCycle => "eviction-cycle",
            LatencyEvent::CommandUnblocking => "command-unblocking",
            LatencyEvent::AofWrite => "aof-write",
            LatencyEvent::AofWritePendingFsync => "aof-write-pending-fsync",
            LatencyEvent::AofWriteActiveChild => "aof-write-active-child",
            LatencyEvent::AofWriteAlone => "aof-write-alone",
            LatencyEvent::AofFsync => "aof-fsync-always",
            LatencyEvent::AofRename => "aof-rename",
        }
    }

    pub fn named(name: &[u8]) -> Option<LatencyEvent> {
        Self::ALL.into_iter().find(|event| event.name().as_bytes().eq_ignore_ascii_case(name))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatencySample {
    /// Seconds since the epoch.
    pub at: i64,
    pub ms: u64,
}

/// The samples of one kind of event, the oldest first; never empty.
#[derive(Debug, Clone, Default)]
pub struct LatencySeries {
    pub samples: Vec<LatencySample>,
    /// The longest of all, also of those that are no longer kept.
    pub ms_max: u64,
}

/// What the samples of one kind tell together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatencySummary {
    pub samples: usize,
    pub mean_ms: u64,
    /// By how much they differ from the mean, on average.
    pub deviation_ms: u64,
    /// Mean time between two, seconds.
    pub period_s: f64,
}

impl LatencySeries {
    pub fn last(&self) -> LatencySample {
        self.samples.last().copied().unwrap_or(LatencySample { at: 0, ms: 0 })
    }

    pub fn summary(&self, now_s: i64) -> LatencySummary {
        let samples = self.samples.len();
        let count = samples.max(1) as u64;
        let mean_ms = self.samples.iter().map(|sample| sample.ms).sum::<u64>() / count;
        let apart = self.samples.iter().map(|sample| sample.ms.abs_diff(mean_ms)).sum::<u64>();
        let oldest = self.samples.first().map_or(now_s, |sample| sample.at);
        let period_s = (now_s - oldest).max(1) as f64 / count as f64;
        LatencySummary { samples, mean_ms, deviation_ms: apart / count, period_s }
    }
}

/// All events of the server; locked by a shard when something has taken long, and by LATENCY.
#[derive(Debug, Default)]
pub struct LatencyEvents {
    series: BTreeMap<LatencyEvent, LatencySeries>,
}

impl LatencyEvents {
    /// Of one second only the longest is kept.
    pub fn add(&mut self, event: LatencyEvent, at: i64, ms: u64) {
        let series = self.series.entry(event).or_default();
        series.ms_max = series.ms_max.max(ms);
        match series.samples.last_mut() {
            Some(last) if last.at == at => last.ms = last.ms.max(ms),
            _ => {
                if series.samples.len() == SAMPLES_MAX {
                    series.samples.remove(0);
                }
                series.samples.push(LatencySample { at, ms });
            }
        }
    }

    pub fn get(&self, event: LatencyEvent) -> Option<&LatencySeries> {
        self.series.get(&event)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (LatencyEvent, &LatencySeries)> {
        self.series.iter().map(|(event, series)| (*event, series))
    }

    /// `false` when there was nothing to forget.
    pub fn reset(&mut self, event: LatencyEvent) -> bool {
        self.series.remove(&event).is_some()
    }
}

/// The events, and from when on something is one, for whatever thread has measured it.
#[derive(Debug, Default)]
pub struct LatencyMonitor {
    /// Milliseconds (`latency-monitor-threshold`); 0 is off.
    threshold_ms: AtomicU64,
    events: Mutex<LatencyEvents>,
}

impl LatencyMonitor {
    pub fn set_threshold(&self, ms: u64) {
        self.threshold_ms.store(ms, Ordering::Relaxed);
    }

    /// An event is added in one step, so they are always whole.
    pub fn events(&self) -> MutexGuard<'_, LatencyEvents> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers that something took long, if it did; `now` is in milliseconds since the epoch.
    pub fn note(&self, event: LatencyEvent, now: i64, spent: Duration) {
        let threshold = self.threshold_ms.load(Ordering::Relaxed);
        let ms = spent.as_millis() as u64;
        if threshold > 0 && ms >= threshold {
            self.events().add(event, now / 1000, ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_its_longest_sample() {
        let mut events = LatencyEvents::default();
        for (at, ms) in [(10, 5), (10, 9), (10, 7), (12, 3)] {
            events.add(LatencyEvent::Command, at, ms);
        }
        let series = events.get(LatencyEvent::Command).unwrap();
        let sample = |at, ms| LatencySample { at, ms };
        assert_eq!(series.samples, [sample(10, 9), sample(12, 3)]);
        assert_eq!((series.ms_max, series.last()), (9, sample(12, 3)));
        let summary = series.summary(20);
        assert_eq!((summary.samples, summary.mean_ms, summary.deviation_ms), (2, 6, 3));
        assert_eq!(summary.period_s, 5.0);
        assert!(events.reset(LatencyEvent::Command) && !events.reset(LatencyEvent::Command));
    }

    #[test]
    fn events_begin_at_the_threshold() {
        let monitor = LatencyMonitor::default();
        let note = |ms| monitor.note(LatencyEvent::AofWrite, 5_000, Duration::from_millis(ms));
        note(1000);
        monitor.set_threshold(20);
        note(19);
        assert_eq!(monitor.events().iter().len(), 0);
        note(20);
        let last = monitor.events().get(LatencyEvent::AofWrite).map(LatencySeries::last);
        assert_eq!(last, Some(LatencySample { at: 5, ms: 20 }));
    }

    #[test]
    fn old_samples_go_but_the_longest_is_remembered() {
        let mut events = LatencyEvents::default();
        for at in 0..200 {
            events.add(LatencyEvent::ExpireCycle, at, 1000 - at as u64);
        }
        let series = events.get(LatencyEvent::ExpireCycle).unwrap();
        assert_eq!((series.samples.len(), series.samples[0].at), (SAMPLES_MAX, 40));
        assert_eq!(series.ms_max, 1000);
        assert_eq!(LatencyEvent::named(b"EXPIRE-cycle"), Some(LatencyEvent::ExpireCycle));
        assert_eq!(LatencyEvent::named(b"blabla"), None);
    }
}
