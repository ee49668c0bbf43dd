//! What values tell about the order of operations: the inference of Elle, for strings of tokens.
//!
//! A value that was read is the list of the writes behind each other since the key was last set anew:
//! a *run*. Runs of one key that begin with the same token are the same run, and one must be the
//! beginning of the other. From the runs follow edges: each write comes after the one before it, a
//! read after the last write that it shows and before the next one.
//!
//! Where one run follows another is known when the operation that begins the second has seen the first
//! (`SET key value GET`, or WATCH, GET and EXEC, or a GET in the same block). Otherwise only time tells, by
//! rules that hold in every strictly serializable history. R reads of a run that W has begun; S begins
//! another one, or removes the key:
//!
//! - when S began after W had completed, S comes after W and so after R;
//! - when S had completed before R began, S comes before R and so before W.
//!
//! Nothing found here is a guess: an edge that a rule gives is in every order that explains the history.

use super::anomaly::{Anomaly, Kind};
use super::command::Token;
use super::graph::{Edge, Why};
use super::history::{History, NEVER};
use super::model::{ABSENT, Guard, Model, ValueId};
use super::observe::{Fate, Observations, Place, Seen, View};
use std::collections::HashMap;

/// Anomalies of one sort that are told.
const TOLD: usize = 20;

/// The place of a token: its run, and how many tokens are before it there.
type Spot = (u32, usize);

/// Writes behind each other.
struct Run {
    place: Place,
    tokens: Vec<Token>,
    /// Who has shown the longest of its values.
    shown_by: u32,
}

/// What is known about one place beside its runs.
#[derive(Default)]
pub struct Site {
    /// Views of it, by their index.
    pub views: Vec<u32>,
    pub runs: Vec<u32>,
    /// Operations that may have removed it or set it anew: each is the beginning or the end of a run.
    pub starters: Vec<u32>,
    /// Those that may have left nothing there, and those that may have left something.
    pub removers: Vec<u32>,
    pub setters: Vec<u32>,
    /// Some operation has set it anew or removed it; otherwise it is one run from nothing on.
    pub restarted: bool,
}

pub struct Order<'h> {
    pub history: &'h History,
    pub seen: Observations,
    runs: Vec<Run>,
    spots: HashMap<Token, Spot, ahash::RandomState>,
    pub sites: Vec<Site>,
    /// Which operations were answered, or have left what somebody has seen.
    done: Vec<bool>,
    pub edges: Vec<Edge>,
    pub anomalies: Vec<Anomaly>,
}

impl<'h> Order<'h> {
    pub fn infer(history: &'h History, seen: Observations) -> Order<'h> {
        let sites = seen.names.iter().map(|_| Site::default()).collect();
        let mut order = Order {
            history,
            seen,
            runs: Vec::new(),
            spots: HashMap::default(),
            sites,
            done: history.operations.iter().map(|op| op.completed != NEVER).collect(),
            edges: Vec::new(),
            anomalies: Vec::new(),
        };
        order.anomalies = order.seen.take_problems();
        order.fill_sites();
        order.join_runs();
        order.place_appends();
        order.link_runs();
        order.link_readers();
        order
    }

    pub fn report(&mut self, kind: Kind, what: String, operations: &[u32]) {
        if self.anomalies.iter().filter(|a| a.kind == kind).count() >= TOLD {
            return;
        }
        let mut text = what;
        for index in operations {
            text.push_str(&format!("\n  {}", self.history.operations[*index as usize]));
        }
        self.anomalies.push(Anomaly::new(kind, text));
    }

    pub fn edge(&mut self, from: u32, to: u32, why: Why, place: Place) {
        if from != to {
            self.edges.push(Edge { from, to, why, place });
        }
    }

    pub fn is_tainted(&self, place: Place) -> bool {
        self.seen.tainted.contains(&place)
    }

    /// Whether an operation has certainly been carried out.
    pub fn is_done(&self, operation: u32) -> bool {
        self.done[operation as usize]
    }

    fn fill_sites(&mut self) {
        for (index, view) in self.seen.views.iter().enumerate() {
            let site = &mut self.sites[view.place as usize];
            site.views.push(index as u32);
            if view.writes() {
                if view.reset || view.seen == Some(Seen::Absent) {
                    site.starters.push(view.operation);
                }
                let list = if view.removes() { &mut site.removers } else { &mut site.setters };
                list.push(view.operation);
                // A first append to what is not there restarts nothing.
                site.restarted |= view.reset;
            }
        }
        let mut wipes = self.seen.wipes.clone();
        wipes.dedup();
        for (operation, db) in wipes {
            for (site, name) in self.sites.iter_mut().zip(&self.seen.names) {
                if db.is_none_or(|db| db == name.0) {
                    site.restarted = true;
                    // One that has gone on to write the key is there already.
                    if !site.starters.contains(&operation) {
                        site.starters.push(operation);
                        site.removers.push(operation);
                    }
                }
            }
        }
    }

    fn join_runs(&mut self) {
        let views = std::mem::take(&mut self.seen.views);
        for view in &views {
            if self.is_tainted(view.place) {
                self.check_tokens(view);
                continue;
            }
            let mut run = match &view.seen {
                Some(Seen::Value(value)) => value.clone(),
                Some(Seen::Absent) | None => Vec::new(),
                _ if view.reset => Vec::new(),
                // Behind what is not known.
                _ => continue,
            };
            if !run.is_empty() {
                self.check_tokens(view);
                self.join(view, &run);
            }
            match (view.reset, &view.seen) {
                (true, _) => run.clear(),
                (false, None) => continue,
                (false, _) => {}
            }
            if !view.tokens.is_empty() {
                run.extend(&view.tokens);
                self.join(view, &run);
            }
        }
        self.seen.views = views;
    }

    /// Whether what was seen has been written, there and for others to see.
    fn check_tokens(&mut self, view: &View) {
        let Some(Seen::Value(value)) = &view.seen else { return };
        let place = view.place;
        let name = self.seen.place_name(place);
        for (n, token) in value.iter().enumerate() {
            let Some(written) = self.seen.tokens.get(token).copied() else {
                let what = format!("{name} holds {token}, which nobody has written");
                self.report(Kind::Phantom, what, &[view.operation]);
                continue;
            };
            let both = [written.operation, view.operation];
            self.done[written.operation as usize] = true;
            match written.fate {
                Fate::Void => {
                    let what = format!("{name} holds {token} of what was never carried out");
                    self.report(Kind::AbortedRead, what, &both);
                }
                _ if self.is_tainted(place) => {}
                _ if written.place != place => {
                    let what = format!("{name} holds {token}, which was written elsewhere");
                    self.report(Kind::Phantom, what, &both);
                }
                Fate::Overwritten => {
                    let what = format!("{name} holds {token}, which its own writer has removed");
                    self.report(Kind::IntermediateRead, what, &both);
                }
                Fate::Followed if n + 1 == value.len() => {
                    let what = format!("{name} ends in {token}, in the middle of a block");
                    self.report(Kind::IntermediateRead, what, &both);
                }
                _ => {}
            }
        }
    }

    /// Makes a value part of its run.
    fn join(&mut self, view: &View, value: &[Token]) {
        let place = view.place;
        let name = self.seen.place_name(place);
        let id = match self.spots.get(&value[0]) {
            Some(&(id, 0)) => id,
            Some(&(id, _)) => {
                let both = [self.runs[id as usize].shown_by, view.operation];
                let what = format!("{name} begins with {}, which followed others", value[0]);
                return self.report(Kind::IncompatibleOrder, what, &both);
            }
            None => {
                let id = self.runs.len() as u32;
                self.runs.push(Run { place, tokens: Vec::new(), shown_by: view.operation });
                self.sites[place as usize].runs.push(id);
                id
            }
        };
        let run = &self.runs[id as usize];
        let both = [run.shown_by, view.operation];
        let known = run.tokens.len();
        if run.tokens.iter().zip(value).any(|(a, b)| a != b) {
            let what = format!("{name} was read in two orders");
            return self.report(Kind::IncompatibleOrder, what, &both);
        }
        for (n, token) in value.iter().enumerate().skip(known) {
            if let Some(&(other, _)) = self.spots.get(token) {
                let what = format!("{name} holds {token} a second time");
                let shown = [self.runs[other as usize].shown_by, view.operation];
                return self.report(Kind::Duplicate, what, &shown);
            }
            self.spots.insert(*token, (id, n));
            let run = &mut self.runs[id as usize];
            run.tokens.push(*token);
            run.shown_by = view.operation;
        }
    }

    /// Where a key has never been set anew, an append's answer tells its place even if nobody reads it.
    fn place_appends(&mut self) {
        for place in 0..self.sites.len() as Place {
            if self.sites[place as usize].restarted || self.is_tainted(place) {
                continue;
            }
            let mut appends = Vec::new();
            for index in &self.sites[place as usize].views {
                let view = &self.seen.views[*index as usize];
                let at = match &view.seen {
                    Some(Seen::Absent) => 0,
                    Some(Seen::Length(n)) => *n,
                    Some(Seen::Value(value)) => value.len(),
                    _ => continue,
                };
                let tokens = view.tokens.iter().enumerate();
                appends.extend(tokens.map(|(n, token)| (at + n, *token, view.operation)));
            }
            appends.sort_unstable();
            for pair in appends.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
                let name = self.seen.place_name(place);
                let what = format!("{name}: two appends were told the same length, so one is lost");
                self.report(Kind::LostWrite, what, &[pair[0].2, pair[1].2]);
            }
            for (at, token, operation) in appends {
                self.place_append(place, operation, token, at);
            }
            self.look_for_lost_appends(place);
        }
    }

    fn place_append(&mut self, place: Place, operation: u32, token: Token, at: usize) {
        let name = self.seen.place_name(place);
        let run = self.sites[place as usize].runs.first().map(|id| &self.runs[*id as usize]);
        let Some(run) = run else { return };
        let shown = [operation, run.shown_by];
        let holder = run.tokens.get(at).copied();
        if holder.is_some_and(|holder| holder != token) {
            let what = format!("{name}: an append was told another one's place");
            self.report(Kind::LostWrite, what, &shown);
        } else if self.spots.get(&token).is_some_and(|(_, spot)| *spot != at) {
            let what = format!("{name}: an append is not where it was told to be");
            self.report(Kind::LostWrite, what, &shown);
        } else if holder.is_none() && run.tokens.len() == at {
            // The next one of the run, which nobody has read.
            let id = self.sites[place as usize].runs[0];
            self.spots.insert(token, (id, at));
            self.runs[id as usize].tokens.push(token);
        }
    }

    /// Appends that had been answered before a read began must be in what it reads.
    fn look_for_lost_appends(&mut self, place: Place) {
        let site = &self.sites[place as usize];
        let views = || site.views.iter().map(|index| &self.seen.views[*index as usize]);
        let value = |view: &&View| match &view.seen {
            Some(Seen::Value(value)) => Some(value.len()),
            Some(Seen::Absent) => Some(0),
            _ => None,
        };
        let invoked = |view: &&View| self.history.operations[view.operation as usize].invoked;
        let last = views().filter(|view| value(view).is_some()).max_by_key(invoked);
        let Some(last) = last else { return };
        let (reader, len) = (last.operation, value(&last).expect("filtered"));
        let began = invoked(&last);
        let is_lost = |view: &&View| {
            let over = self.history.operations[view.operation as usize].completed < began;
            let held = |token| self.spots.get(token).is_some_and(|(_, at)| *at < len);
            over && !view.tokens.iter().all(held)
        };
        let lost: Vec<u32> = views().filter(is_lost).map(|view| view.operation).collect();
        let name = self.seen.place_name(place);
        for operation in lost {
            let what = format!("{name}: an append that was answered is not in a later read");
            self.report(Kind::LostWrite, what, &[operation, reader]);
        }
    }

    /// Tells a model which operations see a value and which one writes behind it; `sees` gets the values
    /// that each operation sees.
    pub fn guard(&self, model: &mut Model, sees: &mut [Vec<ValueId>]) {
        let guarded = |guards: &mut Vec<Guard>, value: ValueId| {
            if guards.len() <= value as usize {
                guards.resize(value as usize + 1, Guard::default());
            }
        };
        for view in self.seen.views.iter().filter(|view| !self.is_tainted(view.place)) {
            if let Some(Seen::Value(value)) = &view.seen {
                let value = model.values.of(value);
                guarded(&mut model.guards, value);
                model.guards[value as usize].waiting += 1;
                sees[view.operation as usize].push(value);
            }
        }
        for run in self.runs.iter().filter(|run| !self.is_tainted(run.place)) {
            let mut value = ABSENT;
            for pair in run.tokens.windows(2) {
                value = model.values.append(value, pair[0]);
                let next = self.writer(pair[1]);
                if self.is_done(next) {
                    guarded(&mut model.guards, value);
                    model.guards[value as usize].next = Some(next);
                }
            }
        }
    }

    fn writer(&self, token: Token) -> u32 {
        self.seen.tokens[&token].operation
    }

    fn link_runs(&mut self) {
        for id in 0..self.runs.len() {
            let place = self.runs[id].place;
            let known = |token: &Token| self.seen.tokens.get(token).map(|w| w.operation);
            let writers: Vec<u32> = self.runs[id].tokens.iter().filter_map(known).collect();
            for pair in writers.windows(2) {
                self.edge(pair[0], pair[1], Why::Write, place);
            }
        }
    }

    /// Who has set a key anew or removed it after having seen a value, by that value's last token.
    fn ends(&self) -> HashMap<Spot, Vec<u32>, ahash::RandomState> {
        let mut ends: HashMap<Spot, Vec<u32>, ahash::RandomState> = HashMap::default();
        for view in self.seen.views.iter().filter(|view| view.reset) {
            if let Some(Seen::Value(value)) = &view.seen
                && let Some(spot) = value.last().and_then(|token| self.spots.get(token))
            {
                ends.entry(*spot).or_default().push(view.operation);
            }
        }
        ends
    }

    fn link_readers(&mut self) {
        let ends = self.ends();
        let views = std::mem::take(&mut self.seen.views);
        for view in &views {
            if self.is_tainted(view.place) {
                continue;
            }
            let last = match &view.seen {
                Some(Seen::Value(value)) => value.last().and_then(|t| self.spots.get(t)).copied(),
                // Without a restart there is one run, and a length tells the value.
                Some(Seen::Length(n)) if !self.sites[view.place as usize].restarted => {
                    let id = self.sites[view.place as usize].runs.first().copied();
                    let id = id.filter(|id| self.runs[*id as usize].tokens.len() >= *n);
                    id.map(|id| (id, n - 1))
                }
                _ => None,
            };
            if let Some(spot) = last {
                self.link_reader(view, spot, ends.get(&spot).map_or(&[], Vec::as_slice));
            }
        }
        self.seen.views = views;
    }

    fn link_reader(&mut self, view: &View, (id, at): Spot, ends: &[u32]) {
        let (place, reader) = (view.place, view.operation);
        let tokens = &self.runs[id as usize].tokens;
        // What nobody has written is told elsewhere.
        let next = tokens.get(at + 1).and_then(|token| self.seen.tokens.get(token));
        let next = next.map(|written| written.operation);
        if !self.seen.tokens.contains_key(&tokens[at]) {
            return;
        }
        let writer = self.writer(tokens[at]);
        self.edge(writer, reader, Why::Read, place);
        if let Some(next) = next {
            self.edge(reader, next, Why::Overwrite, place);
        }
        for end in ends {
            self.edge(writer, *end, Why::Write, place);
            self.edge(reader, *end, Why::Overwrite, place);
        }
    }

    /// Who has begun the run that a view has seen, when that is known.
    pub fn source(&self, view: &View) -> Option<u32> {
        let Some(Seen::Value(value)) = &view.seen else { return None };
        self.seen.tokens.get(value.first()?).map(|written| written.operation)
    }

    /// The operations that begin the runs of a place.
    pub fn beginners(&self, place: Place) -> Vec<u32> {
        let heads =
            self.sites[place as usize].runs.iter().map(|id| self.runs[*id as usize].tokens[0]);
        heads.filter_map(|token| self.seen.tokens.get(&token)).map(|w| w.operation).collect()
    }
}
