//! Commands on the client's own state, and questions to the clients of all shards.

use super::conn::Conn;
use super::operation::{Answer, Question};
use super::worker::{Limits, Worker, shard_settings};
use crate::command::{
    ClientsRequest, CommandId, Control, Ran, SessionCx, SessionFn, execute_session, is_brief,
    look_at, write_client_line,
};
use crate::error::CmdError;
use crate::resp::{Args, Encoder};
use crate::rt::{Io, Token};
use std::sync::atomic::Ordering;

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
        if !self.rights.is_settled() {
            self.log_denied_in_scripts(io, Some((token, conn)));
        }
        self.log_noted(Some(conn), None);
        let stats = self.shard.stats.clone();
        let brief = is_brief(shared.env.registry.command(id), &args);
        self.shard.timing.begin(brief, &stats.per_command);
        let began = self.shard.timing.began();
        let mut reply = self.buffer();
        let control = self.call_session(io, token, conn, (id, handler), args, &mut reply);
        self.record_for_all(conn, id, &args, &reply);
        self.do_rest(io, token, conn, (id, args, control), &reply);
        // Behind it all: what resets the counters is itself counted.
        stats.per_command[id.0 as usize].calls.add(1);
        if let Some(ns) = self.shard.timing.end_begun(id.0, brief, began, &stats.per_command) {
            let ran = Ran { ns, reply: reply.len(), waits: false };
            let registry = &shared.env.registry;
            look_at(registry, &mut self.shard, id, &args, conn.client, (self.now, ran));
            self.log_noted(Some(conn), None);
        }
        self.keep_buffer(reply);
    }

    /// What a command leaves to be done, and its reply.
    fn do_rest(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        conn: &mut Conn,
        (id, args, control): (CommandId, Args, Control),
        reply: &[u8],
    ) {
        match control {
            Control::Clients(request) => {
                let next = self.shared.next_client.load(Ordering::Acquire);
                self.ask(io, token, conn, Question::Clients(request.at(next)));
            }
            Control::Reconfigured => {
                self.follow_appendonly(io);
                self.ask(io, token, conn, Question::Reconfigure);
            }
            Control::UsersChanged => {
                let reply = reply.to_vec();
                self.ask(io, token, conn, Question::Users { reply });
            }
            Control::RewriteConfig => self.rewrite_config(conn),
            Control::ResetStats => self.ask(io, token, conn, Question::ResetStats),
            Control::Pause { until, all } => {
                self.ask(io, token, conn, Question::Pause { until, all });
            }
            Control::Unpause => self.ask(io, token, conn, Question::Unpause),
            Control::ClientInfo => self.tell_client_line(io, token, conn),
            Control::Exec => self.exec(io, token, conn, id),
            Control::Watch => self.watch(io, token, conn, id, &args),
            Control::Unwatch => self.unwatch(io, token, conn),
            Control::Forget => {
                self.forget(io, token, conn);
                self.reply_to_command(conn, |out| out.raw(reply));
            }
            Control::Reset => {
                self.forget(io, token, conn);
                self.unsubscribe_all(token, conn);
                self.stop_tracking(conn);
                self.stop_monitoring(conn);
                self.reply_to_command(conn, |out| out.raw(reply));
            }
            Control::Track(request) => self.track(io, token, conn, *request),
            Control::Monitor => self.begin_monitoring(conn),
            Control::Subscribe(changes) => {
                self.change_subscriptions(token, conn, changes, reply);
            }
            Control::Done => self.reply_to_command(conn, |out| out.raw(reply)),
            Control::Slept => {
                io.look_at_clock();
                if !conn.session.is_executing() {
                    // What follows in the pipeline comes later; a block is of one moment.
                    self.now = io.now();
                }
                self.reply_to_command(conn, |out| out.raw(reply));
            }
            Control::Close => {
                self.reply_to_command(conn, |out| out.raw(reply));
                conn.session.closing = true;
            }
            Control::Save(request) => self.save(io, token, conn, request),
            Control::Reload(request) => self.reload(token, conn, request),
            Control::WaitAof(wait) => self.wait_for_sync(token, conn, wait),
            Control::Shutdown { save } => self.shut_down(token, conn, save),
        }
    }

    /// Calls a handler on the client's own state.
    fn call_session(
        &self,
        io: &dyn Io,
        token: Token,
        conn: &mut Conn,
        (id, handler): (CommandId, SessionFn),
        args: Args,
        reply: &mut Vec<u8>,
    ) -> Control {
        let env = &self.shared.env;
        let protocol = conn.session.protocol;
        let mut cx = SessionCx {
            session: &mut conn.session,
            out: Encoder::new(reply, protocol),
            env,
            slots: &self.slots,
            shard: self.index,
            now: self.now,
            frozen: None,
            name: env.registry.command(id).name,
            refused_as: None,
        };
        let control = execute_session(&mut cx, (id, handler), args);
        if let Some(name) = cx.refused_as {
            self.log_refused(io, token, conn, (args.at(0), &name));
        }
        control
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
        let config = self.shared.env.config();
        let users = self.shared.env.acl.users();
        let lines: Vec<Vec<u8>> = users.iter().map(|user| user.declaration()).collect();
        let written = config.rewrite(config.aclfile.is_none().then_some(&lines[..]));
        drop(config);
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
                let config = self.shared.env.config().clone();
                self.limits = Limits::new(&config);
                self.shard.configure(shard_settings(&config));
                self.shared.journal.set_policy(config.appendfsync);
                self.shared.journal.set_lenient(config.no_appendfsync_on_rewrite);
                self.shared.env.latency.set_threshold(config.latency_monitor_threshold);
                self.limit_memory(&config);
                self.limit_clients(&config);
                drop(config);
                self.follow_users(io);
                self.limit_tracked();
                io.set_keepalive(self.limits.keepalive_s);
            }
            Question::Users { .. } => self.follow_users(io),
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
        if matches!(question, Question::Users { .. } | Question::Reconfigure) {
            return self.follow_user(io, token, conn);
        }
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
