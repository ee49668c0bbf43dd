//! What goes by index or by element: anywhere in a list, not only at its ends.

use super::{change_list, limit, list_changed, list_of, read_list, write_element};
use crate::command::number::integer;
use crate::command::value::resolve_range;
use crate::data::list::{End, List};
use crate::data::packed::Element;
use crate::error::CmdError;
use crate::resp::Args;
use crate::shard::{Class, Cx};

const INDEX: CmdError = CmdError::fixed("ERR index out of range");
const RANK_ZERO: CmdError = CmdError::fixed(
    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use \
     negative to start from the end of the list",
);
const COUNT_NEGATIVE: CmdError = CmdError::fixed("ERR COUNT can't be negative");
const MAXLEN_NEGATIVE: CmdError = CmdError::fixed("ERR MAXLEN can't be negative");

/// The index that a number means in a list of `len` elements, negative ones counting from the end.
fn resolve_index(index: i64, len: usize) -> Option<usize> {
    let from_start = if index < 0 { index.checked_add_unsigned(len as u64)? } else { index };
    usize::try_from(from_start).ok().filter(|&index| index < len)
}

pub fn lindex(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let entry = cx.keys.get(args.at(1));
    let Some(list) = entry.map(list_of).transpose()? else {
        cx.out.null();
        return Ok(());
    };
    let index = resolve_index(integer(args.at(2))?, list.len());
    match index.and_then(|index| list.get(index)) {
        Some(element) => write_element(&mut cx.out, element),
        None => cx.out.null(),
    }
    Ok(())
}

pub fn lset(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (text, limit) = (args.at(3), limit(cx));
    let list = change_list(cx, args.at(1))?.ok_or(CmdError::NO_SUCH_KEY)?;
    let index = integer(args.at(2))?;
    list.prepare(text.len(), 1, limit);
    let index = resolve_index(index, list.len()).ok_or(INDEX)?;
    list.set(index, Element::new(text), limit);
    cx.keys.notify(Class::List, "lset", args.at(1));
    cx.keys.changed(1);
    cx.out.ok();
    Ok(())
}

pub fn lrange(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (start, stop) = (integer(args.at(2))?, integer(args.at(3))?);
    let list = cx.keys.get(args.at(1)).map(list_of).transpose()?;
    let range = list.and_then(|list| Some((list, resolve_stop(start, stop, list.len())?)));
    match range {
        None => cx.out.array(0),
        Some((list, (first, count))) => {
            let out = &mut cx.out;
            out.array(count);
            list.iter_from(first).take(count).for_each(|element| write_element(out, element));
        }
    }
    Ok(())
}

/// First index and number of the elements of `start..=stop`; `None` for no element.
///
/// Unlike in a string, a stop before the first element names nothing, whatever the start is.
fn resolve_stop(start: i64, stop: i64, len: usize) -> Option<(usize, usize)> {
    if stop < 0 && stop.unsigned_abs() > len as u64 {
        return None;
    }
    let (first, last) = resolve_range(start, stop, len)?;
    Some((first, last - first + 1))
}

pub fn ltrim(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (start, stop) = (integer(args.at(2))?, integer(args.at(3))?);
    let (key, limit) = (args.at(1), limit(cx));
    if let Some(list) = change_list(cx, key)? {
        let len = list.len();
        let (first, count) = resolve_stop(start, stop, len).unwrap_or((0, 0));
        list.remove_range(first + count, len, limit);
        list.remove_range(0, first, limit);
        let is_empty = list.is_empty();
        list_changed(cx, key, "ltrim", (is_empty, len - count));
    }
    cx.out.ok();
    Ok(())
}

pub fn lrem(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let count = integer(args.at(2))?;
    let (key, limit) = (args.at(1), limit(cx));
    let Some(list) = change_list(cx, key)? else {
        cx.out.int(0);
        return Ok(());
    };
    let from = if count < 0 { End::Back } else { End::Front };
    let max = if count == 0 { usize::MAX } else { count.unsigned_abs() as usize };
    let removed = list.remove_equal(Element::new(args.at(3)), from, max, limit);
    let is_empty = list.is_empty();
    if removed > 0 {
        list_changed(cx, key, "lrem", (is_empty, removed));
    }
    cx.out.int(removed as i64);
    Ok(())
}

pub fn linsert(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let behind = match args.at(2) {
        word if word.eq_ignore_ascii_case(b"after") => true,
        word if word.eq_ignore_ascii_case(b"before") => false,
        _ => return Err(CmdError::SYNTAX),
    };
    let (text, limit) = (args.at(4), limit(cx));
    let Some(list) = change_list(cx, args.at(1))? else {
        cx.out.int(0);
        return Ok(());
    };
    list.prepare(text.len(), 1, limit);
    let Some(index) = list.position(Element::new(args.at(3))) else {
        cx.out.int(-1);
        return Ok(());
    };
    list.insert(index, behind, Element::new(text), limit);
    let len = list.len();
    cx.keys.notify(Class::List, "linsert", args.at(1));
    cx.keys.changed(1);
    cx.out.int(len as i64);
    Ok(())
}

/// What LPOS is asked for.
struct Search {
    /// The first match that counts, from 1 on.
    rank: u64,
    from: End,
    /// All matches from there on up to so many; 0 is no limit. One match without.
    count: Option<usize>,
    /// Elements to compare at most.
    compared: usize,
}

impl Search {
    fn parse(args: &Args) -> Result<Search, CmdError> {
        let mut search = Search { rank: 1, from: End::Front, count: None, compared: usize::MAX };
        let mut at = 3;
        while at < args.len() {
            let value = args.get(at + 1).ok_or(CmdError::SYNTAX)?;
            let size = || integer(value).ok().and_then(|n| usize::try_from(n).ok());
            if args.is(at, "rank") {
                (search.rank, search.from) = rank(value)?;
            } else if args.is(at, "count") {
                search.count = Some(size().ok_or(COUNT_NEGATIVE)?);
            } else if args.is(at, "maxlen") {
                let len = size().ok_or(MAXLEN_NEGATIVE)?;
                search.compared = if len == 0 { usize::MAX } else { len };
            } else {
                return Err(CmdError::SYNTAX);
            }
            at += 2;
        }
        Ok(search)
    }

    /// Gives the indexes of the matches to `found`, until it wants no more.
    fn run(&self, list: &List, element: Element, mut found: impl FnMut(usize) -> bool) {
        let mut matches = 0;
        let mut meets = |(index, other): (usize, Element)| {
            if other != element {
                return false;
            }
            matches += 1;
            matches >= self.rank && !found(index)
        };
        let len = list.len();
        match self.from {
            End::Front => list.iter().enumerate().take(self.compared).any(&mut meets),
            End::Back => {
                let indexed = (0..len).rev().zip(list.iter_back_from(len));
                indexed.take(self.compared).any(meets)
            }
        };
    }
}

fn rank(value: &[u8]) -> Result<(u64, End), CmdError> {
    match integer(value)? {
        0 => Err(RANK_ZERO),
        i64::MIN => Err(CmdError::err(format_args!(
            "value is out of range, value must between {} and {}",
            -i64::MAX,
            i64::MAX
        ))),
        rank if rank < 0 => Ok((rank.unsigned_abs(), End::Back)),
        rank => Ok((rank.unsigned_abs(), End::Front)),
    }
}

pub fn lpos(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let search = Search::parse(&args)?;
    let element = Element::new(args.at(2));
    let list = read_list(cx, args.at(1))?;
    let mut indexes = Vec::new();
    if let Some(list) = list {
        let max = search.count.unwrap_or(1);
        search.run(list, element, |index| {
            indexes.push(index as i64);
            indexes.len() != max
        });
    }
    match (search.count, indexes.first()) {
        (None, None) => cx.out.null(),
        (None, Some(&index)) => cx.out.int(index),
        (Some(_), _) => {
            cx.out.array(indexes.len());
            indexes.iter().for_each(|&index| cx.out.int(index));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Bench;

    /// The list `l` as words.
    fn all(bench: &mut Bench) -> String {
        let reply = bench.run("LRANGE l 0 -1");
        let words = reply.lines().filter(|line| !line.starts_with(['*', '$']));
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn indexes_count_from_both_ends() {
        let mut bench = Bench::new();
        bench.run("RPUSH l a b c");
        assert_eq!(bench.run("LINDEX l 0"), "$1\r\na\r\n");
        assert_eq!(bench.run("LINDEX l -1"), "$1\r\nc\r\n");
        for outside in ["3", "-4", "9223372036854775807", "-9223372036854775808"] {
            assert_eq!(bench.run(&format!("LINDEX l {outside}")), "$-1\r\n");
            let error = "-ERR index out of range\r\n";
            assert_eq!(bench.run(&format!("LSET l {outside} x")), error);
        }
        assert_eq!(bench.run("LSET l -2 x"), "+OK\r\n");
        assert_eq!(all(&mut bench), "a x c");
        assert_eq!(bench.run("LSET none x x"), "-ERR no such key\r\n");
        assert_eq!(bench.run("LINDEX none x"), "$-1\r\n");
        assert_eq!(bench.run("LINDEX l x"), "-ERR value is not an integer or out of range\r\n");
    }

    #[test]
    fn a_trimmed_list_keeps_the_range() {
        let mut bench = Bench::new();
        for (range, rest) in
            [("1 2", "b c"), ("-2 -1", "c d"), ("0 -1", "a b c d"), ("-100 0", "a"), ("3 9", "d")]
        {
            bench.run("DEL l");
            bench.run("RPUSH l a b c d");
            assert_eq!(bench.run(&format!("LTRIM l {range}")), "+OK\r\n");
            assert_eq!(all(&mut bench), rest, "{range}");
        }
        assert_eq!(bench.run("LRANGE l 0 -5"), "*0\r\n");
        assert_eq!(bench.run("LTRIM l 5 9"), "+OK\r\n");
        assert_eq!(bench.run("EXISTS l"), ":0\r\n");
        assert_eq!(bench.run("LTRIM l 0 1"), "+OK\r\n");
        assert_eq!(bench.run("LRANGE l 0 -1"), "*0\r\n");
    }

    #[test]
    fn equal_elements_go_from_either_end() {
        let mut bench = Bench::new();
        for (count, removed, rest) in
            [(0, 3, "b c"), (2, 2, "b c a"), (-2, 2, "a b c"), (9, 3, "b c"), (i64::MIN, 3, "b c")]
        {
            bench.run("DEL l");
            bench.run("RPUSH l a b a c a");
            assert_eq!(bench.run(&format!("LREM l {count} a")), format!(":{removed}\r\n"));
            assert_eq!(all(&mut bench), rest, "{count}");
        }
        assert_eq!(bench.run("LREM l 0 x"), ":0\r\n");
        bench.run("LREM l 0 b");
        bench.run("LREM l 0 c");
        assert_eq!(bench.run("EXISTS l"), ":0\r\n");
        assert_eq!(bench.run("LREM l 0 c"), ":0\r\n");
    }

    #[test]
    fn an_element_is_inserted_next_to_another() {
        let mut bench = Bench::new();
        assert_eq!(bench.run("LINSERT l BEFORE a x"), ":0\r\n");
        bench.run("RPUSH l a 12 a");
        assert_eq!(bench.run("LINSERT l before a x"), ":4\r\n");
        assert_eq!(bench.run("LINSERT l AFTER 12 y"), ":5\r\n");
        assert_eq!(bench.run("LINSERT l AFTER 012 y"), ":-1\r\n");
        assert_eq!(bench.run("LINSERT l NEAR a y"), "-ERR syntax error\r\n");
        assert_eq!(all(&mut bench), "x a 12 y a");
    }

    #[test]
    fn positions_are_found_from_either_end() {
        let mut bench = Bench::new();
        assert_eq!(bench.run("LPOS l a"), "$-1\r\n");
        assert_eq!(bench.run("LPOS l a COUNT 1"), "*0\r\n");
        bench.run("RPUSH l a b c a b c a");
        assert_eq!(bench.run("LPOS l a"), ":0\r\n");
        assert_eq!(bench.run("LPOS l a RANK 2"), ":3\r\n");
        assert_eq!(bench.run("LPOS l a RANK -1"), ":6\r\n");
        assert_eq!(bench.run("LPOS l a RANK 4"), "$-1\r\n");
        assert_eq!(bench.run("LPOS l a COUNT 0"), "*3\r\n:0\r\n:3\r\n:6\r\n");
        assert_eq!(bench.run("LPOS l a COUNT 2 RANK -2"), "*2\r\n:3\r\n:0\r\n");
        assert_eq!(bench.run("LPOS l c MAXLEN 2"), "$-1\r\n");
        assert_eq!(bench.run("LPOS l c MAXLEN 3"), ":2\r\n");
        assert_eq!(bench.run("LPOS l c RANK -1 MAXLEN 2 COUNT 0"), "*1\r\n:5\r\n");
        for (options, error) in [
            ("COUNT -1", "COUNT can't be negative"),
            ("MAXLEN x", "MAXLEN can't be negative"),
            ("RANK", "syntax error"),
            ("RANK x", "value is not an integer or out of range"),
            (
                "RANK -9223372036854775808",
                "value is out of range, value must between -9223372036854775807 and \
                 9223372036854775807",
            ),
        ] {
            assert_eq!(bench.run(&format!("LPOS l a {options}")), format!("-ERR {error}\r\n"));
        }
        assert!(bench.run("LPOS l a RANK 0").starts_with("-ERR RANK can't be zero: use 1 to "));
    }
}
