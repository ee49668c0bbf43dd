//! The nodes of the tree: what one of them can do without knowing the others.
//!
//! ```text
//!   leaf    | up to 63 × score | up to 63 × alias of a member |                            1 KiB
//!   inner   | up to 31 × least score | ... least member | ... elements | ... child |       1 KiB
//! ```
//!
//! Scores lie side by side, so that a search reads two or three cache lines of a node, and
//! members' bytes only where scores are equal. An inner node has of each child the least element
//! below it (so a search touches one node a level) and the number of elements (so ranks are sums).

use super::member::Alias;

/// With these, a node is one kibibyte and a set of a million has four levels.
pub(super) const LEAF: usize = 63;
pub(super) const INNER: usize = 31;

const _: () = assert!(size_of::<Node>() > 896 && size_of::<Node>() <= 1024);

/// A score and the bytes of a member: what elements are ordered by.
pub(super) type Key<'a> = (f64, &'a [u8]);

#[allow(clippy::large_enum_variant)] // both are one KiB, in a box
pub(super) enum Node {
    Leaf(Leaf),
    Inner(Inner),
}

pub(super) struct Leaf {
    len: u16,
    scores: [f64; LEAF],
    members: [Alias; LEAF],
}

pub(super) struct Inner {
    len: u16,
    least_scores: [f64; INNER],
    least_members: [Alias; INNER],
    counts: [usize; INNER],
    children: [Option<Box<Node>>; INNER],
}

/// Where an element is, or would have to be put, among the sorted elements of a node.
#[inline]
fn search(scores: &[f64], members: &[Alias], (score, member): Key) -> Result<usize, usize> {
    let from = scores.partition_point(|&s| s < score);
    if scores.get(from) != Some(&score) {
        return Err(from);
    }
    let ties = scores[from..].partition_point(|&s| s == score);
    let found = members[from..from + ties].binary_search_by(|m| m.bytes().cmp(member));
    found.map(|at| from + at).map_err(|at| from + at)
}

/// Opens a gap at `at` in a list of `len` elements.
fn open<T: Copy>(list: &mut [T], at: usize, len: usize) {
    list.copy_within(at..len, at + 1);
}

impl Leaf {
    pub fn new() -> Leaf {
        Leaf { len: 0, scores: [0.0; LEAF], members: [Alias::NONE; LEAF] }
    }

    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    pub fn scores(&self) -> &[f64] {
        &self.scores[..self.len()]
    }

    pub fn members(&self) -> &[Alias] {
        &self.members[..self.len()]
    }

    #[inline]
    pub fn search(&self, key: Key) -> Result<usize, usize> {
        search(self.scores(), self.members(), key)
    }

    pub fn insert(&mut self, at: usize, score: f64, member: Alias) {
        let len = self.len();
        open(&mut self.scores, at, len);
        open(&mut self.members, at, len);
        self.scores[at] = score;
        self.members[at] = member;
        self.len += 1;
    }

    pub fn push(&mut self, score: f64, member: Alias) {
        self.insert(self.len(), score, member);
    }

    pub fn remove(&mut self, from: usize, end: usize) {
        let len = self.len();
        self.scores.copy_within(end..len, from);
        self.members.copy_within(end..len, from);
        self.len -= (end - from) as u16;
    }

    /// Gives element `at` another score if its place is still in this leaf, and neither at its
    /// front nor, as far as this leaf can tell, behind its end.
    pub fn rescore(&mut self, at: usize, score: f64) -> bool {
        let last = self.len() - 1;
        let member = self.members[at];
        let is_below =
            |other: usize| is_less((score, &member), (self.scores[other], &self.members[other]));
        let beyond = if at == last { score >= self.scores[at] } else { !is_below(last) };
        if at == 0 || is_below(0) || beyond {
            return false;
        }
        if score > self.scores[at] {
            let behind = (at + 1..last).find(|&other| is_below(other)).unwrap_or(last);
            self.scores[at..behind].rotate_left(1);
            self.members[at..behind].rotate_left(1);
            self.scores[behind - 1] = score;
        } else {
            let first = (1..at).rev().find(|&other| !is_below(other)).map_or(1, |other| other + 1);
            self.scores[first..=at].rotate_right(1);
            self.members[first..=at].rotate_right(1);
            self.scores[first] = score;
        }
        true
    }

    /// Moves the elements from `at` on to the front of `right`.
    fn give_right(&mut self, at: usize, right: &mut Leaf) {
        let (len, there) = (self.len(), right.len());
        let moved = len - at;
        right.scores.copy_within(..there, moved);
        right.members.copy_within(..there, moved);
        right.scores[..moved].copy_from_slice(&self.scores[at..len]);
        right.members[..moved].copy_from_slice(&self.members[at..len]);
        right.len += moved as u16;
        self.len = at as u16;
    }

    /// Moves the elements before `end` to the end of `left`.
    fn give_left(&mut self, end: usize, left: &mut Leaf) {
        let there = left.len();
        left.scores[there..there + end].copy_from_slice(&self.scores[..end]);
        left.members[there..there + end].copy_from_slice(&self.members[..end]);
        left.len += end as u16;
        self.remove(0, end);
    }
}

/// The order of elements; reads the members only if it must.
#[inline]
pub(super) fn is_less(a: (f64, &Alias), b: (f64, &Alias)) -> bool {
    a.0 < b.0 || (a.0 == b.0 && a.1.bytes() < b.1.bytes())
}

impl Inner {
    pub fn new() -> Inner {
        Inner {
            len: 0,
            least_scores: [0.0; INNER],
            least_members: [Alias::NONE; INNER],
            counts: [0; INNER],
            children: [const { None }; INNER],
        }
    }

    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    pub fn least_scores(&self) -> &[f64] {
        &self.least_scores[..self.len()]
    }

    pub fn least_members(&self) -> &[Alias] {
        &self.least_members[..self.len()]
    }

    pub fn counts(&self) -> &[usize] {
        &self.counts[..self.len()]
    }

    pub fn counts_mut(&mut self) -> &mut [usize] {
        let len = self.len();
        &mut self.counts[..len]
    }

    #[inline]
    pub fn child(&self, at: usize) -> &Node {
        self.children[at].as_deref().expect("a node has as many children as it says")
    }

    #[inline]
    pub fn child_mut(&mut self, at: usize) -> &mut Node {
        self.children[at].as_deref_mut().expect("a node has as many children as it says")
    }

    /// Two neighbours, `at` and the one after it.
    fn pair_mut(&mut self, at: usize) -> (&mut Node, &mut Node) {
        let (left, right) = self.children.split_at_mut(at + 1);
        let nodes = left[at].as_deref_mut().zip(right[0].as_deref_mut());
        nodes.expect("a node has as many children as it says")
    }

    /// The child below which an element is or belongs.
    #[inline]
    pub fn search(&self, key: Key) -> usize {
        match search(self.least_scores(), self.least_members(), key) {
            Ok(at) => at,
            Err(at) => at.saturating_sub(1),
        }
    }

    /// Notes what the least element below a child is.
    pub fn set_least(&mut self, at: usize, (score, member): (f64, Alias)) {
        self.least_scores[at] = score;
        self.least_members[at] = member;
    }

    /// Looks at the child again: its least element and how many there are.
    pub fn refresh(&mut self, at: usize) {
        let child = self.child(at);
        let (least, count) = (child.least(), child.count());
        self.set_least(at, least);
        self.counts[at] = count;
    }

    pub fn insert(&mut self, at: usize, child: Box<Node>) {
        let len = self.len();
        open(&mut self.least_scores, at, len);
        open(&mut self.least_members, at, len);
        open(&mut self.counts, at, len);
        self.children[at..=len].rotate_right(1);
        self.children[at] = Some(child);
        self.len += 1;
        self.refresh(at);
    }

    pub fn push(&mut self, child: Box<Node>) {
        self.insert(self.len(), child);
    }

    pub fn remove(&mut self, at: usize) -> Box<Node> {
        let len = self.len();
        self.least_scores.copy_within(at + 1..len, at);
        self.least_members.copy_within(at + 1..len, at);
        self.counts.copy_within(at + 1..len, at);
        self.children[at..len].rotate_left(1);
        self.len -= 1;
        self.children[len - 1].take().expect("a node has as many children as it says")
    }

    /// Moves the children from `at` on to the front of `right`.
    fn give_right(&mut self, at: usize, right: &mut Inner) {
        while self.len() > at {
            let child = self.remove(self.len() - 1);
            right.insert(0, child);
        }
    }

    /// Moves the children before `end` to the end of `left`.
    fn give_left(&mut self, end: usize, left: &mut Inner) {
        for _ in 0..end {
            left.push(self.remove(0));
        }
    }

    /// Makes room in the full child `at`: by moving elements to a neighbour that has much room, or
    /// by splitting it, for which this node must have room. `end` says that an element is about to
    /// be put at that end of all, where likely more will come. Whether there is a node more.
    pub fn relieve(&mut self, at: usize, end: Option<End>) -> bool {
        let roomy = |node: &Node| node.len() <= node.capacity() / 4 * 3;
        if end.is_none() && at > 0 && roomy(self.child(at - 1)) {
            let (left, right) = self.pair_mut(at - 1);
            right.give_left((right.len() - left.len()).div_ceil(2), left);
            self.refresh(at - 1);
            self.refresh(at);
            false
        } else if end.is_none() && at + 1 < self.len() && roomy(self.child(at + 1)) {
            let (left, right) = self.pair_mut(at);
            left.give_right((left.len() + right.len()) / 2, right);
            self.refresh(at);
            self.refresh(at + 1);
            false
        } else {
            let child = self.child_mut(at);
            let point = match end {
                None => child.len() / 2,
                Some(End::Front) => 1,
                Some(End::Back) => child.len() - 1,
            };
            let right = child.split(point);
            self.refresh(at);
            self.insert(at + 1, right);
            true
        }
    }

    /// Merges the child `at` with a neighbour if both together leave room in one node; whether
    /// there is a node less.
    pub fn merge(&mut self, at: usize) -> bool {
        let fits = |a: &Node, b: &Node| a.len() + b.len() <= a.capacity() / 4 * 3;
        let at = match at {
            at if at > 0 && fits(self.child(at - 1), self.child(at)) => at - 1,
            at if at + 1 < self.len() && fits(self.child(at), self.child(at + 1)) => at,
            _ => return false,
        };
        let mut right = self.remove(at + 1);
        right.give_left(right.len(), self.child_mut(at));
        self.refresh(at);
        true
    }
}

/// The first or the last of all elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Front,
    Back,
}

impl Node {
    /// Elements of a leaf, children of another node.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.len(),
            Node::Inner(inner) => inner.len(),
        }
    }

    pub fn capacity(&self) -> usize {
        match self {
            Node::Leaf(_) => LEAF,
            Node::Inner(_) => INNER,
        }
    }

    #[inline]
    pub fn is_full(&self) -> bool {
        self.len() == self.capacity()
    }

    /// All elements below.
    pub fn count(&self) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.len(),
            Node::Inner(inner) => inner.counts().iter().sum(),
        }
    }

    /// The least element below.
    pub fn least(&self) -> (f64, Alias) {
        match self {
            Node::Leaf(leaf) => (leaf.scores[0], leaf.members[0]),
            Node::Inner(inner) => (inner.least_scores[0], inner.least_members[0]),
        }
    }

    /// Cuts off what is from `at` on.
    pub fn split(&mut self, at: usize) -> Box<Node> {
        match self {
            Node::Leaf(leaf) => {
                let mut right = Leaf::new();
                leaf.give_right(at, &mut right);
                Box::new(Node::Leaf(right))
            }
            Node::Inner(inner) => {
                let mut right = Inner::new();
                inner.give_right(at, &mut right);
                Box::new(Node::Inner(right))
            }
        }
    }

    fn give_right(&mut self, at: usize, right: &mut Node) {
        match (self, right) {
            (Node::Leaf(left), Node::Leaf(right)) => left.give_right(at, right),
            (Node::Inner(left), Node::Inner(right)) => left.give_right(at, right),
            _ => unreachable!("neighbours are of one level"),
        }
    }

    fn give_left(&mut self, end: usize, left: &mut Node) {
        match (self, left) {
            (Node::Leaf(right), Node::Leaf(left)) => right.give_left(end, left),
            (Node::Inner(right), Node::Inner(left)) => right.give_left(end, left),
            _ => unreachable!("neighbours are of one level"),
        }
    }
}
