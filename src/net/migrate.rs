//! Moving a connection to the shard that owns most of the keys it uses.
//!
//! Hops cost more than the move, once: the move waits until everything that was asked has been
//! answered and sent, takes the socket out of one driver and puts it into another, with the session
//! and all bytes that have not been run. So nothing can be lost or come out of order.

use super::conn::Conn;
use super::mail::Message;
use super::worker::Worker;
use crate::rt::{Io, Socket, Token};
use crate::session::ClientRef;

/// Commands on keys after which the traffic of a connection is judged.
const WINDOW: u32 = 1024;
/// A connection moves when so many of a window's commands went to one other shard.
const MAJORITY: u32 = WINDOW / 4 * 3;

/// Where a connection's commands went lately.
#[derive(Debug, Default)]
pub struct Traffic {
    seen: u32,
    /// The candidate of a majority vote (Boyer and Moore), which finds the shard that has more
    /// than half of the votes if there is one, in constant space.
    candidate: usize,
    lead: u32,
    /// Votes for the candidate since it became that.
    votes: u32,
    /// The shard with a clear majority over the last whole window.
    pub verdict: Option<usize>,
}

impl Traffic {
    /// Counts a command that ran on shard `owner`, asked for on shard `here`.
    pub fn note(&mut self, owner: usize, here: usize, shards: usize) {
        if shards == 1 {
            return;
        }
        self.seen += 1;
        if self.lead == 0 {
            (self.candidate, self.votes) = (owner, 0);
        }
        if owner == self.candidate {
            self.lead += 1;
            self.votes += 1;
        } else {
            self.lead -= 1;
        }
        if self.seen == WINDOW {
            let clear = self.votes >= MAJORITY && self.candidate != here;
            self.verdict = clear.then_some(self.candidate);
            (self.seen, self.lead, self.votes) = (0, 0, 0);
        }
    }
}

impl Worker {
    /// Gives a detached socket with its connection to the shard it moves to.
    pub(super) fn hand_over(&mut self, token: Token, socket: Socket) {
        let Some(mut conn) = self.take(token) else { return };
        self.uncount_client(token, &mut conn);
        self.shard.stats.connections_now.sub(1);
        self.shard.stats.connection_migrations.add(1);
        let target = conn.moving_to.take().unwrap_or(self.index);
        conn.detaching = false;
        conn.dirty = false;
        // The new driver reads, and nothing of this connection is under way.
        conn.held_back_by = None;
        conn.far_ahead = false;
        conn.behind = false;
        // Numbers of this shard's journal mean nothing there.
        conn.written_at = 0;
        self.mail.push(target, Message::Adopt(conn, socket));
        self.more = true; // the message leaves with the next flush
    }

    /// Takes in a connection from another shard and goes on where it stood.
    pub(super) fn adopt(&mut self, io: &mut dyn Io, mut conn: Box<Conn>, socket: Socket) {
        let token = io.adopt(socket);
        self.shard.stats.connections_now.add(1);
        conn.traffic = Traffic::default();
        // Its user may have changed while it was between the shards, where nobody told it.
        conn.kill_now |= !conn.session.follow(&self.shared.env.acl.users());
        (conn.token, conn.client) = (token, ClientRef::new(self.index, conn.session.id));
        self.rename_target(&conn);
        self.resume(io, token, &mut conn);
        self.put(token, conn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(owners: impl Iterator<Item = usize>) -> Option<usize> {
        let mut traffic = Traffic::default();
        owners.take(WINDOW as usize).for_each(|owner| traffic.note(owner, 0, 4));
        traffic.verdict
    }

    #[test]
    fn only_a_clear_majority_elsewhere_moves_a_connection() {
        assert_eq!(verdict(std::iter::repeat(3)), Some(3));
        assert_eq!(verdict(std::iter::repeat(0)), None);
        assert_eq!(verdict((0..).map(|n| n % 4)), None);
        assert_eq!(verdict((0..).map(|n| if n % 8 == 0 { n / 8 % 4 } else { 2 })), Some(2));
        assert_eq!(verdict((0..).map(|n| n % 2 * 2)), None);
    }
}
