//! Sets of both forms against a model: a map from member to score and a sorted list.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const SMALL: Limits = Limits { entries: usize::MAX, value: usize::MAX };
const BIG: Limits = Limits { entries: 0, value: 0 };

#[derive(Debug, Clone)]
enum Step {
    Insert(u16, i8),
    Remove(u16),
    /// Many members in a row, ascending or descending in score.
    Run(u16, bool),
    /// From and how many, in thousandths of the length.
    RemoveRanks(u16, u16),
    PopFront(u8),
    Duplicate,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (0u16..3000, any::<i8>()).prop_map(|(m, s)| Step::Insert(m, s)),
        12 => (0u16..3000).prop_map(Step::Remove),
        2 => (0u16..400, any::<bool>()).prop_map(|(n, up)| Step::Run(n, up)),
        1 => (0u16..1100, 0u16..300).prop_map(|(from, n)| Step::RemoveRanks(from, n)),
        1 => any::<u8>().prop_map(Step::PopFront),
        1 => Just(Step::Duplicate),
    ]
}

fn name(member: u16) -> Vec<u8> {
    format!("m{member}").into_bytes()
}

/// The set and what must be in it.
struct Pair {
    set: SortedSet,
    limits: Limits,
    model: BTreeMap<Vec<u8>, f64>,
    next: u32,
}

impl Pair {
    fn new(limits: Limits) -> Pair {
        Pair { set: SortedSet::new(1, 1, limits), limits, model: BTreeMap::new(), next: 0 }
    }

    fn sorted(&self) -> Vec<(Vec<u8>, f64)> {
        let mut all: Vec<_> = self.model.iter().map(|(m, s)| (m.clone(), *s)).collect();
        all.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
        all
    }

    fn insert(&mut self, member: &[u8], score: f64) {
        let old = self.model.insert(member.to_vec(), score);
        let chosen = self.set.change(member, self.limits, |found| {
            assert_eq!(found, old);
            Some(score)
        });
        assert_eq!(chosen, Some(score));
    }

    fn remove_ranks(&mut self, ranks: Range<usize>) {
        let all = self.sorted();
        let expected = all.get(ranks.start.min(all.len())..ranks.end.min(all.len())).unwrap_or(&[]);
        let mut removed = Vec::new();
        self.set.remove_ranks(ranks, &mut |m, score| removed.push((m.to_vec(), score)));
        assert_eq!(removed, expected);
        removed.iter().for_each(|(member, _)| assert!(self.model.remove(member).is_some()));
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Insert(member, score) => self.insert(&name(member), f64::from(score) / 4.0),
            Step::Remove(member) => {
                assert_eq!(self.set.remove(&name(member)), self.model.remove(&name(member)));
            }
            Step::Run(count, up) => {
                for _ in 0..count {
                    self.next += 1;
                    let score = f64::from(self.next) * if up { 1.0 } else { -1.0 };
                    self.insert(format!("r{}", self.next % 2000).as_bytes(), score);
                }
            }
            Step::RemoveRanks(from, count) => {
                let part = |n: u16| self.model.len() * usize::from(n) / 1000;
                let (from, count) = (part(from), part(count));
                self.remove_ranks(from..from + count);
            }
            Step::PopFront(count) => self.remove_ranks(0..usize::from(count)),
            Step::Duplicate => self.set = self.set.duplicate(),
        }
    }

    fn check(&self) {
        let all = self.sorted();
        if let Form::Big(big) = &self.set.0 {
            big.tree.check();
            let mut scanned = 0;
            let mut position = 0;
            loop {
                position = big.scan(position, &mut |m, score| {
                    assert_eq!(self.model.get(m), Some(&score));
                    scanned += 1;
                });
                if position == 0 {
                    break;
                }
            }
            assert_eq!(scanned, all.len());
        }
        assert_eq!(self.set.len(), all.len());
        let forward: Vec<_> = self.set.iter().map(|(m, s)| (m.to_vec(), s)).collect();
        assert_eq!(forward, all);
        let mut back: Vec<_> = self.set.range(0..all.len(), Direction::Descending).collect();
        back.reverse();
        assert!(back.iter().map(|(m, s)| (m.to_vec(), *s)).eq(all.iter().cloned()));
        for (rank, (member, score)) in all.iter().enumerate().step_by(17) {
            assert_eq!(self.set.rank(member), Some((rank, *score)));
            assert_eq!(self.set.at_rank(rank), Some((&member[..], *score)));
        }
        for (low, high) in [(-5.0, 5.0), (0.25, 0.25), (3.0, -3.0), (-1e9, 7.5)] {
            for bits in 0..4 {
                let (min_excluded, max_excluded) = (bits & 1 == 1, bits & 2 == 2);
                let range = ScoreRange { min: low, max: high, min_excluded, max_excluded };
                let fits = |s: f64| {
                    (s > low || (s == low && !min_excluded))
                        && (s < high || (s == high && !max_excluded))
                };
                let expected = all.iter().filter(|e| fits(e.1)).count();
                let ranks = self.set.ranks_by_score(&range);
                assert_eq!(ranks.len(), expected);
                assert!(all[ranks].iter().all(|e| fits(e.1)));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 60 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn both_forms_agree_with_the_model(
        steps in proptest::collection::vec(step(), 1..if cfg!(miri) { 40 } else { 600 }),
    ) {
        for limits in [SMALL, BIG, Limits { entries: 128, value: 64 }] {
            let mut pair = Pair::new(limits);
            for (at, step) in steps.iter().enumerate() {
                pair.run(step);
                if at % 50 == 0 {
                    pair.check();
                }
            }
            pair.check();
        }
    }

    #[test]
    fn ranges_of_members_are_found(
        members in proptest::collection::btree_set("[a-d]{0,4}", 0..300),
        (low, high) in ("[a-d]{0,3}", "[a-d]{0,3}"),
    ) {
        for limits in [SMALL, BIG] {
            let mut set = SortedSet::new(0, 0, limits);
            members.iter().for_each(|m| set.insert(m.as_bytes(), 1.0, limits));
            let (low, high) = (low.as_bytes(), high.as_bytes());
            let limit = [LexLimit::Including(low), LexLimit::Excluding(low), LexLimit::Least];
            for min in limit.into_iter().chain([LexLimit::Greatest]) {
                let upper = [LexLimit::Including(high), LexLimit::Excluding(high)];
                for max in upper.into_iter().chain([LexLimit::Greatest, LexLimit::Least]) {
                    let range = LexRange { min, max };
                    let fits = |m: &&String| {
                        range.is_above_min(m.as_bytes()) && range.is_below_max(m.as_bytes())
                    };
                    let expected: Vec<&[u8]> =
                        members.iter().filter(fits).map(|m| m.as_bytes()).collect();
                    for direction in [Direction::Ascending, Direction::Descending] {
                        let ranks = set.ranks_by_lex(&range, direction);
                        let found: Vec<_> = set.range(ranks, Direction::Ascending).collect();
                        prop_assert!(found.iter().map(|e| e.0).eq(expected.iter().copied()));
                    }
                }
            }
        }
    }
}

fn numbered(count: usize, limits: Limits, score: impl Fn(usize) -> f64) -> SortedSet {
    let mut set = SortedSet::new(count, 16, limits);
    for n in 0..count {
        set.insert(format!("member:{n:09}").as_bytes(), score(n), limits);
    }
    set
}

/// Some order that is not theirs.
fn shuffled(n: usize) -> f64 {
    (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) as f64
}

#[test]
fn a_set_turns_big_at_its_limits() {
    let limits = Limits { entries: 3, value: 5 };
    let mut set = SortedSet::new(1, 1, limits);
    for member in ["a", "b", "c"] {
        set.insert(member.as_bytes(), 0.0, limits);
    }
    set.insert(b"a", 1.0, limits);
    assert_eq!(set.encoding(), Encoding::Listpack);
    set.insert(b"d", 0.5, limits);
    assert_eq!(set.encoding(), Encoding::Skiplist);
    set.remove(b"d");
    assert_eq!(set.encoding(), Encoding::Skiplist);
    let members: Vec<_> = set.iter().map(|e| e.0).collect();
    assert_eq!(members, [b"b", b"c", b"a"]);
    let mut set = SortedSet::new(1, 1, limits);
    set.insert(b"longer", 0.0, limits);
    assert_eq!(set.encoding(), Encoding::Skiplist);
    assert_eq!(SortedSet::new(1, 6, limits).encoding(), Encoding::Skiplist);
    let mut set = SortedSet::new(1, 1, limits);
    set.expect(4, limits);
    assert_eq!(set.encoding(), Encoding::Skiplist);
}

#[test]
#[cfg_attr(miri, ignore)]
fn leaves_are_well_filled() {
    let count = 60_000;
    let per_member = |set: &SortedSet| set.allocated() as f64 / count as f64;
    for (order, score, bytes) in [
        ("random", shuffled as fn(usize) -> f64, 69.0),
        ("ascending", |n| n as f64, 64.5),
        ("descending", |n| -(n as f64), 64.5),
        ("equal", |_| 1.0, 64.5),
    ] {
        let set = numbered(count, BIG, score);
        assert!(per_member(&set) < bytes, "{order}: {} bytes per member", per_member(&set));
        let Form::Big(big) = &set.0 else { panic!("not big") };
        big.tree.check();
    }
}

#[test]
#[cfg_attr(miri, ignore)]
fn memory_goes_with_the_elements() {
    let mut set = numbered(50_000, BIG, shuffled);
    let full = set.allocated();
    let mut left = 50_000;
    for n in (0..50_000).filter(|n| n % 10 != 0) {
        assert!(set.remove(format!("member:{n:09}").as_bytes()).is_some());
        left -= 1;
    }
    assert_eq!(set.len(), left);
    assert!(set.allocated() < full / 6, "{} of {full} bytes", set.allocated());
    set.remove_ranks(100..left - 100, &mut |_, _| ());
    assert_eq!(set.len(), 200);
    assert!(set.allocated() < 200 * 120, "{} bytes", set.allocated());
}

#[test]
fn freeing_goes_in_steps() {
    let mut set = numbered(if cfg!(miri) { 300 } else { 20_000 }, BIG, shuffled);
    let elements = set.len();
    let mut steps = 0;
    while !set.free_some(100) {
        steps += 1;
    }
    assert!((elements / 120..elements / 60).contains(&steps), "{steps} steps");
    assert!(numbered(5, SMALL, shuffled).free_some(1));
}
