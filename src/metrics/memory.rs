//! How much memory the whole server uses, known to every shard at hardly any cost.
//!
//! ```text
//!   shard 0: balance ┐
//!   shard 1: balance ├─ each written by its thread, once a turn
//!   ...              ┘                                  sum ──> used
//!   helpers: the threads that write files, together     ┘
//!   base: what the allocator knows of beyond that, compared now and then
//! ```
//!
//! A balance is what a thread has allocated less what it has freed, so all together are what is in use,
//! whoever allocates and whoever frees: keys, tables, buffers of clients and of the journal.
//!
//! Beside its balance a shard shows how urgently the best of its keys should go, so that the shard with
//! the best candidate evicts, as if there were one.

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Bytes: room for a few keys that come while another shard makes room.
const SLACK_MIN: i64 = 2 << 10;

/// What one shard shows, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shown {
    balance: AtomicI64,
    /// Keys that may be evicted.
    eligible: AtomicU64,
    urgency: AtomicU64,
    /// Bytes of messages to clients that are on their way.
    passing: AtomicI64,
}

/// The memory sum: one of the few things that all shards share.
#[derive(Debug)]
pub struct MemorySum {
    shards: Box<[Shown]>,
    base: AtomicI64,
    peak: AtomicU64,
    /// Before there were any data.
    startup: AtomicU64,
    /// How far below the limit shards begin to defer to each other.
    slack: AtomicI64,
    /// Without an allocator that counts: bytes that each key stands for.
    per_key: Option<i64>,
}

impl MemorySum {
    pub fn new(shards: usize) -> MemorySum {
        MemorySum {
            shards: (0..shards).map(|_| Shown::default()).collect(),
            base: AtomicI64::new(0),
            peak: AtomicU64::new(0),
            startup: AtomicU64::new(0),
            slack: AtomicI64::new(SLACK_MIN),
            per_key: None,
        }
    }

    /// A sum for a server that is simulated in one thread: all its keys weigh the same, and nothing
    /// else weighs anything.
    pub fn of_keys(shards: usize, bytes: i64) -> MemorySum {
        MemorySum { per_key: Some(bytes), ..MemorySum::new(shards) }
    }

    /// What each key weighs, if it is keys that are counted.
    pub fn per_key(&self) -> Option<i64> {
        self.per_key
    }

    /// Shows a shard's balance; for its thread.
    #[inline]
    pub fn show(&self, shard: usize, balance: i64) {
        self.shards[shard].balance.store(balance, Ordering::Relaxed);
    }

    /// Shows how many keys of a shard may be evicted, with its balance; for its thread.
    #[inline]
    pub fn show_eligible(&self, shard: usize, eligible: u64) {
        self.shards[shard].eligible.store(eligible, Ordering::Relaxed);
    }

    pub fn eligible(&self, shard: usize) -> u64 {
        self.shards[shard].eligible.load(Ordering::Relaxed)
    }

    /// Shows how urgently the best candidate of a shard should go, 0 without one; for its thread.
    pub fn show_urgency(&self, shard: usize, urgency: u64) {
        let shown = &self.shards[shard].urgency;
        if shown.load(Ordering::Relaxed) != urgency {
            shown.store(urgency, Ordering::Relaxed);
        }
    }

    pub fn urgency(&self, shard: usize) -> u64 {
        self.shards[shard].urgency.load(Ordering::Relaxed)
    }

    /// Shows how much a shard's messages to clients take that it has sent just now; for its thread.
    #[inline]
    pub fn show_passing(&self, shard: usize, bytes: i64) {
        let shown = &self.shards[shard].passing;
        if shown.load(Ordering::Relaxed) != bytes {
            shown.store(bytes, Ordering::Relaxed);
        }
    }

    /// Bytes that will be free in a moment, of all shards.
    #[inline]
    pub fn passing(&self) -> i64 {
        self.shards.iter().map(|shard| shard.passing.load(Ordering::Relaxed)).sum()
    }

    /// Shows what a shard has before it serves; for its thread, and once.
    pub fn begin_shard(&self, shard: usize, balance: i64) {
        self.show(shard, balance);
        self.startup.fetch_add(balance.max(0) as u64, Ordering::Relaxed);
    }

    /// How far below the limit shards begin to defer to each other.
    #[inline]
    pub fn slack(&self) -> i64 {
        self.slack.load(Ordering::Relaxed)
    }

    /// There was no time to wait for the shard with better candidates: next time there is more.
    pub fn widen_slack(&self, most: i64) {
        self.slack.store((self.slack() * 2).min(most.max(SLACK_MIN)), Ordering::Relaxed);
    }

    /// To be called some ten times a second: what was needed a while ago may be more than is needed now.
    pub fn narrow_slack(&self) {
        let slack = self.slack();
        self.slack.store((slack - slack / 64).max(SLACK_MIN), Ordering::Relaxed);
    }

    /// Everything but what one shard shows.
    #[inline]
    pub fn beside(&self, shard: usize) -> i64 {
        self.all() - self.shards[shard].balance.load(Ordering::Relaxed)
    }

    #[inline]
    fn all(&self) -> i64 {
        let shards = self.shards.iter().map(|shard| shard.balance.load(Ordering::Relaxed));
        let helpers = if self.per_key.is_none() { HELPERS.load(Ordering::Relaxed) } else { 0 };
        self.base.load(Ordering::Relaxed) + helpers + shards.sum::<i64>()
    }

    /// Bytes that the server uses.
    pub fn used(&self) -> u64 {
        let used = self.all().max(0) as u64;
        self.note_peak(used);
        used
    }

    /// Most that was ever used when somebody looked.
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// What was used before there were any data.
    pub fn startup(&self) -> u64 {
        self.startup.load(Ordering::Relaxed)
    }

    fn note_peak(&self, used: u64) {
        if used > self.peak() {
            self.peak.fetch_max(used, Ordering::Relaxed);
        }
    }

    pub fn reset_peak(&self) {
        self.peak.store(0, Ordering::Relaxed);
    }

    /// How much more the allocator knows of than the sum says.
    pub fn gap(&self, allocated: u64) -> i64 {
        allocated as i64 - self.all()
    }

    /// Corrects the sum.
    pub fn correct(&self, by: i64) {
        self.base.fetch_add(by, Ordering::Relaxed);
    }

    /// As [`MemorySum::correct`], before there are any data.
    pub fn begin(&self, allocated: u64) {
        self.correct(self.gap(allocated));
        self.startup.store(self.used(), Ordering::Relaxed);
    }
}

/// What threads that are no shards' have, as far as they have told: like the heap itself, it is of the
/// whole process.
static HELPERS: AtomicI64 = AtomicI64::new(0);

thread_local! {
    static TOLD: Cell<i64> = const { Cell::new(0) };
}

/// Tells the balance of this thread, which is no shard's. To be called after a piece of work, and
/// before the thread ends.
pub fn tell_balance(balance: i64) {
    HELPERS.fetch_add(balance - TOLD.replace(balance), Ordering::Relaxed);
}

/// Looks from time to time at how the sum differs from what the allocator knows.
///
/// A single look says little: what shards have done since they last showed their balances is missing. What
/// is missing each time is what no thread tells of, and that is corrected.
#[derive(Debug, Default)]
pub struct Drift {
    looks: u32,
    least: i64,
}

/// Looks after which what they have in common is corrected.
const LOOKS: u32 = 8;

impl Drift {
    pub fn look(&mut self, sum: &MemorySum, allocated: u64) {
        let gap = sum.gap(allocated);
        if self.looks == 0 || gap.signum() != self.least.signum() {
            *self = Drift { looks: 1, least: gap };
            return;
        }
        self.looks += 1;
        if gap.abs() < self.least.abs() {
            self.least = gap;
        }
        if self.looks == LOOKS {
            sum.correct(self.least);
            *self = Drift::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_threads_balances_make_what_is_used() {
        let sum = MemorySum::new(2);
        sum.begin(1000);
        sum.show(0, 5000);
        sum.show(1, -700);
        tell_balance(50);
        tell_balance(20);
        assert_eq!((sum.used(), sum.beside(0), sum.beside(1)), (5320, 320, 6020));
        tell_balance(0);
        sum.show(0, 0);
        assert_eq!((sum.used(), sum.peak(), sum.startup()), (300, 5320, 1000));
    }

    #[test]
    fn only_a_lasting_gap_is_corrected() {
        let (sum, mut drift) = (MemorySum::new(1), Drift::default());
        for look in 0..100 {
            drift.look(&sum, if look % 3 == 0 { 500 } else { 0 });
        }
        assert_eq!(sum.used(), 0);
        for look in 0..u64::from(LOOKS) * 2 {
            drift.look(&sum, 100_000 + look % 5 * 1000);
        }
        assert!((100_000..102_000).contains(&sum.used()), "{}", sum.used());
    }
}
