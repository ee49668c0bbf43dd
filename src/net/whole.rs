//! Commands that run with the keys of all shards at hand: every shard has lent all of its tables.
//!
//! A command on one shard's keys runs with that shard's tables and channels in place of the own ones,
//! one on all keys part by part, and one on keys of several shards with these brought together.

use super::dispatch::evenly_spaced;
use super::gather::{Loan, Loans};
use super::scanning::Scanning;
use super::script::Holds;
use super::worker::Worker;
use crate::clock;
use crate::command::{Caller, Command, CommandId, Run, ShardFn, Spread, execute};
use crate::resp::{Args, Encoder};
use crate::route::merge;
use crate::rt::Io;
use crate::shard::Parcel;

impl Worker {
    /// Runs a command with all keys at hand; appends its reply.
    pub(super) fn run_on_all(
        &mut self,
        io: &mut dyn Io,
        (id, now): (CommandId, i64),
        args: &Args,
        caller: Caller,
        loans: &mut Loans,
        out: &mut Vec<u8>,
    ) {
        let command = self.shared.env.registry.command(id);
        let (began, start) = (clock::monotonic(), out.len());
        let in_parts = match command.spread {
            Spread::EveryShard { .. } => !matches!(command.run, Run::Script(_)),
            Spread::PerKey { .. } => self.is_in_parts(command, args),
            _ => false,
        };
        match command.spread {
            _ if matches!(command.run, Run::Script(_)) => {
                self.run_script(io, (id, now), args, caller, Holds::All(loans), out);
            }
            Spread::EveryShard { part, merge: kind } => {
                let parts = self.run_parts((id, part, now), args, caller, loans);
                let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
                let mut random = self.shard.random.fork();
                merge(kind, &parts, &mut Encoder::new(out, caller.protocol), &mut random);
            }
            Spread::PerKey { part, merge: kind } if in_parts => {
                let parts = self.run_key_parts((id, part, now), args, caller, loans);
                let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
                let mut random = self.shard.random.fork();
                merge(kind, &parts, &mut Encoder::new(out, caller.protocol), &mut random);
            }
            Spread::Cursor => self.scan_all(io, (id, now), args, caller, loans, out),
            _ => self.run_keyed(io, (id, command, now), args, caller, loans, out),
        }
        if in_parts {
            let reply = out.len().saturating_sub(start);
            self.count_whole(id, args, caller.client, began.elapsed(), reply);
        }
    }

    fn scan_all(
        &mut self,
        io: &mut dyn Io,
        (id, now): (CommandId, i64),
        args: &Args,
        caller: Caller,
        loans: &mut Loans,
        out: &mut Vec<u8>,
    ) {
        let mut out = Encoder::new(out, caller.protocol);
        let Some(mut scanning) = Scanning::new(id, args, self.slots.shards()) else {
            return Scanning::write_end(&mut out);
        };
        loop {
            let (bytes, spans) = super::operation::flat(scanning.words());
            let (args, mut reply) = (Args::new(&bytes, &spans), Vec::new());
            self.on_tables(loans, scanning.shard(), |worker| {
                worker.run_command(io, id, args, caller, now, &mut reply);
            });
            if scanning.take(&reply, &mut out) {
                return;
            }
        }
    }

    fn run_parts(
        &mut self,
        (id, part, now): (CommandId, ShardFn, i64),
        args: &Args,
        caller: Caller,
        loans: &mut Loans,
    ) -> Vec<Vec<u8>> {
        let caller = Caller { is_part: true, ..caller };
        let shards = self.slots.shards();
        let run = |shard| {
            let mut reply = Vec::new();
            self.on_tables(loans, shard, |worker| {
                let registry = &worker.shared.env.registry;
                execute(registry, &mut worker.shard, (id, part), *args, caller, now, &mut reply);
            });
            reply
        };
        (0..shards).map(run).collect()
    }

    /// Whether a command has keys or channels of several shards, each with its part.
    fn is_in_parts(&self, command: &Command, args: &Args) -> bool {
        let indexes = command.key_indexes(args).unwrap_or_default();
        let mut owners = indexes.iter().map(|&at| self.slots.owner_of(args.at(at as usize)));
        let first = owners.next();
        owners.any(|owner| Some(owner) != first) && evenly_spaced(&indexes, args.len())
    }

    /// Runs a command's part for each of its keys on the tables of the key's shard.
    fn run_key_parts(
        &mut self,
        (id, part, now): (CommandId, ShardFn, i64),
        args: &Args,
        caller: Caller,
        loans: &mut Loans,
    ) -> Vec<Vec<u8>> {
        let caller = Caller { is_part: true, ..caller };
        let indexes = self.shared.env.registry.command(id).key_indexes(args).unwrap_or_default();
        let run = |(n, &at): (usize, &u32)| {
            let end = indexes.get(n + 1).map_or(args.len(), |&next| next as usize);
            let words = args.iter().take(1).chain(args.range(at as usize, end).iter());
            let (bytes, spans) = super::operation::flat(words);
            let mut reply = Vec::new();
            self.on_tables(loans, self.slots.owner_of(args.at(at as usize)), |worker| {
                let (registry, args) = (&worker.shared.env.registry, Args::new(&bytes, &spans));
                execute(registry, &mut worker.shard, (id, part), args, caller, now, &mut reply);
            });
            reply
        };
        indexes.iter().enumerate().map(run).collect()
    }

    /// Runs a command on named keys: on the tables of their shard, or with all of them brought here.
    fn run_keyed(
        &mut self,
        io: &mut dyn Io,
        (id, command, now): (CommandId, &'static Command, i64),
        args: &Args,
        caller: Caller,
        loans: &mut Loans,
        out: &mut Vec<u8>,
    ) {
        let named = command.key_indexes(args).unwrap_or_default();
        let mut owners = named.iter().map(|&at| self.slots.owner_of(args.at(at as usize)));
        let first = owners.next().unwrap_or(self.index);
        if !command.uses_unnamed(args) && owners.all(|owner| owner == first) {
            return self.on_tables(loans, first, |worker| {
                worker.run_command(io, id, *args, caller, now, out);
            });
        }
        let mut by_shard: Vec<Vec<Box<[u8]>>> = vec![Vec::new(); self.slots.shards()];
        let named = named.iter().map(|&index| Box::from(args.at(index as usize)));
        let unnamed = self.unnamed_keys(command, args, caller, loans);
        named.chain(unnamed).for_each(|key| by_shard[self.slots.owner_of(&key)].push(key));
        let mut parcels = Vec::new();
        self.shard.keyspace.channels.begin_block();
        for (shard, mut keys) in by_shard.into_iter().enumerate() {
            if shard != self.index && !keys.is_empty() {
                keys.sort_unstable();
                keys.dedup();
                let mut parcel = Parcel::new(keys);
                self.on_tables(loans, shard, |worker| {
                    worker.shard.keyspace.pack(&mut parcel, now);
                });
                self.shard.keyspace.unpack(&mut parcel, now);
                parcels.push((shard, parcel));
            }
        }
        self.run_command(io, id, *args, caller, now, out);
        for (shard, mut parcel) in parcels {
            self.shard.keyspace.repack(&mut parcel, now);
            self.on_tables(loans, shard, |worker| {
                worker.shard.keyspace.accept(&mut parcel, now);
            });
        }
        for foreign in self.shard.keyspace.channels.end_block() {
            let owner = self.slots.owner_of(foreign.home());
            self.on_tables(loans, owner, |worker| {
                worker.shard.keyspace.publish_foreign(foreign);
            });
        }
    }

    /// The keys that a command uses and does not name.
    fn unnamed_keys(
        &mut self,
        command: &Command,
        args: &Args,
        caller: Caller,
        loans: &mut Loans,
    ) -> Vec<Box<[u8]>> {
        let mut names = Vec::new();
        if command.uses_unnamed(args)
            && let Some(unnamed) = command.unnamed_keys
        {
            let first = self.slots.owner_of(args.at(1));
            self.on_tables(loans, first, |worker| {
                let mut keys = worker.shard.keyspace.keys(caller.db as usize, worker.now, false);
                names = (unnamed.names)(&mut keys, args);
            });
        }
        names
    }

    /// Does something with the keys and channels of another shard as if they were the own ones.
    fn on_tables(&mut self, loans: &mut [Box<Loan>], shard: usize, work: impl FnOnce(&mut Worker)) {
        let loan = loans.iter_mut().find(|loan| loan.owner() == shard);
        match loan.and_then(|loan| loan.everything.as_mut()) {
            Some(everything) => {
                self.shard.exchange(everything);
                let own = self.shard.keyspace.recorder.effects.at_shard(shard);
                work(self);
                self.shard.keyspace.recorder.effects.at_shard(own);
                self.shard.exchange(everything);
            }
            None => work(self),
        }
    }
}
