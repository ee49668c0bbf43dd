//! Commands and blocks whose parts run where their keys are: MGET, DEL, FLUSHALL, MULTI SET SET EXEC, ...
//!
//! A tour visits the shards of its keys in ascending order. It runs its part at each, and holds the
//! keys there until it has run at the last one: so nobody sees some of its parts done and others
//! not. The last shard needs to hold nothing.
//!
//! ```text
//!   client's shard            shard 1                shard 4              shard 6
//!      │── Visit ─────────────> runs, holds
//!      │                          │── Visit ───────────> runs, holds
//!      │                          │                        │── Visit ────────> runs
//!      │<───────────────────────────────────────────────────────── Toured ───────│
//!      │                          │<─────────────────────── Release ─────────────│
//!      │                          │                        │<──── Release ───────│
//! ```
//!
//! The client's shard is often one of them, and then takes part without messages of its own: two shards
//! cost two messages, or three. Compared with VLL (Ren, Thomson, Abadi: "VLL: a lock manager redesign
//! for main memory database systems", 2012), which schedules on all shards at once, is confirmed, and
//! runs with a second message, this costs half of the messages and needs no common
//! clock, no refusal and no second try; its latency grows with the number of shards visited.
//!
//! Everything a tour needs to know about its parts is decided before it begins; commands that need
//! the keys of several shards in one place gather them instead (see `gather`).

use super::conn::Conn;
use super::line::each_intent;
use super::mail::Message;
use super::operation::Operation;
use super::saving::Cut;
use super::worker::Worker;
use crate::clock;
use crate::command::{Caller, CommandId, KeyShape, Merge};
use crate::journal::Unit;
use crate::resp::{Args, Encoder, Protocol};
use crate::route::{Batch, Kind, Request, merge};
use crate::rt::{Io, Token};
use crate::shard::{Intent, Noted, Path};
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::Duration;

/// Intents of a stop among which a key that comes again is found.
const INTENTS_COMPARED: usize = 16;

/// What a tour does on one shard.
struct Stop {
    shard: usize,
    batch: Box<Batch>,
    intents: SmallVec<[Intent; 4]>,
    /// What it holds there, once it has been there.
    hold: u32,
    /// Clients are to hear of it when it lets go there.
    published: bool,
    /// What it has done there.
    effects: Unit,
}

/// How some of the parts' replies become one.
struct Reply {
    /// The command, and how its parts' replies merge; without that it is the one part's own reply.
    merge: Option<(CommandId, Merge)>,
    parts: usize,
}

/// A command or block on its way through the shards of its keys.
pub struct Tour {
    origin: usize,
    token: Token,
    protocol: Protocol,
    /// When it happens, on all shards: milliseconds since the epoch.
    now: i64,
    /// In the order of the shards.
    stops: Vec<Stop>,
    /// The stop that is next.
    at: usize,
    /// It sees all keys, of all shards.
    whole: bool,
    /// Where each part runs, in the order in which their replies are wanted.
    parts: Vec<u16>,
    replies: Vec<Reply>,
    /// The replies are the elements of one, as EXEC's are.
    block: bool,
    /// Time in the parts of commands, on all shards.
    spent: Duration,
    /// Commands to be logged: the stop and the place there of each.
    noted: Vec<(u16, usize, Noted)>,
    /// It begins a snapshot on all shards.
    pub cut: Option<Arc<Cut>>,
    /// It has changed something.
    wrote: bool,
    /// Its reply waits until the last shard's journal has written so far.
    mark: u64,
}

impl Tour {
    pub fn new(origin: usize, token: Token, protocol: Protocol) -> Box<Tour> {
        Box::new(Tour {
            origin,
            token,
            protocol,
            now: 0,
            stops: Vec::new(),
            at: 0,
            whole: false,
            parts: Vec::new(),
            replies: Vec::new(),
            block: false,
            spent: Duration::ZERO,
            noted: Vec::new(),
            cut: None,
            wrote: false,
            mark: 0,
        })
    }

    /// A tour of EXEC: one reply with the requests' replies as its elements.
    pub fn of_block(mut self: Box<Tour>) -> Box<Tour> {
        self.block = true;
        self
    }

    /// A tour that sees all keys.
    pub fn of_all(mut self: Box<Tour>) -> Box<Tour> {
        self.whole = true;
        self
    }

    /// Says how the parts that are added next make one reply.
    pub fn reply(&mut self, merge: Option<(CommandId, Merge)>, parts: usize) {
        self.replies.push(Reply { merge, parts });
    }

    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// What it is about to do at the shard where it is.
    pub fn intents(&self) -> &[Intent] {
        &self.stops[self.at].intents
    }

    /// The shard that it has visited last.
    pub fn came_from(&self) -> Option<usize> {
        Some(self.stops[self.at.checked_sub(1)?].shard)
    }

    /// The shards that come after the one where it is.
    fn path(&self) -> Path {
        self.stops[self.at + 1..].iter().map(|stop| stop.shard as u16).collect()
    }

    /// Writes the reply that the parts' replies make.
    fn write(&mut self, out: &mut Encoder, random: &mut fastrand::Rng) {
        if self.block {
            out.array(self.replies.len());
        }
        let mut taken: SmallVec<[usize; 8]> = SmallVec::from_elem(0, self.stops.len());
        let mut parts = self.parts.iter();
        for reply in &self.replies {
            let replies: SmallVec<[&[u8]; 16]> = (parts.by_ref().take(reply.parts))
                .map(|&stop| {
                    let at = &mut taken[stop as usize];
                    *at += 1;
                    self.stops[stop as usize].batch.reply(*at - 1)
                })
                .collect();
            match reply.merge {
                Some((_, kind)) => merge(kind, &replies, out, random),
                None => replies.iter().for_each(|reply| out.raw(reply)),
            }
        }
    }
}

impl Worker {
    /// Has a tour that has not begun visit a shard.
    pub(super) fn add_stop(&mut self, tour: &mut Tour, shard: usize) {
        let mut batch = self.batch(shard, tour.token);
        batch.kind = Kind::Stop;
        tour.stops.push(Stop {
            shard,
            batch,
            intents: SmallVec::new(),
            hold: 0,
            published: false,
            effects: Unit::new(),
        });
    }

    /// Adds a part to a tour that has not begun: a request of `words` for `shard`.
    pub(super) fn add_part<'a>(
        &mut self,
        tour: &mut Tour,
        shard: usize,
        (id, part): (CommandId, bool),
        caller: Caller,
        words: impl Iterator<Item = &'a [u8]>,
    ) {
        let at = match tour.stops.iter().position(|stop| stop.shard == shard) {
            Some(at) => at,
            None => {
                self.add_stop(tour, shard);
                tour.stops.len() - 1
            }
        };
        tour.parts.push(at as u16);
        let caller = Caller { is_part: part, ..caller };
        let Stop { batch, intents, .. } = &mut tour.stops[at];
        batch.push_words(id, part, caller, words);
        if !tour.whole {
            let (_, args) = batch.request(batch.len() - 1);
            let (registry, keyspace) = (&self.shared.env.registry, &self.shard.keyspace);
            each_intent(registry, keyspace, (id, part), &args, &mut |new| {
                // Holding a key twice does no harm, so among many it is not looked for.
                let few = intents.len().min(INTENTS_COMPARED);
                match intents[..few].iter_mut().find(|intent| intent.hash == new.hash) {
                    Some(intent) => intent.exclusive |= new.exclusive,
                    None => intents.push(new),
                }
            });
        }
    }

    /// Sends a tour on its way; the connection waits for its end.
    pub(super) fn begin_tour(&mut self, io: &mut dyn Io, conn: &mut Conn, mut tour: Box<Tour>) {
        tour.sort();
        self.flush_batches();
        if conn.queue.is_empty() {
            conn.operation = Some(Operation::Touring(None));
            return self.set_out(io, tour, Some(conn));
        }
        // What this connection has sent elsewhere comes first.
        conn.operation = Some(Operation::Touring(Some(tour)));
    }

    /// Begins the tour that waited for earlier requests of its connection, which are done.
    pub(super) fn begin_waiting_tour(&mut self, io: &mut dyn Io, conn: &mut Conn) {
        if let Some(Operation::Touring(tour)) = &mut conn.operation
            && let Some(tour) = tour.take()
        {
            self.set_out(io, tour, Some(conn));
        }
    }

    pub(super) fn set_out(
        &mut self,
        io: &mut dyn Io,
        mut tour: Box<Tour>,
        conn: Option<&mut Conn>,
    ) {
        tour.now = self.now;
        let first = tour.stops[0].shard;
        match first == self.index {
            true => self.take_in(io, tour, conn),
            false => self.go_to(first, tour),
        }
    }

    fn go_to(&mut self, shard: usize, tour: Box<Tour>) {
        self.show_balance();
        self.shard.stats.hops_sent.add(1);
        self.mail.push(shard, Message::Visit(tour));
    }

    /// A tour has come here.
    pub(super) fn take_in(&mut self, io: &mut dyn Io, tour: Box<Tour>, conn: Option<&mut Conn>) {
        if self.line.is_waited_in() || !self.admits(&tour) {
            return self.line.stand_tour(tour);
        }
        self.run_stop(io, tour, conn);
    }

    /// Whether the holds of this shard let a tour run.
    pub(super) fn admits(&self, tour: &Tour) -> bool {
        let intents = &self.line.intents;
        if intents.is_empty() {
            return true;
        }
        if tour.whole {
            return false;
        }
        let path = tour.path();
        tour.intents().iter().all(|&intent| intents.admits(intent, &path))
    }

    /// Runs the part of a tour that is for this shard.
    pub(super) fn run_stop(
        &mut self,
        io: &mut dyn Io,
        mut tour: Box<Tour>,
        conn: Option<&mut Conn>,
    ) {
        let at = tour.at;
        let now = tour.now;
        let batch = &mut tour.stops[at].batch;
        // What was done here before is in the journal before what this tour does.
        self.hand_over_effects();
        self.begin_unit();
        let hashes = self.prefetch_batch(batch);
        // Parts of commands that follow each other are timed together.
        let mut parts_since = None;
        for index in 0..batch.len() {
            let (request, args) = batch.request(index);
            match parts_since {
                None if request.part => parts_since = Some(clock::monotonic()),
                Some(since) if !request.part => {
                    tour.spent += clock::monotonic().duration_since(since);
                    parts_since = None;
                }
                _ => {}
            }
            self.remember(&hashes, index, &args);
            self.run_request(io, batch, index, now);
            batch.end_reply();
            let noted = self.shard.timing.noted.drain(..);
            tour.noted.extend(noted.map(|noted| (at as u16, index, noted)));
        }
        if let Some(since) = parts_since {
            tour.spent += clock::monotonic().duration_since(since);
        }
        tour.wrote |= tour.stops[at].batch.wrote;
        tour.stops[at].effects = self.end_unit();
        if let Some(cut) = tour.cut.clone() {
            self.take_cut(&cut, at + 1 == tour.stops.len());
        }
        if at + 1 == tour.stops.len() {
            let effects = tour.stops.iter_mut().flat_map(|stop| std::mem::take(&mut stop.effects));
            self.record_unit(effects.collect());
            tour.mark = if tour.wrote { self.mark() } else { 0 };
            if self.has_ready() {
                self.serve();
            }
            return self.end_tour(io, tour, conn);
        }
        let path = tour.path();
        let stop = &mut tour.stops[at];
        if tour.whole {
            self.line.intents.hold_all();
        } else {
            let intents = std::mem::take(&mut stop.intents);
            stop.hold = self.line.intents.hold(intents, Some(&path));
        }
        let hold = (!tour.whole).then_some(tour.stops[at].hold);
        self.send_invalidations();
        tour.stops[at].published = self.keep_published(hold) | self.keep_flushed(hold);
        tour.at += 1;
        self.go_to(path[0] as usize, tour);
    }

    /// The last part has run: what is held elsewhere is let go, and the client gets its reply.
    fn end_tour(&mut self, io: &mut dyn Io, tour: Box<Tour>, conn: Option<&mut Conn>) {
        self.show_balance();
        let (last, before) = tour.stops.split_last().expect("a tour has a stop");
        if !before.is_empty() {
            // What is done next with the keys that it held elsewhere is behind it in the journal.
            self.hand_over_effects();
        }
        for stop in before.iter().filter(|stop| stop.shard != tour.origin) {
            let hold = (!tour.whole).then_some(stop.hold);
            match stop.published {
                true => self.mail.push(stop.shard, Message::Release(hold)),
                false => self.mail.push_quietly(stop.shard, Message::Release(hold)),
            }
        }
        debug_assert_eq!(last.shard, self.index);
        match tour.origin == self.index {
            true => self.toured(io, tour, conn),
            false => self.send_written(tour.mark, tour.origin, Message::Toured(tour)),
        }
    }

    /// A tour is done with keys that it held here.
    pub(super) fn release(&mut self, hold: Option<u32>) {
        self.send_kept(hold);
        self.send_kept_flush(hold);
        match hold {
            Some(hold) => self.line.release(hold),
            None => {
                self.line.release_all();
                self.note_late_listeners();
            }
        }
    }

    /// A tour is back: its connection gets the reply and goes on.
    pub(super) fn toured(&mut self, io: &mut dyn Io, mut tour: Box<Tour>, conn: Option<&mut Conn>) {
        let stops = tour.stops.len();
        let held = tour.stops[..stops - 1].iter().find(|stop| stop.shard == self.index);
        if let Some(stop) = held {
            let hold = (!tour.whole).then_some(stop.hold);
            self.release(hold);
        }
        self.count_tour(&mut tour);
        match conn {
            Some(conn) => {
                self.log_noted(Some(conn), None);
                self.finish_tour(conn, &mut tour);
            }
            None => {
                self.log_noted(None, Some(tour.token));
                let token = tour.token;
                self.with_conn(io, token, |worker, io, conn| {
                    worker.finish_tour(conn, &mut tour);
                    worker.resume(io, token, conn);
                });
            }
        }
        tour.stops.drain(..).for_each(|stop| self.keep_batch(stop.batch));
    }

    /// Counts the commands that the tour has run in parts, and has those that are to be logged logged in
    /// the order of the requests.
    fn count_tour(&mut self, tour: &mut Tour) {
        let mut noted = std::mem::take(&mut tour.noted);
        let tour = &*tour;
        let parts = |reply: &Reply| if reply.merge.is_some() { reply.parts } else { 0 };
        let all = tour.replies.iter().map(parts).sum::<usize>();
        let mut at = 0;
        let mut taken: SmallVec<[usize; 8]> = SmallVec::from_elem(0, tour.stops.len());
        for reply in &tour.replies {
            let stops = &tour.parts[at..at + reply.parts];
            at += reply.parts;
            let mut part = |stop: u16| {
                let next = &mut taken[stop as usize];
                *next += 1;
                (stop as usize, *next - 1)
            };
            let parts: SmallVec<[(usize, usize); 16]> = stops.iter().map(|&s| part(s)).collect();
            for &(stop, index) in &parts {
                let is_its = |(at, place, _): &mut (u16, usize, Noted)| {
                    (usize::from(*at), *place) == (stop, index)
                };
                let own = noted.extract_if(.., is_its).map(|(.., noted)| noted);
                self.shard.timing.noted.extend(own);
            }
            let (Some((id, _)), Some(&first)) = (reply.merge, parts.first()) else { continue };
            let request = |(stop, index): (usize, usize)| tour.stops[stop].batch.request(index);
            let (Request { caller, .. }, args) = request(first);
            let ns = tour.spent.as_nanos() as u64 * reply.parts as u64 / all.max(1) as u64;
            // A part for a key has the name in front; those for all shards have all arguments.
            let is_split = self.shared.env.registry.shape(id) != KeyShape::None;
            let rest = parts[1..].iter().filter(|_| is_split);
            let rest = rest.flat_map(|&part| request(part).1.from(1).iter());
            let (bytes, spans) = super::operation::flat(args.iter().chain(rest));
            let bytes_of =
                |&(stop, index): &(usize, usize)| tour.stops[stop].batch.reply(index).len();
            let reply_len = parts.iter().map(bytes_of).sum();
            let spent = Duration::from_nanos(ns);
            self.count_whole(id, &Args::new(&bytes, &spans), caller.client, spent, reply_len);
        }
    }

    fn finish_tour(&mut self, conn: &mut Conn, tour: &mut Tour) {
        if tour.stops.last().is_some_and(|stop| stop.shard == self.index) {
            conn.written_at = conn.written_at.max(tour.mark);
        }
        conn.operation = None;
        conn.kill_now |= tour.stops.iter().any(|stop| stop.batch.overflowed);
        let mut random = self.shard.random.fork();
        debug_assert!(conn.queue.is_empty(), "a tour begins when nothing is under way");
        if conn.session.take_reply() {
            self.begin_output(conn);
            let mut out = Encoder::new(&mut conn.out, tour.protocol);
            tour.write(&mut out, &mut random);
            conn.kill_now |= self.is_over_hard_limit(conn);
            conn.seal();
        }
    }
}

impl Tour {
    /// Puts the stops into the order of the shards.
    fn sort(&mut self) {
        if self.stops.is_sorted_by_key(|stop| stop.shard) {
            return;
        }
        let mut order: SmallVec<[u16; 8]> = (0..self.stops.len() as u16).collect();
        order.sort_unstable_by_key(|&at| self.stops[at as usize].shard);
        let mut places: SmallVec<[u16; 8]> = SmallVec::from_elem(0, order.len());
        for (new, &old) in order.iter().enumerate() {
            places[old as usize] = new as u16;
        }
        self.stops.sort_unstable_by_key(|stop| stop.shard);
        self.parts.iter_mut().for_each(|part| *part = places[*part as usize]);
    }
}
