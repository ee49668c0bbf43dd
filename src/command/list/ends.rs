//! Pushing, popping, and moving elements from an end of a list to an end of another one.

use super::{
    change_list, limit, list_changed, list_of_mut, pop_event, push_event, read_list, store_list,
    write_element,
};
use crate::command::number::integer;
use crate::data::list::{End, List};
use crate::data::packed::Element;
use crate::error::CmdError;
use crate::resp::{Args, Encoder};
use crate::shard::{Class, Cx};

const NOT_POSITIVE: CmdError = CmdError::fixed("ERR value is out of range, must be positive");
const NUMKEYS: CmdError = CmdError::fixed("ERR numkeys should be greater than 0");
const COUNT: CmdError = CmdError::fixed("ERR count should be greater than 0");

pub fn lpush(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    push(cx, args, End::Front, true)
}

pub fn rpush(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    push(cx, args, End::Back, true)
}

pub fn lpushx(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    push(cx, args, End::Front, false)
}

pub fn rpushx(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    push(cx, args, End::Back, false)
}

/// Adds all arguments behind the key to its list, one after another; `make`s the list if there is
/// none.
fn push(cx: &mut Cx, args: Args, end: End, make: bool) -> Result<(), CmdError> {
    let (key, limit) = (args.at(1), limit(cx));
    let count = args.len() - 2;
    let fill = |list: &mut List| {
        let elements = || args.iter().skip(2);
        list.prepare(elements().map(<[u8]>::len).sum(), count, limit);
        elements().for_each(|text| list.push(end, Element::new(text), limit));
        list.len()
    };
    let len = match change_list(cx, key)? {
        Some(list) => fill(list),
        None if make => {
            let mut list = List::new();
            let len = fill(&mut list);
            store_list(cx, key, list);
            len
        }
        None => {
            cx.out.int(0);
            return Ok(());
        }
    };
    cx.keys.notify(Class::List, push_event(end), key);
    cx.keys.changed(count as u64);
    cx.out.int(len as i64);
    Ok(())
}

pub fn llen(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let len = read_list(cx, args.at(1))?.map_or(0, List::len);
    cx.out.int(len as i64);
    Ok(())
}

pub fn lpop(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    pop(cx, args, End::Front)
}

pub fn rpop(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    pop(cx, args, End::Back)
}

fn pop(cx: &mut Cx, args: Args, end: End) -> Result<(), CmdError> {
    let key = args.at(1);
    if args.len() > 3 {
        return Err(CmdError::wrong_arity(cx.name));
    }
    let Some(count) = args.get(2) else {
        if !pop_one(cx, key, end, |_| {})? {
            cx.out.null();
        }
        return Ok(());
    };
    let count = integer(count).ok().and_then(|n| usize::try_from(n).ok()).ok_or(NOT_POSITIVE)?;
    match change_list(cx, key)? {
        None => cx.out.null_array(),
        Some(_) if count == 0 => cx.out.array(0),
        Some(_) => {
            pop_several(cx, key, end, count, |_| {})?;
        }
    }
    Ok(())
}

/// Takes an element from the list at `key` and answers it, after what `before` writes; `false` if
/// there is none.
pub(super) fn pop_one(
    cx: &mut Cx,
    key: &[u8],
    end: End,
    before: impl FnOnce(&mut Encoder),
) -> Result<bool, CmdError> {
    let limit = limit(cx);
    let Some(entry) = cx.keys.get_mut(key) else { return Ok(false) };
    let list = list_of_mut(entry)?;
    let Some(element) = list.peek(end) else { return Ok(false) };
    before(&mut cx.out);
    write_element(&mut cx.out, element);
    list.drop_end(end, limit);
    let is_empty = list.is_empty();
    list_changed(cx, key, pop_event(end), (is_empty, 1));
    Ok(true)
}

/// As [`pop_one`], for an array of up to `count` elements.
pub(super) fn pop_several(
    cx: &mut Cx,
    key: &[u8],
    end: End,
    count: usize,
    before: impl FnOnce(&mut Encoder),
) -> Result<bool, CmdError> {
    let limit = limit(cx);
    let Some(entry) = cx.keys.get_mut(key) else { return Ok(false) };
    let list = list_of_mut(entry)?;
    let len = list.len();
    let count = count.min(len);
    before(&mut cx.out);
    let out = &mut cx.out;
    out.array(count);
    match end {
        End::Front => {
            list.iter().take(count).for_each(|element| write_element(out, element));
            list.remove_range(0, count, limit);
        }
        End::Back => {
            list.iter_back_from(len).take(count).for_each(|element| write_element(out, element));
            list.remove_range(len - count, count, limit);
        }
    }
    let is_empty = list.is_empty();
    list_changed(cx, key, pop_event(end), (is_empty, count));
    if cx.keys.is_recorded() && count > 0 {
        let mut text = itoa::Buffer::new();
        cx.keys.effect(key, &[pop_command(end), key, text.format(count).as_bytes()]);
    }
    Ok(true)
}

/// The command that takes from one end of one list.
pub(super) fn pop_command(end: End) -> &'static [u8] {
    match end {
        End::Front => b"LPOP",
        End::Back => b"RPOP",
    }
}

fn push_command(end: End) -> &'static [u8] {
    match end {
        End::Front => b"LPUSH",
        End::Back => b"RPUSH",
    }
}

/// LEFT or RIGHT.
pub(super) fn end_of(word: &[u8]) -> Result<End, CmdError> {
    match word {
        _ if word.eq_ignore_ascii_case(b"left") => Ok(End::Front),
        _ if word.eq_ignore_ascii_case(b"right") => Ok(End::Back),
        _ => Err(CmdError::SYNTAX),
    }
}

pub fn lmove(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (from, to) = (end_of(args.at(3))?, end_of(args.at(4))?);
    if !move_one(cx, (args.at(1), from), (args.at(2), to))? {
        cx.out.null();
    }
    Ok(())
}

pub fn rpoplpush(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    if !move_one(cx, (args.at(1), End::Back), (args.at(2), End::Front))? {
        cx.out.null();
    }
    Ok(())
}

/// Takes an element from an end of one list, adds it at an end of another or of the same one, and
/// answers it; `false` if there is none.
pub(super) fn move_one(
    cx: &mut Cx,
    (source, from): (&[u8], End),
    (target, to): (&[u8], End),
) -> Result<bool, CmdError> {
    let limit = limit(cx);
    let Some(list) = change_list(cx, source)? else { return Ok(false) };
    let Some(element) = list.peek(from).map(Element::to_vec) else { return Ok(false) };
    let element = &element[..];
    let add = |list: &mut List| {
        list.prepare(element.len(), 1, limit);
        list.push(to, Element::new(element), limit);
    };
    if source == target {
        list.drop_end(from, limit);
        add(list);
        cx.keys.notify(Class::List, push_event(to), target);
        list_changed(cx, source, pop_event(from), (false, 1));
    } else {
        match change_list(cx, target)? {
            Some(list) => add(list),
            None => {
                let mut list = List::new();
                add(&mut list);
                store_list(cx, target, list);
            }
        }
        cx.keys.notify(Class::List, push_event(to), target);
        if let Some(list) = change_list(cx, source)? {
            list.drop_end(from, limit);
            let is_empty = list.is_empty();
            list_changed(cx, source, pop_event(from), (is_empty, 1));
        }
    }
    if cx.keys.is_recorded() && !cx.keys.are_together(&[source, target]) {
        cx.keys.effect(source, &[pop_command(from), source]);
        cx.keys.effect(target, &[push_command(to), target, element]);
    }
    cx.out.bulk(element);
    Ok(true)
}

/// What LMPOP and BLMPOP say from their number of keys on.
pub(super) struct Several {
    /// The arguments that are keys.
    pub keys: std::ops::Range<usize>,
    pub end: End,
    pub count: usize,
}

impl Several {
    /// Reads what begins with the number of keys at `at`.
    pub fn parse(args: &Args, at: usize) -> Result<Several, CmdError> {
        let keys = integer(args.at(at)).ok().filter(|&n| n > 0).ok_or(NUMKEYS)?;
        let first = at + 1;
        // One more argument is needed at least: the end.
        let last = usize::try_from(keys).ok().filter(|&n| n < args.len() - first);
        let keys = first..first + last.ok_or(CmdError::SYNTAX)?;
        let end = end_of(args.at(keys.end))?;
        let count = match args.len() - keys.end - 1 {
            0 => 1,
            2 if args.is(keys.end + 1, "count") => {
                let count = integer(args.at(keys.end + 2)).ok();
                count.and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0).ok_or(COUNT)?
            }
            // A count that is wrong is worse than what follows it.
            3.. if args.is(keys.end + 1, "count") => {
                integer(args.at(keys.end + 2)).ok().filter(|&n| n > 0).ok_or(COUNT)?;
                return Err(CmdError::SYNTAX);
            }
            _ => return Err(CmdError::SYNTAX),
        };
        Ok(Several { keys, end, count })
    }

    /// Pops from the first of the lists that exists; `false` if there is none.
    pub fn pop(&self, cx: &mut Cx, args: &Args) -> Result<bool, CmdError> {
        for at in self.keys.clone() {
            let key = args.at(at);
            let name_it = |out: &mut Encoder| {
                out.array(2);
                out.bulk(key);
            };
            if pop_several(cx, key, self.end, self.count, name_it)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

pub fn lmpop(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    if !Several::parse(&args, 1)?.pop(cx, &args)? {
        cx.out.null_array();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Bench;

    #[test]
    fn elements_leave_in_the_order_of_their_end() {
        let mut bench = Bench::new();
        assert_eq!(bench.run("LPUSHX l a"), ":0\r\n");
        assert_eq!(bench.run("RPUSH l a b c"), ":3\r\n");
        assert_eq!(bench.run("LPUSH l y z"), ":5\r\n");
        assert_eq!(bench.run("RPUSHX l 7"), ":6\r\n");
        assert_eq!(bench.run("LLEN l"), ":6\r\n");
        assert_eq!(bench.run("LPOP l"), "$1\r\nz\r\n");
        assert_eq!(bench.run("RPOP l 2"), "*2\r\n$1\r\n7\r\n$1\r\nc\r\n");
        assert_eq!(bench.run("LPOP l 2"), "*2\r\n$1\r\ny\r\n$1\r\na\r\n");
        assert_eq!(bench.run("RPOP l 9"), "*1\r\n$1\r\nb\r\n");
        assert_eq!((bench.run("EXISTS l"), bench.keys(0)), (":0\r\n".to_string(), 0));
        assert_eq!(bench.run("LPOP l"), "$-1\r\n");
        assert_eq!(bench.run("LPOP l 0"), "*-1\r\n");
    }

    #[test]
    fn wrong_counts_and_types_are_refused() {
        let mut bench = Bench::new();
        let positive = "-ERR value is out of range, must be positive\r\n";
        assert_eq!(bench.run("LPOP l -1"), positive);
        assert_eq!(bench.run("RPOP l x"), positive);
        let arity = "-ERR wrong number of arguments for 'rpop' command\r\n";
        assert_eq!(bench.run("RPOP l 1 2"), arity);
        bench.run("SET s 1");
        bench.run("RPUSH l a");
        assert_eq!(bench.run("LPOP l 0"), "*0\r\n");
        for command in [
            "RPUSH s a",
            "LPUSHX s a",
            "LPOP s",
            "RPOP s 1",
            "LLEN s",
            "LMOVE s l LEFT LEFT",
            "LMOVE l s LEFT LEFT",
            "LMPOP 2 none s LEFT",
            "GET l",
            "INCR l",
        ] {
            assert!(bench.run(command).starts_with("-WRONGTYPE"), "{command}");
        }
        assert_eq!(bench.run("LLEN l"), ":1\r\n");
    }

    #[test]
    fn an_element_moves_from_end_to_end() {
        let mut bench = Bench::new();
        bench.run("RPUSH a 1 2 3");
        assert_eq!(bench.run("LMOVE a b LEFT RIGHT"), "$1\r\n1\r\n");
        assert_eq!(bench.run("LMOVE a b RIGHT left"), "$1\r\n3\r\n");
        assert_eq!(bench.run("LRANGE b 0 -1"), "*2\r\n$1\r\n3\r\n$1\r\n1\r\n");
        assert_eq!(bench.run("RPOPLPUSH a b"), "$1\r\n2\r\n");
        assert_eq!(bench.run("RPOPLPUSH a b"), "$-1\r\n");
        assert_eq!(bench.run("EXISTS a"), ":0\r\n");
        assert_eq!(bench.run("LMOVE b b LEFT RIGHT"), "$1\r\n2\r\n");
        assert_eq!(
            bench.run("LMPOP 1 b RIGHT COUNT 2"),
            "*2\r\n$1\r\nb\r\n*2\r\n$1\r\n2\r\n$1\r\n1\r\n"
        );
        assert_eq!(bench.run("LMOVE b b LEFT RIGHT"), "$1\r\n3\r\n");
        assert_eq!(bench.run("LMOVE b b UP DOWN"), "-ERR syntax error\r\n");
        assert_eq!(bench.run("LMOVE none b LEFT RIGHT"), "$-1\r\n");
    }

    #[test]
    fn several_keys_are_tried_in_turn() {
        let mut bench = Bench::new();
        bench.run("RPUSH b 1 2 3");
        assert_eq!(bench.run("LMPOP 2 a b LEFT"), "*2\r\n$1\r\nb\r\n*1\r\n$1\r\n1\r\n");
        assert_eq!(bench.run("LMPOP 1 a LEFT"), "*-1\r\n");
        for (command, error) in [
            ("LMPOP 0 a LEFT", "numkeys should be greater than 0"),
            ("LMPOP x a LEFT", "numkeys should be greater than 0"),
            ("LMPOP 9223372036854775807 a LEFT", "syntax error"),
            ("LMPOP 2 a LEFT", "syntax error"),
            ("LMPOP 1 a LEFT COUNT", "syntax error"),
            ("LMPOP 1 a LEFT COUNT 0", "count should be greater than 0"),
            ("LMPOP 1 a LEFT COUNT 0 COUNT 1", "count should be greater than 0"),
            ("LMPOP 1 a LEFT COUNT 1 COUNT 1", "syntax error"),
            ("LMPOP 1 a LEFT FOO 1", "syntax error"),
        ] {
            assert_eq!(bench.run(command), format!("-ERR {error}\r\n"), "{command}");
        }
    }
}
