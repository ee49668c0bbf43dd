//! The graph of who must come before whom, and its smallest cycles.
//!
//! Nodes are operations and, beside them, one node for each moment at which one of them completed. The
//! moments are a chain, and each operation hangs between two of them:
//!
//! ```text
//!   A completes        B completes
//!      m0 ───────────────> m1 ─────────> ...
//!      ↑ ╲                 ↑
//!      A   ╲> C (begins after A has completed, and before B has)
//! ```
//!
//! So C comes after A by way of m0. That is all of the real-time order with three edges an operation, where
//! the pairs themselves would be as many as the square.

use super::history::{Action, History, NEVER};
use super::observe::Place;
use std::collections::{HashMap, HashSet, VecDeque};

/// Why one operation comes before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The second has written over what the first had written.
    Write,
    /// The second has read what the first had written.
    Read,
    /// The first has read what was there before the second wrote.
    Overwrite,
    /// As `Write`, because the first was over before somebody read what the second had written.
    WriteByTime,
    /// As `Overwrite`, because the second began after what the first has read had been written.
    OverwriteByTime,
    /// The same client has asked for the first before the second.
    Session,
    /// By way of a moment: the first had completed before the second began.
    Time,
}

#[derive(Debug, Clone, Copy)]
pub struct Edge {
    pub from: u32,
    pub to: u32,
    pub why: Why,
    pub place: Place,
}

pub struct Graph {
    pub operations: usize,
    /// By the node from which they go; see `first`.
    edges: Vec<Edge>,
    first: Vec<u32>,
}

impl Graph {
    /// The graph of the edges found by looking at values, of each client's order and of time.
    pub fn new(history: &History, mut edges: Vec<Edge>) -> Graph {
        let operations = history.operations.len();
        add_sessions(history, &mut edges);
        let moments = add_time(history, &mut edges);
        let nodes = operations + moments;
        let mut first = vec![0u32; nodes + 1];
        edges.iter().for_each(|edge| first[edge.from as usize + 1] += 1);
        for node in 0..nodes {
            first[node + 1] += first[node];
        }
        edges.sort_unstable_by_key(|edge| edge.from);
        Graph { operations, edges, first }
    }

    fn nodes(&self) -> usize {
        self.first.len() - 1
    }

    pub fn from(&self, node: u32) -> &[Edge] {
        &self.edges[self.first[node as usize] as usize..self.first[node as usize + 1] as usize]
    }

    /// The groups of nodes that come before each other, by the edges that `keep` keeps: Tarjan's
    /// strongly connected components of more than one node.
    pub fn knots(&self, keep: impl Fn(&Edge) -> bool) -> Vec<Vec<u32>> {
        let mut walk = Walk {
            index: vec![0; self.nodes()],
            low: vec![0; self.nodes()],
            on_stack: vec![false; self.nodes()],
            stack: Vec::new(),
            next: 1,
            found: Vec::new(),
        };
        // A node and the next of its edges; no recursion, since a chain has as many nodes as a history.
        let mut path: Vec<(u32, usize)> = Vec::new();
        for root in 0..self.nodes() as u32 {
            if walk.index[root as usize] != 0 {
                continue;
            }
            walk.enter(root);
            path.push((root, 0));
            while let Some((node, at)) = path.last_mut() {
                let node = *node;
                match self.from(node).get(*at) {
                    Some(edge) => {
                        *at += 1;
                        if !keep(edge) {
                            continue;
                        }
                        match walk.index[edge.to as usize] {
                            0 => {
                                walk.enter(edge.to);
                                path.push((edge.to, 0));
                            }
                            index if walk.on_stack[edge.to as usize] => walk.lower(node, index),
                            _ => {}
                        }
                    }
                    None => {
                        path.pop();
                        walk.leave(node);
                        if let Some((parent, _)) = path.last() {
                            walk.lower(*parent, walk.low[node as usize]);
                        }
                    }
                }
            }
        }
        walk.found
    }

    /// The shortest way from one node to another by edges that `keep` keeps; moments cost nothing.
    fn way(&self, from: u32, to: u32, keep: impl Fn(&Edge) -> bool) -> Option<Vec<Edge>> {
        let mut came: HashMap<u32, (Option<Edge>, u32), ahash::RandomState> = HashMap::default();
        let mut queue = VecDeque::from([(from, 0)]);
        came.insert(from, (None, 0));
        while let Some((node, cost)) = queue.pop_front() {
            if node == to {
                break;
            }
            if came[&node].1 < cost {
                continue;
            }
            for edge in self.from(node).iter().filter(|edge| keep(edge)) {
                let is_operation = (edge.to as usize) < self.operations;
                let price = cost + u32::from(is_operation);
                if came.get(&edge.to).is_none_or(|(_, old)| price < *old) {
                    came.insert(edge.to, (Some(*edge), price));
                    match is_operation {
                        true => queue.push_back((edge.to, price)),
                        false => queue.push_front((edge.to, price)),
                    }
                }
            }
        }
        let mut edges = Vec::new();
        let mut node = to;
        while let Some(edge) = came.get(&node)?.0 {
            edges.push(edge);
            node = edge.from;
        }
        edges.reverse();
        Some(edges)
    }

    /// The shortest cycle that goes by one of the edges that `first` picks and on by those that
    /// `keep` keeps, among some nodes.
    pub fn cycle(
        &self,
        nodes: &[u32],
        first: impl Fn(&Edge) -> bool,
        keep: impl Fn(&Edge) -> bool,
    ) -> Option<Vec<Edge>> {
        /// Each start costs a search.
        const STARTS: usize = 1000;
        let inside: HashSet<u32, ahash::RandomState> = nodes.iter().copied().collect();
        let is_inside = |edge: &Edge| inside.contains(&edge.to);
        let starts = nodes.iter().flat_map(|node| self.from(*node));
        let starts = starts.filter(|edge| is_inside(edge) && first(edge)).take(STARTS);
        let close = |start: &Edge| {
            let mut cycle = self.way(start.to, start.from, |edge| is_inside(edge) && keep(edge))?;
            cycle.insert(0, *start);
            Some(cycle)
        };
        let size = |cycle: &Vec<Edge>| {
            cycle.iter().filter(|edge| (edge.from as usize) < self.operations).count()
        };
        starts.filter_map(close).min_by_key(size)
    }
}

/// The state of Tarjan's walk.
struct Walk {
    /// When a node was met; 0 before that.
    index: Vec<u32>,
    /// The earliest node that is reached from it.
    low: Vec<u32>,
    on_stack: Vec<bool>,
    stack: Vec<u32>,
    next: u32,
    found: Vec<Vec<u32>>,
}

impl Walk {
    fn enter(&mut self, node: u32) {
        self.index[node as usize] = self.next;
        self.low[node as usize] = self.next;
        self.next += 1;
        self.on_stack[node as usize] = true;
        self.stack.push(node);
    }

    fn lower(&mut self, node: u32, to: u32) {
        let low = &mut self.low[node as usize];
        *low = to.min(*low);
    }

    fn leave(&mut self, node: u32) {
        if self.low[node as usize] != self.index[node as usize] {
            return;
        }
        let at = self.stack.iter().rposition(|&n| n == node).expect("entered before");
        let knot = self.stack.split_off(at);
        knot.iter().for_each(|&n| self.on_stack[n as usize] = false);
        if knot.len() > 1 {
            self.found.push(knot);
        }
    }
}

/// The order that each client's requests keep, also when it does not wait for the answers: each after
/// the last one before it on each of its lanes, and an EXEC after what it asks to have been watched.
pub fn add_sessions(history: &History, edges: &mut Vec<Edge>) {
    let mut edge = |from, to| edges.push(Edge { from, to, why: Why::Session, place: 0 });
    for operations in history.by_client() {
        // The last operation on each lane, as far as there are any.
        let mut last: Vec<(u64, u32)> = Vec::new();
        let mut watches: Vec<u32> = Vec::new();
        for index in operations {
            let operation = &history.operations[index as usize];
            match operation.action {
                Action::Watch(_) => watches.push(index),
                Action::One(_) => {}
                Action::Block(_) | Action::Unwatch => {
                    watches.drain(..).for_each(|watch| edge(watch, index));
                }
            }
            for (own, before) in &mut last {
                if *own & operation.lanes != 0 {
                    edge(*before, index);
                    *own &= !operation.lanes;
                }
            }
            last.retain(|(own, _)| *own != 0);
            if operation.lanes != 0 {
                last.push((operation.lanes, index));
            }
        }
    }
}

/// Adds the moments and their edges; answers how many moments there are.
fn add_time(history: &History, edges: &mut Vec<Edge>) -> usize {
    let all = &history.operations;
    let mut completed: Vec<(u64, u32)> =
        (0u32..).zip(all).map(|(n, op)| (op.completed, n)).collect();
    completed.retain(|(at, _)| *at != NEVER);
    completed.sort_unstable();
    let mut edge = |from: usize, to: usize| {
        edges.push(Edge { from: from as u32, to: to as u32, why: Why::Time, place: 0 });
    };
    for (moment, (_, operation)) in completed.iter().enumerate() {
        edge(*operation as usize, all.len() + moment);
        if moment > 0 {
            edge(all.len() + moment - 1, all.len() + moment);
        }
    }
    for (index, operation) in all.iter().enumerate() {
        let before = completed.partition_point(|(at, _)| *at < operation.invoked);
        if before > 0 {
            edge(all.len() + before - 1, index);
        }
    }
    completed.len()
}
