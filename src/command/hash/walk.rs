//! HSCAN and HRANDFIELD: some of a hash's fields at a time, in the table's order or in none.

use super::{read, write};
use crate::command::number::integer;
use crate::command::scan::scan_cursor;
use crate::data::glob;
use crate::data::hash::{FieldValue, Hash};
use crate::error::CmdError;
use crate::resp::{Args, Encoder, Protocol};
use crate::shard::Cx;

/// Fields that one command may ask for with repetitions: the reply is made in one piece.
const REPEATED_MAX: u64 = 1 << 24;

/// The options of HSCAN.
struct Options<'a> {
    /// `None` matches everything.
    pattern: Option<&'a [u8]>,
    /// How many fields to look at, more or less.
    count: u64,
    values: bool,
}

impl<'a> Options<'a> {
    fn parse(args: Args<'a>) -> Result<Options<'a>, CmdError> {
        let mut options = Options { pattern: None, count: 10, values: true };
        let mut at = 0;
        while at < args.len() {
            let value = args.get(at + 1);
            match value {
                _ if args.is(at, "novalues") => {
                    options.values = false;
                    at += 1;
                    continue;
                }
                Some(count) if args.is(at, "count") => {
                    options.count = u64::try_from(integer(count)?).unwrap_or(0);
                    if options.count == 0 {
                        return Err(CmdError::SYNTAX);
                    }
                }
                Some(pattern) if args.is(at, "match") => {
                    options.pattern = Some(pattern).filter(|pattern| *pattern != b"*");
                }
                _ => return Err(CmdError::SYNTAX),
            }
            at += 2;
        }
        Ok(options)
    }

    fn fits(&self, field: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, field))
    }
}

pub fn hscan(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let mut position = scan_cursor(args.at(2))?;
    let now = cx.now();
    let Some(hash) = read(&mut cx.keys, args.at(1))? else {
        // Options are not even read, as in Redis.
        write_page(&mut cx.out, 0, 0, &[]);
        return Ok(());
    };
    let options = Options::parse(args.from(3))?;
    let mut found = Vec::new();
    let mut reply = Encoder::new(&mut found, cx.out.protocol);
    let (mut seen, mut strings) = (0, 0);
    let mut buckets_left = options.count.saturating_mul(10);
    loop {
        position = hash.scan(position, now, &mut |field, value| {
            seen += 1;
            if options.fits(field) {
                reply.bulk(field);
                strings += 1;
                if options.values {
                    write(&mut reply, value);
                    strings += 1;
                }
            }
        });
        buckets_left -= 1;
        if position == 0 || seen >= options.count || buckets_left == 0 {
            break;
        }
    }
    write_page(&mut cx.out, position, strings, &found);
    Ok(())
}

fn write_page(out: &mut Encoder, cursor: u64, strings: usize, page: &[u8]) {
    out.array(2);
    out.bulk(itoa::Buffer::new().format(cursor).as_bytes());
    out.array(strings);
    out.raw(page);
}

pub fn hrandfield(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let now = cx.now();
    let Some(count) = args.get(2) else {
        let Cx { keys, out, random, .. } = cx;
        let hash = read(keys, args.at(1))?;
        match hash.and_then(|hash| hash.random(now, &mut || random.u64(..))) {
            Some((field, _)) => out.bulk(field),
            None => out.null(),
        }
        return Ok(());
    };
    let count = in_range(integer(count)?, i64::MAX)?;
    let values = args.len() > 3;
    if args.len() > 4 || values && !args.is(3, "withvalues") {
        return Err(CmdError::SYNTAX);
    }
    if values && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(CmdError::fixed("ERR value is out of range"));
    }
    let Cx { keys, out, random, .. } = cx;
    let Some(hash) = read(keys, args.at(1))? else {
        out.array(0);
        return Ok(());
    };
    let mut random = || random.u64(..);
    if count >= 0 {
        let chosen = hash.choose(count.unsigned_abs() as usize, now, &mut random);
        write_records(out, values, chosen.len(), chosen);
        return Ok(());
    }
    repeated(hash, count.unsigned_abs(), values, now, out, &mut random)
}

/// An integer of which the negative is one as well.
fn in_range(count: i64, max: i64) -> Result<i64, CmdError> {
    if count == i64::MIN {
        let text = format_args!("value is out of range, value must between {} and {max}", -max);
        return Err(CmdError::err(text));
    }
    Ok(count)
}

/// Answers `count` fields of which each may be any.
fn repeated(
    hash: &Hash,
    count: u64,
    values: bool,
    now: i64,
    out: &mut Encoder,
    random: &mut impl FnMut() -> u64,
) -> Result<(), CmdError> {
    if count > REPEATED_MAX {
        return Err(CmdError::fixed("ERR value is out of range"));
    }
    let sampler = hash.sampler(now);
    // There is a field: without one the key would be gone.
    let picks = std::iter::from_fn(|| sampler.pick(random)).take(count as usize);
    write_records(out, values, count as usize, picks);
    Ok(())
}

/// Fields, or fields with their values: those are pairs in RESP3, one after another in RESP2.
fn write_records<'a>(
    out: &mut Encoder,
    values: bool,
    count: usize,
    records: impl IntoIterator<Item = (&'a [u8], FieldValue<'a>)>,
) {
    let pairs = values && out.protocol == Protocol::Resp3;
    out.array(if values && !pairs { count * 2 } else { count });
    for (field, value) in records {
        if pairs {
            out.array(2);
        }
        out.bulk(field);
        if values {
            write(out, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Bench;
    use crate::resp::Protocol;
    use std::collections::BTreeSet;

    fn lines(reply: &str) -> Vec<String> {
        reply.split("\r\n").filter(|line| !line.starts_with(['*', '$'])).map(Into::into).collect()
    }

    /// All strings that a whole walk answers.
    fn scan_all(bench: &mut Bench, options: &str) -> Vec<String> {
        let (mut cursor, mut all) = ("0".to_string(), Vec::new());
        loop {
            let mut page = lines(&bench.run(&format!("HSCAN h {cursor} {options}")));
            page.pop();
            cursor = page.remove(0);
            all.extend(page);
            if cursor == "0" {
                return all;
            }
        }
    }

    #[test]
    fn a_packed_hash_is_one_page() {
        let mut bench = Bench::new();
        bench.run("HSET h a 1 b 2 c x");
        let all = "*2\r\n$1\r\n0\r\n*6\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2\r\n\
                   $1\r\nc\r\n$1\r\nx\r\n";
        assert_eq!(bench.run("HSCAN h 0"), all);
        assert_eq!(bench.run("HSCAN h 17 COUNT 1"), all);
        let page = "*2\r\n$1\r\n0\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n";
        assert_eq!(bench.run("HSCAN h 0 MATCH [ab] NOVALUES"), page);
        assert_eq!(bench.run("HSCAN h 0 novalues match z"), "*2\r\n$1\r\n0\r\n*0\r\n");
    }

    #[test]
    fn a_walk_of_pages_meets_every_field() {
        let mut bench = Bench::new();
        (0..2000).for_each(|n| drop(bench.run(&format!("HSET h field:{n} {n}"))));
        let all = scan_all(&mut bench, "COUNT 50");
        assert_eq!(all.len(), 4000);
        assert!(all.chunks(2).all(|pair| pair[0] == format!("field:{}", pair[1])));
        let fields: BTreeSet<_> = scan_all(&mut bench, "NOVALUES").into_iter().collect();
        assert_eq!(fields.len(), 2000);
        assert_eq!(scan_all(&mut bench, "MATCH field:1??? COUNT 1000").len(), 2000);
        let page = lines(&bench.run("HSCAN h 0 COUNT 100"));
        assert!((200..230).contains(&page.len()), "{}", page.len());
        assert_eq!(lines(&bench.run("HSCAN h 0 COUNT 9223372036854775807"))[0], "0");
    }

    #[test]
    fn wrong_arguments_are_told() {
        let mut bench = Bench::new();
        bench.run("HSET h a 1");
        let syntax = "syntax error";
        let range = "value is out of range, value must between -9223372036854775807 and \
                     9223372036854775807";
        for (command, error) in [
            ("HSCAN h x", "invalid cursor"),
            ("HSCAN none x", "invalid cursor"),
            ("HSCAN h 0 COUNT 0", syntax),
            ("HSCAN h 0 COUNT", syntax),
            ("HSCAN h 0 COUNT x", "value is not an integer or out of range"),
            ("HSCAN h 0 TYPE hash", syntax),
            ("HSCAN h 0 FOO", syntax),
            ("HRANDFIELD h x", "value is not an integer or out of range"),
            ("HRANDFIELD h -9223372036854775808", range),
            ("HRANDFIELD h 1 FOO", syntax),
            ("HRANDFIELD none 1 WITHVALUES FOO", syntax),
            ("HRANDFIELD none 9223372036854775807 WITHVALUES", "value is out of range"),
            ("HRANDFIELD h -4611686018427387904", "value is out of range"),
        ] {
            assert_eq!(bench.run(command), format!("-ERR {error}\r\n"), "{command}");
        }
        assert_eq!(bench.run("HSCAN none 0 FOO"), "*2\r\n$1\r\n0\r\n*0\r\n");
    }

    #[test]
    fn random_fields_come_in_every_shape() {
        let mut bench = Bench::new();
        bench.run("HSET h a 1");
        assert_eq!(bench.run("HRANDFIELD h"), "$1\r\na\r\n");
        assert_eq!(bench.run("HRANDFIELD h 0"), "*0\r\n");
        assert_eq!(bench.run("HRANDFIELD h 5"), "*1\r\n$1\r\na\r\n");
        assert_eq!(bench.run("HRANDFIELD h -2"), "*2\r\n$1\r\na\r\n$1\r\na\r\n");
        assert_eq!(bench.run("HRANDFIELD h 5 WITHVALUES"), "*2\r\n$1\r\na\r\n$1\r\n1\r\n");
        assert_eq!(bench.run("HRANDFIELD none") + &bench.run("HRANDFIELD none 3"), "$-1\r\n*0\r\n");
        bench.caller.protocol = Protocol::Resp3;
        let pair = "*2\r\n$1\r\na\r\n$1\r\n1\r\n";
        assert_eq!(bench.run("HRANDFIELD h 5 WITHVALUES"), format!("*1\r\n{pair}"));
        assert_eq!(bench.run("HRANDFIELD h -2 withvalues"), format!("*2\r\n{pair}{pair}"));
    }
}
