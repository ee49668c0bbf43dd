//! Walking the keys: SCAN, KEYS, RANDOMKEY.
//!
//! ```text
//!   cursor of SCAN, a decimal u64:  [ shard: 16 bits ][ position in its table: 48 bits ]
//! ```
//!
//! A walk begins with 0, goes through the shards in order and ends with 0. A shard that has more
//! answers a cursor of its own; one that has been walked to its end answers 0, and whoever
//! routes the command replaces that by the beginning of the next shard.

use super::number::integer;
use super::spec::*;
use crate::data::glob;
use crate::data::table::POSITION_BITS;
use crate::error::CmdError;
use crate::resp::{Args, Encoder};
use crate::shard::{Cx, Keys};

pub const COMMANDS: &[Command] = &[
    shard("keys", 2, READONLY, &[], keys)
        .spread(Spread::EveryShard { part: keys, merge: Merge::Concat })
        .categories(&["dangerous"])
        .tips(&["request_policy:all_shards", "nondeterministic_output_order"])
        .doc(
            Group::Generic,
            "1.0.0",
            "O(N) where N is the number of keys in the database.",
            "pattern",
            "Returns all keys that match a pattern.",
        ),
    shard("scan", -2, READONLY, &[], scan)
        .spread(Spread::Cursor)
        .tips(&["nondeterministic_output", "request_policy:special"])
        .doc(
            Group::Generic,
            "2.8.0",
            "O(1) for each call, O(N) for a whole walk of N keys.",
            "cursor [MATCH pattern] [COUNT count] [TYPE type]",
            "Walks the keys of the database, some with each call.",
        ),
    shard("randomkey", 1, READONLY, &[], randomkey)
        .spread(Spread::EveryShard { part: randomkey_part, merge: Merge::Custom(choose_weighted) })
        .tips(&["request_policy:all_shards", "nondeterministic_output"])
        .doc(Group::Generic, "1.0.0", "O(1)", "", "Returns a key chosen at random."),
];

/// The shard and the position in its table that a cursor means.
pub fn scan_cursor_split(cursor: u64) -> (usize, u64) {
    ((cursor >> POSITION_BITS) as usize, cursor & ((1 << POSITION_BITS) - 1))
}

/// The cursor for a position in the table of a shard.
pub fn scan_cursor_join(shard: usize, position: u64) -> u64 {
    (shard as u64) << POSITION_BITS | position
}

/// Reads a cursor as loosely as Redis: zeros in front and a sign do no harm, nothing is 0.
pub fn scan_cursor(text: &[u8]) -> Result<u64, CmdError> {
    let text = std::str::from_utf8(text).unwrap_or("x");
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if text.is_empty() {
        return Ok(0);
    }
    let value = match digits.bytes().all(|b| b.is_ascii_digit()) {
        true => digits.parse::<u64>().ok(),
        false => None,
    };
    match value {
        Some(value) if negative => Ok(value.wrapping_neg()),
        Some(value) => Ok(value),
        None => Err(CmdError::fixed("ERR invalid cursor")),
    }
}

/// A pattern, `None` for the one that matches everything.
fn pattern(text: &[u8]) -> Option<&[u8]> {
    (text != b"*").then_some(text)
}

pub(super) fn fits(pattern: Option<&[u8]>, key: &[u8]) -> bool {
    pattern.is_none_or(|pattern| glob::matches(pattern, key))
}

fn keys(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let pattern = pattern(args.at(1));
    if let Some(pattern) = pattern.filter(|p| glob::is_literal(p)) {
        let found = cx.keys.contains(pattern);
        cx.out.array(usize::from(found));
        if found {
            cx.out.bulk(pattern);
        }
        return Ok(());
    }
    if pattern.is_none() && cx.keys.expiring_len() == 0 {
        cx.out.array(cx.keys.len());
        let Cx { keys, out, .. } = cx;
        walk(keys, &mut |key| out.bulk(key));
        return Ok(());
    }
    let mut found = Vec::new();
    let mut count = 0;
    let mut reply = Encoder::new(&mut found, cx.out.protocol);
    walk(&cx.keys, &mut |key| {
        if fits(pattern, key) {
            reply.bulk(key);
            count += 1;
        }
    });
    cx.out.array(count);
    cx.out.raw(&found);
    Ok(())
}

/// Shows all keys that have not expired.
fn walk(keys: &Keys, each: &mut dyn FnMut(&[u8])) {
    let mut position = 0;
    loop {
        position = keys.scan(position, &mut |entry| {
            if !keys.is_expired(entry) {
                each(entry.key());
            }
        });
        if position == 0 {
            return;
        }
    }
}

pub(super) struct ScanOptions<'a> {
    pub(super) pattern: Option<&'a [u8]>,
    /// How many keys or elements to look at, more or less.
    pub(super) count: u64,
    kind: Option<&'a [u8]>,
}

impl<'a> ScanOptions<'a> {
    /// The options of SCAN.
    fn of_keys(args: Args<'a>) -> Result<ScanOptions<'a>, CmdError> {
        Self::parse(args, true)
    }

    /// The options of SSCAN and its like, which walk the elements of a value.
    pub(super) fn of_members(args: Args<'a>) -> Result<ScanOptions<'a>, CmdError> {
        Self::parse(args, false)
    }

    fn parse(args: Args<'a>, typed: bool) -> Result<ScanOptions<'a>, CmdError> {
        let mut options = ScanOptions { pattern: None, count: 10, kind: None };
        for at in (0..args.len()).step_by(2) {
            let value = args.get(at + 1).ok_or(CmdError::SYNTAX)?;
            if args.is(at, "count") {
                options.count = u64::try_from(integer(value)?).unwrap_or(0);
                if options.count == 0 {
                    return Err(CmdError::SYNTAX);
                }
            } else if args.is(at, "match") {
                options.pattern = pattern(value);
            } else if typed && args.is(at, "type") {
                options.kind = Some(value);
            } else {
                return Err(CmdError::SYNTAX);
            }
        }
        Ok(options)
    }
}

fn scan(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (shard, mut position) = scan_cursor_split(scan_cursor(args.at(1))?);
    let options = ScanOptions::of_keys(args.from(2))?;
    let mut found = Vec::new();
    let mut reply = Encoder::new(&mut found, cx.out.protocol);
    let (mut seen, mut count) = (0, 0);
    let mut buckets_left = options.count.saturating_mul(10);
    let mut expired: Vec<Box<[u8]>> = Vec::new();
    let keys = &cx.keys;
    loop {
        position = keys.scan(position, &mut |entry| {
            seen += 1;
            let of_type = |name: &[u8]| name.eq_ignore_ascii_case(entry.kind().name().as_bytes());
            match fits(options.pattern, entry.key()) {
                true if keys.is_expired(entry) => expired.push(entry.key().into()),
                true if options.kind.is_none_or(of_type) => {
                    reply.bulk(entry.key());
                    count += 1;
                }
                _ => {}
            }
        });
        buckets_left -= 1;
        if position == 0 || seen >= options.count || buckets_left == 0 {
            break;
        }
    }
    // A lookup removes what has expired.
    for key in expired {
        cx.keys.contains(&key);
    }
    let cursor = if position == 0 { 0 } else { scan_cursor_join(shard, position) };
    reply_found(&mut cx.out, cursor, count, &found);
    Ok(())
}

/// The reply of SCAN and those like it: where to go on, and the `count` replies that were `found`.
pub(super) fn reply_found(out: &mut Encoder, cursor: u64, count: usize, found: &[u8]) {
    out.array(2);
    out.bulk(itoa::Buffer::new().format(cursor).as_bytes());
    out.array(count);
    out.raw(found);
}

fn randomkey(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    match cx.keys.random_key(cx.random) {
        Some(key) => cx.out.bulk(&key),
        None => cx.out.null(),
    }
    Ok(())
}

/// Answers how many keys there are and, if there are any, one of them.
fn randomkey_part(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let key = cx.keys.random_key(cx.random);
    cx.out.array(1 + usize::from(key.is_some()));
    cx.out.int(cx.keys.len() as i64);
    if let Some(key) = key {
        cx.out.bulk(&key);
    }
    Ok(())
}

/// Chooses among the shards' keys with the chances that their numbers of keys give.
fn choose_weighted(parts: &[&[u8]], out: &mut Encoder, random: &mut fastrand::Rng) {
    let parts: Vec<_> = parts.iter().filter_map(|part| counted_key(part)).collect();
    let all = parts.iter().map(|(count, _)| count).sum();
    if all == 0 {
        return out.null();
    }
    let mut choice = random.u64(0..all);
    for (count, key) in parts {
        if choice < count {
            return out.raw(key);
        }
        choice -= count;
    }
}

/// Takes `*2\r\n:<count>\r\n<key>` apart; `None` for a shard without keys.
fn counted_key(part: &[u8]) -> Option<(u64, &[u8])> {
    let rest = part.strip_prefix(b"*2\r\n:")?;
    let end = rest.iter().position(|&b| b == b'\r')?;
    let count = std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
    Some((count, &rest[end + 2..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::Bench;
    use crate::resp::Protocol;
    use std::collections::{BTreeSet, HashMap};

    /// The cursor and the keys of a reply of SCAN.
    fn scanned(reply: &str) -> (String, Vec<String>) {
        let mut lines = reply.split("\r\n").filter(|line| !line.starts_with(['*', '$']));
        let cursor = lines.next().unwrap().to_string();
        (cursor, lines.filter(|line| !line.is_empty()).map(str::to_string).collect())
    }

    fn scan_all(bench: &mut Bench, options: &str) -> Vec<String> {
        let (mut cursor, mut all) = ("0".to_string(), Vec::new());
        loop {
            let (next, keys) = scanned(&bench.run(&format!("SCAN {cursor} {options}")));
            all.extend(keys);
            if next == "0" {
                return all;
            }
            cursor = next;
        }
    }

    #[test]
    fn a_walk_meets_every_key_that_stays() {
        let mut bench = Bench::new();
        for n in 0..1000 {
            bench.run(&format!("SET stay:{n} v"));
        }
        let (mut cursor, mut seen, mut n) = ("0".to_string(), BTreeSet::new(), 0);
        loop {
            let (next, keys) = scanned(&bench.run(&format!("SCAN {cursor} COUNT 20")));
            seen.extend(keys.into_iter().filter(|key| key.starts_with("stay")));
            if next == "0" {
                break;
            }
            cursor = next;
            // Growth in the first half of the walk, shrinking in the second.
            for _ in 0..100 {
                let verb = if n < 2500 { "SET" } else { "DEL" };
                let value = if n < 2500 { "v" } else { "" };
                bench.run(&format!("{verb} go:{} {value}", n % 2500));
                n += 1;
            }
        }
        assert_eq!(seen.len(), 1000);
    }

    #[test]
    fn options_filter_what_is_returned() {
        let mut bench = Bench::new();
        for n in 0..100 {
            bench.run(&format!("SET key:{n} v"));
        }
        bench.run("PEXPIRE key:50 10");
        bench.now += 11;
        assert_eq!(bench.run("DBSIZE"), ":100\r\n");
        assert_eq!(scan_all(&mut bench, "").len(), 99);
        assert_eq!(bench.run("DBSIZE"), ":99\r\n");
        assert_eq!(scan_all(&mut bench, "MATCH *").len(), 99);
        assert_eq!(scan_all(&mut bench, "MATCH key:1?").len(), 10);
        assert_eq!(scan_all(&mut bench, "TYPE STRING COUNT 1000").len(), 99);
        assert_eq!(scan_all(&mut bench, "TYPE list").len(), 0);
        assert_eq!(scan_all(&mut bench, "TYPE nonsense COUNT 3").len(), 0);
        let (cursor, keys) = scanned(&bench.run("SCAN 0 COUNT 9223372036854775807"));
        assert_eq!((cursor.as_str(), keys.len()), ("0", 99));
        let (_, keys) = scanned(&bench.run("SCAN 0"));
        assert!((10..20).contains(&keys.len()), "{}", keys.len());
    }

    #[test]
    fn wrong_arguments_are_told() {
        let mut bench = Bench::new();
        for (command, error) in [
            ("SCAN x", "invalid cursor"),
            ("SCAN 1x", "invalid cursor"),
            ("SCAN --1", "invalid cursor"),
            ("SCAN 99999999999999999999", "invalid cursor"),
            ("SCAN 0 COUNT 0", "syntax error"),
            ("SCAN 0 COUNT -1", "syntax error"),
            ("SCAN 0 COUNT x", "value is not an integer or out of range"),
            ("SCAN 0 COUNT", "syntax error"),
            ("SCAN 0 MATCH", "syntax error"),
            ("SCAN 0 NOVALUES", "syntax error"),
        ] {
            assert_eq!(bench.run(command), format!("-ERR {error}\r\n"), "{command}");
        }
        for cursor in ["0", "007", "+5", "-1", "18446744073709551615"] {
            assert_eq!(bench.run(&format!("SCAN {cursor}")), "*2\r\n$1\r\n0\r\n*0\r\n");
        }
    }

    #[test]
    fn a_cursor_keeps_its_shard() {
        assert_eq!(scan_cursor_split(scan_cursor_join(3, 12345)), (3, 12345));
        let mut bench = Bench::new();
        for n in 0..100 {
            bench.run(&format!("SET {n} v"));
        }
        let start = scan_cursor_join(7, 0);
        let (cursor, _) = scanned(&bench.run(&format!("SCAN {start}")));
        assert_eq!(scan_cursor_split(cursor.parse().unwrap()).0, 7);
    }

    #[test]
    fn keys_come_by_pattern() {
        let mut bench = Bench::new();
        for key in ["one", "two", "three", "th[x"] {
            bench.run(&format!("SET {key} v"));
        }
        assert!(bench.run("KEYS *").starts_with("*4\r\n"));
        assert_eq!(bench.run("KEYS o*"), "*1\r\n$3\r\none\r\n");
        assert_eq!(bench.run("KEYS two"), "*1\r\n$3\r\ntwo\r\n");
        assert_eq!(bench.run("KEYS none"), "*0\r\n");
        assert_eq!(bench.run("KEYS th\\[x"), "*1\r\n$4\r\nth[x\r\n");
        bench.run("PEXPIRE two 1");
        assert!(bench.run("KEYS *").starts_with("*4\r\n"));
        bench.now += 2;
        assert!(bench.run("KEYS *").starts_with("*3\r\n"));
        assert_eq!(bench.run("KEYS two"), "*0\r\n");
    }

    #[test]
    fn random_keys_are_alive_and_any() {
        let mut bench = Bench::new();
        assert_eq!(bench.run("RANDOMKEY"), "$-1\r\n");
        for n in 0..20 {
            bench.run(&format!("SET {n:02} v"));
            if n % 2 == 1 {
                bench.run(&format!("PEXPIRE {n:02} 1"));
            }
        }
        bench.now += 2;
        let replies: BTreeSet<_> = (0..500).map(|_| bench.run("RANDOMKEY")).collect();
        assert_eq!(replies.len(), 10);
        for n in (0..20).step_by(2) {
            bench.run(&format!("PEXPIRE {n:02} 1"));
        }
        bench.now += 2;
        assert_eq!(bench.run("RANDOMKEY"), "$-1\r\n");
        assert_eq!(bench.run("DBSIZE"), ":0\r\n");
    }

    #[test]
    fn shards_are_chosen_by_their_numbers_of_keys() {
        let mut random = fastrand::Rng::with_seed(5);
        let parts: [&[u8]; 3] =
            [b"*2\r\n:1\r\n$1\r\na\r\n", b"*1\r\n:0\r\n", b"*2\r\n:9\r\n$1\r\nb\r\n"];
        let mut chosen: HashMap<Vec<u8>, usize> = HashMap::new();
        for _ in 0..1000 {
            let mut buffer = Vec::new();
            let mut out = Encoder::new(&mut buffer, Protocol::Resp2);
            choose_weighted(&parts, &mut out, &mut random);
            *chosen.entry(buffer).or_default() += 1;
        }
        assert_eq!(chosen.len(), 2);
        assert!((60..140).contains(&chosen[&b"$1\r\na\r\n"[..]]), "{chosen:?}");
        let mut buffer = Vec::new();
        let mut out = Encoder::new(&mut buffer, Protocol::Resp3);
        choose_weighted(&parts[1..2], &mut out, &mut random);
        assert_eq!(buffer, b"_\r\n");
    }
}
