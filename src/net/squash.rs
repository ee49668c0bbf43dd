//! How requests become the parts of a tour.

use super::conn::Conn;
use super::dispatch::{caller, evenly_spaced};
use super::tour::Tour;
use super::worker::Worker;
use crate::command::{Caller, CommandId, KeyShape, Run, Spread};
use crate::resp::Args;
use crate::route::Batch;
use crate::rt::Token;

impl Worker {
    /// A tour that runs a command's part on every shard.
    pub(super) fn tour_of_all(
        &mut self,
        token: Token,
        conn: &Conn,
        id: CommandId,
        args: &Args,
    ) -> Box<Tour> {
        let mut tour = Tour::new(self.index, token, conn.session.protocol).of_all();
        if let Spread::EveryShard { merge, .. } = self.shared.env.registry.command(id).spread {
            let shards = self.slots.shards();
            tour.reply(Some((id, merge)), shards);
            for shard in 0..shards {
                self.add_part(&mut tour, shard, (id, true), caller(conn), args.iter());
            }
        }
        tour
    }

    /// Adds a command's parts, one for each key, to a tour.
    pub(super) fn add_parts(
        &mut self,
        tour: &mut Tour,
        id: CommandId,
        caller: Caller,
        args: &Args,
        indexes: &[u32],
    ) {
        let Spread::PerKey { merge, .. } = self.shared.env.registry.command(id).spread else {
            return;
        };
        tour.reply(Some((id, merge)), indexes.len());
        for (n, &at) in indexes.iter().enumerate() {
            let end = indexes.get(n + 1).map_or(args.len(), |&next| next as usize);
            let words = args.iter().take(1).chain(args.range(at as usize, end).iter());
            let owner = self.slots.owner_of(args.at(at as usize));
            self.add_part(tour, owner, (id, true), caller, words);
        }
    }

    /// A tour of a block's requests, each on the shard of its keys; none when one of them needs
    /// the keys of several shards in one place.
    pub(super) fn squash(&mut self, token: Token, conn: &Conn, queue: &Batch) -> Option<Box<Tour>> {
        if !(0..queue.len()).all(|at| self.can_be_squashed(queue, at)) {
            return None;
        }
        let mut tour = Tour::new(self.index, token, conn.session.protocol).of_block();
        for at in 0..queue.len() {
            let (request, args) = queue.request(at);
            let (id, caller) = (request.id, request.caller);
            let indexes = self.shared.env.registry.command(id).key_indexes(&args).ok()?;
            let owners = indexes.iter().map(|&at| self.slots.owner_of(args.at(at as usize)));
            match one_of(owners) {
                Some(owner) => {
                    tour.reply(None, 1);
                    self.add_part(&mut tour, owner, (id, false), caller, args.iter());
                }
                None => self.add_parts(&mut tour, id, caller, &args, &indexes),
            }
        }
        Some(tour)
    }

    fn can_be_squashed(&self, queue: &Batch, at: usize) -> bool {
        let (request, args) = queue.request(at);
        let registry = &self.shared.env.registry;
        let command = registry.command(request.id);
        if !matches!(command.run, Run::Shard(_)) {
            return false;
        }
        match registry.shape(request.id) {
            KeyShape::None => false,
            KeyShape::One(_) => true,
            KeyShape::Several => {
                let Ok(indexes) = command.key_indexes(&args) else { return false };
                let owners = indexes.iter().map(|&at| self.slots.owner_of(args.at(at as usize)));
                one_of(owners).is_some()
                    || (matches!(command.spread, Spread::PerKey { .. })
                        && !indexes.is_empty()
                        && evenly_spaced(&indexes, args.len()))
            }
        }
    }
}

/// The owner when all are the same.
fn one_of(mut owners: impl Iterator<Item = usize>) -> Option<usize> {
    let first = owners.next()?;
    owners.all(|owner| owner == first).then_some(first)
}
