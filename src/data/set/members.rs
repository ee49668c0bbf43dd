//! The `hashtable` form: a table of members in an arena.

use super::arena::{Arena, Member};
use crate::data::table::Table;
use ahash::RandomState;

pub(super) struct Members {
    table: Table<Member, RandomState>,
    arena: Arena,
}

impl Members {
    pub(super) fn new(hasher: RandomState) -> Members {
        Members { table: Table::with_hasher(hasher), arena: Arena::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Bytes allocated.
    pub(super) fn memory(&self) -> usize {
        self.table.memory() + self.arena.memory()
    }

    pub(super) fn contains(&self, member: &[u8]) -> bool {
        self.table.contains(self.table.hash(member), member)
    }

    /// Adds a member; `false` if it was there.
    pub(super) fn insert(&mut self, member: &[u8]) -> bool {
        let hash = self.table.hash(member);
        if self.table.contains(hash, member) {
            return false;
        }
        self.table.insert(hash, self.arena.store(member));
        self.settle();
        true
    }

    /// Takes a member out; `false` if it was not there.
    pub(super) fn remove(&mut self, member: &[u8]) -> bool {
        let Some(gone) = self.table.remove(self.table.hash(member), member) else { return false };
        // SAFETY: all members of the table were stored in this arena.
        unsafe { self.arena.release(gone) }
        self.settle();
        true
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.table.iter().map(Member::bytes)
    }

    /// As [`Table::scan`].
    pub(super) fn scan(&self, position: u64, each: &mut dyn FnMut(&[u8])) -> u64 {
        self.table.scan(position, &mut |member| each(member.bytes()))
    }

    /// Any member, all being equally likely.
    pub(super) fn random(&self, random: &mut fastrand::Rng) -> Option<&[u8]> {
        self.table.random(&mut || random.u64(..)).map(Member::bytes)
    }

    pub(super) fn duplicate(&self) -> Members {
        let mut copy = Members::new(self.table.hasher().clone());
        for member in self.iter() {
            copy.table.insert(self.table.hash(member), copy.arena.store(member));
        }
        copy.settle();
        copy
    }

    /// Frees about `max` members' share of the memory; `true` when nothing is left. The set must
    /// not be used any more.
    pub(super) fn free_step(&mut self, max: usize) -> bool {
        // SAFETY: without a table there is no member.
        self.table.clear_step(max) && unsafe { self.arena.clear_step(max) }
    }

    fn settle(&mut self) {
        let Members { table, arena } = self;
        arena.settle(|moved| {
            if let Some(mut found) = table.get_mut(table.hash(moved.bytes()), moved.bytes()) {
                *found = moved;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn members() -> Members {
        Members::new(RandomState::with_seeds(1, 2, 3, 4))
    }

    /// Of every kind: in the slot, with a short and a long header, with an allocation of its own.
    fn member(n: usize) -> Vec<u8> {
        let len = [0, 3, 7, 8, 20, 63, 64, 65, 127, 128, 200, 254, 255, 256, 1000][n % 15];
        let mut bytes = n.to_string().into_bytes();
        bytes.resize(len.max(bytes.len()), b'.');
        bytes
    }

    fn all(members: &Members) -> BTreeSet<Vec<u8>> {
        members.iter().map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn it_holds_what_a_plain_set_holds() {
        let (steps, range) = if cfg!(miri) { (600, 60) } else { (60_000, 3000) };
        let (mut members, mut expected) = (members(), BTreeSet::new());
        let mut random = fastrand::Rng::with_seed(7);
        for step in 0..steps {
            // Mostly filling, then mostly emptying, in turn.
            let grows = (step / (steps / 6)) % 2 == 0;
            let member = member(random.usize(0..range));
            if random.u32(0..10) < if grows { 8 } else { 1 } {
                assert_eq!(members.insert(&member), expected.insert(member));
            } else {
                assert_eq!(members.remove(&member), expected.remove(&member));
            }
            assert_eq!(members.len(), expected.len());
        }
        assert_eq!(all(&members), expected);
        assert!(expected.iter().all(|member| members.contains(member)));
        let copy = members.duplicate();
        drop(members);
        assert_eq!(all(&copy), expected);
    }

    #[test]
    fn memory_falls_with_the_members() {
        let count = if cfg!(miri) { 300 } else { 30_000 };
        let bytes: usize = (0..count).map(|n| member(n).len()).sum();
        let mut members = members();
        (0..count).for_each(|n| assert!(members.insert(&member(n))));
        let full = members.arena.memory();
        assert!(full < bytes + bytes / 5 + 4096, "{full} for {bytes}");
        let mut order: Vec<usize> = (0..count).collect();
        fastrand::Rng::with_seed(3).shuffle(&mut order);
        for (gone, &n) in order.iter().enumerate() {
            assert!(members.remove(&member(n)));
            if gone % 100 == 0 {
                let left: usize = members.iter().map(<[u8]>::len).sum();
                assert!(members.arena.memory() <= 5 * left / 2 + 4096, "{left} bytes left");
            }
        }
        assert_eq!(members.len(), 0);
        assert!(members.memory() <= 2 * 2048, "{}", members.memory());
    }

    #[test]
    fn what_stays_is_not_spread_thinly_by_what_comes_and_goes() {
        let mut members = members();
        let rounds = if cfg!(miri) { 20 } else { 500 };
        for n in 0..rounds {
            members.insert(format!("staying-{n:08}").as_bytes());
            for m in 0..100 {
                let passing = format!("passing-by-{n}-{m}");
                assert!(members.insert(passing.as_bytes()) && members.remove(passing.as_bytes()));
            }
        }
        assert_eq!(members.len(), rounds);
        assert!(members.arena.memory() <= 17 * rounds * 2 + 4096, "{}", members.arena.memory());
    }

    #[test]
    fn it_is_freed_in_steps() {
        let mut members = members();
        (0..1000).for_each(|n| assert!(members.insert(&member(n))));
        let mut steps = 0;
        while !members.free_step(50) {
            steps += 1;
            assert!(steps < 100);
        }
        assert!(steps >= 19, "{steps}");
        assert_eq!(members.memory(), 0);
    }
}
