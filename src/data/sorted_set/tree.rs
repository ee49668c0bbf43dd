//! A B+-tree of elements in the order of their scores and, among equal scores, of their bytes.
//!
//! Every inner node counts what is below each child, so an element's rank, the element at a rank
//! and the limits of a range are one way down each. Whoever walks a range goes down once per leaf:
//! leaves have no links that would have to be kept.
//!
//! **Growing.** On its way down, an insert relieves full nodes before it enters them: it moves
//! elements to a neighbour that is at most three quarters full, and only splits where there is
//! none. Random inserts so fill leaves to 80 %; inserts at either end of all leave full ones behind.
//!
//! **Shrinking.** A removal merges what has become less than half full with a neighbour if both
//! fit in three quarters of a node.
//!
//! Invariants: leaves are all on one level; no node is empty; an inner node's least elements and
//! counts are those of its children; elements are in strictly ascending order; scores are numbers,
//! never NaN. Deliberately absent: the look-up of a member without its score, which is the table's.

use super::member::Alias;
use super::node::{End, INNER, Inner, Key, LEAF, Leaf, Node, is_less};
use crate::data::entry::allocation_size;
use crate::data::prefetch::prefetch;
use std::ops::Range;

/// How many elements ahead a walk asks for members' bytes.
const NOTICE: usize = 6;

pub(super) struct Tree {
    root: Option<Box<Node>>,
    len: usize,
    nodes: usize,
}

impl Tree {
    /// Elements given in ascending order, packed as densely as possible.
    pub fn from_sorted(elements: impl Iterator<Item = (f64, Alias)>) -> Tree {
        let mut level: Vec<Box<Node>> = Vec::new();
        let (mut leaf, mut len, mut nodes) = (Leaf::new(), 0, 0);
        for (score, member) in elements {
            if leaf.len() == LEAF {
                level.push(Box::new(Node::Leaf(std::mem::replace(&mut leaf, Leaf::new()))));
            }
            leaf.push(score, member);
            len += 1;
        }
        if leaf.len() > 0 {
            level.push(Box::new(Node::Leaf(leaf)));
        }
        while level.len() > 1 {
            nodes += level.len();
            let mut above: Vec<Box<Node>> = Vec::new();
            let mut inner = Inner::new();
            for node in level {
                if inner.len() == INNER {
                    above.push(Box::new(Node::Inner(std::mem::replace(&mut inner, Inner::new()))));
                }
                inner.push(node);
            }
            above.push(Box::new(Node::Inner(inner)));
            level = above;
        }
        nodes += level.len();
        Tree { root: level.pop(), len, nodes }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes of the nodes.
    pub fn memory(&self) -> usize {
        self.nodes * allocation_size(size_of::<Node>())
    }

    /// Adds an element that is known to be absent.
    pub fn insert(&mut self, score: f64, member: Alias) {
        let key = (score, member.bytes());
        self.len += 1;
        let Some(root) = &mut self.root else {
            let mut leaf = Leaf::new();
            leaf.push(score, member);
            self.root = Some(Box::new(Node::Leaf(leaf)));
            self.nodes = 1;
            return;
        };
        if root.is_full() {
            let mut above = Inner::new();
            let old = std::mem::replace(root, Box::new(Node::Leaf(Leaf::new())));
            above.push(old);
            **root = Node::Inner(above);
            self.nodes += 1;
        }
        // Whether the way so far is along the edge of the tree.
        let (mut front, mut back) = (true, true);
        let mut node = &mut **root;
        loop {
            let inner = match node {
                Node::Leaf(leaf) => {
                    let at = leaf.search(key).unwrap_or_else(|at| at);
                    return leaf.insert(at, score, member);
                }
                Node::Inner(inner) => inner,
            };
            let mut at = inner.search(key);
            if inner.child(at).is_full() {
                let end = end_of(inner, at, (score, &member), (front, back));
                self.nodes += usize::from(inner.relieve(at, end));
                at = inner.search(key);
            }
            if front && at == 0 && inner.child(at).is_above(score, &member) {
                inner.set_least(0, (score, member));
            }
            (front, back) = (front && at == 0, back && at + 1 == inner.len());
            inner.counts_mut()[at] += 1;
            node = inner.child_mut(at);
        }
    }

    /// Takes an element out; false if there is none such.
    pub fn remove(&mut self, key: Key) -> bool {
        let Some(root) = &mut self.root else { return false };
        let removed = remove(root, key, &mut self.nodes);
        if removed {
            self.len -= 1;
            self.trim();
        }
        removed
    }

    /// Gives the element with this key another score.
    pub fn rescore(&mut self, key: Key, score: f64, member: Alias) {
        let mut node = self.root.as_deref_mut();
        while let Some(Node::Inner(inner)) = node {
            let at = inner.search(key);
            node = Some(inner.child_mut(at));
        }
        if let Some(Node::Leaf(leaf)) = node
            && let Ok(at) = leaf.search(key)
            && leaf.rescore(at, score)
        {
            return;
        }
        if self.remove(key) {
            self.insert(score, member);
        }
    }

    /// Takes the elements at some ranks out and shows each, in no order.
    pub fn remove_ranks(&mut self, ranks: Range<usize>, each: &mut dyn FnMut(Alias)) {
        let ranks = ranks.start.min(self.len)..ranks.end.min(self.len);
        let Some(root) = self.root.as_mut().filter(|_| !ranks.is_empty()) else { return };
        self.len -= ranks.len();
        remove_ranks(root, ranks, each, &mut self.nodes);
        self.trim();
    }

    /// Takes a root away that has nothing or only one child.
    fn trim(&mut self) {
        while let Some(root) = &mut self.root {
            match &mut **root {
                node if node.len() == 0 => self.root = None,
                Node::Inner(inner) if inner.len() == 1 => self.root = Some(inner.remove(0)),
                _ => return,
            }
            self.nodes -= 1;
        }
    }

    /// How many elements are before this one.
    pub fn rank(&self, key: Key) -> usize {
        self.count_before(
            |inner| inner.search(key),
            |leaf| leaf.search(key).unwrap_or_else(|at| at),
        )
    }

    /// How many elements have a smaller score or, with `or_equal`, no larger one.
    pub fn rank_of_score(&self, score: f64, or_equal: bool) -> usize {
        let before = |scores: &[f64]| match or_equal {
            false => scores.partition_point(|&s| s < score),
            true => scores.partition_point(|&s| s <= score),
        };
        self.count_before(
            |inner| before(inner.least_scores()).saturating_sub(1),
            |leaf| before(leaf.scores()),
        )
    }

    /// How many elements have a smaller member or, with `or_equal`, no larger one, when
    /// all have the same score.
    pub fn rank_of_member(&self, member: &[u8], or_equal: bool) -> usize {
        let before = |members: &[Alias]| match or_equal {
            false => members.partition_point(|m| m.bytes() < member),
            true => members.partition_point(|m| m.bytes() <= member),
        };
        self.count_before(
            |inner| before(inner.least_members()).saturating_sub(1),
            |leaf| before(leaf.members()),
        )
    }

    /// Goes down by `child` and counts the elements before the way and, by `place`, in the leaf.
    #[inline]
    fn count_before(
        &self,
        child: impl Fn(&Inner) -> usize,
        place: impl Fn(&Leaf) -> usize,
    ) -> usize {
        let mut node = self.root.as_deref();
        let mut before = 0;
        loop {
            match node {
                None => return 0,
                Some(Node::Leaf(leaf)) => return before + place(leaf),
                Some(Node::Inner(inner)) => {
                    let at = child(inner);
                    before += inner.counts()[..at].iter().sum::<usize>();
                    node = Some(inner.child(at));
                }
            }
        }
    }

    /// The leaf that has the element at `rank`, and its place in there.
    fn leaf_at(&self, mut rank: usize) -> Option<(&Leaf, usize)> {
        if rank >= self.len {
            return None;
        }
        let mut node = self.root.as_deref()?;
        loop {
            match node {
                Node::Leaf(leaf) => return Some((leaf, rank)),
                Node::Inner(inner) => {
                    let mut at = 0;
                    for &count in inner.counts() {
                        if rank < count {
                            break;
                        }
                        rank -= count;
                        at += 1;
                    }
                    node = inner.child(at);
                }
            }
        }
    }

    /// The elements at some ranks, in ascending order.
    pub fn range(&self, ranks: Range<usize>) -> Walk<'_> {
        let ranks = ranks.start.min(self.len)..ranks.end.min(self.len);
        Walk { tree: self, ranks, leaf: None, at: 0 }
    }

    /// The elements at some ranks, in descending order.
    pub fn range_back(&self, ranks: Range<usize>) -> WalkBack<'_> {
        let ranks = ranks.start.min(self.len)..ranks.end.min(self.len);
        WalkBack { tree: self, ranks, leaf: None, at: 0 }
    }

    /// Frees leaves from the end until `max` elements or more are gone, without a look at the
    /// members; true when nothing is left.
    pub fn shed(&mut self, max: usize) -> bool {
        let mut gone = 0;
        while let Some(root) = &mut self.root
            && gone < max
        {
            let step = shed_leaf(root, &mut self.nodes);
            gone += step;
            self.len -= step;
            if root.len() == 0 {
                self.root = None;
                self.nodes = 0;
            }
        }
        self.root.is_none()
    }
}

impl Node {
    /// Whether an element comes before all elements below.
    fn is_above(&self, score: f64, member: &Alias) -> bool {
        let least = self.least();
        is_less((score, member), (least.0, &least.1))
    }
}

/// The end of all elements at which one is about to be added through child `at`, if it is one.
fn end_of(
    inner: &Inner,
    at: usize,
    (score, member): (f64, &Alias),
    (front, back): (bool, bool),
) -> Option<End> {
    let (child, key) = (inner.child(at), (score, member.bytes()));
    if front && at == 0 && child.is_above(score, member) {
        return Some(End::Front);
    }
    if !back || at + 1 < inner.len() {
        return None;
    }
    let place = match child {
        Node::Leaf(leaf) => leaf.search(key).unwrap_or_else(|place| place),
        Node::Inner(inner) => inner.search(key) + 1,
    };
    (place == child.len()).then_some(End::Back)
}

/// Takes an element out if it is there, and the nodes from `nodes` that are no longer needed.
fn remove(node: &mut Node, key: Key, nodes: &mut usize) -> bool {
    let inner = match node {
        Node::Leaf(leaf) => {
            let found = leaf.search(key);
            if let Ok(at) = found {
                leaf.remove(at, at + 1);
            }
            return found.is_ok();
        }
        Node::Inner(inner) => inner,
    };
    let at = inner.search(key);
    if !remove(inner.child_mut(at), key, nodes) {
        return false;
    }
    inner.counts_mut()[at] -= 1;
    let child = inner.child(at);
    match child.len() {
        0 => {
            inner.remove(at);
            *nodes -= 1;
        }
        len => {
            let (least, sparse) = (child.least(), len < child.capacity() / 2);
            inner.set_least(at, least);
            if sparse {
                *nodes -= usize::from(inner.merge(at));
            }
        }
    }
    true
}

fn remove_ranks(
    node: &mut Node,
    ranks: Range<usize>,
    each: &mut dyn FnMut(Alias),
    nodes: &mut usize,
) {
    let inner = match node {
        Node::Leaf(leaf) => {
            leaf.members()[ranks.clone()].iter().for_each(|&member| each(member));
            return leaf.remove(ranks.start, ranks.end);
        }
        Node::Inner(inner) => inner,
    };
    let (mut at, mut before, mut left) = (0, 0, ranks.len());
    while left > 0 {
        let count = inner.counts()[at];
        let start = ranks.start.saturating_sub(before);
        if start >= count {
            before += count;
            at += 1;
            continue;
        }
        let end = (start + left).min(count);
        left -= end - start;
        before += start;
        remove_ranks(inner.child_mut(at), start..end, each, nodes);
        if end - start == count {
            inner.remove(at);
            *nodes -= 1;
        } else {
            inner.refresh(at);
            before += count - end;
            at += 1;
        }
    }
    // What is left at the two edges of the gap may be little.
    for edge in [at, at.saturating_sub(1), at.saturating_sub(2)] {
        if edge < inner.len() && inner.child(edge).len() < inner.child(edge).capacity() / 2 {
            *nodes -= usize::from(inner.merge(edge));
        }
    }
}

/// Frees the last leaf and the nodes that become empty by that; gives how many elements it had.
fn shed_leaf(node: &mut Node, nodes: &mut usize) -> usize {
    match node {
        Node::Leaf(leaf) => {
            let len = leaf.len();
            leaf.remove(0, len);
            len
        }
        Node::Inner(inner) => {
            let last = inner.len() - 1;
            let gone = shed_leaf(inner.child_mut(last), nodes);
            inner.counts_mut()[last] -= gone;
            if inner.child(last).len() == 0 {
                inner.remove(last);
                *nodes -= 1;
            }
            gone
        }
    }
}

/// See [`Tree::range`].
pub struct Walk<'t> {
    tree: &'t Tree,
    ranks: Range<usize>,
    leaf: Option<&'t Leaf>,
    at: usize,
}

impl<'t> Iterator for Walk<'t> {
    type Item = (&'t [u8], f64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let rank = self.ranks.next()?;
        let leaf = match self.leaf {
            Some(leaf) if self.at < leaf.len() => leaf,
            _ => {
                let (leaf, at) = self.tree.leaf_at(rank)?;
                self.leaf = Some(leaf);
                self.at = at;
                ask_for(&leaf.members()[at..leaf.len().min(at + NOTICE)]);
                leaf
            }
        };
        if let Some(ahead) = leaf.members().get(self.at + NOTICE) {
            prefetch(ahead.address());
        }
        let element = (leaf.members()[self.at].bytes(), leaf.scores()[self.at]);
        self.at += 1;
        Some(element)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.ranks.size_hint()
    }
}

/// See [`Tree::range_back`].
pub struct WalkBack<'t> {
    tree: &'t Tree,
    ranks: Range<usize>,
    leaf: Option<&'t Leaf>,
    /// Elements of the leaf yet to be shown.
    at: usize,
}

impl<'t> Iterator for WalkBack<'t> {
    type Item = (&'t [u8], f64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let rank = self.ranks.next_back()?;
        let leaf = match self.leaf {
            Some(leaf) if self.at > 0 => leaf,
            _ => {
                let (leaf, at) = self.tree.leaf_at(rank)?;
                self.leaf = Some(leaf);
                self.at = at + 1;
                ask_for(&leaf.members()[self.at.saturating_sub(NOTICE)..self.at]);
                leaf
            }
        };
        self.at -= 1;
        if let Some(ahead) = self.at.checked_sub(NOTICE) {
            prefetch(leaf.members()[ahead].address());
        }
        Some((leaf.members()[self.at].bytes(), leaf.scores()[self.at]))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.ranks.size_hint()
    }
}

fn ask_for(members: &[Alias]) {
    members.iter().for_each(|member| prefetch(member.address()));
}

#[cfg(test)]
impl Tree {
    /// Panics unless the invariants hold; gives how many nodes there are.
    pub fn check(&self) -> usize {
        fn visit(node: &Node, height: usize, leaves: &mut Vec<usize>) -> usize {
            assert!(node.len() > 0, "an empty node");
            let Node::Inner(inner) = node else {
                leaves.push(height);
                return 1;
            };
            let mut nodes = 1;
            for at in 0..inner.len() {
                let child = inner.child(at);
                assert_eq!(inner.counts()[at], child.count());
                let least = (inner.least_scores()[at], inner.least_members()[at]);
                assert!(least == child.least(), "the least element of a child");
                nodes += visit(child, height + 1, leaves);
            }
            nodes
        }
        let mut leaves = Vec::new();
        let nodes = self.root.as_deref().map_or(0, |root| visit(root, 0, &mut leaves));
        assert!(leaves.iter().all(|&height| height == leaves[0]), "leaves on several levels");
        assert_eq!(self.root.as_deref().map_or(0, Node::count), self.len);
        assert_eq!(self.nodes, nodes);
        let all: Vec<_> = self.range(0..self.len).collect();
        let ascend = |pair: &[(&[u8], f64)]| (pair[0].1, pair[0].0) < (pair[1].1, pair[1].0);
        assert!(all.windows(2).all(ascend), "elements out of order");
        nodes
    }
}
