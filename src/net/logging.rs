//! From what shards have noted of commands to the logs of the whole server.
//!
//! ```text
//!   shard that ran a command            shard of its client
//!      │ notes it: arguments, time         │
//!      │── Noted ─────────────────────────>│ knows the client's address and name
//!      │── its reply ─────────────────────>│ adds it to the log, which gives it its id
//! ```
//!
//! A client that has got the reply to a slow command finds it in the log.

use super::conn::Conn;
use super::mail::Message;
use super::worker::Worker;
use crate::command::{CommandId, Ran, look_at};
use crate::metrics::{LatencyEvent, LogEntry, LogKind};
use crate::resp::Args;
use crate::rt::Token;
use crate::session::{ClientRef, Session};
use crate::shard::Noted;
use std::time::Duration;

impl Worker {
    /// Logs what commands have been noted, those of `conn` among them; `token` is the connection
    /// of those of other shards.
    #[inline]
    pub(super) fn log_noted(&mut self, conn: Option<&Conn>, token: Option<Token>) {
        let timing = &self.shard.timing;
        if !timing.noted.is_empty() || !timing.events.is_empty() {
            self.log_all_noted(conn, token);
        }
    }

    #[cold]
    fn log_all_noted(&mut self, conn: Option<&Conn>, token: Option<Token>) {
        for (event, at, ms) in std::mem::take(&mut self.shard.timing.events) {
            self.shared.env.latency().add(event, at, ms);
        }
        for noted in std::mem::take(&mut self.shard.timing.noted) {
            match conn.filter(|conn| conn.client == noted.client) {
                Some(conn) => self.log(&noted, Some(&conn.session)),
                None if noted.client.shard() == self.index => self.log_elsewhere(noted, token),
                None if noted.client == ClientRef::NOBODY => {}
                None => {
                    let home = noted.client.shard();
                    self.mail.push_quietly(home, Message::Noted(token, Box::new(noted)));
                }
            }
        }
    }

    /// A command of a client of this shard that is not being served, or is but not here.
    pub(super) fn log_elsewhere(&mut self, noted: Noted, token: Option<Token>) {
        let at_token = token.and_then(|token| self.conn_slot(token));
        let found = match at_token.filter(|conn| conn.client == noted.client) {
            Some(conn) => Some(conn),
            None => (0..self.conn_slots())
                .filter_map(|at| self.conn_at(at))
                .map(|(_, conn)| conn)
                .find(|conn| conn.client == noted.client),
        };
        match found.map(|conn| conn.session.clone()) {
            Some(session) => self.log(&noted, Some(&session)),
            // It may be the one that is being served; at the end of the turn none is.
            None => self.unplaced.push(noted),
        }
    }

    /// At the end of a turn: what could not be given to a client yet.
    #[inline]
    pub(super) fn log_rest(&mut self) {
        self.log_noted(None, None);
        if !self.unplaced.is_empty() {
            for noted in std::mem::take(&mut self.unplaced) {
                self.log_elsewhere(noted, None);
            }
            for noted in std::mem::take(&mut self.unplaced) {
                // The client has gone.
                self.log(&noted, None);
            }
        }
    }

    fn log(&self, noted: &Noted, session: Option<&Session>) {
        let env = &self.shared.env;
        let lens = {
            let config = env.config();
            [
                config.slowlog_max_len,
                config.commandlog_large_request_max_len,
                config.commandlog_large_reply_max_len,
            ]
        };
        let mut logs = env.logs();
        for kind in LogKind::ALL {
            let Some(value) = noted.values[kind as usize] else { continue };
            let entry = LogEntry {
                id: 0,
                at: noted.at,
                value,
                args: noted.args.clone(),
                address: session.map(|session| session.peer.address()).unwrap_or_default(),
                name: session.map(|session| session.name.clone()).unwrap_or_default(),
            };
            logs.add(kind, entry, lens[kind as usize] as usize);
        }
    }

    /// Counts a command that was timed as a whole.
    pub(super) fn count_whole(
        &mut self,
        id: CommandId,
        args: &Args,
        client: ClientRef,
        spent: Duration,
        reply: usize,
    ) {
        let ns = spent.as_nanos() as u64;
        let counters = &self.shard.stats.per_command[id.0 as usize];
        counters.calls.add(1);
        counters.took(ns, 1, self.shard.timing.rules.histograms);
        let ran = Ran { ns, reply, waits: false };
        look_at(&self.shared.env.registry, &mut self.shard, id, args, client, (self.now, ran));
    }

    /// Something that is no command has taken a while.
    pub(super) fn note_event(&mut self, event: LatencyEvent, spent: Duration) {
        if let Some(ms) = self.shard.timing.event_ms(spent.as_nanos() as u64) {
            self.shared.env.latency().add(event, self.now / 1000, ms);
        }
    }
}
