//! A file, or another stream of bytes, from which values are read: a buffer in front of it.
//!
//! ```text
//!   buffer   [ taken ............ | read ahead ............ |   room   ]
//!            ^ base               ^ start                   ^ end
//! ```
//!
//! The buffer grows to what is asked for in one piece, but never far beyond what has come, so a length that
//! lies costs nothing; and it shrinks again. What was taken is summed before it is overwritten.

use super::crc64::crc64;
use super::input::Source;
use super::{Corrupt, Result};
use std::io::{self, Read};

/// Bytes of the buffer, unless more are wanted in one piece.
const ROOM: usize = 256 << 10;

pub struct Buffered<R> {
    source: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Where the buffer begins in the stream.
    base: u64,
    sum: Option<Sum>,
    failure: Option<io::Error>,
}

/// The checksum of all that was taken up to a place in the buffer.
struct Sum {
    crc: u64,
    to: usize,
}

impl<R: Read> Buffered<R> {
    pub fn new(source: R) -> Buffered<R> {
        let (start, end, base) = (0, 0, 0);
        Buffered { source, buffer: Vec::new(), start, end, base, sum: None, failure: None }
    }

    /// How many bytes were taken.
    pub fn position(&self) -> u64 {
        self.base + self.start as u64
    }

    /// What can be taken without reading.
    pub fn ahead(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Reads on until so many bytes are [ahead](Self::ahead); `false` if the stream ends before, or fails.
    #[inline]
    pub fn want(&mut self, len: usize) -> bool {
        self.end - self.start >= len || self.fill(len)
    }

    /// The piece of `len` bytes that was taken last.
    pub fn taken(&self, len: usize) -> &[u8] {
        &self.buffer[self.start - len..self.start]
    }

    /// Passes over bytes that are ahead.
    pub fn skip(&mut self, len: usize) {
        self.start = self.end.min(self.start + len);
    }

    /// Why the stream failed, if it did; it is told once.
    pub fn failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    /// From here on what is taken is summed.
    pub fn start_sum(&mut self) {
        self.sum = Some(Sum { crc: 0, to: self.start });
    }

    /// The checksum of what was taken since [`Self::start_sum`]; nothing is summed any more.
    pub fn end_sum(&mut self) -> Option<u64> {
        self.settle();
        self.sum.take().map(|sum| sum.crc)
    }

    fn settle(&mut self) {
        if let Some(sum) = &mut self.sum {
            sum.crc = crc64(sum.crc, &self.buffer[sum.to..self.start]);
            sum.to = self.start;
        }
    }

    #[cold]
    fn fill(&mut self, len: usize) -> bool {
        self.settle();
        self.buffer.copy_within(self.start..self.end, 0);
        self.base += self.start as u64;
        self.end -= self.start;
        self.start = 0;
        if let Some(sum) = &mut self.sum {
            sum.to = 0;
        }
        if len <= ROOM && self.buffer.len() != ROOM {
            // What was ahead is less than what is wanted, so it stays.
            self.buffer.resize(ROOM, 0);
            self.buffer.shrink_to_fit();
        }
        while self.end < len {
            if self.end == self.buffer.len() {
                let doubled = self.buffer.len().saturating_mul(2).max(ROOM);
                self.buffer.resize(doubled.min(len), 0);
            }
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(0) => return false,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failure = Some(error);
                    return false;
                }
            }
        }
        true
    }
}

impl<R: Read> Source for Buffered<R> {
    #[inline]
    fn take(&mut self, len: usize) -> Result<&[u8]> {
        if !self.want(len) {
            return Err(Corrupt::Truncated);
        }
        let start = self.start;
        self.start += len;
        Ok(&self.buffer[start..self.start])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time, of the numbers from 0 on.
    struct Trickle(u64, u64);

    impl Read for Trickle {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let len = (7.min(buffer.len()) as u64).min(self.1 - self.0);
            for slot in &mut buffer[..len as usize] {
                *slot = self.0 as u8;
                self.0 += 1;
            }
            Ok(len as usize)
        }
    }

    #[test]
    fn pieces_of_all_sizes_come_in_order() {
        let mut stream = Buffered::new(Trickle(0, 3 << 20));
        let mut expected = 0u64;
        stream.start_sum();
        let mut crc = 0;
        for len in [0, 1, 300, ROOM, 3, 1 << 20, 100_000, 1, ROOM + 1, 5] {
            let piece = stream.take(len).unwrap();
            assert!(piece.iter().zip(expected..).all(|(byte, at)| *byte == at as u8), "{len}");
            crc = crc64(crc, piece);
            expected += len as u64;
            assert_eq!(stream.position(), expected);
        }
        assert_eq!(stream.buffer.len(), ROOM);
        assert_eq!(stream.end_sum(), Some(crc));
    }

    #[test]
    fn a_length_that_lies_allocates_little() {
        let mut stream = Buffered::new(Trickle(0, 1000));
        assert_eq!(stream.take(u32::MAX as usize).err(), Some(Corrupt::Truncated));
        assert!(stream.buffer.capacity() <= 2 * ROOM && stream.failure().is_none());
        assert_eq!(stream.take(1000).map(<[u8]>::len), Ok(1000));
        assert_eq!((stream.position(), stream.want(1)), (1000, false));
    }

    #[test]
    fn a_failure_is_told_from_an_end() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        let mut stream = Buffered::new(Failing);
        assert!(stream.take(1).is_err());
        assert_eq!(stream.failure().map(|error| error.to_string()), Some("broken".into()));
    }
}
