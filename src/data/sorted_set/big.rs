//! A sorted set of any size: a table from member to score, a tree in order of scores.
//!
//! ```text
//!   Table<Member> ── owns ──►  | score | length | bytes |  ◄── alias ── Tree
//! ```
//!
//! Invariant: the tree has exactly the elements that the table has, with the same scores. Per
//! member of 16 bytes with random scores that is 32 bytes for itself, 14 in the table and 20 in
//! the tree.

use super::member::Member;
use super::tree::Tree;
use crate::data::table::Table;
use std::ops::Range;

pub(super) struct Big {
    table: Table<Member>,
    pub(super) tree: Tree,
    /// Bytes of the members' allocations.
    members: usize,
}

impl Big {
    /// Elements given in ascending order, each member once.
    pub fn from_sorted<'a>(elements: impl Iterator<Item = (&'a [u8], f64)>) -> Big {
        Big::build::<false>(elements).expect("nothing is looked for that could be wrong")
    }

    /// As [`Big::from_sorted`], but nothing if a member is there twice.
    pub fn from_sorted_if_distinct<'a>(
        elements: impl Iterator<Item = (&'a [u8], f64)>,
    ) -> Option<Big> {
        Big::build::<true>(elements)
    }

    fn build<'a, const CHECKED: bool>(
        elements: impl Iterator<Item = (&'a [u8], f64)>,
    ) -> Option<Big> {
        let mut table: Table<Member> = Table::new();
        let (mut members, mut distinct) = (0, true);
        let tree = Tree::from_sorted(elements.map_while(|(bytes, score)| {
            let hash = table.hash(bytes);
            if CHECKED && table.contains(hash, bytes) {
                distinct = false;
                return None;
            }
            let member = Member::new(score, bytes);
            members += member.allocated();
            // SAFETY: a set's tree is read only as long as its table keeps the member.
            let alias = unsafe { member.alias() };
            table.insert(hash, member);
            Some((score, alias))
        }));
        distinct.then_some(Big { table, tree, members })
    }

    pub fn score(&self, member: &[u8]) -> Option<f64> {
        self.table.get(self.table.hash(member), member).map(Member::score)
    }

    /// Lets `decide` choose the score of a member from the one it has, and gives what it chose.
    pub fn change(
        &mut self,
        member: &[u8],
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) -> Option<f64> {
        let hash = self.table.hash(member);
        let Some(mut found) = self.table.get_mut(hash, member) else {
            let score = decide(None)?;
            let member = Member::new(score, member);
            self.members += member.allocated();
            // SAFETY: `remove` and `remove_ranks` take it out of the tree before it is dropped.
            let alias = unsafe { member.alias() };
            self.table.insert(hash, member);
            self.tree.insert(score, alias);
            return Some(score);
        };
        let old = found.score();
        let score = decide(Some(old))?;
        if score != old {
            found.set_score(score);
            // SAFETY: as above; this is the alias that the tree has.
            let alias = unsafe { found.alias() };
            drop(found);
            self.tree.rescore((old, member), score, alias);
        }
        Some(score)
    }

    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let found = self.table.get_mut(self.table.hash(member), member)?;
        let score = found.score();
        let in_tree = self.tree.remove((score, member));
        debug_assert!(in_tree, "the tree has what the table has");
        let member = found.remove();
        self.members -= member.allocated();
        Some(score)
    }

    pub fn remove_ranks(&mut self, ranks: Range<usize>, each: &mut dyn FnMut(&[u8], f64)) {
        let Big { table, tree, members } = self;
        tree.remove_ranks(ranks, &mut |alias| {
            let hash = table.hash(alias.bytes());
            let member = table.remove(hash, alias.bytes());
            let member = member.expect("the table has what the tree has");
            each(member.bytes(), member.score());
            *members -= member.allocated();
        });
    }

    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        let score = self.score(member)?;
        Some((self.tree.rank((score, member)), score))
    }

    pub fn scan(&self, position: u64, each: &mut dyn FnMut(&[u8], f64)) -> u64 {
        self.table.scan(position, &mut |member| each(member.bytes(), member.score()))
    }

    pub fn allocated(&self) -> usize {
        self.table.memory() + self.tree.memory() + self.members
    }

    /// The tree goes first: its aliases must not outlive the members.
    pub fn free_some(&mut self, max: usize) -> bool {
        // A leaf is freed without a look at its elements.
        self.tree.shed(max.saturating_mul(8)) && self.table.clear_step(max)
    }
}
