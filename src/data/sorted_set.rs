//! A set of strings ordered by scores.
//!
//! | form | what it is | for |
//! |---|---|---|
//! | [`small`] | one block of elements, in order | few and short members (encoding `listpack`) |
//! | [`big`] | a counted B+-tree ([`tree`], [`node`]) and a hash table, which share their members ([`member`]) | everything else (encoding `skiplist`) |
//!
//! A set starts small unless it is known to become big, and turns big by an insert that goes
//! beyond its [`Limits`]; it never turns back. Elements are ordered by score and, among equal
//! scores, by their bytes. Ranks count from 0 at the least element; ranges by score and by member
//! are turned into ranges of ranks, so that everything else needs ranks only.
//!
//! Absent: NaN as a score, which the caller must refuse; the text forms of scores and ranges.

mod big;
mod member;
mod node;
mod small;
#[cfg(test)]
mod tests;
mod tree;

use super::value::Encoding;
use big::Big;
use small::Small;
use std::ops::Range;

/// Bytes that the block of a small set may have, whatever the limits say.
const SMALL_BYTES_MAX: usize = 1 << 30;

/// Up to where a set is small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub entries: usize,
    /// Length of a member, bytes.
    pub value: usize,
}

/// Scores from `min` to `max`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoreRange {
    pub min: f64,
    pub max: f64,
    /// The limits themselves are not in it.
    pub min_excluded: bool,
    pub max_excluded: bool,
}

/// One end of a range of members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LexLimit<'a> {
    /// Before all members.
    Least,
    /// After all members.
    Greatest,
    Including(&'a [u8]),
    Excluding(&'a [u8]),
}

/// Members from `min` to `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LexRange<'a> {
    pub min: LexLimit<'a>,
    pub max: LexLimit<'a>,
}

/// In which direction a range is walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Ascending,
    Descending,
}

impl LexRange<'_> {
    fn is_above_min(&self, member: &[u8]) -> bool {
        match self.min {
            LexLimit::Least => true,
            LexLimit::Greatest => false,
            LexLimit::Including(min) => member >= min,
            LexLimit::Excluding(min) => member > min,
        }
    }

    fn is_below_max(&self, member: &[u8]) -> bool {
        match self.max {
            LexLimit::Least => false,
            LexLimit::Greatest => true,
            LexLimit::Including(max) => member <= max,
            LexLimit::Excluding(max) => member < max,
        }
    }
}

/// A set of strings ordered by scores.
pub struct SortedSet(Form);

enum Form {
    Small(Small),
    Big(Box<Big>),
}

const _: () = assert!(size_of::<SortedSet>() == 32);

/// An element: its member and its score.
pub type Element<'a> = (&'a [u8], f64);

impl SortedSet {
    /// An empty set that is about to get so many elements, one of which is so long.
    pub fn new(expected: usize, longest: usize, limits: Limits) -> SortedSet {
        let small = expected <= limits.entries && longest <= limits.value;
        SortedSet(match small {
            true => Form::Small(Small::default()),
            false => Form::Big(Box::new(Big::from_sorted(std::iter::empty()))),
        })
    }

    /// Elements given in ascending order, each member once.
    pub fn from_sorted(elements: &[Element], limits: Limits) -> SortedSet {
        let longest = elements.iter().map(|(member, _)| member.len()).max();
        let mut set = SortedSet::new(elements.len(), longest.unwrap_or(0), limits);
        match &mut set.0 {
            Form::Small(small) => elements.iter().for_each(|&(m, score)| small.push(m, score)),
            Form::Big(big) => **big = Big::from_sorted(elements.iter().copied()),
        }
        set
    }

    /// As [`SortedSet::from_sorted`], of elements from elsewhere: nothing if a member is there twice.
    pub fn from_sorted_if_distinct(elements: &[Element], limits: Limits) -> Option<SortedSet> {
        let longest = elements.iter().map(|(member, _)| member.len()).max();
        let mut set = SortedSet::new(elements.len(), longest.unwrap_or(0), limits);
        match &mut set.0 {
            Form::Big(big) => **big = Big::from_sorted_if_distinct(elements.iter().copied())?,
            Form::Small(small) => {
                for &(member, score) in elements {
                    if small.score(member).is_some() {
                        return None;
                    }
                    small.push(member, score);
                }
            }
        }
        Some(set)
    }

    pub fn encoding(&self) -> Encoding {
        match &self.0 {
            Form::Small(_) => Encoding::Listpack,
            Form::Big(_) => Encoding::Skiplist,
        }
    }

    pub fn duplicate(&self) -> SortedSet {
        SortedSet(match &self.0 {
            Form::Small(small) => Form::Small(small.clone()),
            Form::Big(big) => {
                Form::Big(Box::new(Big::from_sorted(big.tree.range(0..big.tree.len()))))
            }
        })
    }

    /// Bytes of memory behind it.
    pub fn allocated(&self) -> usize {
        match &self.0 {
            Form::Small(small) => small.allocated(),
            Form::Big(big) => size_of::<Big>() + big.allocated(),
        }
    }

    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Small(small) => small.len(),
            Form::Big(big) => big.tree.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match &self.0 {
            Form::Small(small) => small.score(member),
            Form::Big(big) => big.score(member),
        }
    }

    /// The rank of a member, and its score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        match &self.0 {
            Form::Small(small) => small.rank(member),
            Form::Big(big) => big.rank(member),
        }
    }

    /// Prepares for getting so many elements at once: more than a small set can hold make it big.
    pub fn expect(&mut self, elements: usize, limits: Limits) {
        if elements > limits.entries {
            self.make_big();
        }
    }

    /// Lets `decide` choose the score of a member from the one it has, if it is present; `None`
    /// leaves things as they are. Gives what was chosen.
    #[inline]
    pub fn change(
        &mut self,
        member: &[u8],
        limits: Limits,
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) -> Option<f64> {
        let small = match &mut self.0 {
            Form::Big(big) => return big.change(member, decide),
            Form::Small(small) => small,
        };
        let old = small.score(member);
        let score = decide(old)?;
        debug_assert!(!score.is_nan(), "a score that has no place in the order");
        match old {
            Some(old) if old == score => {}
            Some(_) => small.rescore(member, score),
            None if small.len() < limits.entries
                && member.len() <= limits.value
                && small.byte_len() + member.len() < SMALL_BYTES_MAX =>
            {
                small.insert(member, score);
            }
            None => {
                self.make_big().change(member, |_| Some(score));
            }
        }
        Some(score)
    }

    /// Adds a member or gives it another score.
    pub fn insert(&mut self, member: &[u8], score: f64, limits: Limits) {
        self.change(member, limits, |_| Some(score));
    }

    fn make_big(&mut self) -> &mut Big {
        if let Form::Small(small) = &self.0 {
            self.0 = Form::Big(Box::new(Big::from_sorted(small.walk())));
        }
        match &mut self.0 {
            Form::Big(big) => big,
            Form::Small(_) => unreachable!("it has just become big"),
        }
    }

    /// Takes a member out and gives its score.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match &mut self.0 {
            Form::Small(small) => small.remove(member),
            Form::Big(big) => big.remove(member),
        }
    }

    /// Takes the elements at some ranks out and shows each in ascending order.
    pub fn remove_ranks(&mut self, ranks: Range<usize>, each: &mut dyn FnMut(&[u8], f64)) {
        let ranks = ranks.start..ranks.end.min(self.len());
        if ranks.is_empty() {
            return;
        }
        match &mut self.0 {
            Form::Small(small) => small.remove_ranks(ranks, each),
            Form::Big(big) => big.remove_ranks(ranks, each),
        }
    }

    /// The ranks of the elements whose scores are in a range.
    pub fn ranks_by_score(&self, range: &ScoreRange) -> Range<usize> {
        let (start, end) = match &self.0 {
            Form::Big(big) => (
                big.tree.rank_of_score(range.min, range.min_excluded),
                big.tree.rank_of_score(range.max, !range.max_excluded),
            ),
            Form::Small(small) => {
                let (mut start, mut end) = (0, 0);
                for (_, score) in small.walk() {
                    let below = score < range.min || (range.min_excluded && score == range.min);
                    let above = score > range.max || (range.max_excluded && score == range.max);
                    start += usize::from(below);
                    end += usize::from(!above);
                }
                (start, end)
            }
        };
        start..end.max(start)
    }

    /// The ranks of the elements whose members are in a range, when all have the same score.
    ///
    /// With different scores there is no order of members. Then a small set has those from the
    /// first member that fits, in the direction of the walk, to the last before one that does not.
    pub fn ranks_by_lex(&self, range: &LexRange, direction: Direction) -> Range<usize> {
        let (start, end) = match &self.0 {
            Form::Small(small) => lex_walk(small, range, direction),
            Form::Big(big) => {
                let rank = |limit, including_is_before| match limit {
                    LexLimit::Least => 0,
                    LexLimit::Greatest => big.tree.len(),
                    LexLimit::Including(m) => big.tree.rank_of_member(m, including_is_before),
                    LexLimit::Excluding(m) => big.tree.rank_of_member(m, !including_is_before),
                };
                (rank(range.min, false), rank(range.max, true))
            }
        };
        start..end.max(start)
    }

    /// The element at a rank.
    pub fn at_rank(&self, rank: usize) -> Option<Element<'_>> {
        self.range(rank..rank + 1, Direction::Ascending).next()
    }

    /// The elements at some ranks, from the first or from the last of them on.
    #[inline]
    pub fn range(&self, ranks: Range<usize>, direction: Direction) -> Iter<'_> {
        Iter(match (&self.0, direction) {
            (Form::Small(small), Direction::Ascending) => Walk::Small(small.range(ranks)),
            (Form::Small(small), Direction::Descending) => Walk::SmallBack(small.range_back(ranks)),
            (Form::Big(big), Direction::Ascending) => Walk::Big(big.tree.range(ranks)),
            (Form::Big(big), Direction::Descending) => Walk::BigBack(big.tree.range_back(ranks)),
        })
    }

    /// All elements in ascending order.
    pub fn iter(&self) -> Iter<'_> {
        self.range(0..self.len(), Direction::Ascending)
    }

    /// Shows some elements and gives the next position, 0 after the last: all at once if the set
    /// is small. What stays in the set from the first call to the last is shown.
    pub fn scan(&self, position: u64, each: &mut dyn FnMut(&[u8], f64)) -> u64 {
        match &self.0 {
            Form::Big(big) => big.scan(position, each),
            Form::Small(small) => {
                small.walk().for_each(|(member, score)| each(member, score));
                0
            }
        }
    }

    /// Frees about `max` elements of a set that is not used any more; true when nothing is left.
    pub fn free_some(&mut self, max: usize) -> bool {
        match &mut self.0 {
            Form::Big(big) => big.free_some(max),
            Form::Small(small) => {
                *small = Small::default();
                true
            }
        }
    }
}

/// See [`SortedSet::ranks_by_lex`].
fn lex_walk(small: &Small, range: &LexRange, direction: Direction) -> (usize, usize) {
    let all: Vec<&[u8]> = small.walk().map(|(member, _)| member).collect();
    let some = all.last().is_some_and(|m| range.is_above_min(m))
        && all.first().is_some_and(|m| range.is_below_max(m));
    if !some {
        return (0, 0);
    }
    match direction {
        Direction::Ascending => {
            let start = all.iter().position(|m| range.is_above_min(m)).unwrap_or(0);
            let fit = all[start..].iter().take_while(|m| range.is_below_max(m)).count();
            (start, start + fit)
        }
        Direction::Descending => {
            let end = all.iter().rposition(|m| range.is_below_max(m)).map_or(0, |last| last + 1);
            let fit = all[..end].iter().rev().take_while(|m| range.is_above_min(m)).count();
            (end - fit, end)
        }
    }
}

/// See [`SortedSet::range`].
pub struct Iter<'s>(Walk<'s>);

enum Walk<'s> {
    Small(small::Walk<'s>),
    SmallBack(small::WalkBack<'s>),
    Big(tree::Walk<'s>),
    BigBack(tree::WalkBack<'s>),
}

impl<'s> Iterator for Iter<'s> {
    type Item = Element<'s>;

    #[inline]
    fn next(&mut self) -> Option<Element<'s>> {
        match &mut self.0 {
            Walk::Small(walk) => walk.next(),
            Walk::SmallBack(walk) => walk.next(),
            Walk::Big(walk) => walk.next(),
            Walk::BigBack(walk) => walk.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Walk::Small(walk) => walk.size_hint(),
            Walk::SmallBack(walk) => walk.size_hint(),
            Walk::Big(walk) => walk.size_hint(),
            Walk::BigBack(walk) => walk.size_hint(),
        }
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl std::fmt::Debug for SortedSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter().map(|(m, score)| (m.escape_ascii(), score))).finish()
    }
}
