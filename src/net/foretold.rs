//! Scripts that run with the keys that they are expected to touch, and what happens when they touch others.
//!
//! ```text
//!   way ──> all keys here and free ────────────────> run ──┬── done
//!       └─> borrowed (gather) ──> all there ──> run ──┬────┴─────────── done, given back
//!                         ^                          │ a key that is not at hand: given up
//!                         └── the key is free ── Lend(trying) ──> the key is held by others,
//!                                                                 or all is needed:
//!                                                                 given back, runs with everything held
//! ```
//!
//! - A run is a trial (see `shard::trial`): it is given up without effect, at any command. So
//!   there is never half of one.
//! - What it holds it keeps while it asks for a key more, so it comes to the same key again, and has it.
//! - It asks out of order, and so must not wait: a key that is not free is refused, and then it lets go of all that it
//!   has. Everything is held in the order of the shards. So nobody waits in a circle.
//! - A key of the shard where it runs is at hand if nobody holds it: nothing else runs there meanwhile.
//! - It begins when all earlier requests of its connection are answered, so it overtakes none of them.

use super::conn::Conn;
use super::gather::{Channel, Loans, Wanted, Work};
use super::operation::flat;
use super::script::{Ended, Holds, needs_all, sort};
use super::worker::Worker;
use crate::command::{Caller, Command, CommandId, Run, WRITE};
use crate::resp::Args;
use crate::rt::{Io, Token};
use crate::script::{Sort, Touched};
use crate::shard::{Intent, Trial};

/// Times that one script asks for more keys.
const ROUNDS_MAX: u32 = 4;

/// A script that gathers the keys that it is expected to touch.
pub(super) struct Foretold {
    id: CommandId,
    caller: Caller,
    words: Vec<Vec<u8>>,
    /// Those beside the ones that it was given.
    told: Vec<Touched>,
    /// How often it was given up.
    rounds: u32,
}

/// A run that may be given up.
pub(super) struct Trying<'a> {
    declared: Args<'a>,
    told: &'a [Touched],
    /// What it has touched beside the keys that it was given.
    touched: Vec<Touched>,
    trial: Trial,
    ended: Ended,
    /// What is to be shown of it begins there.
    shown: usize,
}

impl Trying<'_> {
    /// Whether a command may run: its keys are at hand, and it can be undone. If not, the run has ended.
    pub(super) fn admits(
        &mut self,
        worker: &mut Worker,
        (id, command): (CommandId, &Command),
        args: &Args,
    ) -> bool {
        if matches!(self.ended, Ended::Done) {
            self.ended = self.look_at(worker, (id, command), args);
        }
        matches!(self.ended, Ended::Done)
    }

    pub(super) fn needs_all(&mut self) {
        self.ended = Ended::NeedsAll;
    }

    fn look_at(
        &mut self,
        worker: &mut Worker,
        (id, command): (CommandId, &Command),
        args: &Args,
    ) -> Ended {
        self.trial.counts(&worker.shard.stats, id.0);
        if needs_all(command, args) {
            return Ended::NeedsAll;
        }
        let indexes = command.key_indexes(args).unwrap_or_default();
        let sort = sort(command);
        let mut missing = Vec::new();
        for &at in &indexes {
            let name = args.at(at as usize);
            if !self.has(worker, sort, name) {
                missing.push(Touched { sort, name: name.into() });
            }
        }
        if !missing.is_empty() {
            return Ended::Needs(missing);
        }
        if command.flags.has(WRITE) && matches!(command.run, Run::Shard(_)) {
            let written = command.written_indexes(args).unwrap_or_default();
            let mut keys = written.iter().map(|&at| args.at(at as usize));
            if !keys.all(|key| self.trial.keep(&mut worker.shard, key)) {
                return Ended::NeedsAll;
            }
        }
        Ended::Done
    }

    /// Whether a key, or who listens to a channel, is at hand.
    fn has(&mut self, worker: &mut Worker, sort: Sort, name: &[u8]) -> bool {
        let given = sort == Sort::Key && self.declared.iter().any(|own| own == name);
        if given || self.touched.iter().any(|own| own.is(sort, name)) {
            return true;
        }
        if !self.told.iter().any(|own| own.is(sort, name)) {
            if !worker.is_at_hand(sort, name) {
                return false;
            }
            if sort == Sort::Key && worker.shard.keyspace.has_expired(name, worker.now) {
                // It goes when it is looked at, which has to be undone.
                self.trial.keep(&mut worker.shard, name);
            }
        }
        self.touched.push(Touched { sort, name: name.into() });
        true
    }
}

/// The channels among what a script touches.
fn channels_of(touched: &[Touched]) -> Vec<Channel> {
    let channels = touched.iter().filter(|own| own.sort != Sort::Key);
    let channel = |own: &Touched| {
        let sharded = own.sort == Sort::ShardChannel;
        Channel { name: own.name.clone(), sharded, clients: 0 }
    };
    channels.map(channel).collect()
}

impl Worker {
    /// Whether a key belongs to this shard, and nobody holds it.
    fn is_free_here(&self, key: &[u8]) -> bool {
        if self.slots.owner_of(key) != self.index {
            return false;
        }
        let intents = &self.line.intents;
        let intent = || Intent { hash: self.shard.keyspace.hash(key), exclusive: true };
        intents.is_empty() || !intents.bars(intent())
    }

    /// As [`Worker::is_free_here`], also of channels, whose owner always knows who listens.
    fn is_at_hand(&self, sort: Sort, name: &[u8]) -> bool {
        match sort {
            Sort::Key => self.is_free_here(name),
            Sort::Channel | Sort::ShardChannel => self.slots.owner_of(name) == self.index,
        }
    }

    /// What a run needs that may be given up.
    pub(super) fn trying<'a>(&mut self, declared: Args<'a>, told: &'a [Touched]) -> Trying<'a> {
        let shown = self.monitors.mark();
        let trial = self.shard.begin_trial();
        Trying { declared, told, touched: Vec::new(), trial, ended: Ended::Done, shown }
    }

    /// Ends a run: undoes it if it was given up. Answers what it has touched.
    pub(super) fn end_trying(&mut self, trying: Trying, now: i64) -> (Vec<Touched>, Ended) {
        let Trying { touched, trial, ended, shown, .. } = trying;
        let stats = &self.shard.stats;
        if matches!(ended, Ended::Done) {
            stats.scripts_foretold.add(1);
            trial.end(&mut self.shard);
        } else if self.shared.env.faults.keep_given_up {
            trial.end(&mut self.shard);
        } else {
            trial.undo(&mut self.shard, now);
            self.monitors.take_back(shown);
        }
        (touched, ended)
    }

    /// Begins a script that is expected to touch these keys beside its own.
    pub(super) fn begin_foretold(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        conn: &mut Conn,
        (id, args): (CommandId, &Args),
        indexes: &[u32],
        mut told: Vec<Touched>,
    ) {
        let caller = super::dispatch::caller(conn);
        let own = || indexes.iter().map(|&at| args.at(at as usize));
        debug_assert!(conn.queue.is_empty(), "it waits for what was asked before");
        let free = own().all(|key| self.is_free_here(key));
        if free && told.iter().all(|own| self.is_at_hand(own.sort, &own.name)) {
            let db = usize::from(caller.db);
            own().for_each(|key| self.shard.settle(db, self.now, key));
            told.iter().for_each(|own| self.shard.settle(db, self.now, &own.name));
            let mut reply = self.buffer();
            let at = (id, self.now);
            match self.run_script(io, at, args, caller, Holds::Foretold(&told), &mut reply) {
                Ended::Done => {
                    self.reply_to_command(conn, |out| out.raw(&reply));
                    self.keep_buffer(reply);
                    return self.serve_unless_executing(conn);
                }
                Ended::Needs(more) => {
                    self.shard.stats.scripts_extended.add(1);
                    told.extend(more);
                }
                Ended::NeedsAll => {
                    self.shard.stats.scripts_given_up.add(1);
                    return self.begin_gather_all(io, token, conn, id, args);
                }
            }
        }
        let names = told.iter().map(|own| own.name.clone());
        let keys = own().map(Box::from).chain(names).collect();
        let channels = channels_of(&told);
        let words = args.iter().map(<[u8]>::to_vec).collect();
        let work = Work::Script(Box::new(Foretold { id, caller, words, told, rounds: 0 }));
        self.gather(io, token, conn, work, Wanted { keys, channels, ..Wanted::default() });
    }

    /// The keys of a script are there that it is expected to touch.
    pub(super) fn run_foretold(
        &mut self,
        io: &mut dyn Io,
        (gather, token): (u64, Token),
        mut script: Box<Foretold>,
        mut loans: Loans,
        conn: Option<&mut Conn>,
    ) {
        let Foretold { id, caller, words, told, .. } = &*script;
        let (bytes, spans) = flat(words.iter().map(Vec::as_slice));
        let args = Args::new(&bytes, &spans);
        if loans.iter().any(|loan| loan.is_refused()) {
            loans.retain(|loan| !loan.is_refused());
            return self.run_with_all(io, token, script, loans, conn);
        }
        self.unpack(&mut loans);
        let db = usize::from(caller.db);
        let keys = loans.iter().flat_map(|loan| loan.keys());
        keys.for_each(|key| self.shard.settle(db, self.now, key));
        // What has expired is gone, whatever becomes of the script.
        self.record_rest();
        self.begin_unit();
        let mut reply = Vec::new();
        let at = (*id, self.now);
        let holds = Holds::Foretold(told);
        let ended = self.run_script(io, at, &args, *caller, holds, &mut reply);
        let effects = self.repack(&mut loans);
        match ended {
            Ended::Done => {
                self.record_unit(effects);
                let mark = self.take_mark();
                self.finish_gathered(io, token, (&reply, mark), None, conn);
                self.give_back(loans);
            }
            Ended::Needs(more) if script.rounds < ROUNDS_MAX => {
                script.rounds += 1;
                self.shard.stats.scripts_extended.add(1);
                let wanted = self.try_to_borrow((gather, token), &more);
                script.told.extend(more);
                self.gather_more(io, (gather, token), Work::Script(script), (wanted, loans), conn);
            }
            Ended::Needs(_) | Ended::NeedsAll => {
                if matches!(ended, Ended::Needs(_)) {
                    self.note_failure(*id, &args);
                }
                self.run_with_all(io, token, script, loans, conn);
            }
        }
    }

    /// Loans of keys if they are free.
    fn try_to_borrow(&mut self, at: (u64, Token), more: &[Touched]) -> Loans {
        let mut by_shard: Vec<Vec<Touched>> = vec![Vec::new(); self.slots.shards()];
        for own in more {
            by_shard[self.slots.owner_of(&own.name)].push(own.clone());
        }
        let wanted = by_shard.into_iter().enumerate().filter(|(_, more)| !more.is_empty());
        let loan = |(owner, more): (usize, Vec<Touched>)| {
            let keys = more.iter().map(|own| own.name.clone()).collect();
            self.loan(at, owner, keys).if_free().with_channels(channels_of(&more))
        };
        wanted.map(loan).collect()
    }

    /// Gives back what a script holds, which runs with everything held instead.
    fn run_with_all(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        script: Box<Foretold>,
        loans: Loans,
        conn: Option<&mut Conn>,
    ) {
        self.shard.stats.scripts_given_up.add(1);
        self.give_back(loans);
        let Foretold { id, caller, words, .. } = *script;
        let work = Work::Command { id, caller, words };
        let wanted = Wanted { whole: true, ..Wanted::default() };
        match conn {
            Some(conn) => self.gather(io, token, conn, work, wanted),
            // Who is gone has asked for nothing.
            None => self.with_conn(io, token, |worker, io, conn| {
                worker.gather(io, token, conn, work, wanted);
                worker.resume(io, token, conn);
            }),
        }
    }
}
