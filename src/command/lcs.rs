//! LCS: the longest common subsequence of two strings, by the table of all prefixes' lengths.

use super::spec::*;
use super::value::{Text, integer, string_of};
use crate::error::CmdError;
use crate::resp::{Args, Encoder};
use crate::shard::Cx;

pub const COMMANDS: &[Command] =
    &[shard("lcs", -3, READONLY, &[KeySpec::range(1, 1, 1, RO_ACCESS)], lcs).doc(
        Group::String,
        "7.0.0",
        "O(N*M) where N and M are the lengths of the two strings.",
        "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]",
        "Answers the longest common subsequence of two strings, its length or its places.",
    )];

#[derive(Default)]
struct Options {
    length: bool,
    indexes: bool,
    with_match_len: bool,
    match_len_min: i64,
}

impl Options {
    fn parse(args: Args, first: usize) -> Result<Options, CmdError> {
        let mut options = Options::default();
        let mut at = first;
        while at < args.len() {
            if args.is(at, "IDX") {
                options.indexes = true;
            } else if args.is(at, "LEN") {
                options.length = true;
            } else if args.is(at, "WITHMATCHLEN") {
                options.with_match_len = true;
            } else if args.is(at, "MINMATCHLEN") && at + 1 < args.len() {
                options.match_len_min = integer(args.at(at + 1))?;
                at += 1;
            } else {
                return Err(CmdError::SYNTAX);
            }
            at += 1;
        }
        match options.length && options.indexes {
            false => Ok(options),
            true => Err(CmdError::fixed(
                "ERR If you want both the length and indexes, please just use IDX.",
            )),
        }
    }
}

fn lcs(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    // Both are looked for before either is found to be of the wrong type.
    let (a, b) = (operand(cx, args.at(1)), operand(cx, args.at(2)));
    let (a, b) = (a?, b?);
    let options = Options::parse(args, 3)?;
    let cells = (a.len() as u128 + 1) * (b.len() as u128 + 1);
    if cells * size_of::<u32>() as u128 > cx.settings.bulk_len_max as u128 {
        return Err(CmdError::fixed(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ));
    }
    if options.length {
        cx.out.int(i64::from(length(&a, &b)));
        return Ok(());
    }
    let lengths = Lengths::of(&a, &b);
    match options.indexes {
        true => reply_matches(&lengths, &options, &mut cx.out),
        false => cx.out.bulk(&lengths.subsequence()),
    }
    Ok(())
}

/// The string at `key`; LCS has its own words for another type.
fn operand(cx: &mut Cx, key: &[u8]) -> Result<Vec<u8>, CmdError> {
    match cx.keys.get(key).map(string_of) {
        None => Ok(Vec::new()),
        Some(Ok(Text::Int(n))) => Ok(n.to_string().into_bytes()),
        Some(Ok(Text::Bytes(bytes))) => Ok(bytes.to_vec()),
        Some(Err(_)) => Err(CmdError::fixed("ERR The specified keys must contain string values")),
    }
}

/// One row of the table of lengths from the row above it.
fn next_row(byte: u8, b: &[u8], above: &[u32], row: &mut [u32]) {
    row[0] = 0;
    for (j, &other) in b.iter().enumerate() {
        row[j + 1] = if byte == other { above[j] + 1 } else { above[j + 1].max(row[j]) };
    }
}

/// The length alone, which needs two rows only.
fn length(a: &[u8], b: &[u8]) -> u32 {
    let mut above = vec![0; b.len() + 1];
    let mut row = above.clone();
    for &byte in a {
        next_row(byte, b, &above, &mut row);
        std::mem::swap(&mut above, &mut row);
    }
    above[b.len()]
}

/// The common length of every two prefixes, row by row of `a`'s prefixes.
struct Lengths<'a> {
    a: &'a [u8],
    b: &'a [u8],
    cells: Vec<u32>,
}

/// A stretch that both strings have: where it begins in each, and how long it is.
struct Match {
    a: usize,
    b: usize,
    len: usize,
}

impl<'a> Lengths<'a> {
    fn of(a: &'a [u8], b: &'a [u8]) -> Lengths<'a> {
        let width = b.len() + 1;
        let mut cells = vec![0; (a.len() + 1) * width];
        for (i, &byte) in a.iter().enumerate() {
            let (above, row) = cells[i * width..(i + 2) * width].split_at_mut(width);
            next_row(byte, b, above, row);
        }
        Lengths { a, b, cells }
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.cells[i * (self.b.len() + 1) + j]
    }

    /// Walks from the ends to the beginnings and gives every common byte's places to `visit`.
    fn walk(&self, mut visit: impl FnMut(usize, usize)) {
        let (mut i, mut j) = (self.a.len(), self.b.len());
        while i > 0 && j > 0 {
            if self.a[i - 1] == self.b[j - 1] {
                i -= 1;
                j -= 1;
                visit(i, j);
            } else if self.at(i - 1, j) > self.at(i, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
    }

    fn subsequence(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.at(self.a.len(), self.b.len()) as usize);
        self.walk(|i, _| bytes.push(self.a[i]));
        bytes.reverse();
        bytes
    }

    /// The stretches, the last one first.
    fn matches(&self) -> Vec<Match> {
        let mut matches: Vec<Match> = Vec::new();
        self.walk(|i, j| match matches.last_mut() {
            Some(last) if last.a == i + 1 && last.b == j + 1 => {
                *last = Match { a: i, b: j, len: last.len + 1 };
            }
            _ => matches.push(Match { a: i, b: j, len: 1 }),
        });
        matches
    }
}

fn reply_matches(lengths: &Lengths, options: &Options, out: &mut Encoder) {
    let mut matches = lengths.matches();
    matches.retain(|m| m.len as i64 >= options.match_len_min);
    out.map(2);
    out.bulk(b"matches");
    out.array(matches.len());
    for m in &matches {
        out.array(2 + usize::from(options.with_match_len));
        for start in [m.a, m.b] {
            out.array(2);
            out.int(start as i64);
            out.int((start + m.len - 1) as i64);
        }
        if options.with_match_len {
            out.int(m.len as i64);
        }
    }
    out.bulk(b"len");
    out.int(i64::from(lengths.at(lengths.a.len(), lengths.b.len())));
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Bench;
    use crate::resp::Protocol;

    fn bench() -> Bench {
        let mut bench = Bench::new();
        bench.run("mset a ohmytext b mynewtext n 12345");
        bench
    }

    #[test]
    fn the_subsequence_and_its_length() {
        let mut bench = bench();
        assert_eq!(bench.run("lcs a b"), "$6\r\nmytext\r\n");
        assert_eq!(bench.run("lcs a b len"), ":6\r\n");
        assert_eq!(bench.run("lcs a none"), "$0\r\n\r\n");
        assert_eq!(bench.run("lcs n n len"), ":5\r\n");
    }

    #[test]
    fn the_places_come_last_first() {
        let mut bench = bench();
        let long = "*2\r\n*2\r\n:4\r\n:7\r\n*2\r\n:5\r\n:8\r\n";
        let short = "*2\r\n*2\r\n:2\r\n:3\r\n*2\r\n:0\r\n:1\r\n";
        let end = "$3\r\nlen\r\n:6\r\n";
        let all = format!("*4\r\n$7\r\nmatches\r\n*2\r\n{long}{short}{end}");
        assert_eq!(bench.run("lcs a b idx"), all);
        bench.caller.protocol = Protocol::Resp3;
        let one = "%2\r\n$7\r\nmatches\r\n*1\r\n*3\r\n*2\r\n:4\r\n:7\r\n*2\r\n:5\r\n:8\r\n:4\r\n";
        let reply = bench.run("lcs a b idx minmatchlen 4 withmatchlen");
        assert_eq!(reply, format!("{one}{end}"));
    }

    #[test]
    fn impossible_requests_are_refused() {
        let mut bench = bench();
        let both = "-ERR If you want both the length and indexes, please just use IDX.\r\n";
        assert_eq!(bench.run("lcs a b idx len"), both);
        assert_eq!(bench.run("lcs a b minmatchlen"), "-ERR syntax error\r\n");
        assert_eq!(bench.run("lcs a b what"), "-ERR syntax error\r\n");
        bench.shard.settings.bulk_len_max = 9 * 10 * 4 - 1;
        let memory =
            "-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len\r\n";
        assert_eq!(bench.run("lcs a b len"), memory);
        bench.shard.settings.bulk_len_max += 1;
        assert_eq!(bench.run("lcs a b len"), ":6\r\n");
    }
}
