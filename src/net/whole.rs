//! Blocks with a command that sees all keys: every shard has lent all of its tables.
//!
//! The commands run here, one after the other, with the tables of the shard that they mean in place of the
//! own ones, part by part.

use super::conn::Conn;
use super::gather::Loan;
use super::operation::Operation;
use super::worker::Worker;
use crate::command::{Command, CommandId, ShardFn, Spread, execute};
use crate::resp::Args;
use crate::route::merge;
use crate::shard::Parcel;

impl Worker {
    /// Runs a command of a block that has borrowed everything.
    pub(super) fn run_on_all(
        &mut self,
        conn: &mut Conn,
        (id, command): (CommandId, &'static Command),
        args: &Args,
        loans: &mut [Box<Loan>],
    ) {
        match command.spread {
            Spread::EveryShard { part, merge: kind } => {
                let parts = self.run_parts(conn, (id, part), args, loans);
                let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
                let mut random = self.shard.random.fork();
                self.reply_to_command(conn, |out| merge(kind, &parts, out, &mut random));
            }
            Spread::Cursor => {
                self.start_scan(conn, id, args);
                while let Some(Operation::Scanning(scanning)) = &conn.operation {
                    let shard = scanning.shard();
                    self.on_tables(loans, shard, |worker| worker.scan_here(conn));
                }
            }
            _ => self.run_keyed(conn, (id, command), args, loans),
        }
    }

    fn run_parts(
        &mut self,
        conn: &Conn,
        (id, part): (CommandId, ShardFn),
        args: &Args,
        loans: &mut [Box<Loan>],
    ) -> Vec<Vec<u8>> {
        let caller = super::dispatch::caller(conn);
        let shards = self.slots.shards();
        let run = |shard| {
            let mut reply = Vec::new();
            self.on_tables(loans, shard, |worker| {
                let (registry, now) = (&worker.shared.env.registry, worker.now);
                execute(registry, &mut worker.shard, (id, part), *args, caller, now, &mut reply);
            });
            reply
        };
        (0..shards).map(run).collect()
    }

    /// Runs a command on named keys: on the tables of their shard, or with all of them brought here.
    fn run_keyed(
        &mut self,
        conn: &mut Conn,
        (id, command): (CommandId, &'static Command),
        args: &Args,
        loans: &mut [Box<Loan>],
    ) {
        let mut by_shard: Vec<Vec<Box<[u8]>>> = vec![Vec::new(); self.slots.shards()];
        let named = command.key_indexes(args).unwrap_or_default();
        let named = named.iter().map(|&index| Box::from(args.at(index as usize)));
        let unnamed = self.unnamed_keys(conn, command, args, loans);
        named.chain(unnamed).for_each(|key| by_shard[self.slots.owner_of(&key)].push(key));
        for keys in &mut by_shard {
            keys.sort_unstable();
            keys.dedup();
        }
        let mut owners = (0..by_shard.len()).filter(|&shard| !by_shard[shard].is_empty());
        if let (first, None) = (owners.next(), owners.next()) {
            let shard = first.unwrap_or(self.index);
            return self.on_tables(loans, shard, |worker| worker.run_here(conn, id, args, None));
        }
        let now = self.now;
        let mut parcels = Vec::new();
        for (shard, keys) in by_shard.into_iter().enumerate() {
            if shard != self.index && !keys.is_empty() {
                let mut parcel = Parcel::new(keys);
                self.on_tables(loans, shard, |worker| {
                    worker.shard.keyspace.pack(&mut parcel, now);
                });
                self.shard.keyspace.unpack(&mut parcel, now);
                parcels.push((shard, parcel));
            }
        }
        self.run_here(conn, id, args, None);
        for (shard, mut parcel) in parcels {
            self.shard.keyspace.repack(&mut parcel, now);
            self.on_tables(loans, shard, |worker| {
                worker.shard.keyspace.accept(&mut parcel, now);
            });
        }
    }

    /// The keys that a command uses and does not name.
    fn unnamed_keys(
        &mut self,
        conn: &Conn,
        command: &Command,
        args: &Args,
        loans: &mut [Box<Loan>],
    ) -> Vec<Box<[u8]>> {
        let mut names = Vec::new();
        if command.uses_unnamed(args)
            && let Some(unnamed) = command.unnamed_keys
        {
            let first = self.slots.owner_of(args.at(1));
            self.on_tables(loans, first, |worker| {
                let mut keys = worker.shard.keyspace.keys(conn.session.db, worker.now, false);
                names = (unnamed.names)(&mut keys, args);
            });
        }
        names
    }

    /// Does something with the keys of another shard as if they were the own ones.
    fn on_tables(&mut self, loans: &mut [Box<Loan>], shard: usize, work: impl FnOnce(&mut Worker)) {
        let loan = loans.iter_mut().find(|loan| loan.owner() == shard);
        match loan.and_then(|loan| loan.tables.as_mut()) {
            Some(tables) => {
                self.shard.keyspace.exchange(tables);
                work(self);
                self.shard.keyspace.exchange(tables);
            }
            None => work(self),
        }
    }
}
