//! Commands on the client's own state, and questions to the clients of all shards.

use super::conn::Conn;
use super::operation::{Answer, Question};
use super::worker::{Limits, Worker, shard_settings};
use crate::command::{
    ClientsRequest, CommandId, Control, SessionCx, SessionFn, execute_session, write_client_line,
};
use crate::error::CmdError;
use crate::resp::{Args, Encoder};
use crate::rt::{Io, Token};

const UNBLOCKED: CmdError = CmdError::fixed("UNBLOCKED client unblocked via CLIENT UNBLOCK");

impl Worker {
    /// Runs a command on the client's own state and does what it leaves to be done.
    pub(super) fn run_session(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        conn: &mut Conn,
        (id, handler): (CommandId, SessionFn),
        args: Args,
    ) {
        let shared = self.shared.clone();
        let mut reply = self.buffer();
        let control = {
            let protocol = conn.session.protocol;
            let mut cx = SessionCx {
                session: &mut conn.session,
                out: Encoder::new(&mut reply, protocol),
                env: &shared.env,
                slots: &self.slots,
                shard: self.index,
                now: self.now,
                frozen: None,
                name: shared.env.registry.command(id).name,
            };
            execute_session(&mut cx, (id, handler), args)
        };
        self.record_for_all(conn, id, &args, &reply);
        match control {
            Control::Clients(request) => self.ask(io, token, conn, Question::Clients(request)),
            Control::Reconfigured => self.ask(io, token, conn, Question::Reconfigure),
            Control::RewriteConfig => self.rewrite_config(conn),
            Control::ResetStats => self.ask(io, token, conn, Question::ResetStats),
            Control::Pause { until, all } => {
                self.ask(io, token, conn, Question::Pause { until, all });
            }
            Control::Unpause => self.ask(io, token, conn, Question::Unpause),
            Control::ClientInfo => self.tell_client_line(io, token, conn),
            Control::Exec => self.exec(io, token, conn),
            Control::Watch => self.watch(io, token, conn, id, &args),
            Control::Unwatch => self.unwatch(io, token, conn),
            Control::Forget => {
                self.forget(io, token, conn);
                self.reply_to_command(conn, |out| out.raw(&reply));
            }
            Control::Reset => {
                self.forget(io, token, conn);
                self.unsubscribe_all(token, conn);
                self.stop_tracking(conn);
                self.stop_monitoring(conn);
                self.reply_to_command(conn, |out| out.raw(&reply));
            }
            Control::Track(request) => self.track(io, token, conn, *request),
            Control::Monitor => self.begin_monitoring(conn),
            Control::Subscribe(changes) => {
                self.change_subscriptions(token, conn, changes, &reply);
            }
            Control::Done => self.reply_to_command(conn, |out| out.raw(&reply)),
            Control::Close => {
                self.reply_to_command(conn, |out| out.raw(&reply));
                conn.session.closing = true;
            }
            Control::Save(request) => self.save(io, token, conn, request),
            Control::WaitAof(wait) => self.wait_for_sync(token, conn, wait),
            Control::Shutdown { save } => self.shut_down(token, conn, save),
        }
        self.keep_buffer(reply);
    }

    fn tell_client_line(&mut self, io: &mut dyn Io, token: Token, conn: &mut Conn) {
        let facts = conn.facts(io.fd(token));
        let mut line = Vec::new();
        let mut out = Encoder::new(&mut line, conn.session.protocol);
        write_client_line(&conn.session, &facts, self.now, &mut out);
        self.reply_to_command(conn, |out| out.raw(&line));
    }

    fn rewrite_config(&mut self, conn: &mut Conn) {
        // Waits for the disk; a person asks for it once in a while.
        let written = self.shared.env.config().rewrite();
        self.reply_to_command(conn, |out| match written {
            Ok(()) => out.ok(),
            Err(error) => out.error(&CmdError::of_bytes(error.0)),
        });
    }

    /// This shard's answer to a question, of all its connections but the one being served.
    pub(super) fn answer(&mut self, io: &mut dyn Io, question: &Question) -> Answer {
        let mut answer = Answer::default();
        match question {
            Question::Clients(_) | Question::Redirect(_) => {
                for token in self.tokens() {
                    let Some(mut conn) = self.take(token) else { continue };
                    conn.kill_now |= self.visit(io, token, &mut conn, question, &mut answer);
                    self.put(token, conn);
                }
            }
            Question::Reconfigure => {
                let config = self.shared.env.config();
                self.limits = Limits::new(&config);
                self.shard.configure(shard_settings(&config));
                if let Some(journal) = &self.shared.journal {
                    journal.set_policy(config.appendfsync);
                }
                drop(config);
                self.limit_tracked();
                io.set_keepalive(self.limits.keepalive_s);
            }
            Question::ResetStats => self.shard.stats.reset(),
            Question::Unpause => self.end_pause(),
            // It is answered when nothing is under way any more.
            Question::Pause { .. } => {}
        }
        answer
    }

    /// Puts a question to one connection; `true` when it is to be closed.
    pub(super) fn visit(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        conn: &mut Conn,
        question: &Question,
        answer: &mut Answer,
    ) -> bool {
        if let Question::Redirect(request) = question {
            self.visit_target(conn, request.redirect, answer);
        }
        let Question::Clients(request) = question else { return false };
        if let ClientsRequest::Unblock { client, error } = request {
            let error = error.then_some(UNBLOCKED);
            let found = conn.session.id == *client
                && (self.unblock(io, token, conn, error.as_ref()).is_ok()
                    || self.end_sync_wait(io, token, conn, error.as_ref()));
            answer.found += u64::from(found);
            return false;
        }
        let facts = conn.facts(io.fd(token));
        let is_list = matches!(request, ClientsRequest::List(_));
        // One that only waits until its last replies are out can still be killed, but only once.
        let closing = conn.session.closing;
        conn.session.closing &= is_list || conn.kill_now;
        let kill = request.visit(&mut conn.session, || facts, self.now, answer);
        conn.session.closing |= closing;
        kill
    }
}
