//! Fields chosen at random, all being equally likely.

use std::collections::HashSet;

use super::{FieldValue, Form, Hash};

type Record<'a> = (&'a [u8], FieldValue<'a>);

/// Less than one field in so many is few: then trying is cheaper than a look at all of them.
const FEW: usize = 3;

/// Chooses one field after another, any of them each time.
pub struct Sampler<'a> {
    hash: &'a Hash,
    /// All there are to choose from, unless the table chooses by itself.
    records: Option<Vec<Record<'a>>>,
    now: i64,
}

impl<'a> Sampler<'a> {
    /// Any field; nothing if there is none.
    pub fn pick(&self, random: &mut impl FnMut() -> u64) -> Option<Record<'a>> {
        match (&self.records, &self.hash.0) {
            (None, Form::Fields(fields)) => loop {
                // At least half of them are live.
                if let Some(record) = fields.table.random(random)?.live(self.now) {
                    return Some(record);
                }
            },
            (records, _) => {
                let records = records.as_deref().unwrap_or_default();
                if records.is_empty() {
                    None
                } else {
                    Some(records[below(random(), records.len())])
                }
            }
        }
    }
}

impl Hash {
    /// For choosing many fields, also one more than once.
    pub fn sampler(&self, now: i64) -> Sampler<'_> {
        let by_table = matches!(self.0, Form::Fields(_)) && self.live_len(now) * 2 >= self.len();
        Sampler { hash: self, records: (!by_table).then(|| self.records(now)), now }
    }

    /// Any one field; nothing if there is none.
    pub fn random(&self, now: i64, random: &mut impl FnMut() -> u64) -> Option<Record<'_>> {
        match &self.0 {
            Form::Packed(packed) if packed.len() > 0 => {
                packed.iter().nth(below(random(), packed.len()))
            }
            _ => self.sampler(now).pick(random),
        }
    }

    /// So many different fields, or all if there are no more; packed ones in their order.
    pub fn choose(
        &self,
        count: usize,
        now: i64,
        random: &mut impl FnMut() -> u64,
    ) -> Vec<Record<'_>> {
        let sampler = self.sampler(now);
        let live = self.live_len(now);
        if sampler.records.is_none() && count < live / FEW {
            let (mut chosen, mut seen) = (Vec::with_capacity(count), HashSet::new());
            while chosen.len() < count
                && let Some(record) = sampler.pick(random)
            {
                // Different fields lie at different addresses, also empty ones.
                if seen.insert(record.0.as_ptr().addr()) {
                    chosen.push(record);
                }
            }
            return chosen;
        }
        let mut records = sampler.records.unwrap_or_else(|| self.records(now));
        // Each is taken with the chance that those still to be taken have among those left
        // (Knuth's algorithm S).
        let (mut left, mut wanted) = (records.len(), count.min(records.len()));
        records.retain(|_| {
            let take = below(random(), left) < wanted;
            left -= 1;
            wanted -= usize::from(take);
            take
        });
        records
    }

    fn records(&self, now: i64) -> Vec<Record<'_>> {
        let mut records = Vec::with_capacity(self.live_len(now));
        self.each(now, |field, value| records.push((field, value)));
        records
    }
}

/// Scales a random number to 0..limit.
fn below(random: u64, limit: usize) -> usize {
    ((u128::from(random) * limit as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::hash::{Lifetime, Limits};

    const PACKED: Limits = Limits { fields: 1000, string: 64 };
    const TABLE: Limits = Limits { fields: 0, string: 64 };

    fn hash(fields: usize, limits: Limits) -> Hash {
        let mut hash = Hash::new();
        for n in 0..fields {
            let name = n.to_string();
            hash.set(name.as_bytes(), FieldValue::Int(n as i64), Lifetime::Endless, limits, 0);
        }
        hash
    }

    fn number(record: Record) -> usize {
        let FieldValue::Int(n) = record.1 else { panic!("{record:?}") };
        assert_eq!(record.0, n.to_string().as_bytes());
        n as usize
    }

    /// Chi-square of counts that should all be equal; with 99 degrees of freedom it is above 200
    /// once in a hundred million times.
    fn chi_square(counts: &[usize]) -> f64 {
        let expected = counts.iter().sum::<usize>() as f64 / counts.len() as f64;
        counts.iter().map(|&n| (n as f64 - expected).powi(2) / expected).sum()
    }

    #[test]
    fn every_field_is_as_likely_as_any_other() {
        let mut rng = fastrand::Rng::with_seed(11);
        let mut random = || rng.u64(..);
        for limits in [PACKED, TABLE] {
            let hash = hash(100, limits);
            let (mut singles, mut repeated, mut few, mut many) =
                ([0; 100], [0; 100], [0; 100], [0; 100]);
            let scale = if cfg!(miri) { 1 } else { 20 };
            for _ in 0..250 * scale {
                singles[number(hash.random(0, &mut random).unwrap())] += 1;
            }
            let sampler = hash.sampler(0);
            for _ in 0..1000 * scale {
                repeated[number(sampler.pick(&mut random).unwrap())] += 1;
            }
            for _ in 0..50 * scale {
                hash.choose(7, 0, &mut random).into_iter().for_each(|r| few[number(r)] += 1);
                hash.choose(60, 0, &mut random).into_iter().for_each(|r| many[number(r)] += 1);
            }
            for counts in [&singles, &repeated, &few, &many] {
                let chi = chi_square(counts);
                assert!(chi < 200.0, "{chi} for {counts:?} with {limits:?}");
            }
        }
    }

    #[test]
    fn those_chosen_together_are_different() {
        let mut rng = fastrand::Rng::with_seed(12);
        let mut random = || rng.u64(..);
        for limits in [PACKED, TABLE] {
            let hash = hash(50, limits);
            for count in 0..60 {
                let chosen = hash.choose(count, 0, &mut random);
                let different: HashSet<_> = chosen.iter().map(|r| number(*r)).collect();
                assert_eq!((chosen.len(), different.len()), (count.min(50), count.min(50)));
            }
            let in_order = hash.choose(20, 0, &mut random);
            if limits.fields == PACKED.fields {
                assert!(in_order.is_sorted_by_key(|record| number(*record)));
            }
        }
        assert!(Hash::new().random(0, &mut random).is_none());
        assert!(Hash::new().choose(5, 0, &mut random).is_empty());
    }

    #[test]
    fn expired_fields_are_never_chosen() {
        let mut rng = fastrand::Rng::with_seed(13);
        let mut random = || rng.u64(..);
        for expiring in [10, 90] {
            let mut hash = hash(100, TABLE);
            (0..expiring).for_each(|n| hash.set_expire(n.to_string().as_bytes(), Some(5)));
            let is_live = |record| number(record) >= expiring;
            for _ in 0..if cfg!(miri) { 10 } else { 200 } {
                assert!(is_live(hash.random(6, &mut random).unwrap()));
                assert!(hash.choose(3, 6, &mut random).into_iter().all(is_live));
            }
            assert_eq!(hash.choose(100, 6, &mut random).len(), 100 - expiring);
            assert_eq!(hash.choose(100, 5, &mut random).len(), 100);
        }
    }
}
