//! SCAN on several shards: one after the other, until as much is found as was asked for.

use super::conn::Conn;
use super::mail::Message;
use super::operation::{Operation, flat};
use super::worker::Worker;
use crate::command::{CommandId, scan_cursor_join, scan_cursor_split};
use crate::resp::{Args, Encoder};
use crate::route::Batch;
use crate::rt::{Io, Token};

/// A SCAN that visits one shard after another until it has found as much as was asked for.
pub struct Scanning {
    pub(super) id: CommandId,
    /// The request; its cursor is replaced for each shard.
    words: Vec<Vec<u8>>,
    /// What is still wanted of COUNT, and where its value is among the words.
    count: usize,
    count_at: usize,
    shard: usize,
    shards: usize,
    found: usize,
    /// Encoded elements.
    elements: Vec<u8>,
}

impl Scanning {
    /// A SCAN that has not run anywhere yet; nothing when its cursor is beyond the last shard.
    pub(super) fn new(id: CommandId, args: &Args, shards: usize) -> Option<Scanning> {
        let mut words: Vec<Vec<u8>> = args.iter().map(<[u8]>::to_vec).collect();
        let cursor = std::str::from_utf8(args.at(1)).ok().and_then(|text| text.parse().ok());
        let (shard, position) = cursor.map_or((0, None), |c| {
            let (shard, position) = scan_cursor_split(c);
            (shard, Some(position))
        });
        if shard >= shards {
            return None;
        }
        // A cursor that is none gets its error from the command itself.
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
        let (count, elements) = (count.unwrap_or(10), Vec::new());
        Some(Scanning { id, words, count, count_at, shard, shards, found: 0, elements })
    }

    /// The shard whose turn it is.
    pub(super) fn shard(&self) -> usize {
        self.shard
    }

    /// The request for that shard.
    pub(super) fn words(&self) -> impl Iterator<Item = &[u8]> {
        self.words.iter().map(Vec::as_slice)
    }

    /// Takes one shard's reply and writes the whole one, if that is all: else the next shard's turn
    /// has come.
    pub(super) fn take(&mut self, reply: &[u8], out: &mut Encoder) -> bool {
        let Some((cursor, found, elements)) = read_scan_reply(reply) else {
            out.raw(reply); // an error
            return true;
        };
        self.found += found;
        self.count = self.count.saturating_sub(found);
        self.elements.extend_from_slice(elements);
        let next = match cursor {
            0 if self.shard + 1 < self.shards => {
                self.shard += 1;
                scan_cursor_join(self.shard, 0)
            }
            0 => 0,
            position => scan_cursor_join(self.shard, position),
        };
        if next != 0 && self.count > 0 && cursor == 0 {
            self.words[1] = b"0".to_vec();
            self.words[self.count_at] = self.count.to_string().into_bytes();
            return false;
        }
        out.array(2);
        out.bulk(next.to_string().as_bytes());
        out.array(self.found);
        out.raw(&self.elements);
        true
    }

    /// The reply to a SCAN that is at its end already.
    pub(super) fn write_end(out: &mut Encoder) {
        out.array(2);
        out.bulk(b"0");
        out.array(0);
    }
}

impl Worker {
    /// Begins a SCAN that may visit several shards.
    pub(super) fn begin_scan(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        conn: &mut Conn,
        id: CommandId,
        args: &Args,
    ) {
        match Scanning::new(id, args, self.slots.shards()) {
            Some(scanning) => {
                conn.operation = Some(Operation::Scanning(Box::new(scanning)));
                self.scan_step(io, token, conn);
            }
            None => self.reply_to_command(conn, Scanning::write_end),
        }
    }

    /// Runs the next part of a SCAN: here at once, elsewhere by a message.
    fn scan_step(&mut self, io: &mut dyn Io, token: Token, conn: &mut Conn) {
        self.flush_batches();
        let caller = super::dispatch::caller(conn);
        while let Some(Operation::Scanning(scanning)) = &conn.operation {
            let (id, shard) = (scanning.id, scanning.shard);
            if shard != self.index || !self.line.is_free() || conn.put_off > 0 {
                let mut batch = self.batch(shard, token);
                batch.operation = true;
                batch.push_words(id, false, caller, scanning.words());
                match shard == self.index {
                    true => {
                        conn.put_off += 1;
                        self.line.put_off(batch);
                    }
                    false => self.mail.push(shard, Message::Run(batch)),
                }
                return;
            }
            let (bytes, spans) = flat(scanning.words());
            let mut reply = Vec::new();
            let now = self.now;
            self.run_command(io, id, Args::new(&bytes, &spans), caller, now, &mut reply);
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
        self.scan_step(io, token, conn);
        self.resume(io, token, conn);
    }

    /// Takes one shard's reply; finishes, or leaves the operation pointing at the next shard.
    fn scan_result(&mut self, conn: &mut Conn, reply: &[u8]) {
        let Some(Operation::Scanning(mut scanning)) = conn.operation.take() else { return };
        let mut whole = Vec::new();
        match scanning.take(reply, &mut Encoder::new(&mut whole, conn.session.protocol)) {
            true => self.reply_to_command(conn, |out| out.raw(&whole)),
            false => conn.operation = Some(Operation::Scanning(scanning)),
        }
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
