//! MONITOR: showing some clients what all clients do.
//!
//! ```text
//!   shard of a client that does something          shard of one who is shown it
//!      │ a line for each request, as it begins         │
//!      │── Shown(lines of a turn) ────────────────────>│ waits for lines that are older
//!      │ its replies are sent                          │ +1700000000.123456 [0 10.0.0.7:5000] "GET" "k"
//! ```
//!
//! - All shards know on which others somebody is shown what happens. While nobody is, a request pays
//!   one branch.
//! - The lines of one connection come in the order of its requests. Those of a block come when it runs,
//!   and so only if it does, with EXEC behind them.
//! - A line is on its way before the reply, so a request that could know of another's reply has its
//!   line behind that one's: lines are put in the order of their times, and those that arrive first
//!   wait for one more look into all queues, in which older ones are found.
//! - Requests that are refused are not shown, nor commands of administrators, nor secrets.
//!
//! Absent: an order of requests of different clients that were under way at the same time, which
//! several shards run at once.

use super::conn::{Conn, KEPT_BUFFER};
use super::mail::Message;
use super::subscribers::Interest;
use super::worker::Worker;
use crate::clock;
use crate::command::{ADMIN, Command};
use crate::resp::Args;
use crate::route::Batch;
use crate::rt::{Peer, Token};
use smallvec::SmallVec;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

/// One request as it is shown.
pub struct Line {
    /// Since the epoch.
    at: Duration,
    text: Box<[u8]>,
}

/// Who is shown what happens, and what is still to be shown.
#[derive(Default)]
pub struct Monitors {
    /// How many clients are shown it, by shard.
    shards: SmallVec<[(u16, u32); 2]>,
    /// Those of this shard.
    clients: Vec<Token>,
    /// What clients of this shard have done in this turn.
    fresh: Vec<Line>,
    /// For the clients of this shard: what has arrived in this turn, and what has before.
    arrived: Vec<Arc<Vec<Line>>>,
    waiting: Vec<Arc<Vec<Line>>>,
    /// The time of the last line, which those that follow are not before.
    last: Duration,
}

impl Monitors {
    /// Whether anybody is shown what happens.
    #[inline]
    pub fn are_there(&self) -> bool {
        !self.shards.is_empty()
    }

    /// One client more on `shard` is shown what happens, or one less.
    pub fn note(&mut self, shard: usize, more: bool) {
        crate::shard::count_listener(&mut self.shards, shard, more);
    }

    /// Lines have come from another shard.
    pub fn take_in(&mut self, lines: &Arc<Vec<Line>>) {
        if !self.clients.is_empty() {
            self.arrived.push(lines.clone());
        }
    }

    /// How many requests of this turn are to be shown.
    pub fn mark(&self) -> usize {
        self.fresh.len()
    }

    /// Only so many are, the first ones.
    pub fn take_back(&mut self, mark: usize) {
        self.fresh.truncate(mark);
    }

    fn add(&mut self, text: Vec<u8>) {
        self.last = self.last.max(clock::wall());
        self.fresh.push(Line { at: self.last, text: text.into() });
    }

    /// The lines that nothing older can precede, as they are sent; all when there is but one shard.
    fn settled(&mut self, alone: bool) -> Vec<u8> {
        let arrived = std::mem::take(&mut self.arrived);
        let before = std::mem::take(&mut self.waiting);
        let ripe = if alone { &arrived } else { &before };
        let until = ripe.iter().flat_map(|lines| lines.last()).map(|line| line.at).max();
        let mut all: Vec<&Line> = Vec::new();
        let mut rest = Vec::new();
        for lines in before.iter().chain(&arrived) {
            let ripe = lines.partition_point(|line| Some(line.at) <= until);
            all.extend(&lines[..ripe]);
            if ripe < lines.len() {
                let copy = |line: &Line| Line { at: line.at, text: line.text.clone() };
                rest.push(Arc::new(lines[ripe..].iter().map(copy).collect()));
            }
        }
        all.sort_by_key(|line| line.at);
        let mut text = Vec::new();
        for Line { at, text: rest } in all {
            // Writing to memory cannot fail.
            let _ = write!(text, "+{}.{:06} ", at.as_secs(), at.subsec_micros());
            text.extend_from_slice(rest);
        }
        self.waiting = rest;
        text
    }
}

impl Worker {
    /// A client is shown what happens from now on.
    pub(super) fn begin_monitoring(&mut self, conn: &mut Conn) {
        conn.moving_to = None;
        self.monitors.clients.push(conn.token);
        let reply: &[u8] = if conn.session.take_reply() { b"+OK\r\n" } else { b"" };
        self.announce(conn, vec![Interest::Commands { more: true }], reply);
    }

    pub(super) fn stop_monitoring(&mut self, conn: &mut Conn) {
        if std::mem::take(&mut conn.session.monitor) {
            self.monitors.clients.retain(|token| *token != conn.token);
            self.tell_owners(None, vec![Interest::Commands { more: false }]);
        }
    }

    /// Shows a request that runs.
    #[inline]
    pub(super) fn show(&mut self, conn: &Conn, command: &Command, args: &Args) {
        if self.monitors.are_there() && !command.flags.has(ADMIN) {
            self.monitors.add(line(conn.session.db, &conn.session.peer, command, args));
        }
    }

    /// Shows a command on the client's own state that has run; an EXEC that has not ended yet comes
    /// behind its requests.
    #[inline]
    pub(super) fn show_session(&mut self, conn: &mut Conn, command: &Command, args: &Args) {
        if !self.monitors.are_there() {
            return;
        }
        match &mut conn.transaction {
            Some(transaction) if conn.session.is_executing() => {
                let mut words = Vec::new();
                write_words(&mut words, command, args);
                transaction.unshown = Some(words);
            }
            _ => self.show(conn, command, args),
        }
    }

    /// Shows the EXEC of a block that has ended, if it has not been shown.
    pub(super) fn show_exec(&mut self, conn: &Conn, unshown: Option<Vec<u8>>) {
        if let Some(words) = unshown {
            let mut text = prefix(conn.session.db, &conn.session.peer);
            text.extend_from_slice(&words);
            self.monitors.add(text);
        }
    }

    /// Shows the requests of a block that is sure to run.
    pub(super) fn show_queue(&mut self, conn: &Conn, queue: &Batch) {
        if self.monitors.are_there() {
            for at in 0..queue.len() {
                let (request, args) = queue.request(at);
                self.show(conn, self.shared.env.registry.command(request.id), &args);
            }
        }
    }

    /// Shows a command that a script calls.
    #[inline]
    pub(super) fn show_call(&mut self, db: usize, command: &Command, args: &Args) {
        if self.monitors.are_there() && !command.flags.has(ADMIN) {
            let mut text = format!("[{db} lua]").into_bytes();
            write_words(&mut text, command, args);
            self.monitors.add(text);
        }
    }

    /// At the end of a turn: sends what was done in it, before its replies, and shows what has come.
    pub(super) fn show_lines(&mut self) {
        if !self.monitors.fresh.is_empty() {
            let lines = Arc::new(std::mem::take(&mut self.monitors.fresh));
            for &(shard, _) in &self.monitors.shards.clone() {
                match usize::from(shard) == self.index {
                    true => self.monitors.take_in(&lines),
                    false => self.mail.push(shard.into(), Message::Shown(lines.clone())),
                }
            }
        }
        if self.monitors.arrived.is_empty() && self.monitors.waiting.is_empty() {
            return;
        }
        let arrived = self.monitors.arrived.len();
        let text = self.monitors.settled(self.slots.shards() == 1);
        // What arrived in this turn is looked at again in the next one, which has read all queues.
        if self.slots.shards() > 1 && (arrived > 0 || !self.monitors.waiting.is_empty()) {
            self.more = true;
        }
        if text.is_empty() {
            return;
        }
        for token in self.monitors.clients.clone() {
            let Some(mut conn) = self.take(token) else { continue };
            if conn.session.wants_reply() {
                self.push_bytes(&mut conn, &text);
                if conn.out.len() > KEPT_BUFFER {
                    conn.kill_now |= self.is_over_hard_limit(&conn);
                    conn.seal();
                }
            }
            self.put(token, conn);
        }
    }
}

/// A request as it is shown, without the time.
fn line(db: usize, peer: &Peer, command: &Command, args: &Args) -> Vec<u8> {
    let mut text = prefix(db, peer);
    write_words(&mut text, command, args);
    text
}

fn prefix(db: usize, peer: &Peer) -> Vec<u8> {
    let text = match peer {
        Peer::Tcp { .. } => format!("[{db} {}]", peer.address()),
        Peer::Unix { path } => format!("[{db} unix:{path}]"),
    };
    text.into_bytes()
}

fn write_words(text: &mut Vec<u8>, command: &Command, args: &Args) {
    for word in command.shown_args(args) {
        text.push(b' ');
        quote(text, word);
    }
    text.extend_from_slice(b"\r\n");
}

/// Appends a word in quotes, with its special characters as redis-cli shows them.
fn quote(text: &mut Vec<u8>, word: &[u8]) {
    text.push(b'"');
    for &byte in word {
        match byte {
            b'"' | b'\\' => text.extend_from_slice(&[b'\\', byte]),
            b'\n' => text.extend_from_slice(b"\\n"),
            b'\r' => text.extend_from_slice(b"\\r"),
            b'\t' => text.extend_from_slice(b"\\t"),
            0x07 => text.extend_from_slice(b"\\a"),
            0x08 => text.extend_from_slice(b"\\b"),
            0x20..=0x7e => text.push(byte),
            // Writing to memory cannot fail.
            _ => drop(write!(text, "\\x{byte:02x}")),
        }
    }
    text.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(word: &[u8]) -> String {
        let mut text = Vec::new();
        quote(&mut text, word);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn words_are_quoted() {
        assert_eq!(quoted(b"plain word"), "\"plain word\"");
        assert_eq!(quoted(b""), "\"\"");
        assert_eq!(quoted(b"\"\\\n\r\t\x07\x08"), "\"\\\"\\\\\\n\\r\\t\\a\\b\"");
        assert_eq!(quoted(b"\x00\x1b\x7f\xff"), "\"\\x00\\x1b\\x7f\\xff\"");
    }

    fn lines(all: &[(u64, &str)]) -> Arc<Vec<Line>> {
        let line = |(at, text): &(u64, &str)| Line {
            at: Duration::from_micros(*at),
            text: text.as_bytes().into(),
        };
        Arc::new(all.iter().map(line).collect())
    }

    fn settled(monitors: &mut Monitors, alone: bool) -> String {
        let text = String::from_utf8(monitors.settled(alone)).unwrap();
        text.split('+').map(|line| line.split(' ').nth(1).unwrap_or_default()).collect()
    }

    #[test]
    fn lines_wait_for_older_ones_from_other_shards() {
        let mut monitors = Monitors::default();
        monitors.arrived.push(lines(&[(10, "c"), (20, "d")]));
        assert_eq!(settled(&mut monitors, false), "");
        monitors.arrived.push(lines(&[(5, "a"), (6, "b"), (30, "g")]));
        monitors.arrived.push(lines(&[(20, "e")]));
        assert_eq!(settled(&mut monitors, false), "abcde");
        monitors.arrived.push(lines(&[(29, "f"), (31, "h")]));
        assert_eq!(settled(&mut monitors, false), "fg");
        assert_eq!(settled(&mut monitors, false), "h");
        assert_eq!(settled(&mut monitors, false), "");
        monitors.arrived.push(lines(&[(40, "i"), (41, "j")]));
        assert_eq!(settled(&mut monitors, true), "ij");
        assert!(monitors.waiting.is_empty());
    }
}
