//! What the users of connections may do, where that is asked and where it changes.
//!
//! A connection looks at its own user before a request runs or is queued; nobody else does, but EXEC and
//! scripts, whose commands are looked at when they run. When the users change, every shard gives its
//! connections their users anew before the change is answered.

use super::conn::Conn;
use super::mail::Message;
use super::operation::Operation;
use super::worker::Worker;
use crate::acl::{Context, Entry, Reason, User, UserId};
use crate::command::{CommandId, Denied};
use crate::error::CmdError;
use crate::resp::Args;
use crate::rt::{Io, Token};
use crate::session::{ClientRef, client_line};
use std::sync::Arc;

/// What is left to be done about rights at the end of the turn.
#[derive(Default)]
pub struct Rights {
    /// What was denied to scripts of this shard's clients and is not logged yet.
    pub(super) denied_in_scripts: Vec<(ClientRef, Entry)>,
    /// Restricted clients that have begun to wait for keys.
    pub(super) waits: Vec<Token>,
}

impl Rights {
    #[inline]
    pub fn is_settled(&self) -> bool {
        self.denied_in_scripts.is_empty() && self.waits.is_empty()
    }
}

impl Worker {
    /// The error for a request that the client's user may not run; it is logged.
    #[cold]
    pub(super) fn denial(
        &self,
        io: &dyn Io,
        token: Token,
        conn: &mut Conn,
        (id, args): (CommandId, &Args),
    ) -> Option<CmdError> {
        let denied = self.permit(conn, id, args).err()?;
        let command = self.shared.env.registry.command(self.shared.env.registry.ruled_by(id));
        conn.session.last_command = command.name;
        let multi = conn.session.multi.is_some();
        let context = if multi { Context::Multi } else { Context::TopLevel };
        let user = conn.session.user().clone();
        let object = denied.object(command, args);
        self.log_denied(io, token, conn, (denied.reason, context), (object, &user.name));
        Some(denied.error(&user.name, command))
    }

    /// The error in the place of the reply to a request of a block that may not run any more.
    #[cold]
    pub(super) fn denial_in_exec(
        &mut self,
        io: &dyn Io,
        token: Token,
        conn: &mut Conn,
        (id, args): (CommandId, &Args),
    ) -> Option<CmdError> {
        let denied = self.permit(conn, id, args).err()?;
        // What its scripts were denied was before.
        self.log_denied_in_scripts(io, Some((token, conn)));
        let command = self.shared.env.registry.command(self.shared.env.registry.ruled_by(id));
        let user = conn.session.user().clone();
        let object = denied.object(command, args);
        let kind = (denied.reason, Context::Multi);
        self.log_denied(io, token, conn, kind, (object, &user.name));
        let error = denied.error_in_exec();
        self.shard.stats.count_error(&error);
        Some(error)
    }

    /// Whether a client may run a request, and whether that may read keys that it does not name.
    fn permit(&self, conn: &mut Conn, id: CommandId, args: &Args) -> Result<(), Denied> {
        let registry = &self.shared.env.registry;
        let user = conn.session.user();
        registry.permit(user, id, args)?;
        let asks = registry.command(id).unnamed_keys.is_some();
        conn.session.reads_all_keys = asks && registry.permits_all_reads(user, id, args);
        Ok(())
    }

    /// Logs that a client has tried to log in as somebody.
    #[cold]
    pub(super) fn log_refused(
        &self,
        io: &dyn Io,
        token: Token,
        conn: &Conn,
        (command, name): (&[u8], &[u8]),
    ) {
        let multi = conn.session.multi.is_some();
        let context = if multi { Context::Multi } else { Context::TopLevel };
        self.log_denied(io, token, conn, (Reason::Auth, context), (command, name));
    }

    fn log_denied(
        &self,
        io: &dyn Io,
        token: Token,
        conn: &Conn,
        kind: (Reason, Context),
        (object, user): (&[u8], &[u8]),
    ) {
        let client = client_line(&conn.session, &conn.facts(io.fd(token)), self.now);
        self.log_entry(Entry::new(kind, object, user, client, self.now));
    }

    /// Counts and logs what was denied.
    pub(super) fn log_entry(&self, entry: Entry) {
        let stats = &self.shard.stats;
        match entry.reason {
            Reason::Command => stats.denied_commands.add(1),
            Reason::Key => stats.denied_keys.add(1),
            Reason::Channel => stats.denied_channels.add(1),
            // Counted by the command.
            Reason::Auth => {}
        }
        let max = self.shared.env.config().acllog_max_len as usize;
        self.shared.env.acl.log().add(entry, max);
    }

    /// Remembers what was denied to a script, until there is the client as it is to be logged.
    pub(super) fn note_denied_in_script(&mut self, client: ClientRef, denied: Vec<Entry>) {
        for entry in denied {
            match client.shard() == self.index {
                true => self.rights.denied_in_scripts.push((client, entry)),
                // It arrives before the reply.
                false => self.mail.push(client.shard(), Message::Denied(Box::new((client, entry)))),
            }
        }
    }

    /// Logs what was denied to scripts of this shard's clients, of which one may be being served.
    #[cold]
    pub(super) fn log_denied_in_scripts(&mut self, io: &dyn Io, served: Option<(Token, &Conn)>) {
        for (client, entry) in std::mem::take(&mut self.rights.denied_in_scripts) {
            let is_it = |conn: &Conn| conn.session.id == client.id();
            let others = (0..self.conn_slots()).filter_map(|at| self.conn_at(at));
            let found = served.into_iter().chain(others).find(|(_, conn)| is_it(conn));
            let line = |(token, conn): (Token, &Conn)| {
                client_line(&conn.session, &conn.facts(io.fd(token)), self.now)
            };
            // It may have gone meanwhile.
            let client = found.map(line).unwrap_or_default();
            self.log_entry(Entry { client, ..entry });
        }
    }

    /// Whose rights a script has, also when it was asked for by a user of whom this shard has not heard
    /// yet; `None` for one that is gone.
    pub(super) fn user_of(&self, id: UserId) -> Option<Arc<User>> {
        let known = self.users.by_id(id).cloned();
        known.or_else(|| self.shared.env.acl.users().by_id(id).cloned())
    }

    /// Gives all connections but the one being served their users as they are now.
    pub(super) fn follow_users(&mut self, io: &mut dyn Io) {
        let users = self.shared.env.acl.users();
        if users.version() == self.users.version() {
            return;
        }
        self.users = users;
        for token in self.tokens() {
            let Some(mut conn) = self.take(token) else { continue };
            conn.kill_now |= self.follow_user(io, token, &mut conn);
            self.put(token, conn);
        }
    }

    /// Gives a connection its user as it is now; `true` when it must be closed.
    ///
    /// One that waits for keys that it may not use any more need not wait.
    pub(super) fn follow_user(&mut self, io: &mut dyn Io, token: Token, conn: &mut Conn) -> bool {
        if !conn.session.follow(&self.users) {
            conn.session.closing = true;
            return true;
        }
        self.check_wait(io, token, conn);
        false
    }

    /// Ends the wait of a client that may not have what it waits for.
    fn check_wait(&mut self, io: &mut dyn Io, token: Token, conn: &mut Conn) {
        if !conn.session.is_unrestricted()
            && let Some(Operation::Blocking(blocking)) = &conn.operation
            && let Some((id, words)) = blocking.request()
        {
            let (bytes, spans) = super::operation::flat(words.iter().map(|word| &word[..]));
            let args = Args::new(&bytes, &spans);
            if let Some(error) = self.denial(io, token, conn, (id, &args)) {
                // It may have been served meanwhile.
                let _ = self.unblock(io, token, conn, Some(&error));
            }
        }
    }

    /// At the end of a turn: what could not be done where it was found out.
    pub(super) fn look_at_rights(&mut self, io: &mut dyn Io) {
        for token in std::mem::take(&mut self.rights.waits) {
            self.with_conn(io, token, |worker, io, conn| worker.check_wait(io, token, conn));
        }
        self.log_denied_in_scripts(io, None);
    }
}
