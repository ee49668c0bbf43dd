//! The sparse form: runs of equal registers, changed in place.

use super::{Corrupt, Histogram, REGISTERS};
use std::fmt::Write as _;

/// Longest run of zeros in one byte.
const ZEROS_SHORT: usize = 64;
/// Highest value, and longest run of it.
const VALUE_MAX: u8 = 32;
const VALUES_LEN: usize = 4;
/// So many runs from the one before the change are looked at for neighbours to join.
const JOINED: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Zeros in a run of one byte.
    Short,
    /// Zeros in a run of two bytes.
    Long,
    Value(u8),
}

#[derive(Debug, Clone, Copy)]
struct Run {
    kind: Kind,
    /// Registers.
    len: usize,
}

impl Run {
    /// The run at the beginning of `bytes`, which are not empty. A second byte that is missing
    /// counts as 0.
    #[inline]
    fn read(bytes: &[u8]) -> Run {
        let first = bytes[0];
        if first & 0x80 != 0 {
            let value = (first >> 2 & 0x1f) + 1;
            return Run { kind: Kind::Value(value), len: usize::from(first & 3) + 1 };
        }
        let low = usize::from(first & 0x3f);
        match first & 0x40 {
            0 => Run { kind: Kind::Short, len: low + 1 },
            _ => {
                let second = bytes.get(1).copied().unwrap_or(0);
                Run { kind: Kind::Long, len: (low << 8 | usize::from(second)) + 1 }
            }
        }
    }

    /// Bytes.
    #[inline]
    fn size(self) -> usize {
        if self.kind == Kind::Long { 2 } else { 1 }
    }
}

/// The bytes of a run of zeros.
pub(super) fn zeros(len: usize) -> impl Iterator<Item = u8> {
    let less = len - 1;
    let long = [(less >> 8) as u8 | 0x40, less as u8];
    let (bytes, size) = if len > ZEROS_SHORT { (long, 2) } else { ([less as u8, 0], 1) };
    bytes.into_iter().take(size)
}

/// The byte of a run of a value.
fn value_run(value: u8, len: usize) -> u8 {
    0x80 | (value - 1) << 2 | (len - 1) as u8
}

/// All runs, with the first register of each.
fn runs(bytes: &[u8]) -> impl Iterator<Item = (usize, Run)> {
    let (mut at, mut register) = (0, 0);
    std::iter::from_fn(move || {
        let run = Run::read(bytes.get(at..).filter(|rest| !rest.is_empty())?);
        let first = register;
        at += run.size();
        register += run.len;
        Some((first, run))
    })
}

/// Shows all registers that are not 0.
pub(super) fn each_value(bytes: &[u8], mut each: impl FnMut(usize, u8)) -> Result<(), Corrupt> {
    let mut end = 0;
    for (first, run) in runs(bytes) {
        end = first + run.len;
        if let Kind::Value(value) = run.kind {
            if end > REGISTERS {
                return Err(Corrupt);
            }
            (first..end).for_each(|register| each(register, value));
        }
    }
    if end == REGISTERS { Ok(()) } else { Err(Corrupt) }
}

pub(super) fn count(bytes: &[u8], histogram: &mut Histogram) -> Result<(), Corrupt> {
    let mut registers = 0;
    for (_, run) in runs(bytes) {
        registers += run.len;
        let value = if let Kind::Value(value) = run.kind { value } else { 0 };
        histogram.add(value, run.len);
    }
    if registers == REGISTERS { Ok(()) } else { Err(Corrupt) }
}

/// `z:` and `Z:` are short and long runs of zeros, `v:` a value and the length of its run.
pub(super) fn describe(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (_, run) in runs(bytes) {
        let _ = match run.kind {
            Kind::Short => write!(text, "z:{} ", run.len),
            Kind::Long => write!(text, "Z:{} ", run.len),
            Kind::Value(value) => write!(text, "v:{value},{} ", run.len),
        };
    }
    text.truncate(text.trim_end().len());
    text
}

/// What became of a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Raised {
    Changed,
    Unchanged,
    /// Nothing was done: this form cannot hold it, or would become too long.
    TooMuch,
}

/// The runs in a string, behind its header.
pub(super) struct Runs<'a> {
    bytes: &'a mut Vec<u8>,
    /// Where the search for a register that is no lower than the last one can begin.
    cursor: Cursor,
}

/// A run, its first register, and where the run before it is; the first run is before itself.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    at: usize,
    first: usize,
    before: usize,
}

impl Runs<'_> {
    pub(super) fn new(bytes: &mut Vec<u8>, start: usize) -> Runs<'_> {
        Runs { bytes, cursor: Cursor { at: start, first: 0, before: start } }
    }

    /// Makes a register, not lower than the one of the call before, at least `value`. The string is
    /// at most `max` bytes long afterwards, unless it was longer.
    pub(super) fn raise(
        &mut self,
        register: usize,
        value: u8,
        max: usize,
    ) -> Result<Raised, Corrupt> {
        if value > VALUE_MAX {
            return Ok(Raised::TooMuch);
        }
        let (run, Cursor { at, first, before }) = self.find(register)?;
        if let Kind::Value(present) = run.kind
            && present >= value
        {
            return Ok(Raised::Unchanged);
        }
        if run.len == 1 && run.kind != Kind::Long {
            self.bytes[at] = value_run(value, 1);
        } else {
            let (new, len) = split(run, register - first, value);
            let old = at..(at + run.size()).min(self.bytes.len());
            if len > run.size() && self.bytes.len() + len - run.size() > max {
                return Ok(Raised::TooMuch);
            }
            self.bytes.splice(old, new[..len].iter().copied());
        }
        self.join(before);
        Ok(Raised::Changed)
    }

    /// The run that a register is in. What is changed then may join the run before it, so that is
    /// where the next search begins.
    fn find(&mut self, register: usize) -> Result<(Run, Cursor), Corrupt> {
        let mut here = self.cursor;
        let mut last = here;
        while here.at < self.bytes.len() {
            let run = Run::read(&self.bytes[here.at..]);
            if register < here.first + run.len {
                self.cursor = last;
                return Ok((run, here));
            }
            last = here;
            here =
                Cursor { at: here.at + run.size(), first: here.first + run.len, before: here.at };
        }
        Err(Corrupt)
    }

    /// Joins neighbours of the same value, as Redis does it after a change: from the run at `at` on,
    /// a few runs far.
    fn join(&mut self, mut at: usize) {
        for _ in 0..JOINED {
            if at >= self.bytes.len() {
                return;
            }
            let run = Run::read(&self.bytes[at..]);
            if let (Kind::Value(value), Some(_)) = (run.kind, self.bytes.get(at + 1)) {
                let next = Run::read(&self.bytes[at + 1..]);
                let len = run.len + next.len;
                if next.kind == run.kind && len <= VALUES_LEN {
                    self.bytes[at + 1] = value_run(value, len);
                    self.bytes.remove(at);
                    continue;
                }
            }
            at += run.size();
        }
    }
}

/// The bytes of a run of which one register gets another value, and how many they are.
fn split(run: Run, offset: usize, value: u8) -> ([u8; 5], usize) {
    let (mut bytes, mut len) = ([0; 5], 0);
    let mut push = |byte| {
        bytes[len] = byte;
        len += 1;
    };
    let push_rest = |registers: usize, push: &mut dyn FnMut(u8)| match run.kind {
        _ if registers == 0 => {}
        Kind::Value(old) => push(value_run(old, registers)),
        Kind::Short | Kind::Long => zeros(registers).for_each(push),
    };
    push_rest(offset, &mut push);
    push(value_run(value, 1));
    push_rest(run.len - offset - 1, &mut push);
    (bytes, len)
}
