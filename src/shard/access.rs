//! The 24 bits of an entry that remember how it was used, for eviction and OBJECT.
//!
//! ```text
//!   LRU   [ 24 bits: second of the last use, modulo 2^24 (194 days)      ]
//!   LFU   [ 16 bits: minute of the last decay ][ 8 bits: log. counter    ]
//! ```

use crate::data::entry::Entry;

/// What the access field of an entry records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The time of the last access: seconds, 24 bits.
    Lru,
    /// A logarithmic counter (8 bits) and the minute of its last decay (16 bits).
    Lfu { log_factor: u32, decay_minutes: u32 },
    /// Nothing: new entries get this field, and it stays. So it is while data are loaded, which
    /// happens at no time.
    Fixed(u32),
}

/// The counter of a new key: enough to outlive those that are never used again.
const LFU_INITIAL: u32 = 5;
const CLOCK_BITS: u32 = 0x00ff_ffff;

impl Access {
    /// The field of an entry that is made at `now` (milliseconds since the epoch).
    #[inline]
    pub fn fresh(self, now: i64) -> u32 {
        match self {
            Access::Lru => seconds(now),
            Access::Lfu { .. } => minutes(now) << 8 | LFU_INITIAL,
            Access::Fixed(field) => field,
        }
    }

    /// Records a use. An entry whose field stays the same is not written to.
    #[inline]
    pub fn record(self, entry: &mut Entry, now: i64, random: &mut fastrand::Rng) {
        let before = entry.access();
        let after = match self {
            Access::Lru => seconds(now),
            Access::Lfu { log_factor, .. } => {
                let counter = increment(self.frequency(before, now), log_factor, random);
                minutes(now) << 8 | counter
            }
            Access::Fixed(_) => before,
        };
        if after != before {
            entry.set_access(after);
        }
    }

    /// The field of an entry that was not used for so many seconds, if times of use are recorded.
    pub fn idle_for(self, idle: i64, now: i64) -> Option<u32> {
        let clock = i64::from(seconds(now));
        (self == Access::Lru).then(|| (clock.wrapping_sub(idle)) as u32 & CLOCK_BITS)
    }

    /// The field of an entry with this counter, if uses are counted.
    pub fn counted(self, counter: u8, now: i64) -> Option<u32> {
        matches!(self, Access::Lfu { .. }).then(|| minutes(now) << 8 | u32::from(counter))
    }

    /// The counter after the decay that is due at `now`; nothing meaningful under LRU.
    pub fn frequency(self, field: u32, now: i64) -> u32 {
        let Access::Lfu { decay_minutes, .. } = self else { return field & 0xff };
        let elapsed = minutes(now).wrapping_sub(field >> 8) & 0xffff;
        let periods = elapsed.checked_div(decay_minutes).unwrap_or(0);
        (field & 0xff).saturating_sub(periods)
    }

    /// Seconds between the last use and `time`, 0 if it was used after that, but not more than a
    /// day after; nothing meaningful under LFU.
    pub fn idle_seconds_before(field: u32, time: i64) -> u32 {
        const DAY: u32 = 24 * 60 * 60;
        let idle = Access::idle_seconds(field, time);
        if idle > CLOCK_BITS - DAY { 0 } else { idle }
    }

    /// Minutes since the last use; nothing meaningful under LRU.
    pub fn idle_minutes(field: u32, now: i64) -> u32 {
        minutes(now).wrapping_sub(field >> 8) & 0xffff
    }

    /// Seconds since the last use; nothing meaningful under LFU.
    pub fn idle_seconds(field: u32, now: i64) -> u32 {
        seconds(now).wrapping_sub(field) & CLOCK_BITS
    }
}

fn seconds(now: i64) -> u32 {
    (now / 1000) as u32 & CLOCK_BITS
}

fn minutes(now: i64) -> u32 {
    (now / 60_000) as u32 & 0xffff
}

/// Counts a use with a probability that falls as the counter rises.
fn increment(counter: u32, log_factor: u32, random: &mut fastrand::Rng) -> u32 {
    if counter >= 255 {
        return 255;
    }
    let above = f64::from(counter.saturating_sub(LFU_INITIAL));
    let chance = 1.0 / (above * f64::from(log_factor) + 1.0);
    counter + u32::from(random.f64() < chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LFU: Access = Access::Lfu { log_factor: 10, decay_minutes: 1 };
    const MINUTE: i64 = 60_000;

    #[test]
    fn the_clock_wraps_without_a_jump() {
        let now = 0x0100_0005 * 1000;
        assert_eq!(Access::idle_seconds(Access::Lru.fresh(now - 9000), now), 9);
        assert_eq!(Access::idle_seconds_before(Access::Lru.fresh(now - 9000), now), 9);
        assert_eq!(Access::idle_seconds_before(Access::Lru.fresh(now + 9000), now), 0);
        assert_eq!(LFU.frequency(LFU.fresh(0xffff * MINUTE), 0x1_0002 * MINUTE), 2);
    }

    #[test]
    fn a_counter_rises_ever_slower_and_decays() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut entry = Entry::string(b"k", b"v", None);
        entry.set_access(LFU.fresh(0));
        let mut after = Vec::new();
        for uses in 1..=100_000 {
            LFU.record(&mut entry, 0, &mut random);
            if [100, 1000, 100_000].contains(&uses) {
                after.push(LFU.frequency(entry.access(), 0));
            }
        }
        // Redis' documentation has 10, 18 and 142 for this factor.
        assert!((8..=13).contains(&after[0]), "{after:?}");
        assert!((15..=22).contains(&after[1]), "{after:?}");
        assert!((130..=155).contains(&after[2]), "{after:?}");
        assert_eq!(LFU.frequency(entry.access(), 30 * MINUTE), after[2] - 30);
        assert_eq!(LFU.frequency(entry.access(), 300 * MINUTE), 0);
        let never = Access::Lfu { log_factor: 10, decay_minutes: 0 };
        assert_eq!(never.frequency(entry.access(), 300 * MINUTE), after[2]);
    }
}
