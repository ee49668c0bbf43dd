//! How many nodes Redis' radix tree would have for the same keys, which XINFO STREAM shows.
//!
//! Redis finds the packed nodes of a stream in a tree over the 16 bytes of their first ids, in
//! which a run of bytes without a fork is one node:
//!
//! ```text
//!   1-0, 1-1, 9-0        root forks at byte 7 of the milliseconds, below it bytes 0 to 6 are one
//!                        run; behind `1` a run up to a fork at byte 15 with two leaves; behind
//!                        `9` a run to a leaf.
//! ```
//!
//! Nodes are leaves, forks, and runs; a run stands wherever a leaf or fork is more than one byte
//! below the fork above it. The number changes with a key by what is near that key in the order,
//! so it is kept up to date by a few look-ups per key instead of building the tree.

/// Bytes of a key, and the depth of the leaves.
const DEPTH: u32 = 16;

/// A tree without keys is one node.
pub const EMPTY: usize = 1;

/// The keys that are there, as numbers of 16 bytes, highest byte first.
pub trait Keys {
    /// The smallest key that is not smaller than `bound`.
    fn at_least(&self, bound: u128) -> Option<u128>;
    /// The greatest key that is not greater than `bound`.
    fn at_most(&self, bound: u128) -> Option<u128>;
}

/// How many bytes two keys have in common at their beginnings.
fn common(a: u128, b: u128) -> u32 {
    (a ^ b).leading_zeros() / 8
}

/// The bits behind the first `depth` bytes.
fn behind(depth: u32) -> u128 {
    u128::MAX.checked_shr(8 * depth).unwrap_or(0)
}

/// A bit for each depth at which the way to `key` would have a fork if `key` were there, too.
fn forks(keys: &impl Keys, key: u128) -> u32 {
    let mut forks = 0;
    let mut last = key;
    while let Some(next) = last.checked_add(1).and_then(|bound| keys.at_least(bound)) {
        let depth = common(key, next);
        forks |= 1 << depth;
        last = key | behind(depth);
    }
    last = key;
    while let Some(next) = last.checked_sub(1).and_then(|bound| keys.at_most(bound)) {
        let depth = common(key, next);
        forks |= 1 << depth;
        last = key & !behind(depth);
    }
    forks
}

/// Whether there is a run above a node at `depth` whose next fork above is `upper`.
fn run(upper: Option<u32>, depth: u32) -> usize {
    usize::from(depth > upper.map_or(0, |upper| upper + 1))
}

fn highest(forks: u32) -> Option<u32> {
    forks.checked_ilog2()
}

/// Nodes with `key`, which is greater than all of `keys`, whose tree has `nodes`.
pub fn appended(keys: &impl Keys, nodes: usize, key: u128) -> usize {
    let Some(last) = keys.at_most(key) else { return 1 + run(None, DEPTH) };
    let fork = common(last, key);
    let leaf = 1 + run(Some(fork), DEPTH);
    let way = forks(keys, last);
    if way & (1 << fork) != 0 {
        return nodes + leaf;
    }
    // The run that is there now is cut in two by the new fork.
    let upper = highest(way & !(u32::MAX << fork));
    let lower = match way >> fork {
        0 => DEPTH,
        deeper => fork + deeper.trailing_zeros(),
    };
    nodes - 1 + run(upper, fork) + 1 + run(Some(fork), lower) + leaf
}

/// Nodes without `key`, which is no longer in `keys`, when there were `nodes` with it.
pub fn removed(keys: &impl Keys, nodes: usize, key: u128) -> usize {
    let way = forks(keys, key);
    let Some(fork) = highest(way) else { return EMPTY };
    let nodes = nodes - 1 - run(Some(fork), DEPTH);
    // What else begins as the key does before its fork.
    let first = keys.at_least(key & !behind(fork)).unwrap_or(key);
    let last = keys.at_most(key | behind(fork)).unwrap_or(key);
    if common(first, last) == fork {
        return nodes;
    }
    // The fork is gone: the runs around it become one.
    let upper = highest(way & !(1 << fork));
    let lower = common(first, last);
    nodes + 1 - run(upper, fork) - 1 - run(Some(fork), lower)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    impl Keys for BTreeSet<u128> {
        fn at_least(&self, bound: u128) -> Option<u128> {
            self.range(bound..).next().copied()
        }

        fn at_most(&self, bound: u128) -> Option<u128> {
            self.range(..=bound).next_back().copied()
        }
    }

    /// Nodes below and with the one that all `keys` have in common up to `depth`.
    fn counted(keys: &[u128], depth: u32) -> usize {
        if depth == DEPTH {
            return 1;
        }
        let mut groups = keys.chunk_by(|a, b| common(*a, *b) > depth);
        let (first, forked) = (groups.next(), groups.next().is_some());
        if forked {
            let groups = keys.chunk_by(|a, b| common(*a, *b) > depth);
            return 1 + groups.map(|group| counted(group, depth + 1)).sum::<usize>();
        }
        let group = first.expect("a key");
        let run = common(group[0], group[group.len() - 1]);
        1 + counted(group, run)
    }

    fn whole(keys: &BTreeSet<u128>) -> usize {
        let keys: Vec<u128> = keys.iter().copied().collect();
        if keys.is_empty() { EMPTY } else { counted(&keys, 0) }
    }

    fn key() -> impl Strategy<Value = u128> {
        // Few bytes that differ, so that all depths of forks come up.
        (proptest::collection::vec((0u32..16, 0u8..3), 1..4)).prop_map(|bytes| {
            bytes.iter().fold(0, |key, (at, byte)| key | u128::from(*byte) << (8 * at))
        })
    }

    proptest! {
        #[test]
        fn the_figure_is_that_of_the_tree(all in proptest::collection::btree_set(key(), 1..40),
                                          order in any::<u64>()) {
            let (mut keys, mut nodes) = (BTreeSet::new(), EMPTY);
            for key in &all {
                nodes = appended(&keys, nodes, *key);
                keys.insert(*key);
                prop_assert_eq!(nodes, whole(&keys));
            }
            let mut random = fastrand::Rng::with_seed(order);
            while !keys.is_empty() {
                let key = *keys.iter().nth(random.usize(..keys.len())).expect("in range");
                keys.remove(&key);
                nodes = removed(&keys, nodes, key);
                prop_assert_eq!(nodes, whole(&keys));
            }
        }
    }

    #[test]
    fn a_tree_of_one_key_is_a_run_and_a_leaf() {
        let keys = BTreeSet::new();
        assert_eq!(appended(&keys, EMPTY, 7), 2);
        assert_eq!(removed(&keys, 2, 7), EMPTY);
    }
}
