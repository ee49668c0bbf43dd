//! One request's arguments, borrowed from the buffer in which they arrived.

use std::ops::Index;

/// Where an argument lies in its buffer: `start..end`, in bytes.
///
/// 32 bits suffice: `client-query-buffer-limit` keeps a buffer below 4 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    pub fn new(start: usize, end: usize) -> Span {
        Span { start: start as u32, end: end as u32 }
    }

    /// The same argument after `n` bytes before it were taken away.
    pub fn moved_back(self, n: usize) -> Span {
        Span { start: self.start - n as u32, end: self.end - n as u32 }
    }

    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// The arguments of one request; `args[0]` is the command's name, as in Redis.
#[derive(Debug, Clone, Copy)]
pub struct Args<'a> {
    buffer: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    pub fn new(buffer: &'a [u8], spans: &'a [Span]) -> Args<'a> {
        Args { buffer, spans }
    }

    /// How many there are, the name included.
    #[allow(clippy::len_without_is_empty)] // a request always has its name
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.spans.get(index).map(|s| &self.buffer[s.start as usize..s.end as usize])
    }

    /// The argument at `index`, which the arity check has shown to exist.
    pub fn at(&self, index: usize) -> &'a [u8] {
        let span = self.spans[index];
        &self.buffer[span.start as usize..span.end as usize]
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &'a [u8]> + ExactSizeIterator + use<'a> {
        let buffer = self.buffer;
        self.spans.iter().map(move |s| &buffer[s.start as usize..s.end as usize])
    }

    /// The arguments from `first` on.
    pub fn from(&self, first: usize) -> Args<'a> {
        Args { buffer: self.buffer, spans: &self.spans[first.min(self.spans.len())..] }
    }

    /// The arguments from `first` up to, but without, `end`.
    pub fn range(&self, first: usize, end: usize) -> Args<'a> {
        Args { buffer: self.buffer, spans: &self.spans[first..end] }
    }

    /// The bytes from the first argument on to the end of the last one, if what stands between
    /// is what RESP has there: then they are the request but for its first two lines and its last line end.
    #[inline]
    pub fn as_sent(&self) -> Option<&'a [u8]> {
        let (bytes, _) = self.stretch();
        let mut end = self.spans[0].end;
        let mut len = self.spans[0].len();
        for span in &self.spans[1..] {
            let digits = 1 + span.len().checked_ilog10().unwrap_or(0) as usize;
            len += b"\r\n$\r\n".len() + digits + span.len();
            if self.buffer[end as usize..].first_chunk() != Some(b"\r\n$") {
                return None;
            }
            end = span.end;
        }
        (len == bytes.len()).then_some(bytes)
    }

    /// Bytes of the request as RESP has it.
    pub fn request_len(&self) -> usize {
        let digits = |n: usize| 1 + n.checked_ilog10().unwrap_or(0) as usize;
        let args =
            self.spans.iter().map(|span| span.len() + digits(span.len()) + "$\r\n\r\n".len());
        args.sum::<usize>() + digits(self.len()) + "*\r\n".len()
    }

    /// Whether the argument at `index` is `word`, in any case.
    pub fn is(&self, index: usize, word: &str) -> bool {
        self.get(index).is_some_and(|a| a.eq_ignore_ascii_case(word.as_bytes()))
    }

    pub fn spans(&self) -> &'a [Span] {
        self.spans
    }

    /// The bytes from the first argument to the last, with whatever lies between them, and where
    /// they begin in the buffer that the spans refer to.
    pub fn stretch(&self) -> (&'a [u8], usize) {
        match (self.spans.first(), self.spans.last()) {
            (Some(first), Some(last)) => {
                let start = first.start as usize;
                (&self.buffer[start..last.end as usize], start)
            }
            _ => (&[], 0),
        }
    }
}

impl Index<usize> for Args<'_> {
    type Output = [u8];

    fn index(&self, index: usize) -> &[u8] {
        self.at(index)
    }
}
