//! WAITAOF: a client waits until what it has written is on disk.
//!
//! All that was acknowledged to the client is in the journal's queue, whatever shard has written it, and
//! so it is written before an order to sync that follows it there. There are no replicas: who waits for them
//! waits for as long as it has said.

use super::conn::Conn;
use super::operation::Operation;
use super::worker::Worker;
use crate::command::AofWait;
use crate::error::CmdError;
use crate::rt::{Io, Token};

/// A client that waits.
struct Place {
    token: Token,
    local: bool,
    /// What the journal publishes when all is on disk.
    number: u64,
    replicas: u64,
    /// Milliseconds since the epoch.
    until: Option<i64>,
}

/// Clients of this shard that wait for the disk.
#[derive(Default)]
pub(super) struct SyncWaits {
    places: Vec<Place>,
    /// The number of the last order to sync.
    asked: u64,
}

impl SyncWaits {
    /// When the next one has waited for long enough, milliseconds since the epoch.
    pub fn next_deadline(&self) -> Option<i64> {
        self.places.iter().filter_map(|place| place.until).min()
    }
}

const NO_LOCAL: CmdError =
    CmdError::fixed("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.");

impl Worker {
    /// WAITAOF, when all earlier requests of the connection are answered.
    pub(super) fn wait_for_sync(&mut self, token: Token, conn: &mut Conn, wait: AofWait) {
        let AofWait { local, replicas, until } = wait;
        let journal = self.shared.journal.clone();
        if local && !journal.is_used() {
            self.shard.stats.count_error(&NO_LOCAL);
            return self.reply_to_command(conn, |out| out.error(&NO_LOCAL));
        }
        // Then a reply to a write, and all that follow it, leave when it is on disk.
        let is_synced = journal.is_synced_when_written();
        if (replicas == 0 && (is_synced || !local)) || conn.session.is_executing() {
            return self.tell_synced(conn, is_synced);
        }
        let number = self.ask_for_sync();
        self.sync_waits.places.push(Place { token, local, number, replicas, until });
        conn.operation = Some(Operation::Syncing);
        conn.session.blocked = true;
        self.shard.stats.blocked_clients.add(1);
    }

    /// Has all that was recorded here synced; gives the number that is published then.
    pub(super) fn ask_for_sync(&mut self) -> u64 {
        self.sync_waits.asked += 1;
        if self.shared.journal.is_used() {
            self.hand_over_effects();
            self.shared.journal.ask_for_sync(self.index, self.sync_waits.asked);
        }
        self.sync_waits.asked
    }

    fn tell_synced(&mut self, conn: &mut Conn, is_synced: bool) {
        self.reply_to_command(conn, |out| {
            out.array(2);
            out.int(i64::from(is_synced));
            out.int(0);
        });
    }

    /// The last order of this shard to sync that was carried out.
    pub(super) fn synced_until(&self) -> u64 {
        self.shared.journal.synced(self.index)
    }

    /// Whether a client waits for a disk to which nothing is written any more.
    fn is_in_vain(&self, place: &Place) -> bool {
        place.local && !self.shared.journal.is_used() && place.number > self.synced_until()
    }

    /// Whether the wait of a client is over.
    pub(super) fn has_news_of_syncs(&self) -> bool {
        let places = &self.sync_waits.places;
        if places.is_empty() {
            return false;
        }
        let synced = self.synced_until();
        places
            .iter()
            .any(|place| (place.replicas == 0 && place.number <= synced) || self.is_in_vain(place))
    }

    /// Ends the waits of those whose writes are on disk, or whose time is up.
    pub(super) fn look_at_syncs(&mut self, io: &mut dyn Io) {
        if self.sync_waits.places.is_empty() {
            return;
        }
        let in_vain = |place: &&Place| self.is_in_vain(place);
        let in_vain = self.sync_waits.places.iter().filter(in_vain).map(|place| place.token);
        for token in in_vain.collect::<Vec<Token>>() {
            self.with_conn(io, token, |worker, io, conn| {
                worker.end_sync_wait(io, token, conn, Some(&NO_LOCAL));
            });
        }
        let (synced, now) = (self.synced_until(), self.now);
        let is_over = |place: &Place| {
            (place.replicas == 0 && place.number <= synced)
                || place.until.is_some_and(|until| until <= now)
        };
        let over: Vec<Token> =
            self.sync_waits.places.iter().filter(|p| is_over(p)).map(|p| p.token).collect();
        for token in over {
            self.with_conn(io, token, |worker, io, conn| {
                worker.end_sync_wait(io, token, conn, None);
            });
        }
    }

    /// Ends a client's wait: with what is on disk by now, or with an error. `false` if it does not wait.
    pub(super) fn end_sync_wait(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        conn: &mut Conn,
        error: Option<&CmdError>,
    ) -> bool {
        let Some(place) = self.leave_syncs(token, conn) else { return false };
        let is_synced = place.number <= self.synced_until();
        match error {
            None => self.tell_synced(conn, is_synced),
            Some(error) => {
                self.shard.stats.count_error(error);
                self.reply_to_command(conn, |out| out.error(error));
            }
        }
        self.resume(io, token, conn);
        true
    }

    /// A connection waits no more, maybe because it is gone.
    pub(super) fn forget_sync_wait(&mut self, token: Token, conn: &mut Conn) {
        self.leave_syncs(token, conn);
    }

    fn leave_syncs(&mut self, token: Token, conn: &mut Conn) -> Option<Place> {
        if !matches!(conn.operation, Some(Operation::Syncing)) {
            return None;
        }
        conn.operation = None;
        conn.session.blocked = false;
        self.shard.stats.blocked_clients.sub(1);
        let at = self.sync_waits.places.iter().position(|place| place.token == token)?;
        Some(self.sync_waits.places.swap_remove(at))
    }
}
