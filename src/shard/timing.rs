//! How long commands take, at almost no cost.
//!
//! Looking at a precise clock costs a twentieth of what a GET costs in a pipeline. So brief commands (few
//! short arguments, a short reply, and by their flags no work that grows faster than a logarithm)
//! that follow each other in one read are timed together, and each is given an equal share:
//!
//! ```text
//!   read ── GET GET GET INCR ──┬── LRANGE ──┬── GET GET ──┬─ end of the read
//!        └ clock               └ clock      └ clock       └ clock
//! ```
//!
//! After each of them the kernel's tick is looked at, which costs a fifth of the clock. When it has moved,
//! the clock is read at once: a command that took longer than a tick is always found out, and
//! the time is its own. Where less than a tick is asked for (`slowlog-log-slower-than` below 10 ms, say),
//! every command is timed alone.

use crate::clock;
use crate::metrics::{CommandStats, LatencyEvent};
use crate::session::ClientRef;
use smallvec::SmallVec;
use std::time::{Duration, Instant};

/// Arguments, and bytes of arguments and of a reply, up to which a command can be brief.
pub const BRIEF_ARGS: usize = 6;
pub const BRIEF_BYTES: usize = 4 << 10;

/// What others of a group are thought to have taken when one of it has taken long, nanoseconds.
const USUAL_NS: u64 = 2_000;

/// What of the configuration says which commands are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimingRules {
    /// Commands that took so long are logged, microseconds.
    pub slower_than_us: Option<u64>,
    /// Requests and replies of so many bytes are logged.
    pub request_larger_than: Option<u64>,
    pub reply_larger_than: Option<u64>,
    /// Events that took so long are remembered, milliseconds.
    pub event_ms: Option<u64>,
    /// How long commands take is remembered in histograms.
    pub histograms: bool,
    /// The key of one command in so many is counted; 0 is none.
    pub hot_keys_every: u32,
}

impl TimingRules {
    /// Nothing is logged.
    pub const QUIET: TimingRules = TimingRules {
        slower_than_us: None,
        request_larger_than: None,
        reply_larger_than: None,
        event_ms: None,
        histograms: true,
        hot_keys_every: 0,
    };

    /// Whether commands must not be timed together.
    fn is_exact(&self) -> bool {
        let tick = clock::TICK_MAX;
        let short = |limit: Option<u64>, unit: fn(u64) -> Duration| {
            limit.is_some_and(|limit| unit(limit) < tick)
        };
        let small = |limit: Option<u64>| limit.is_some_and(|limit| limit <= BRIEF_BYTES as u64);
        short(self.slower_than_us, Duration::from_micros)
            || short(self.event_ms, Duration::from_millis)
            || small(self.request_larger_than)
            || small(self.reply_larger_than)
    }
}

/// A command that is to be logged.
#[derive(Debug)]
pub struct Noted {
    pub client: ClientRef,
    /// Seconds since the epoch.
    pub at: i64,
    pub args: Vec<Box<[u8]>>,
    /// By kind of log, what it is logged with.
    pub values: [Option<u64>; 3],
}

/// The stopwatch of one shard.
#[derive(Debug)]
pub struct Timing {
    pub rules: TimingRules,
    exact: bool,
    /// Requests of one read run: brief ones may be timed together.
    reading: bool,
    /// When that began which nobody is charged with yet.
    since: Option<Instant>,
    tick: i64,
    /// Brief commands since then, and how many of them in a row.
    group: SmallVec<[(u16, u16); 8]>,
    /// Commands to be logged that nobody has fetched yet.
    pub noted: Vec<Noted>,
    /// Events to be remembered: what, seconds since the epoch, milliseconds.
    pub events: Vec<(LatencyEvent, i64, u64)>,
}

impl Timing {
    pub fn new(rules: TimingRules) -> Timing {
        Timing {
            exact: rules.is_exact(),
            rules,
            reading: false,
            since: None,
            tick: 0,
            group: SmallVec::new(),
            noted: Vec::new(),
            events: Vec::new(),
        }
    }

    pub fn configure(&mut self, rules: TimingRules) {
        self.rules = rules;
        self.exact = rules.is_exact();
    }

    /// Requests of one read begin.
    pub fn begin_reading(&mut self) {
        self.reading = !self.exact;
        self.since = None;
    }

    /// They have ended.
    pub fn end_reading(&mut self, stats: &[CommandStats]) {
        self.reading = false;
        if !self.group.is_empty() {
            self.close_group(stats);
        }
        self.since = None;
    }

    /// A command begins.
    #[inline]
    pub fn begin(&mut self, brief: bool, stats: &[CommandStats]) {
        if !brief || self.since.is_none() || !self.reading {
            self.begin_alone(stats);
        }
    }

    fn begin_alone(&mut self, stats: &[CommandStats]) {
        // In a read, the end of the last command is the beginning of this one.
        if !self.group.is_empty() || self.since.is_none() || !self.reading {
            self.close_group(stats);
        }
    }

    /// Charges those in the group with the time until now.
    fn close_group(&mut self, stats: &[CommandStats]) {
        let now = clock::monotonic();
        if let Some(since) = self.since {
            let spent = now.duration_since(since).as_nanos() as u64;
            self.charge_group(spent, stats);
        }
        self.group.clear();
        self.since = Some(now);
        self.tick = clock::tick();
    }

    fn charge_group(&mut self, spent: u64, stats: &[CommandStats]) {
        let count: u64 = self.group.iter().map(|(_, n)| u64::from(*n)).sum();
        let each = spent / count.max(1);
        for (id, n) in self.group.drain(..) {
            stats[id as usize].took(each, n.into(), self.rules.histograms);
        }
    }

    /// A command has ended: joins it to the group if it was as brief as it seemed, and else answers
    /// how long it took, nanoseconds. One that `waits` is not over yet.
    #[inline]
    pub fn end(
        &mut self,
        id: u16,
        brief: bool,
        waits: bool,
        stats: &[CommandStats],
    ) -> Option<u64> {
        if brief && self.reading && clock::tick() == self.tick {
            match self.group.last_mut() {
                Some((last, n)) if *last == id && *n < u16::MAX => *n += 1,
                _ => self.group.push((id, 1)),
            }
            return None;
        }
        Some(self.end_alone(id, waits, stats))
    }

    #[cold]
    fn end_alone(&mut self, id: u16, waits: bool, stats: &[CommandStats]) -> u64 {
        let now = clock::monotonic();
        let since = self.since.unwrap_or(now);
        let mut spent = now.duration_since(since).as_nanos() as u64;
        let others: u64 = self.group.iter().map(|(_, n)| u64::from(*n)).sum();
        if others > 0 {
            let theirs = others * (spent / (others + 1)).min(USUAL_NS);
            self.charge_group(theirs, stats);
            spent -= theirs;
        }
        match waits {
            true => stats[id as usize].ns.add(spent),
            false => stats[id as usize].took(spent, 1, self.rules.histograms),
        }
        self.since = Some(now);
        self.tick = clock::tick();
        spent
    }

    /// When the command that is about to run has begun.
    pub fn began(&self) -> Option<Instant> {
        self.since
    }

    /// As [`Timing::end`], for a command within which others may have run: it is timed from its own
    /// beginning.
    #[inline]
    pub fn end_begun(
        &mut self,
        id: u16,
        brief: bool,
        began: Option<Instant>,
        stats: &[CommandStats],
    ) -> Option<u64> {
        if !brief {
            self.since = began;
        }
        self.end(id, brief, false, stats)
    }

    /// What comes next is timed from its own beginning: something else has run that was timed apart.
    pub fn restart(&mut self, stats: &[CommandStats]) {
        if !self.group.is_empty() {
            self.close_group(stats);
        }
        self.since = None;
    }

    /// What a command is to be logged with, by kind of log, if it is.
    pub fn logged_with(&self, ns: u64, request: usize, reply: usize) -> Option<[Option<u64>; 3]> {
        let over =
            |limit: Option<u64>, value: u64| limit.is_some_and(|l| value >= l).then_some(value);
        let values = [
            over(self.rules.slower_than_us, ns / 1000),
            over(self.rules.request_larger_than, request as u64),
            over(self.rules.reply_larger_than, reply as u64),
        ];
        values.iter().any(Option::is_some).then_some(values)
    }

    /// Whether events that take long are remembered at all.
    #[inline]
    pub fn watches_events(&self) -> bool {
        self.rules.event_ms.is_some()
    }

    /// Whether something that took so long is to be remembered as an event, and with what.
    pub fn event_ms(&self, ns: u64) -> Option<u64> {
        let ms = ns / 1_000_000;
        self.rules.event_ms.is_some_and(|limit| ms >= limit).then_some(ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats() -> Vec<CommandStats> {
        (0..3).map(|_| CommandStats::default()).collect()
    }

    fn wait(time: Duration) {
        let start = clock::monotonic();
        while start.elapsed() < time {
            std::hint::spin_loop();
        }
    }

    fn counted(stats: &CommandStats) -> u64 {
        let mut sum = crate::metrics::Sum::default();
        stats.histogram().into_iter().for_each(|histogram| histogram.add_to(&mut sum));
        sum.count()
    }

    #[test]
    fn brief_commands_share_and_long_ones_do_not() {
        let (mut timing, stats) = (Timing::new(TimingRules::QUIET), stats());
        timing.begin_reading();
        for id in [0, 0, 1] {
            timing.begin(true, &stats);
            // A tick between them may end a group early.
            timing.end(id, true, false, &stats);
        }
        timing.begin(false, &stats);
        wait(Duration::from_millis(3));
        let spent = timing.end(2, false, false, &stats).unwrap();
        assert!((3_000_000..100_000_000).contains(&spent));
        timing.end_reading(&stats);
        assert_eq!([&stats[0], &stats[1], &stats[2]].map(counted), [2, 1, 1]);
        assert!(stats[2].ns.get() >= 3_000_000);
    }

    #[test]
    fn a_command_that_seems_brief_and_is_not_is_found() {
        let (mut timing, stats) = (Timing::new(TimingRules::QUIET), stats());
        timing.begin_reading();
        let mut found = Vec::new();
        for at in 0..20 {
            timing.begin(true, &stats);
            if at == 7 {
                wait(clock::TICK_MAX + Duration::from_millis(1));
            }
            if let Some(ns) = timing.end(0, true, false, &stats)
                && ns >= 10_000_000
            {
                found.push((at, ns));
            }
        }
        timing.end_reading(&stats);
        assert!(found.iter().any(|(at, ns)| *at == 7 && *ns >= 10_900_000), "{found:?}");
        assert_eq!(counted(&stats[0]), 20);
    }

    #[test]
    fn short_limits_time_every_command_alone() {
        let rules = TimingRules { slower_than_us: Some(100), ..TimingRules::QUIET };
        let (mut timing, stats) = (Timing::new(rules), stats());
        timing.begin_reading();
        for _ in 0..3 {
            timing.begin(true, &stats);
            assert!(timing.end(0, true, false, &stats).is_some());
        }
        assert!(timing.group.is_empty());
        assert_eq!(timing.logged_with(99_999, 0, 0), None);
        assert_eq!(timing.logged_with(100_000, 5, 5), Some([Some(100), None, None]));
        timing.configure(TimingRules { slower_than_us: Some(10_000), ..rules });
        timing.begin_reading();
        timing.begin(true, &stats);
        assert!(timing.reading);
    }

    #[test]
    fn outside_of_a_read_commands_are_timed_from_their_beginning() {
        let (mut timing, stats) = (Timing::new(TimingRules::QUIET), stats());
        timing.begin(true, &stats);
        timing.end(0, true, false, &stats);
        wait(Duration::from_millis(20));
        timing.begin(true, &stats);
        let spent = timing.end(0, true, false, &stats).unwrap();
        assert!(spent < 20_000_000, "{spent}");
    }
}
