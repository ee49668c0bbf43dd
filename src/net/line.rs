//! Who waits at a shard for keys that are held, and who may go on.
//!
//! There is one line for all: batches of single-shard requests, loans, tours. While anybody waits,
//! whoever comes stands behind; then, once a turn, all are tried in their order. A waiter is
//! overtaken by those only who have nothing to do with it:
//!
//! - nobody overtakes one who waits for one of the same keys, so nobody starves;
//! - a batch or a loan overtakes nothing of its own connection, so a connection's requests take effect
//!   in their order;
//! - a tour does not overtake one that came from the same shard, see [`crate::shard::Intents`].
//!
//! Nobody waits in a circle: everybody visits the shards in the same order, so who holds keys of a
//! shard waits only at later ones, and who waits at a shard waits for holders there, or for
//! those before it in the line.

use super::gather::Loan;
use super::tour::Tour;
use super::worker::Worker;
use crate::command::{Command, CommandId, Faults, KeyShape, READONLY, Registry, Spread};
use crate::resp::Args;
use crate::route::{Batch, Kind, Request};
use crate::rt::{Io, Token};
use crate::shard::{Intent, Intents, Keyspace};
use smallvec::SmallVec;
use std::collections::HashSet;

/// What waits for keys that are held.
enum Waiter {
    Batch(Box<Batch>),
    Loan(Box<Loan>),
    Tour(Box<Tour>),
}

/// The keys that are held at a shard, and who waits for them.
#[derive(Default)]
pub struct Line {
    pub intents: Intents,
    /// Those who were tried and must wait, in the order of their arrival.
    waiting: Vec<Waiter>,
    /// Those who have come since.
    arrived: Vec<Waiter>,
    /// Something was let go or put off since the waiting were tried last.
    retry: bool,
}

/// What those stand for who go on waiting, against those behind them in the line.
#[derive(Default)]
struct Ahead {
    keys: HashSet<u64>,
    /// Somebody waits for all keys.
    all: bool,
    /// Connections that have requests here, by their shard.
    connections: HashSet<(usize, Option<Token>)>,
    /// Shards from which tours have come.
    from: SmallVec<[usize; 8]>,
}

impl Ahead {
    fn has_any(&self, intents: &[Intent]) -> bool {
        self.all || intents.iter().any(|intent| self.keys.contains(&intent.hash))
    }

    fn add(&mut self, intents: &[Intent], whole: bool) {
        self.keys.extend(intents.iter().map(|intent| intent.hash));
        self.all |= whole;
    }
}

impl Line {
    pub fn new(faults: Faults) -> Line {
        let mut line = Line::default();
        if faults.ignore_intents {
            line.intents = Intents::ignored();
        }
        line
    }

    /// Whether nothing is held and nobody waits.
    pub fn is_idle(&self) -> bool {
        self.intents.is_empty() && !self.is_waited_in()
    }

    /// Whether somebody waits, so that whoever comes stands behind.
    pub fn is_waited_in(&self) -> bool {
        !self.waiting.is_empty() || !self.arrived.is_empty()
    }

    /// Whether requests may have to wait.
    #[inline]
    pub fn is_free(&self) -> bool {
        self.intents.is_empty()
    }

    /// Puts a batch at the end of the line.
    pub fn put_off(&mut self, batch: Box<Batch>) {
        self.stand(Waiter::Batch(batch));
    }

    pub fn stand_loan(&mut self, loan: Box<Loan>) {
        self.stand(Waiter::Loan(loan));
    }

    pub fn stand_tour(&mut self, tour: Box<Tour>) {
        self.stand(Waiter::Tour(tour));
    }

    /// Takes those out who wait with plain requests.
    pub fn take_requests(&mut self) -> Vec<Box<Batch>> {
        let mut requests = Vec::new();
        for waiters in [&mut self.waiting, &mut self.arrived] {
            for waiter in std::mem::take(waiters) {
                match waiter {
                    Waiter::Batch(batch) if batch.kind == Kind::Requests && !batch.operation => {
                        requests.push(batch);
                    }
                    other => waiters.push(other),
                }
            }
        }
        requests
    }

    fn stand(&mut self, waiter: Waiter) {
        self.arrived.push(waiter);
        self.retry = true;
    }

    pub fn release(&mut self, hold: u32) {
        self.intents.release(hold);
        self.retry = true;
    }

    pub fn release_all(&mut self) {
        self.intents.release_all();
        self.retry = true;
    }
}

/// Calls `each` with what a request wants to do to each of its keys.
pub(super) fn each_intent(
    registry: &Registry,
    keyspace: &Keyspace,
    (id, part): (CommandId, bool),
    args: &Args,
    each: &mut dyn FnMut(Intent),
) {
    let command = registry.command(id);
    let exclusive = !command.flags.has(READONLY);
    let mut key = |word: &[u8]| each(Intent { hash: keyspace.hash(word), exclusive });
    match registry.shape(id) {
        KeyShape::None => {}
        KeyShape::One(at) => args.get(at as usize).into_iter().for_each(key),
        // A part has its one key behind the name.
        KeyShape::Several if part => args.get(1).into_iter().for_each(key),
        KeyShape::Several => {
            let indexes = command.key_indexes(args).into_iter().flatten();
            indexes.for_each(|at| key(args.at(at as usize)));
        }
    }
}

fn sees_all_keys(command: &Command) -> bool {
    matches!(command.spread, Spread::EveryShard { .. } | Spread::Cursor)
}

impl Worker {
    /// Whether a request would see a key that is held.
    #[inline]
    pub(super) fn is_barred(&self, id: CommandId, part: bool, args: &Args) -> bool {
        !self.line.is_free() && self.meets_a_hold(id, part, args)
    }

    #[cold]
    fn meets_a_hold(&self, id: CommandId, part: bool, args: &Args) -> bool {
        let intents = &self.line.intents;
        let registry = &self.shared.env.registry;
        if intents.holds_all() || sees_all_keys(registry.command(id)) {
            return true;
        }
        let mut barred = false;
        each_intent(registry, &self.shard.keyspace, (id, part), args, &mut |intent| {
            barred |= intents.bars(intent);
        });
        barred
    }

    /// Tries again what waited for held keys, in the order of arrival: once a turn, all together.
    pub(super) fn retry_waiting(&mut self, io: &mut dyn Io) {
        while std::mem::take(&mut self.line.retry) {
            let mut line = std::mem::take(&mut self.line.waiting);
            line.append(&mut self.line.arrived);
            let mut ahead = Ahead::default();
            for waiter in line {
                let left = match waiter {
                    Waiter::Batch(batch) => self.retry_batch(io, batch, &mut ahead),
                    Waiter::Loan(loan) => self.retry_loan(io, loan, &mut ahead),
                    Waiter::Tour(tour) => self.retry_tour(io, tour, &mut ahead),
                };
                self.line.waiting.extend(left);
            }
        }
    }

    /// Runs a batch, or gives it back because it must wait on.
    fn retry_batch(
        &mut self,
        io: &mut dyn Io,
        mut batch: Box<Batch>,
        ahead: &mut Ahead,
    ) -> Option<Waiter> {
        let connection = (batch.origin, batch.connection);
        if !ahead.connections.contains(&connection) {
            if self.run_batch(io, &mut batch) {
                self.send_back(io, batch);
                return None;
            }
            ahead.connections.insert(connection);
            self.stand_for(&batch, ahead);
        }
        Some(Waiter::Batch(batch))
    }

    /// Notes what a batch that goes on waiting stands for.
    fn stand_for(&self, batch: &Batch, ahead: &mut Ahead) {
        let keyspace = &self.shard.keyspace;
        let requests = match batch.kind {
            // The others cannot be met before this one.
            Kind::Requests => batch.done()..batch.done() + 1,
            _ => 0..batch.len(),
        };
        let registry = &self.shared.env.registry;
        for at in requests {
            let (Request { id, part, .. }, args) = batch.request(at);
            ahead.all |= sees_all_keys(registry.command(id));
            match batch.kind {
                Kind::Watch { .. } => {
                    ahead.keys.extend(args.iter().map(|key| keyspace.hash(key)));
                }
                _ => each_intent(registry, keyspace, (id, part), &args, &mut |intent| {
                    ahead.keys.insert(intent.hash);
                }),
            }
        }
        if let Kind::Block { watcher: Some(client), .. } = batch.kind {
            let watched = keyspace.watched_by(client);
            ahead.keys.extend(watched.iter().map(|(_, key)| keyspace.hash(key)));
        }
    }

    /// Grants a loan, or gives it back because it must wait on.
    fn retry_loan(
        &mut self,
        io: &mut dyn Io,
        loan: Box<Loan>,
        ahead: &mut Ahead,
    ) -> Option<Waiter> {
        let waits = ahead.has_any(&loan.intents)
            || (loan.is_whole() && !ahead.keys.is_empty())
            || ahead.connections.contains(&loan.connection())
            || !self.can_lend(&loan);
        if waits {
            ahead.add(&loan.intents, loan.is_whole());
            return Some(Waiter::Loan(loan));
        }
        self.grant(io, loan, None);
        None
    }

    /// Lets a tour go on, or gives it back because it must wait on.
    fn retry_tour(
        &mut self,
        io: &mut dyn Io,
        tour: Box<Tour>,
        ahead: &mut Ahead,
    ) -> Option<Waiter> {
        let waits = ahead.has_any(tour.intents())
            || (tour.is_whole() && !ahead.keys.is_empty())
            || tour.came_from().is_some_and(|from| ahead.from.contains(&from))
            || !self.admits(&tour);
        if waits {
            ahead.add(tour.intents(), tour.is_whole());
            ahead.from.extend(tour.came_from());
            return Some(Waiter::Tour(tour));
        }
        self.run_stop(io, tour, None);
        None
    }
}
