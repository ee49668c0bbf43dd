//! A RESP2/RESP3 reader that checks and counts replies and keeps none of them.
//!
//! Bytes may arrive cut anywhere. Nesting needs no stack: a reply is over when as many elements
//! ended as its aggregates announced, so one counter of elements still due is enough.
//!
//! Deliberately absent: values (only the first error's text is kept) and RESP3's streamed
//! strings and aggregates (`$?`, `*?`), which no server sends unasked.

const ERROR_TEXT_MAX: usize = 200;

#[derive(Default, Debug, Clone, PartialEq, Eq)]
pub struct ReplyCounts {
    /// Complete top-level replies, push messages not counted.
    pub replies: u64,
    /// Errors, also those inside an aggregate (EXEC).
    pub errors: u64,
    /// Null replies at top level or inside an aggregate: a GET that missed.
    pub nulls: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// At the type byte of an element.
    Type,
    /// In a line whose text does not matter: simple string, double, boolean, ...
    Text,
    /// In the line of an error; the first one's text is kept.
    Error,
    /// In the line of a number that says how long the rest is.
    Length {
        kind: u8,
        negative: bool,
        digits: u8,
        value: u64,
    },
    /// The line's CR was seen, its LF is due.
    LineEnd(After),
    /// In a bulk: `left` bytes of payload, then CR LF.
    Bulk {
        left: u64,
        error: bool,
    },
    BulkCr,
    BulkLf,
}

/// What a header line announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum After {
    Scalar,
    Null,
    Bulk {
        len: u64,
        error: bool,
    },
    /// `children` elements; `instead` when the aggregate is itself no element (an attribute).
    Aggregate {
        children: u64,
        instead: bool,
    },
}

pub struct ReplyCounter {
    state: State,
    /// Elements still due of the current top-level reply; 0 between replies.
    due: u64,
    push: bool,
    counts: ReplyCounts,
    first_error: Vec<u8>,
    keep_error: bool,
}

impl Default for ReplyCounter {
    fn default() -> ReplyCounter {
        ReplyCounter {
            state: State::Type,
            due: 0,
            push: false,
            counts: ReplyCounts::default(),
            first_error: Vec::new(),
            keep_error: false,
        }
    }
}

impl ReplyCounter {
    pub fn counts(&self) -> &ReplyCounts {
        &self.counts
    }

    pub fn first_error(&self) -> Option<String> {
        (!self.first_error.is_empty())
            .then(|| String::from_utf8_lossy(&self.first_error).into_owned())
    }

    /// Reads on; returns how many replies ended within `bytes`.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<u64, String> {
        let before = self.counts.replies;
        let mut at = 0;
        while at < bytes.len() {
            at = match self.state {
                State::Bulk { left, error } => self.bulk(left, error, bytes, at),
                State::Text | State::Error => self.text(bytes, at),
                _ => {
                    self.byte(bytes[at]).map_err(|what| malformed(&what, bytes, at))?;
                    at + 1
                }
            };
        }
        Ok(self.counts.replies - before)
    }

    fn bulk(&mut self, left: u64, error: bool, bytes: &[u8], at: usize) -> usize {
        let step = left.min((bytes.len() - at) as u64);
        let end = at + step as usize;
        if error {
            self.keep(&bytes[at..end]);
        }
        self.state =
            if step == left { State::BulkCr } else { State::Bulk { left: left - step, error } };
        end
    }

    /// Goes to the line's CR; a lone LF inside is left to the servers' conscience.
    fn text(&mut self, bytes: &[u8], at: usize) -> usize {
        let end = bytes[at..].iter().position(|&b| b == b'\r').map(|n| at + n);
        if self.state == State::Error {
            self.keep(&bytes[at..end.unwrap_or(bytes.len())]);
        }
        match end {
            Some(cr) => {
                self.state = State::LineEnd(After::Scalar);
                cr + 1
            }
            None => bytes.len(),
        }
    }

    fn byte(&mut self, byte: u8) -> Result<(), String> {
        match self.state {
            State::Type => self.start(byte),
            State::Length { kind, negative, digits, value } => {
                self.length(kind, negative, digits, value, byte)
            }
            State::LineEnd(after) => match byte {
                b'\n' => {
                    self.line_done(after);
                    Ok(())
                }
                _ => Err("CR without LF".into()),
            },
            State::BulkCr if byte == b'\r' => {
                self.state = State::BulkLf;
                Ok(())
            }
            State::BulkLf if byte == b'\n' => {
                self.element_done();
                Ok(())
            }
            State::BulkCr | State::BulkLf => Err("bulk not ended by CRLF".into()),
            State::Text | State::Error | State::Bulk { .. } => {
                unreachable!("feed takes these in slices")
            }
        }
    }

    fn start(&mut self, kind: u8) -> Result<(), String> {
        if self.due == 0 {
            self.due = 1;
            self.push = kind == b'>';
        }
        self.state = match kind {
            b'+' | b':' | b',' | b'#' | b'(' => State::Text,
            b'-' => {
                self.begin_error();
                State::Error
            }
            b'$' | b'=' | b'!' | b'*' | b'~' | b'%' | b'|' | b'>' | b'_' => {
                State::Length { kind, negative: false, digits: 0, value: 0 }
            }
            _ => return Err(format!("unknown type byte 0x{kind:02x}")),
        };
        Ok(())
    }

    fn length(
        &mut self,
        kind: u8,
        negative: bool,
        digits: u8,
        value: u64,
        byte: u8,
    ) -> Result<(), String> {
        self.state = match byte {
            b'0'..=b'9' if digits < 18 => State::Length {
                kind,
                negative,
                digits: digits + 1,
                value: value * 10 + u64::from(byte - b'0'),
            },
            b'-' if digits == 0 && !negative => {
                State::Length { kind, negative: true, digits, value }
            }
            b'\r' => State::LineEnd(announced(kind, negative, digits, value)?),
            _ => return Err(format!("byte 0x{byte:02x} in a length")),
        };
        Ok(())
    }

    fn line_done(&mut self, after: After) {
        match after {
            After::Scalar => self.element_done(),
            After::Null => {
                self.counts.nulls += 1;
                self.element_done();
            }
            After::Bulk { len, error } => {
                if error {
                    self.begin_error();
                }
                self.state =
                    if len == 0 { State::BulkCr } else { State::Bulk { left: len, error } };
            }
            After::Aggregate { children, instead } => {
                self.due += children + u64::from(instead);
                self.element_done();
            }
        }
    }

    fn element_done(&mut self) {
        self.state = State::Type;
        self.due -= 1;
        if self.due == 0 && !self.push {
            self.counts.replies += 1;
        }
    }

    fn begin_error(&mut self) {
        self.counts.errors += 1;
        self.keep_error = self.counts.errors == 1;
    }

    fn keep(&mut self, text: &[u8]) {
        if self.keep_error {
            let room = ERROR_TEXT_MAX - self.first_error.len();
            self.first_error.extend_from_slice(&text[..text.len().min(room)]);
        }
    }
}

fn announced(kind: u8, negative: bool, digits: u8, value: u64) -> Result<After, String> {
    if kind == b'_' {
        return if digits == 0 && !negative { Ok(After::Null) } else { Err("null".into()) };
    }
    if digits == 0 {
        return Err("empty length".into());
    }
    if negative {
        let null = value == 1 && matches!(kind, b'$' | b'*');
        return if null { Ok(After::Null) } else { Err(format!("length -{value}")) };
    }
    Ok(match kind {
        b'$' | b'=' => After::Bulk { len: value, error: false },
        b'!' => After::Bulk { len: value, error: true },
        b'%' => After::Aggregate { children: 2 * value, instead: false },
        b'|' => After::Aggregate { children: 2 * value, instead: true },
        _ => After::Aggregate { children: value, instead: false },
    })
}

fn malformed(what: &str, bytes: &[u8], at: usize) -> String {
    let around = &bytes[at.saturating_sub(20)..bytes.len().min(at + 20)];
    format!("malformed reply: {what}, near \"{}\"", around.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kind of reply, nested and pushed, with CRLF inside bulks.
    const STREAM: &[u8] = b"+OK\r\n:12\r\n$3\r\nabc\r\n$0\r\n\r\n$-1\r\n*-1\r\n*0\r\n\
        $4\r\n\r\n\r\n\r\n-ERR no\r\n*3\r\n:1\r\n*2\r\n$1\r\na\r\n-WRONGTYPE x\r\n_\r\n\
        %2\r\n+a\r\n:1\r\n+b\r\n*1\r\n#t\r\n~1\r\n,1.5\r\n(12345678901234567890\r\n\
        =7\r\ntxt:abc\r\n!5\r\nERR z\r\n>2\r\n+message\r\n$1\r\nx\r\n|1\r\n+ttl\r\n:5\r\n$2\r\nhi\r\n";

    fn expected() -> ReplyCounts {
        ReplyCounts { replies: 16, errors: 3, nulls: 3 }
    }

    #[test]
    fn a_whole_stream_is_counted() {
        let mut counter = ReplyCounter::default();
        assert_eq!(counter.feed(STREAM), Ok(16));
        assert_eq!(*counter.counts(), expected());
        assert_eq!(counter.first_error().as_deref(), Some("ERR no"));
        assert_eq!(counter.due, 0);
    }

    #[test]
    fn a_cut_at_any_byte_changes_nothing() {
        for cut in 0..=STREAM.len() {
            let mut counter = ReplyCounter::default();
            let first = counter.feed(&STREAM[..cut]).unwrap();
            let second = counter.feed(&STREAM[cut..]).unwrap();
            assert_eq!(first + second, 16, "cut {cut}");
            assert_eq!(*counter.counts(), expected(), "cut {cut}");
            assert_eq!(counter.first_error().as_deref(), Some("ERR no"), "cut {cut}");
        }
        let mut counter = ReplyCounter::default();
        let total: u64 = STREAM.iter().map(|b| counter.feed(&[*b]).unwrap()).sum();
        assert_eq!((total, counter.counts()), (16, &expected()));
    }

    #[test]
    fn a_bulk_error_is_kept_across_cuts() {
        let mut counter = ReplyCounter::default();
        for part in [&b"!10\r\nERR "[..], b"broke", b"n\r\n"] {
            counter.feed(part).unwrap();
        }
        assert_eq!(counter.first_error().as_deref(), Some("ERR broken"));
    }

    #[test]
    fn malformed_replies_are_refused() {
        for wrong in [
            &b"hello\r\n"[..],
            b"$x\r\n",
            b"$3\r\nabcd\r\n",
            b"$3\r\nabc\rx",
            b"$-2\r\n",
            b"%-1\r\n",
            b"*\r\n",
            b"+OK\rx",
            b"_1\r\n",
            b"$9999999999999999999\r\n",
            b"*1\r\n\r\n",
        ] {
            let mut counter = ReplyCounter::default();
            assert!(counter.feed(wrong).is_err(), "{}", wrong.escape_ascii());
        }
    }
}
