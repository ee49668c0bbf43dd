//! What a connection waits for before it runs its next request.

use super::blocking::Blocking;
use super::conn::Conn;
use super::mail::Message;
use super::subscribers::Subscribing;
use super::tour::Tour;
use super::worker::Worker;
use crate::command::{
    ClientsAnswer, ClientsRequest, CommandId, Run, TrackingRequest, execute, scan_cursor_join,
    scan_cursor_split,
};
use crate::resp::{Args, Span};
use crate::route::Batch;
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

/// A SCAN that visits one shard after another until it has found as much as was asked for.
pub struct Scanning {
    id: CommandId,
    /// The request; its cursor is replaced for each shard.
    words: Vec<Vec<u8>>,
    /// What is still wanted of COUNT, and where its value is among the words.
    count: usize,
    count_at: usize,
    shard: usize,
    found: usize,
    /// Encoded elements.
    elements: Vec<u8>,
}

impl Scanning {
    /// The shard whose turn it is.
    pub fn shard(&self) -> usize {
        self.shard
    }
}

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
        self.finish_asking(conn);
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
        } else if self.finish_asking(&mut conn) && conn.operation.is_none() {
            self.go_on_with_block(io, token, &mut conn);
            self.resume(io, token, &mut conn);
        }
        self.put(token, conn);
    }

    fn finish_asking(&mut self, conn: &mut Conn) -> bool {
        match conn.operation.take() {
            Some(Operation::Asking { question, waiting: 0, answers }) => {
                if let Question::Redirect(request) = *question {
                    self.finish_redirect(conn, *request, &answers);
                    return true;
                }
                self.reply_to_command(conn, |out| match *question {
                    Question::Clients(request) => request.reply(answers, out),
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

    /// Begins a SCAN that may visit several shards.
    pub(super) fn begin_scan(&mut self, token: Token, conn: &mut Conn, id: CommandId, args: &Args) {
        self.start_scan(conn, id, args);
        self.scan_step(token, conn);
    }

    /// Has the connection's operation be a SCAN that has not run anywhere yet.
    pub(super) fn start_scan(&mut self, conn: &mut Conn, id: CommandId, args: &Args) {
        let mut words: Vec<Vec<u8>> = args.iter().map(<[u8]>::to_vec).collect();
        let cursor = std::str::from_utf8(args.at(1)).ok().and_then(|text| text.parse().ok());
        let (shard, position) = cursor.map_or((0, None), |c| {
            let (shard, position) = scan_cursor_split(c);
            (shard, Some(position))
        });
        // A cursor that is none gets its error from the command itself; one beyond the last
        // shard is the end of the walk.
        let shard = match shard < self.slots.shards() {
            true => shard,
            false => {
                return self.reply_to_command(conn, |out| {
                    out.array(2);
                    out.bulk(b"0");
                    out.array(0);
                });
            }
        };
        if let Some(position) = position {
            words[1] = position.to_string().into_bytes();
        }
        // Of several the last one counts; a wrong one gets its error from the command itself.
        let count = (2..args.len()).step_by(2).rfind(|&i| args.is(i, "count"));
        let count_at = match count {
            Some(at) => at + 1,
            None => {
                words.extend([b"COUNT".to_vec(), b"10".to_vec()]);
                words.len() - 1
            }
        };
        let count = words.get(count_at).and_then(|n| std::str::from_utf8(n).ok()?.parse().ok());
        let scanning = Scanning {
            id,
            words,
            count: count.unwrap_or(10),
            count_at,
            shard,
            found: 0,
            elements: Vec::new(),
        };
        conn.operation = Some(Operation::Scanning(Box::new(scanning)));
    }

    /// Runs the next part of a SCAN: here at once, elsewhere by a message.
    fn scan_step(&mut self, token: Token, conn: &mut Conn) {
        self.flush_batches();
        while let Some(Operation::Scanning(scanning)) = &conn.operation {
            let (id, shard) = (scanning.id, scanning.shard);
            let caller = super::dispatch::caller(conn);
            let words = scanning.words.iter().map(Vec::as_slice);
            if shard != self.index || !self.line.is_free() || conn.put_off > 0 {
                let mut batch = self.batch(shard, token);
                batch.operation = true;
                batch.push_words(id, false, caller, words);
                match shard == self.index {
                    true => {
                        conn.put_off += 1;
                        self.line.put_off(batch);
                    }
                    false => self.mail.push(shard, Message::Run(batch)),
                }
                return;
            }
            self.scan_here(conn);
        }
    }

    /// Runs the next part of a SCAN on the keys that are here.
    pub(super) fn scan_here(&mut self, conn: &mut Conn) {
        if let Some(Operation::Scanning(scanning)) = &conn.operation {
            let (id, caller) = (scanning.id, super::dispatch::caller(conn));
            let (bytes, spans) = flat(scanning.words.iter().map(Vec::as_slice));
            let mut reply = Vec::new();
            let registry = &self.shared.env.registry;
            let Run::Shard(handler) = registry.command(id).run else { return };
            let args = Args::new(&bytes, &spans);
            let (shard, now) = (&mut self.shard, self.now);
            execute(registry, shard, (id, handler), args, caller, now, &mut reply);
            self.scan_result(conn, &reply);
        }
    }

    /// Another shard's part of a SCAN has arrived.
    pub(super) fn scan_answered(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        conn: &mut Conn,
        mut batch: Box<Batch>,
    ) {
        if let Some(reply) = batch.next_reply() {
            self.scan_result(conn, reply);
        }
        self.keep_batch(batch);
        self.scan_step(token, conn);
        self.resume(io, token, conn);
    }

    /// Takes one shard's reply; finishes, or leaves the operation pointing at the next shard.
    fn scan_result(&mut self, conn: &mut Conn, reply: &[u8]) {
        let Some(Operation::Scanning(mut scanning)) = conn.operation.take() else { return };
        let Some((cursor, found, elements)) = read_scan_reply(reply) else {
            return self.reply_to_command(conn, |out| out.raw(reply)); // an error
        };
        scanning.found += found;
        scanning.count = scanning.count.saturating_sub(found);
        scanning.elements.extend_from_slice(elements);
        let next = match cursor {
            0 if scanning.shard + 1 < self.slots.shards() => {
                scanning.shard += 1;
                scan_cursor_join(scanning.shard, 0)
            }
            0 => 0,
            position => scan_cursor_join(scanning.shard, position),
        };
        if next != 0 && scanning.count > 0 && cursor == 0 {
            scanning.words[1] = b"0".to_vec();
            scanning.words[scanning.count_at] = scanning.count.to_string().into_bytes();
            conn.operation = Some(Operation::Scanning(scanning));
            return;
        }
        self.reply_to_command(conn, |out| {
            out.array(2);
            out.bulk(next.to_string().as_bytes());
            out.array(scanning.found);
            out.raw(&scanning.elements);
        });
    }
}

/// The cursor, the number of elements and the encoded elements of a SCAN reply.
fn read_scan_reply(reply: &[u8]) -> Option<(u64, usize, &[u8])> {
    let mut rest = reply;
    let mut line = || -> Option<&[u8]> {
        let end = rest.iter().position(|&b| b == b'\n')?;
        let line = &rest[..end.checked_sub(1)?];
        rest = &rest[end + 1..];
        Some(line)
    };
    if line()? != b"*2" || line()?.first() != Some(&b'$') {
        return None;
    }
    let cursor = std::str::from_utf8(line()?).ok()?.parse().ok()?;
    let count = std::str::from_utf8(line()?.get(1..)?).ok()?.parse().ok()?;
    Some((cursor, count, rest))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_reply_is_taken_apart() {
        let reply = b"*2\r\n$2\r\n12\r\n*1\r\n$1\r\nk\r\n";
        assert_eq!(read_scan_reply(reply), Some((12, 1, &b"$1\r\nk\r\n"[..])));
        assert_eq!(read_scan_reply(b"-ERR invalid cursor\r\n"), None);
    }
}
