//! CLIENT PAUSE: for a while no command runs, or none that writes, on any shard.
//!
//! A shard that is told to pause lets nothing begin, and answers when what its connections have under
//! way on any shard is done. So when the asking client gets its `+OK`, nothing runs any more.
//! Requests that must wait stay unread in their connection's buffer.

use super::conn::Conn;
use super::operation::{Answer, Operation};
use super::worker::Worker;
use crate::command::{Command, InMulti, MAY_REPLICATE, Run, WRITE};
use crate::resp::Args;
use crate::rt::{Io, Token};

/// What a shard does not run for now.
#[derive(Debug, Default)]
pub struct Pause {
    /// Milliseconds since the epoch; 0 when there is no pause.
    until: i64,
    /// Also what only reads.
    all: bool,
    /// Who is to hear that nothing is under way any more: shards and their connections.
    askers: Vec<(usize, Token)>,
    /// Connections whose next request waits.
    held: Vec<Token>,
    /// What writes waits, whatever the time is.
    holds: bool,
    /// All waits until nothing is under way.
    drains: bool,
    /// Those who wait are to look again whether they must.
    looks_again: bool,
}

impl Pause {
    /// Whether commands may have to wait.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.until > 0 || self.holds || !self.askers.is_empty()
    }

    /// Whether keys stay although they have expired.
    pub fn keeps_expired(&self) -> bool {
        self.until > 0 || self.holds
    }

    /// Lets nothing begin that writes, or nothing at all while what is under way `drains`.
    pub fn hold(&mut self, drains: bool) {
        self.looks_again |= self.drains && !drains;
        (self.holds, self.drains) = (true, drains);
    }

    /// Ends what [`Pause::hold`] has begun.
    pub fn let_go(&mut self) {
        self.looks_again |= self.holds;
        (self.holds, self.drains) = (false, false);
    }

    /// Whether somebody waits for its end.
    pub fn has_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// When it ends by itself.
    pub fn deadline(&self) -> Option<i64> {
        (self.until > 0).then_some(self.until)
    }
}

impl Worker {
    /// Has nothing more begin until a time; `from` and its connection hear when nothing is under way.
    pub(super) fn begin_pause(&mut self, until: i64, all: bool, asker: (usize, Token)) {
        if until > self.now {
            // A longer pause goes on, and so does one of everything.
            self.pause.all = all || (self.pause.all && self.pause.until > 0);
            self.pause.until = self.pause.until.max(until);
            self.shard.keyspace.keeps_expired = true;
        }
        self.pause.askers.push(asker);
        self.more = true;
    }

    /// Has no write begin any more, as long as [`Worker::end_pause`] is not called.
    pub(super) fn hold_writes(&mut self) {
        self.pause.until = i64::MAX;
        self.shard.keyspace.keeps_expired = true;
        self.more = true;
    }

    pub(super) fn end_pause(&mut self) {
        self.pause.until = 0;
        self.pause.all = false;
        self.shard.keyspace.keeps_expired = self.pause.keeps_expired();
        self.more = true;
    }

    /// Whether a request must wait because of a pause.
    #[cold]
    pub(super) fn is_paused_for(
        &mut self,
        conn: &Conn,
        command: &'static Command,
        args: &Args,
    ) -> bool {
        // While the shard runs dry nothing begins; so it does run dry.
        if self.pause.all || self.pause.drains || !self.pause.askers.is_empty() {
            return true;
        }
        match (conn.session.multi, command.in_multi) {
            (Some(multi), InMulti::Executes) => {
                multi.writes && self.any_queued(conn, Worker::may_write)
            }
            _ => self.may_write(command, args),
        }
    }

    /// Whether a command may write, or be heard of elsewhere; scripts say of themselves whether they do.
    fn may_write(&mut self, command: &'static Command, args: &Args) -> bool {
        let may = command.flags.has(WRITE) || command.flags.has(MAY_REPLICATE);
        match command.run {
            Run::Script(call) => may && self.script_may_write(call, args),
            _ => may,
        }
    }

    /// Has a connection wait for the end of the pause.
    pub(super) fn hold(&mut self, token: Token, conn: &mut Conn) {
        conn.operation = Some(Operation::Paused);
        self.pause.held.push(token);
        self.shard.stats.blocked_clients.add(1);
    }

    /// A connection goes, maybe while it waits for the end of the pause.
    pub(super) fn forget_held(&mut self, token: Token, conn: &Conn) {
        if matches!(conn.operation, Some(Operation::Paused))
            && let Some(at) = self.pause.held.iter().position(|held| *held == token)
        {
            self.pause.held.swap_remove(at);
            self.shard.stats.blocked_clients.sub(1);
        }
    }

    /// Once a turn: says that nothing is under way, and ends a pause whose time is up.
    pub(super) fn look_at_pause(&mut self, io: &mut dyn Io) {
        if self.pause.until > 0 && self.pause.until <= self.now {
            self.end_pause();
        }
        let had_askers = !self.pause.askers.is_empty();
        if had_askers && self.has_run_dry() {
            for (shard, connection) in std::mem::take(&mut self.pause.askers) {
                let answer = Answer::default();
                match shard == self.index {
                    true => self.told(io, connection, answer),
                    false => self.mail.push(shard, super::Message::Told { connection, answer }),
                }
            }
        }
        let ended = (self.pause.until == 0 && !self.pause.holds)
            || (had_askers && !self.pause.all)
            || std::mem::take(&mut self.pause.looks_again);
        if self.pause.askers.is_empty() && ended && !self.pause.held.is_empty() {
            let held = std::mem::take(&mut self.pause.held);
            self.shard.stats.blocked_clients.sub(held.len() as u64);
            for token in held {
                self.with_conn(io, token, |worker, io, conn| {
                    if matches!(conn.operation, Some(Operation::Paused)) {
                        conn.operation = None;
                        worker.resume(io, token, conn);
                    }
                });
            }
        }
    }

    /// Whether none of the connections has anything under way.
    pub(super) fn has_run_dry(&self) -> bool {
        (0..self.conn_slots()).filter_map(|at| self.conn_at(at)).all(|(_, conn)| {
            let waits = match &conn.operation {
                None
                | Some(
                    Operation::Paused
                    | Operation::Behind
                    | Operation::Syncing
                    | Operation::Reloading
                    | Operation::Asking { .. },
                ) => true,
                Some(Operation::Blocking(blocking)) => blocking.is_waiting(),
                Some(_) => false,
            };
            waits && !conn.queue.awaits_others() && conn.put_off == 0
        })
    }
}
