//! What the times of writes tell where values do not: the rules of [`super::order`] by time.

use super::anomaly::Kind;
use super::graph::Why;
use super::history::{History, NEVER};
use super::observe::{Place, Seen, View};
use super::order::Order;

/// Edges that one read gets from each rule; more would say little more.
const EDGES_MAX: usize = 8;

/// Some operations in two orders, to be asked for those of a time.
struct Timed {
    by_invoked: Vec<u32>,
    /// Up to each of them, the latest completion.
    latest: Vec<u64>,
    by_completed: Vec<u32>,
    /// Up to each of them, the one that was invoked last.
    newest: Vec<u32>,
}

impl Timed {
    fn new(history: &History, operations: &[u32]) -> Timed {
        let at = |index: u32| &history.operations[index as usize];
        let mut by_invoked = operations.to_vec();
        by_invoked.sort_unstable_by_key(|index| at(*index).invoked);
        let mut latest = Vec::with_capacity(by_invoked.len());
        for index in &by_invoked {
            let before = latest.last().copied().unwrap_or(0);
            latest.push(at(*index).completed.max(before));
        }
        let mut by_completed = operations.to_vec();
        by_completed.retain(|index| at(*index).completed != NEVER);
        by_completed.sort_unstable_by_key(|index| at(*index).completed);
        let mut newest: Vec<u32> = Vec::with_capacity(by_completed.len());
        for index in &by_completed {
            let before = newest.last().copied().unwrap_or(*index);
            newest.push(if at(*index).invoked > at(before).invoked { *index } else { before });
        }
        Timed { by_invoked, latest, by_completed, newest }
    }

    /// How many were invoked before `time`.
    fn invoked_before(&self, history: &History, time: u64) -> usize {
        self.by_invoked.partition_point(|i| history.operations[*i as usize].invoked < time)
    }

    fn completed_before(&self, history: &History, time: u64) -> usize {
        self.by_completed.partition_point(|i| history.operations[*i as usize].completed < time)
    }

    /// Of those that were over before `time`, the one that was invoked last.
    fn newest_before(&self, history: &History, time: u64) -> Option<u32> {
        self.newest[..self.completed_before(history, time)].last().copied()
    }

    /// Up to `most` of those that were under way at some time between two, without `except`.
    fn between(&self, history: &History, from: u64, to: u64, except: u32, most: usize) -> Vec<u32> {
        let mut found = Vec::new();
        for n in (0..self.invoked_before(history, to)).rev() {
            let index = self.by_invoked[n];
            if self.latest[n] < from || found.len() == most {
                break;
            }
            if history.operations[index as usize].completed > from && index != except {
                found.push(index);
            }
        }
        found
    }
}

/// Adds what follows from the times of the operations on each key that was set anew.
pub fn infer(order: &mut Order) {
    for place in 0..order.sites.len() as Place {
        if order.is_tainted(place) {
            continue;
        }
        let site = &order.sites[place as usize];
        let restarted = site.restarted;
        let starters = Timed::new(order.history, &site.starters);
        let setters = Timed::new(order.history, &site.setters);
        let removers = Timed::new(order.history, &site.removers);
        let views = site.views.clone();
        for index in views {
            let all = std::mem::take(&mut order.seen.views);
            let view = &all[index as usize];
            match &view.seen {
                Some(Seen::Absent) => order.absent(view, &setters, &removers),
                Some(_) => {
                    order.present(view, &setters, &removers);
                    if restarted {
                        order.compare_times(view, &starters);
                    }
                }
                None => {}
            }
            order.seen.views = all;
        }
    }
}

impl Order<'_> {
    /// Nothing sets a key anew between the beginning of a run and a read of it: what began later comes
    /// after the read, and what was over before the read comes before the run.
    fn compare_times(&mut self, view: &View, starters: &Timed) {
        let Some(source) = self.source(view) else { return };
        let (history, reader, place) = (self.history, view.operation, view.place);
        let at = |index: u32| &history.operations[index as usize];
        if at(source).completed != NEVER {
            let from = starters.invoked_before(history, at(source).completed);
            let to = starters.invoked_before(history, at(reader).completed);
            let later = starters.by_invoked[from.min(to)..to].iter().filter(|n| self.is_done(**n));
            let later: Vec<u32> = later.take(EDGES_MAX).copied().collect();
            for later in later {
                self.edge(reader, later, Why::OverwriteByTime, place);
            }
        }
        let from = starters.completed_before(history, at(source).invoked);
        let to = starters.completed_before(history, at(reader).invoked);
        for earlier in starters.by_completed[from.min(to)..to].iter().rev().take(EDGES_MAX) {
            if *earlier != reader && *earlier != source {
                self.edge(*earlier, source, Why::WriteByTime, place);
            }
        }
    }

    /// A read that found nothing comes before all writes, or after a removal.
    fn absent(&mut self, view: &View, setters: &Timed, removers: &Timed) {
        let (history, reader, place) = (self.history, view.operation, view.place);
        if removers.by_invoked.is_empty() {
            let mut first = self.beginners(place);
            first.retain(|first| self.is_done(*first));
            for first in first.into_iter().take(EDGES_MAX) {
                self.edge(reader, first, Why::Overwrite, place);
            }
        }
        let at = |index: u32| &history.operations[index as usize];
        let Some(set) = setters.newest_before(history, at(reader).invoked) else { return };
        let (from, to) = (at(set).invoked, at(reader).completed);
        match *removers.between(history, from, to, reader, 2) {
            [] => {
                let name = self.seen.place_name(place);
                let what = format!("{name} is not there, although nothing has removed it");
                self.report(Kind::Vanished, what, &[set, reader]);
            }
            [removal] => {
                self.edge(set, removal, Why::WriteByTime, place);
                self.edge(removal, reader, Why::Read, place);
            }
            _ => {}
        }
    }

    /// A read that found something comes after what has set it, after what was removed before.
    fn present(&mut self, view: &View, setters: &Timed, removers: &Timed) {
        let (history, reader, place) = (self.history, view.operation, view.place);
        let at = |index: u32| &history.operations[index as usize];
        let removal = removers.newest_before(history, at(reader).invoked);
        let from = removal.map_or(0, |removal| at(removal).invoked);
        match *setters.between(history, from, at(reader).completed, reader, 2) {
            [] => {
                let name = self.seen.place_name(place);
                let what = format!("{name} is there, although nothing has set it");
                let involved: Vec<u32> = removal.into_iter().chain([reader]).collect();
                self.report(Kind::Vanished, what, &involved);
            }
            [set] => {
                if let Some(removal) = removal {
                    self.edge(removal, set, Why::WriteByTime, place);
                }
                self.edge(set, reader, Why::Read, place);
            }
            _ => {}
        }
    }
}
