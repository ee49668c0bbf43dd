//! The commands of an AOF, in the units in which they count: all of one, or nothing.
//!
//! ```text
//!   *3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n       a command
//!   *1\r\n$5\r\nMULTI\r\n ... *1\r\n$4\r\nEXEC\r\n    commands that count together
//!   #TS:1700000000\r\n                               an annotation
//! ```
//!
//! A file that ends within a unit was torn when its writer died: what stands before the unit is good. Anything
//! else that is wrong is damage. MULTI and EXEC are words of this format; whatever else is a command is not
//! known here.

use crate::rdb::buffered::Buffered;
use crate::resp::{Args, Span};
use std::fmt;
use std::io::{self, Read};

/// Bytes of a line, whatever it says.
const LINE_MAX: usize = 64 << 10;
/// Arguments are found by 32 bits.
const COMMAND_MAX: usize = u32::MAX as usize - LINE_MAX;

/// What counts together.
#[derive(Debug)]
pub enum Unit<'a> {
    Command(Args<'a>),
    /// What stood between MULTI and EXEC.
    Transaction(&'a [Kept]),
    /// A line without its `#` and its end. Between MULTI and EXEC they are passed over.
    Annotation(&'a [u8]),
}

/// A command that is kept.
#[derive(Debug)]
pub struct Kept {
    bytes: Box<[u8]>,
    spans: Box<[Span]>,
}

impl Kept {
    pub fn args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.spans)
    }
}

/// Why there is nothing more.
#[derive(Debug)]
pub struct AofError {
    /// Where the last whole unit ends, bytes from the start of the file.
    pub whole: u64,
    /// Where the line begins that cannot be understood, or where the file ends.
    pub offset: u64,
    pub cause: Cause,
}

#[derive(Debug)]
pub enum Cause {
    /// The file ends within a unit.
    Truncated,
    Damaged(&'static str),
    Io(io::Error),
}

impl fmt::Display for AofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::Truncated => {
                write!(
                    f,
                    "it ends at byte {} within what begins at byte {}",
                    self.offset, self.whole
                )
            }
            Cause::Damaged(what) => write!(f, "at byte {}: {what}", self.offset),
            Cause::Io(error) => write!(f, "at byte {}: {error}", self.offset),
        }
    }
}

impl std::error::Error for AofError {}

/// A line of a file: where it lies behind what was taken, without its end; and where the next begins.
struct Line {
    start: usize,
    end: usize,
    next: usize,
}

/// What stands at one place of the file.
enum Found {
    Command,
    Annotation(usize),
    End,
}

pub struct AofReader<R> {
    stream: Buffered<R>,
    /// Arguments of the command ahead.
    spans: Vec<Span>,
    transaction: Vec<Kept>,
    /// Bytes ahead that the last unit takes, which goes when the next is wanted.
    taken: usize,
    whole: u64,
}

impl<R: Read> AofReader<R> {
    /// Begins where the stream is.
    pub fn new(stream: Buffered<R>) -> AofReader<R> {
        let whole = stream.position();
        AofReader { stream, spans: Vec::new(), transaction: Vec::new(), taken: 0, whole }
    }

    /// Where the unit ends that was given last, bytes from the start of the file.
    pub fn position(&self) -> u64 {
        self.whole
    }

    /// The next unit; nothing at the end. After an error nothing useful follows.
    #[allow(clippy::should_implement_trait)] // a unit borrows from its reader
    pub fn next(&mut self) -> Result<Option<Unit<'_>>, AofError> {
        self.pass();
        self.transaction.clear();
        match self.find()? {
            Found::End => Ok(None),
            Found::Annotation(len) => {
                self.end_unit();
                Ok(Some(Unit::Annotation(&self.stream.ahead()[1..=len])))
            }
            Found::Command if self.is_word("multi") => {
                self.pass();
                self.gather()?;
                Ok(Some(Unit::Transaction(&self.transaction)))
            }
            Found::Command if self.is_word("exec") => {
                Err(self.damaged(0, "EXEC comes without MULTI"))
            }
            Found::Command => {
                self.end_unit();
                Ok(Some(Unit::Command(self.args())))
            }
        }
    }

    fn args(&self) -> Args<'_> {
        Args::new(self.stream.ahead(), &self.spans)
    }

    fn is_word(&self, word: &str) -> bool {
        self.spans.len() == 1 && self.args().is(0, word)
    }

    fn pass(&mut self) {
        self.stream.skip(self.taken);
        self.taken = 0;
    }

    fn end_unit(&mut self) {
        self.whole = self.stream.position() + self.taken as u64;
    }

    /// Keeps what comes up to EXEC.
    fn gather(&mut self) -> Result<(), AofError> {
        loop {
            match self.find()? {
                Found::End => return Err(self.truncated()),
                Found::Annotation(_) => {}
                Found::Command if self.is_word("exec") => {
                    self.end_unit();
                    return Ok(());
                }
                Found::Command if self.is_word("multi") => {
                    return Err(self.damaged(0, "MULTI comes within MULTI"));
                }
                Found::Command => {
                    let bytes = self.stream.ahead()[..self.taken].into();
                    self.transaction.push(Kept { bytes, spans: self.spans.as_slice().into() });
                }
            }
            self.pass();
        }
    }

    /// Looks at what comes, which then lies ahead as a whole.
    fn find(&mut self) -> Result<Found, AofError> {
        self.spans.clear();
        if !self.stream.want(1) {
            return match self.stream.failure() {
                Some(error) => Err(self.error(0, Cause::Io(error))),
                None => Ok(Found::End),
            };
        }
        let line = match self.stream.ahead()[0] {
            b'#' | b'*' => self.line(0)?,
            _ => return Err(self.damaged(0, "there is no command")),
        };
        if self.stream.ahead()[0] == b'#' {
            self.taken = line.next;
            return Ok(Found::Annotation(line.end - 1));
        }
        let count = self.number(&line)?;
        if !(1..=i32::MAX as usize).contains(&count) {
            return Err(self.damaged(line.start, "a command has no arguments, or too many"));
        }
        let mut at = line.next;
        for _ in 0..count {
            at = self.argument(at)?;
        }
        self.taken = at;
        Ok(Found::Command)
    }

    /// Takes note of the argument at a place ahead, and answers where it ends.
    fn argument(&mut self, at: usize) -> Result<usize, AofError> {
        if !self.stream.want(at + 1) {
            return Err(self.truncated());
        }
        if self.stream.ahead()[at] != b'$' {
            return Err(self.damaged(at, "there is no argument where one is expected"));
        }
        let line = self.line(at)?;
        let len = self.number(&line)?;
        let (start, end) = (line.next, line.next.saturating_add(len));
        if end > COMMAND_MAX {
            return Err(self.damaged(at, "a command is longer than 4 GB"));
        }
        if !self.stream.want(end + 2) {
            return Err(self.truncated());
        }
        if self.stream.ahead()[end..end + 2] != *b"\r\n" {
            return Err(self.damaged(at, "an argument does not end where it should"));
        }
        self.spans.push(Span::new(start, end));
        Ok(end + 2)
    }

    fn line(&mut self, start: usize) -> Result<Line, AofError> {
        let mut seen = start;
        loop {
            let ahead = self.stream.ahead();
            let here = &ahead[seen..ahead.len().min(start + LINE_MAX)];
            if let Some(found) = here.iter().position(|&byte| byte == b'\n') {
                let next = seen + found + 1;
                let end =
                    if next - start > 1 && ahead[next - 2] == b'\r' { next - 2 } else { next - 1 };
                return Ok(Line { start, end, next });
            }
            seen = ahead.len();
            if seen - start >= LINE_MAX {
                return Err(self.damaged(start, "a line has no end"));
            }
            if !self.stream.want(seen + 1) {
                return Err(self.truncated());
            }
        }
    }

    /// The number behind the first byte of a line.
    fn number(&self, line: &Line) -> Result<usize, AofError> {
        let digits = &self.stream.ahead()[line.start + 1..line.end];
        let number = std::str::from_utf8(digits).ok().filter(|_| digits.first() != Some(&b'+'));
        number
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| self.damaged(line.start, "a number is expected"))
    }

    fn error(&self, at: usize, cause: Cause) -> AofError {
        AofError { whole: self.whole, offset: self.stream.position() + at as u64, cause }
    }

    fn damaged(&self, at: usize, what: &'static str) -> AofError {
        self.error(at, Cause::Damaged(what))
    }

    fn truncated(&mut self) -> AofError {
        let cause = self.stream.failure().map_or(Cause::Truncated, Cause::Io);
        self.error(self.stream.ahead().len(), cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: &str = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n";
    const MULTI: &str = "*1\r\n$5\r\nMULTI\r\n";
    const EXEC: &str = "*1\r\n$4\r\nexec\r\n";

    /// Gives a byte at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let len = self.0.len().min(buffer.len()).min(1);
            buffer[..len].copy_from_slice(&self.0[..len]);
            self.0 = &self.0[len..];
            Ok(len)
        }
    }

    fn words(args: Args) -> String {
        let words: Vec<_> = args.iter().map(|word| word.escape_ascii().to_string()).collect();
        words.join(" ")
    }

    /// The units of a file as text, and how it ends.
    fn read(bytes: &[u8]) -> (Vec<String>, Result<u64, AofError>) {
        let mut reader = AofReader::new(Buffered::new(Slow(bytes)));
        let mut units = Vec::new();
        loop {
            units.push(match reader.next() {
                Ok(Some(Unit::Command(args))) => words(args),
                Ok(Some(Unit::Annotation(text))) => format!("#{}", text.escape_ascii()),
                Ok(Some(Unit::Transaction(all))) => {
                    let all: Vec<_> = all.iter().map(|kept| words(kept.args())).collect();
                    format!("[{}]", all.join(", "))
                }
                Ok(None) => return (units, Ok(reader.position())),
                Err(error) => return (units, Err(error)),
            });
        }
    }

    #[test]
    fn units_in_their_order() {
        let text =
            format!("#TS:1\r\n{SET}{MULTI}{SET}#x\r\n*1\r\n$0\r\n\r\n{EXEC}{SET}{MULTI}{EXEC}");
        let (units, end) = read(text.as_bytes());
        assert_eq!(units, ["#TS:1", "SET k v", "[SET k v, ]", "SET k v", "[]"]);
        assert_eq!(end.unwrap(), text.len() as u64);
        assert_eq!(read(b"").1.unwrap(), 0);
    }

    #[test]
    fn a_torn_tail_leaves_whole_units() {
        let text = format!("{SET}#a\r\n{SET}{MULTI}{SET}{EXEC}{SET}");
        let ends: Vec<usize> = [SET.len(), 4, SET.len(), MULTI.len() + SET.len() + EXEC.len()]
            .iter()
            .scan(0, |sum, len| {
                *sum += len;
                Some(*sum)
            })
            .collect();
        for cut in 1..text.len() {
            let (_, end) = read(&text.as_bytes()[..cut]);
            let whole = ends.iter().copied().filter(|end| *end <= cut).max().unwrap_or(0);
            match end {
                Ok(position) => assert_eq!((position, whole), (cut as u64, cut)),
                Err(error) => {
                    assert!(matches!(error.cause, Cause::Truncated), "cut at {cut}: {error}");
                    assert_eq!((error.whole, error.offset), (whole as u64, cut as u64));
                }
            }
        }
    }

    #[test]
    fn damage_is_told_with_its_place() {
        for (wrong, at) in [
            ("x", 0),
            ("\0\0\0", 0),
            ("*0\r\n", 0),
            ("*x\r\n", 0),
            ("*+1\r\n", 0),
            ("*-1\r\n", 0),
            ("*1\r\n:3\r\nGET\r\n", 4),
            ("*1\r\n$-1\r\n", 4),
            ("*1\r\n$3\r\nGETxx", 4),
            ("*2\r\n$3\r\nGET\r\n$2\r\nabc\r\n", 13),
            ("*1\r\n$99999999999\r\n", 4),
            ("*99999999999\r\n", 0),
            (EXEC, 0),
        ] {
            let (units, end) = read(format!("{SET}{wrong}").as_bytes());
            let error = end.unwrap_err();
            assert!(matches!(error.cause, Cause::Damaged(_)), "{wrong:?}: {error}");
            let start = SET.len() as u64;
            assert_eq!(
                (error.whole, error.offset, units.len()),
                (start, start + at, 1),
                "{wrong:?}"
            );
        }
        let endless = [b'*'].repeat(LINE_MAX + 5);
        assert!(matches!(read(&endless).1.unwrap_err().cause, Cause::Damaged(_)));
        let nested = format!("{MULTI}{SET}{MULTI}");
        assert_eq!(read(nested.as_bytes()).1.unwrap_err().whole, 0);
    }
}
