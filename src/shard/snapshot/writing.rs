//! One value on its way into a snapshot, in pieces.
//!
//! A long string is compressed piece by piece before the first of it can be written, since its length comes
//! first. When it is about to change meanwhile, and has to be written at once, it is written as it is.

use crate::data::ValueRef;
use crate::rdb::lzf::{Compressor, LEN_MAX, Run};
use crate::rdb::output::{GAIN_MIN, Output};
use crate::rdb::save::Saver;

/// Where the writing of a value is.
pub(super) enum Writing {
    Value(Saver),
    /// A long string that is being compressed.
    Packing(Box<Packing>),
    /// A long string that is written as it is: so much of it.
    Text(usize),
    /// A compressed string, of which so much is written.
    Packed(Vec<u8>, usize),
}

pub(super) struct Packing {
    compressor: Compressor,
    /// Nothing before the first step.
    run: Option<Run>,
    packed: Vec<u8>,
    /// Up to here it has come.
    until: usize,
}

impl Writing {
    /// Strings longer than `text` are written in pieces.
    pub(super) fn new(value: &ValueRef, text: usize) -> Writing {
        match value {
            ValueRef::Bytes(bytes) if bytes.len() > text.max(GAIN_MIN) => match bytes.len() {
                LEN_MAX.. => Writing::Text(0),
                _ => Writing::Packing(Box::new(Packing {
                    compressor: Compressor::default(),
                    run: None,
                    packed: Vec::new(),
                    until: 0,
                })),
            },
            _ => Writing::Value(Saver::default()),
        }
    }

    /// It is to be written at once.
    pub(super) fn hurry(&mut self) {
        if let Writing::Packing(_) = self {
            *self = Writing::Text(0);
        }
    }

    /// Reads or writes about `max` bytes; whether that was the last of it.
    pub(super) fn step(
        &mut self,
        value: &ValueRef,
        now: i64,
        max: usize,
        out: &mut Output,
    ) -> bool {
        match (&mut *self, value) {
            (Writing::Packing(packing), ValueRef::Bytes(bytes)) => {
                match packing.step(bytes, max) {
                    None => {}
                    Some(true) => {
                        out.put_packed_head(packing.packed.len(), bytes.len());
                        *self = Writing::Packed(std::mem::take(&mut packing.packed), 0);
                    }
                    Some(false) => *self = Writing::Text(0),
                }
                false
            }
            (Writing::Packed(packed, written), _) => put_piece(packed, written, max, out),
            (Writing::Text(written), ValueRef::Bytes(bytes)) => {
                if *written == 0 {
                    out.put_len(bytes.len() as u64);
                }
                put_piece(bytes, written, max, out)
            }
            (Writing::Value(saver), value) => saver.step(value, now, max, out),
            _ => unreachable!("only strings are written as texts"),
        }
    }
}

fn put_piece(bytes: &[u8], written: &mut usize, max: usize, out: &mut Output) -> bool {
    let piece = max.max(1).min(bytes.len() - *written);
    out.put_bytes(&bytes[*written..*written + piece]);
    *written += piece;
    *written == bytes.len()
}

impl Packing {
    /// Compresses `max` bytes more; at the end, whether something was gained.
    fn step(&mut self, bytes: &[u8], max: usize) -> Option<bool> {
        let Packing { compressor, run, packed, until } = self;
        let most = bytes.len() - GAIN_MIN;
        let run = run.get_or_insert_with(|| compressor.begin(bytes.len(), most, packed));
        *until = until.saturating_add(max.max(1));
        compressor.go_on(run, bytes, *until, packed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &[u8], hurries_after: usize) -> (Vec<u8>, usize) {
        let value = ValueRef::Bytes(text);
        let mut writing = Writing::new(&value, 20);
        let (mut out, mut steps) = (Output::default(), 0);
        while !writing.step(&value, 0, 1000, &mut out) {
            steps += 1;
            if steps == hurries_after {
                writing.hurry();
            }
        }
        (out.bytes, steps)
    }

    #[test]
    fn long_strings_are_compressed_in_pieces_as_at_once() {
        let mut random = fastrand::Rng::with_seed(3);
        let noise: Vec<u8> = (0..50_000).map(|_| random.u8(..)).collect();
        let text: Vec<u8> = (0..50_000).map(|at| noise[at % 700 / 3]).collect();
        for (string, is_packed) in [(&noise, false), (&text, true)] {
            let mut whole = Output::default();
            whole.put_string(string);
            let (bytes, steps) = written(string, usize::MAX);
            assert_eq!(bytes, whole.bytes);
            assert_eq!(whole.bytes[0] == 0xc3, is_packed);
            assert!(steps >= 50, "{steps} steps");
            let (bytes, _) = written(string, 20);
            assert_eq!(bytes.len(), string.len() + 5, "in a hurry it is written as it is");
        }
    }
}
