//! The effects that a shard has recorded and not handed over yet.
//!
//! Bytes are RESP, ready to be written. Each part begins and ends in database 0, so parts can stand in
//! a file one behind the other.

use crate::resp::Args;

/// What one transaction has done, by shard, in the form in which it is written.
pub type Unit = Vec<(usize, Vec<u8>)>;

/// Effects on the keys of one shard.
#[derive(Debug, Default)]
struct Part {
    bytes: Vec<u8>,
    /// The database that is selected at the end.
    db: usize,
    commands: usize,
}

impl Part {
    fn push<'a>(&mut self, db: usize, words: impl ExactSizeIterator<Item = &'a [u8]>) {
        self.select(db);
        push_command(&mut self.bytes, words);
        self.commands += 1;
    }

    /// As [`Part::push`], for a request as it came in.
    #[inline]
    fn push_request(&mut self, db: usize, args: &Args) {
        let Some(sent) = args.as_sent() else { return self.push(db, args.iter()) };
        self.select(db);
        self.bytes.reserve(sent.len() + 32);
        push_number(&mut self.bytes, b'*', args.len());
        push_number(&mut self.bytes, b'$', args.at(0).len());
        self.bytes.extend_from_slice(sent);
        self.bytes.extend_from_slice(b"\r\n");
        self.commands += 1;
    }

    #[inline]
    fn select(&mut self, db: usize) {
        if self.db != db {
            self.db = db;
            let mut number = itoa::Buffer::new();
            let words = [b"SELECT".as_slice(), number.format(db).as_bytes()];
            push_command(&mut self.bytes, words.into_iter());
        }
    }

    /// Takes what is there; the next effect begins in database 0.
    fn take(&mut self) -> Vec<u8> {
        self.select(0);
        self.commands = 0;
        // The next turn is likely to need as much.
        let room = self.bytes.len().min(KEPT_ROOM);
        std::mem::replace(&mut self.bytes, Vec::with_capacity(room))
    }
}

/// Room that is made in advance for the next turn's effects, bytes.
const KEPT_ROOM: usize = 256 << 10;

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

/// What a shard records.
#[derive(Debug, Default)]
pub struct Effects {
    on: bool,
    /// Whose keys are at hand.
    shard: usize,
    own: Part,
    /// Effects of the transaction that runs.
    unit: Vec<(usize, Part)>,
    /// Transactions that have begun, one inside of the other.
    depth: usize,
    /// The running command says itself what its effects are.
    given: bool,
    /// A client's command has recorded something since this was asked last.
    wrote: bool,
}

impl Effects {
    /// Records from now on, for this shard.
    pub fn switch_on(&mut self, shard: usize) {
        self.on = true;
        self.shard = shard;
    }

    pub fn switch_off(&mut self) {
        *self = Effects::default();
    }

    #[inline]
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// Whose keys are at hand from now on, of which keyless effects are; gives whose they were.
    pub fn at_shard(&mut self, shard: usize) -> usize {
        std::mem::replace(&mut self.shard, shard)
    }

    pub fn shard(&self) -> usize {
        self.shard
    }

    /// A command begins that has not said anything of its effects.
    #[inline]
    pub fn begin_command(&mut self) {
        self.given = false;
    }

    /// The running command has given its effects, or says that there are none.
    pub fn set_given(&mut self) {
        self.given = true;
    }

    pub fn is_given(&self) -> bool {
        self.given
    }

    /// A client's command has changed something.
    pub fn set_wrote(&mut self) {
        self.wrote = true;
    }

    /// Whether clients' commands have changed something since the last time.
    #[inline]
    pub fn take_wrote(&mut self) -> bool {
        std::mem::take(&mut self.wrote)
    }

    /// Records a command on keys of `shard`.
    pub fn record<'a>(
        &mut self,
        shard: usize,
        db: usize,
        words: impl ExactSizeIterator<Item = &'a [u8]>,
    ) {
        if self.depth == 0 {
            debug_assert_eq!(shard, self.shard, "another shard's effect outside of a unit");
            return self.own.push(db, words);
        }
        let at = match self.unit.iter().position(|(owner, _)| *owner == shard) {
            Some(at) => at,
            None => {
                self.unit.push((shard, Part::default()));
                self.unit.len() - 1
            }
        };
        self.unit[at].1.push(db, words);
    }

    /// As [`Effects::record`], for a request of this shard as it came in, outside of a unit.
    #[inline]
    pub fn record_request(&mut self, db: usize, args: &Args) {
        debug_assert_eq!(self.depth, 0, "what belongs together is recorded by shard");
        self.own.push_request(db, args);
    }

    /// What is recorded from now on belongs together.
    pub fn begin_unit(&mut self) {
        self.depth += 1;
    }

    /// Ends what [`Effects::begin_unit`] has begun. Answers the effects when that was the whole of it
    /// and there are some.
    pub fn end_unit(&mut self) -> Unit {
        self.depth = self.depth.saturating_sub(1);
        if self.depth > 0 {
            return Unit::new();
        }
        let parts = std::mem::take(&mut self.unit);
        parts
            .into_iter()
            .map(|(shard, mut part)| {
                let commands = part.commands;
                let bytes = part.take();
                (shard, if commands > 1 { in_multi(bytes) } else { bytes })
            })
            .collect()
    }

    /// Whether a transaction runs.
    #[inline]
    pub fn is_in_unit(&self) -> bool {
        self.depth > 0
    }

    /// Adds a part of a unit whose other parts are this shard's too.
    pub fn append(&mut self, bytes: &[u8]) {
        self.own.select(0);
        self.own.bytes.extend_from_slice(bytes);
    }

    /// Whether there is something to hand over.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.own.bytes.is_empty()
    }

    /// What is to be handed over.
    pub fn take(&mut self) -> Vec<u8> {
        self.own.take()
    }
}

/// Several commands as one.
fn in_multi(bytes: Vec<u8>) -> Vec<u8> {
    [MULTI, &bytes, EXEC].concat()
}

/// Appends a command as clients send it.
pub fn push_command<'a>(out: &mut Vec<u8>, words: impl ExactSizeIterator<Item = &'a [u8]>) {
    push_number(out, b'*', words.len());
    for word in words {
        push_number(out, b'$', word.len());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

#[inline]
fn push_number(out: &mut Vec<u8>, sign: u8, number: usize) {
    if number < 10 {
        return out.extend_from_slice(&[sign, b'0' + number as u8, b'\r', b'\n']);
    }
    let mut text = itoa::Buffer::new();
    out.push(sign);
    out.extend_from_slice(text.format(number).as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(effects: &mut Effects, shard: usize, db: usize, command: &str) {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        effects.record(shard, db, words.into_iter());
    }

    fn effects() -> Effects {
        let mut effects = Effects::default();
        effects.switch_on(1);
        effects
    }

    /// Commands, a bar between them.
    fn shown(bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes);
        let lines = text.split("\r\n").filter(|line| !line.starts_with('$'));
        lines
            .collect::<Vec<_>>()
            .join(" ")
            .split('*')
            .filter_map(|command| command.split_once(' '))
            .map(|(_, words)| words.trim().to_string())
            .collect::<Vec<_>>()
            .join(" | ")
    }

    #[test]
    fn commands_are_written_as_clients_send_them() {
        let mut effects = effects();
        record(&mut effects, 1, 0, "SET key 0123456789");
        assert_eq!(effects.take(), b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$10\r\n0123456789\r\n");
        assert!(effects.is_empty());
    }

    #[test]
    fn a_request_is_written_as_it_came_or_anew() {
        use crate::resp::{Limits, Parser, Span};
        let limits = Limits { bulk_len_max: 1 << 20, multibulk_max: 100, authenticated: true };
        let plain = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$10\r\n0123456789\r\n".to_vec();
        for (request, as_sent) in [
            (plain.clone(), true),
            (b"SET a 0123456789\r\n".to_vec(), false),
            (b"SET a      0123456789\r\n".to_vec(), false),
        ] {
            let (mut request, mut spans) = (request, Vec::<Span>::new());
            Parser::default().parse(&mut request, 0, &mut spans, &limits);
            let args = Args::new(&request, &spans);
            assert_eq!(args.as_sent().is_some(), as_sent);
            let mut effects = effects();
            effects.record_request(0, &args);
            assert_eq!(effects.take(), plain);
        }
    }

    #[test]
    fn every_part_begins_and_ends_in_database_0() {
        let mut effects = effects();
        record(&mut effects, 1, 3, "SET a 1");
        record(&mut effects, 1, 3, "SET b 1");
        assert_eq!(shown(&effects.take()), "SELECT 3 | SET a 1 | SET b 1 | SELECT 0");
        record(&mut effects, 1, 3, "DEL a");
        effects.append(b"*1\r\n$5\r\nOTHER\r\n");
        assert_eq!(shown(&effects.take()), "SELECT 3 | DEL a | SELECT 0 | OTHER");
    }

    #[test]
    fn a_unit_is_kept_apart_until_the_outermost_ends() {
        let mut effects = effects();
        record(&mut effects, 1, 0, "SET a 1");
        effects.begin_unit();
        record(&mut effects, 2, 0, "SET b 1");
        effects.begin_unit();
        record(&mut effects, 1, 5, "SET c 1");
        record(&mut effects, 1, 5, "SET d 1");
        assert!(effects.end_unit().is_empty());
        let unit = effects.end_unit();
        let unit: Vec<_> = unit.iter().map(|(shard, bytes)| (*shard, shown(bytes))).collect();
        let grouped = "MULTI | SELECT 5 | SET c 1 | SET d 1 | SELECT 0 | EXEC".to_string();
        assert_eq!(unit, [(2, "SET b 1".to_string()), (1, grouped)]);
        assert_eq!(shown(&effects.take()), "SET a 1");
        effects.begin_unit();
        assert!(effects.end_unit().is_empty() && effects.is_empty());
    }
}
