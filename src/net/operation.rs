//! What a connection waits for before it runs its next request.

use super::blocking::Blocking;
use super::conn::Conn;
use super::mail::Message;
use super::scanning::Scanning;
use super::subscribers::Subscribing;
use super::tour::Tour;
use super::worker::Worker;
use crate::command::{ClientsAnswer, ClientsRequest, TrackingRequest};
use crate::resp::Span;
use crate::rt::{Io, Token};

/// A request that needs more than one step.
pub enum Operation {
    /// Answers of other shards are still to come.
    Asking { question: Box<Question>, waiting: usize, answers: Vec<ClientsAnswer> },
    /// SCAN on its way from shard to shard.
    Scanning(Box<Scanning>),
    /// A command gathers its keys on this shard.
    Gathering,
    /// A command that may wait until there is something for it.
    Blocking(Box<Blocking>),
    /// What the client listens to has changed, and not all owners know.
    Subscribing(Box<Subscribing>),
    /// The next request waits for the end of a pause.
    Paused,
    /// The next request waits until all before it are answered.
    Behind,
    /// What the client has written is to be on disk.
    Syncing,
    /// A snapshot is being written.
    Saving,
    /// The data are being loaded again.
    Reloading,
    /// A command or block is on tour, or begins when all earlier requests are done.
    Touring(Option<Box<Tour>>),
}

impl Operation {
    /// Whether its reply comes as soon as the other shards have had their turns.
    pub fn is_brief(&self) -> bool {
        matches!(
            self,
            Operation::Gathering
                | Operation::Touring(_)
                | Operation::Subscribing(_)
                | Operation::Behind
        )
    }
}

/// What is asked of every shard.
#[derive(Debug, Clone)]
pub enum Question {
    Clients(ClientsRequest),
    /// Work by the new configuration.
    Reconfigure,
    ResetStats,
    /// Work by the users as they are now; then the reply.
    Users {
        reply: Vec<u8>,
    },
    /// Nothing more begins, or nothing that writes, until then: milliseconds since the epoch.
    Pause {
        until: i64,
        all: bool,
    },
    Unpause,
    /// Where the client is to which another one's invalidations are to go.
    Redirect(Box<TrackingRequest>),
}

/// What one shard answers; a question that asks nothing is answered by having done it.
pub type Answer = ClientsAnswer;

impl Worker {
    /// Puts a question to all shards; the connection waits for the answers.
    pub(super) fn ask(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        conn: &mut Conn,
        question: Question,
    ) {
        self.flush_batches();
        let question = Box::new(question);
        let shards = self.mail.shards();
        for shard in (0..shards).filter(|&shard| shard != self.index) {
            let question = question.clone();
            self.mail.push(shard, Message::Ask { from: self.index, connection: token, question });
        }
        if let Question::Pause { until, all } = *question {
            self.begin_pause(until, all, (self.index, token));
            let answers = Vec::new();
            conn.operation = Some(Operation::Asking { question, waiting: shards, answers });
            return;
        }
        let mut own = self.answer(io, &question);
        // The asker itself is not in the worker's list while it is being served.
        self.visit(io, token, conn, &question, &mut own);
        let answers = vec![own];
        conn.operation = Some(Operation::Asking { question, waiting: shards - 1, answers });
        self.finish_asking(token, conn);
    }

    /// A shard has answered.
    pub(super) fn told(&mut self, io: &mut dyn Io, token: Token, answer: Answer) {
        let Some(mut conn) = self.take(token) else { return };
        if let Some(Operation::Asking { waiting, answers, .. }) = &mut conn.operation {
            *waiting -= 1;
            answers.push(answer);
        }
        if let Some(question) = Worker::search_again(&conn) {
            self.ask(io, token, &mut conn, question);
        } else if self.finish_asking(token, &mut conn) && conn.operation.is_none() {
            self.go_on_with_block(io, token, &mut conn);
            self.resume(io, token, &mut conn);
        }
        self.put(token, conn);
    }

    fn finish_asking(&mut self, token: Token, conn: &mut Conn) -> bool {
        match conn.operation.take() {
            Some(Operation::Asking { question, waiting: 0, answers }) => {
                if let Question::Redirect(request) = *question {
                    self.finish_redirect(conn, *request, &answers);
                    return true;
                }
                if matches!(*question, Question::Reconfigure) && self.waits_for_end(token, conn) {
                    return true;
                }
                self.reply_to_command(conn, |out| match *question {
                    Question::Clients(request) => request.reply(answers, out),
                    Question::Users { reply } => out.raw(&reply),
                    _ => out.ok(),
                });
                true
            }
            other => {
                conn.operation = other;
                false
            }
        }
    }
}

/// Words end to end, with their spans.
pub(super) fn flat<'a>(words: impl Iterator<Item = &'a [u8]>) -> (Vec<u8>, Vec<Span>) {
    let mut bytes = Vec::new();
    let mut spans = Vec::new();
    for word in words {
        spans.push(Span::new(bytes.len(), bytes.len() + word.len()));
        bytes.extend_from_slice(word);
    }
    (bytes, spans)
}
