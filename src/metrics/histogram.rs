//! How long something took, as a histogram with one writing thread and any number of readers.
//!
//! The buckets are those of an HDR histogram with two significant digits, from 1 ns to 1 s:
//!
//! ```text
//!   0..256          one bucket for each value
//!   2^e..2^(e+1)    128 buckets of equal width, for e from 8 to 29: a value is known within 1 %
//! ```
//!
//! So recording is a shift and an addition without a lock, and readers add the buckets of all shards
//! up in a [`hdrhistogram::Histogram`], which knows about percentiles.

use super::Counter;

/// The longest time that is told apart, nanoseconds.
pub const LONGEST_NS: u64 = 1_000_000_000;

/// Buckets of values that have a bucket of their own.
const SINGLE: usize = 256;
/// Buckets of each power of two above, and how many bits tell them apart.
const HALF: usize = 128;
const HALF_BITS: u32 = 7;
/// The first power of two whose values share buckets.
const FIRST_SHARED: u32 = 8;
const BUCKETS: usize = bucket_of(LONGEST_NS) + 1;

const fn bucket_of(ns: u64) -> usize {
    if ns < SINGLE as u64 {
        return ns as usize;
    }
    let exponent = ns.ilog2();
    let inside = (ns >> (exponent - HALF_BITS)) as usize & (HALF - 1);
    SINGLE + (exponent - FIRST_SHARED) as usize * HALF + inside
}

/// The least value of a bucket.
const fn value_of(bucket: usize) -> u64 {
    if bucket < SINGLE {
        return bucket as u64;
    }
    let (exponent, inside) = ((bucket - SINGLE) / HALF, (bucket - SINGLE) % HALF);
    ((HALF + inside) as u64) << (exponent as u32 + FIRST_SHARED - HALF_BITS)
}

/// See the module.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[Counter]>,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { buckets: (0..BUCKETS).map(|_| Counter::default()).collect() }
    }
}

impl Histogram {
    /// `count` times it took `ns`; for the writing thread.
    #[inline]
    pub fn record(&self, ns: u64, count: u64) {
        self.buckets[bucket_of(ns.clamp(1, LONGEST_NS))].add(count);
    }

    /// For the writing thread.
    pub fn reset(&self) {
        self.buckets.iter().for_each(|bucket| bucket.set(0));
    }

    /// Adds what was recorded to `sum`, for any thread.
    pub fn add_to(&self, sum: &mut Sum) {
        for (bucket, count) in self.buckets.iter().enumerate() {
            match count.get() {
                0 => {}
                count => sum.0.saturating_record_n(value_of(bucket), count),
            }
        }
    }
}

/// What several histograms hold together.
#[derive(Debug, Clone)]
pub struct Sum(hdrhistogram::Histogram<u64>);

impl Default for Sum {
    fn default() -> Sum {
        let empty = hdrhistogram::Histogram::new_with_bounds(1, LONGEST_NS, 2);
        Sum(empty.expect("1 ns to 1 s with two digits is a histogram"))
    }
}

impl Sum {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Nanoseconds that this percentage of all is not above.
    pub fn percentile(&self, percent: f64) -> u64 {
        self.0.value_at_percentile(percent)
    }

    /// How many took no longer than some powers of two, from 1024 on: nanoseconds, and all up to them.
    /// Those to which none is added are left out.
    pub fn by_powers_of_two(&self) -> Vec<(u64, u64)> {
        let mut steps: Vec<(u64, u64)> = Vec::new();
        let mut until = 0;
        for value in self.0.iter_recorded() {
            until += value.count_since_last_iteration();
            let least = self.0.lowest_equivalent(value.value_iterated_to());
            let step = least.max(1024).next_power_of_two();
            // The longest that this histogram does not tell apart from it.
            let step = self.0.highest_equivalent(step);
            match steps.last_mut() {
                Some(last) if last.0 == step => last.1 = until,
                _ => steps.push((step, until)),
            }
        }
        steps
    }
}

/// Counts by bucket as of a moment, to be compared with those of another.
#[derive(Debug, Clone, Default)]
pub struct Distribution(Vec<u64>);

impl Distribution {
    pub fn add(&mut self, histogram: &Histogram) {
        self.0.resize(BUCKETS, 0);
        self.0.iter_mut().zip(&histogram.buckets).for_each(|(sum, more)| *sum += more.get());
    }

    /// What has come since an `earlier` moment; all when the counts were reset meanwhile.
    pub fn since(&self, earlier: &Distribution) -> Distribution {
        let earlier = earlier.0.iter().chain(std::iter::repeat(&0));
        let more: Option<Vec<u64>> =
            self.0.iter().zip(earlier).map(|(now, then)| now.checked_sub(*then)).collect();
        Distribution(more.unwrap_or_else(|| self.0.clone()))
    }

    /// Nanoseconds that this percentage of all is not above; none when there is nothing.
    pub fn percentile(&self, percent: f64) -> Option<u64> {
        let all: u64 = self.0.iter().sum();
        let wanted = (all as f64 * percent / 100.0).ceil().max(1.0) as u64;
        let mut until = 0;
        let at = self.0.iter().position(|count| {
            until += count;
            until >= wanted
        });
        at.map(value_of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_and_know_values_within_a_hundredth() {
        for bucket in 0..BUCKETS {
            assert_eq!(bucket_of(value_of(bucket)), bucket);
            if bucket > 0 {
                assert_eq!(bucket_of(value_of(bucket) - 1), bucket - 1);
            }
        }
        for ns in [300, 999, 12_345, 777_777, 999_999_999] {
            let lower = value_of(bucket_of(ns));
            assert!(lower <= ns && ns - lower <= ns / 100, "{ns} {lower}");
        }
    }

    #[test]
    fn sums_have_percentiles() {
        let (one, two, mut sum) = (Histogram::default(), Histogram::default(), Sum::default());
        one.record(1_000, 50);
        two.record(100_000, 49);
        two.record(5_000_000_000, 1);
        one.add_to(&mut sum);
        two.add_to(&mut sum);
        assert_eq!(sum.count(), 100);
        assert!((990..=1_010).contains(&sum.percentile(50.0)));
        assert!((99_000..=101_000).contains(&sum.percentile(99.0)));
        assert!(sum.percentile(100.0) >= 990_000_000);
        let steps = sum.by_powers_of_two();
        assert_eq!(steps.iter().map(|step| step.1).collect::<Vec<_>>(), [50, 99, 100]);
        assert_eq!(steps[0].0, 1031);
        let mut before = Distribution::default();
        before.add(&one);
        one.record(9_000, 1);
        let mut after = Distribution::default();
        after.add(&one);
        let since = after.since(&before);
        assert!((8_900..=9_000).contains(&since.percentile(50.0).unwrap()));
        assert_eq!(after.since(&after).percentile(50.0), None);
        assert_eq!(before.since(&after).percentile(50.0), before.percentile(50.0));
        one.reset();
        let mut empty = Sum::default();
        one.add_to(&mut empty);
        assert!(empty.is_empty());
    }
}
