//! Strings as a whole and in parts; numbers, bits and LCS have their own files.
//!
//! GET and SET without options are the hottest commands of all: one lookup, no allocation but the
//! value's own, options looked at only when there are more arguments.

use super::expire::record_expiry;
use super::spec::*;
use super::value::*;
use crate::data::Entry;
use crate::error::CmdError;
use crate::resp::Args;
use crate::shard::{Class, Cx, Expiry};

/// For keys that are written only if the arguments say so.
pub const RW_ACCESS_UPDATE_VARIABLE: &[&str] = &["RW", "access", "update", "variable_flags"];

const WRITE_OOM: Flags = WRITE.with(DENYOOM);
const WRITE_OOM_FAST: Flags = WRITE_OOM.with(FAST);
const READ_FAST: Flags = READONLY.with(FAST);

pub const COMMANDS: &[Command] = &[
    shard("get", 2, READ_FAST, &[KeySpec::one(1, RO_ACCESS)], get).doc(
        Group::String,
        "1.0.0",
        "O(1)",
        "key",
        "Answers the string at a key.",
    ),
    shard("set", -3, WRITE_OOM.with(BRIEF), &[KeySpec::one(1, RW_ACCESS_UPDATE_VARIABLE)], set)
        .doc(
            Group::String,
            "1.0.0",
            "O(1)",
            "key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
         PXAT unix-time-milliseconds | KEEPTTL]",
            "Puts a string at a key, whatever was there before.",
        )
        .key_flags(set_key_use),
    shard("getex", -2, WRITE.with(FAST), &[KeySpec::one(1, RW_ACCESS_UPDATE)], getex).doc(
        Group::String,
        "6.2.0",
        "O(1)",
        "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
         PXAT unix-time-milliseconds | PERSIST]",
        "Answers the string at a key and sets or removes its time to live.",
    ),
    shard("getdel", 2, WRITE.with(FAST), &[KeySpec::one(1, RW_ACCESS_DELETE)], getdel).doc(
        Group::String,
        "6.2.0",
        "O(1)",
        "key",
        "Answers the string at a key and deletes the key.",
    ),
    shard("getset", 3, WRITE_OOM_FAST, &[KeySpec::one(1, RW_ACCESS_UPDATE)], getset)
        .doc(
            Group::String,
            "1.0.0",
            "O(1)",
            "key value",
            "Puts a new string at a key and answers the old one.",
        )
        .deprecated("6.2.0", "`SET` with the `!GET` argument"),
    shard("mget", -2, READ_FAST, &[KeySpec::range(1, -1, 1, RO_ACCESS)], mget)
        .doc(
            Group::String,
            "1.0.0",
            "O(N) where N is the number of keys.",
            "key [key ...]",
            "Answers the strings at several keys, all at one instant.",
        )
        .tips(&["request_policy:multi_shard"])
        .spread(Spread::PerKey { part: mget_part, merge: Merge::Elements }),
    shard("mset", -3, WRITE_OOM, &[KeySpec::range(1, -1, 2, OW_UPDATE)], mset)
        .doc(
            Group::String,
            "1.0.1",
            "O(N) where N is the number of keys.",
            "key value [key value ...]",
            "Puts strings at several keys, all at one instant.",
        )
        .tips(&["request_policy:multi_shard", "response_policy:all_succeeded"])
        .spread(Spread::PerKey { part: mset, merge: Merge::FirstError }),
    shard("msetnx", -3, WRITE_OOM, &[KeySpec::range(1, -1, 2, OW_INSERT)], msetnx).doc(
        Group::String,
        "1.0.1",
        "O(N) where N is the number of keys.",
        "key value [key value ...]",
        "Puts strings at several keys if none of the keys exists.",
    ),
    shard("setnx", 3, WRITE_OOM_FAST, &[KeySpec::one(1, OW_INSERT)], setnx)
        .doc(
            Group::String,
            "1.0.0",
            "O(1)",
            "key value",
            "Puts a string at a key that does not exist.",
        )
        .deprecated("2.6.12", "`SET` with the `NX` argument"),
    shard("setex", 4, WRITE_OOM.with(BRIEF), &[KeySpec::one(1, OW_UPDATE)], setex)
        .doc(
            Group::String,
            "2.0.0",
            "O(1)",
            "key seconds value",
            "Puts a string at a key with a time to live in seconds.",
        )
        .deprecated("2.6.12", "`SET` with the `EX` argument"),
    shard("psetex", 4, WRITE_OOM.with(BRIEF), &[KeySpec::one(1, OW_UPDATE)], psetex)
        .doc(
            Group::String,
            "2.6.0",
            "O(1)",
            "key milliseconds value",
            "Puts a string at a key with a time to live in milliseconds.",
        )
        .deprecated("2.6.12", "`SET` with the `PX` argument"),
    shard("append", 3, WRITE_OOM_FAST, &[KeySpec::one(1, RW_INSERT)], append).doc(
        Group::String,
        "2.0.0",
        "O(N) where N is the length of the added string; the room for it is amortised.",
        "key value",
        "Adds to the end of the string at a key, which is made when missing.",
    ),
    shard("strlen", 2, READ_FAST, &[KeySpec::one(1, RO)], strlen).doc(
        Group::String,
        "2.2.0",
        "O(1)",
        "key",
        "Answers how many bytes the string at a key has.",
    ),
    shard("getrange", 4, READONLY, &[KeySpec::one(1, RO_ACCESS)], getrange).doc(
        Group::String,
        "2.4.0",
        "O(N) where N is the length of the answer.",
        "key start end",
        "Answers a part of the string at a key.",
    ),
    shard("setrange", 4, WRITE_OOM, &[KeySpec::one(1, RW_UPDATE)], setrange).doc(
        Group::String,
        "2.2.0",
        "O(N) where N is the length of the value and of the gap that is filled with zero bytes.",
        "key offset value",
        "Overwrites a part of the string at a key, which is made when missing.",
    ),
    shard("substr", 4, READONLY, &[KeySpec::one(1, RO_ACCESS)], getrange)
        .doc(
            Group::String,
            "1.0.0",
            "O(N) where N is the length of the answer.",
            "key start end",
            "Answers a part of the string at a key.",
        )
        .deprecated("2.0.0", "`GETRANGE`"),
];

fn get(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    reply_value(cx, args.at(1)).map(|_| ())
}

/// Answers the string at `key` or null, and whether there is one.
#[inline]
fn reply_value(cx: &mut Cx, key: &[u8]) -> Result<bool, CmdError> {
    match cx.keys.get(key) {
        None => {
            cx.out.null();
            Ok(false)
        }
        Some(entry) => {
            string_of(entry)?.write(&mut cx.out);
            Ok(true)
        }
    }
}

/// SET with GET also reads the key.
fn set_key_use(args: &Args) -> &'static [&'static str] {
    match (3..args.len()).any(|at| args.is(at, "get")) {
        true => RW_ACCESS_UPDATE,
        false => OW_UPDATE,
    }
}

fn set(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    if args.len() > 3 {
        return set_with_options(cx, args);
    }
    put(cx, args.at(1), args.at(2), Expiry::Clear);
    cx.keys.changed(1);
    cx.out.ok();
    Ok(())
}

/// Puts a string at a key and says so.
#[inline]
fn put(cx: &mut Cx, key: &[u8], value: &[u8], expiry: Expiry) {
    cx.keys.set_string(key, value, expiry);
    cx.keys.notify(Class::String, "set", key);
    if matches!(expiry, Expiry::At(_)) {
        cx.keys.notify(Class::Generic, "expire", key);
    }
}

/// The options of SET and GETEX.
#[derive(Default)]
struct Options<'a> {
    nx: bool,
    xx: bool,
    get: bool,
    keep_ttl: bool,
    persist: bool,
    term: Option<(Term, &'a [u8])>,
}

impl<'a> Options<'a> {
    /// Reads SET's options from the argument at `first` on.
    fn of_set(args: Args<'a>, first: usize) -> Result<Options<'a>, CmdError> {
        let mut options = Options::default();
        let mut at = first;
        while at < args.len() {
            if args.is(at, "NX") && !options.xx {
                options.nx = true;
            } else if args.is(at, "XX") && !options.nx {
                options.xx = true;
            } else if args.is(at, "GET") {
                options.get = true;
            } else if args.is(at, "KEEPTTL") && options.term.is_none() {
                options.keep_ttl = true;
            } else {
                options.read_term(args, at)?;
                at += 1;
            }
            at += 1;
        }
        Ok(options)
    }

    /// Reads GETEX's options from the argument at `first` on.
    fn of_getex(args: Args<'a>, first: usize) -> Result<Options<'a>, CmdError> {
        let mut options = Options::default();
        let mut at = first;
        while at < args.len() {
            if args.is(at, "PERSIST") && options.term.is_none() {
                options.persist = true;
            } else {
                options.read_term(args, at)?;
                at += 1;
            }
            at += 1;
        }
        Ok(options)
    }

    /// Reads a term and its amount. As in Redis the same one may be given again, and the last
    /// counts; no other option about the time to live may stand beside it.
    fn read_term(&mut self, args: Args<'a>, at: usize) -> Result<(), CmdError> {
        const TERMS: [(&str, Term); 4] =
            [("EX", Term::Ex), ("PX", Term::Px), ("EXAT", Term::ExAt), ("PXAT", Term::PxAt)];
        let named = TERMS.iter().find(|(word, _)| args.is(at, word)).map(|(_, term)| *term);
        match (named, args.get(at + 1)) {
            (Some(term), Some(amount))
                if !self.keep_ttl
                    && !self.persist
                    && self.term.is_none_or(|(other, _)| other == term) =>
            {
                self.term = Some((term, amount));
                Ok(())
            }
            _ => Err(CmdError::SYNTAX),
        }
    }
}

fn set_with_options(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let options = Options::of_set(args, 3)?;
    let (key, value) = (args.at(1), args.at(2));
    let expiry = match options.term {
        Some((term, amount)) => Expiry::At(term.deadline(amount, cx)?),
        None if options.keep_ttl => Expiry::Keep,
        None => Expiry::Clear,
    };
    let exists = if options.get {
        reply_value(cx, key)?
    } else {
        (options.nx || options.xx) && cx.keys.contains(key)
    };
    if (options.nx && exists) || (options.xx && !exists) {
        if !options.get {
            cx.out.null();
        }
        return Ok(());
    }
    put(cx, key, value, expiry);
    cx.keys.changed(1);
    match expiry {
        Expiry::At(at) => record_set(cx, key, value, at),
        // Its answer is of no interest later.
        Expiry::Keep if options.get => cx.keys.effect(key, &[b"SET", key, value, b"KEEPTTL"]),
        Expiry::Clear if options.get => cx.keys.effect(key, &[b"SET", key, value]),
        _ => {}
    }
    if !options.get {
        cx.out.ok();
    }
    Ok(())
}

/// Records that a string was put at a key with a time to live, whatever that was asked for by.
fn record_set(cx: &mut Cx, key: &[u8], value: &[u8], expire_at: i64) {
    if cx.keys.is_recorded() {
        let mut at = itoa::Buffer::new();
        let at = at.format(expire_at).as_bytes();
        cx.keys.effect(key, &[b"SET", key, value, b"PXAT", at]);
    }
}

fn setnx(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let exists = cx.keys.contains(args.at(1));
    if !exists {
        put(cx, args.at(1), args.at(2), Expiry::Clear);
        cx.keys.changed(1);
    }
    cx.out.int(i64::from(!exists));
    Ok(())
}

fn setex(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    set_for(cx, args, Term::Ex)
}

fn psetex(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    set_for(cx, args, Term::Px)
}

fn set_for(cx: &mut Cx, args: Args, term: Term) -> Result<(), CmdError> {
    let deadline = term.deadline(args.at(2), cx)?;
    put(cx, args.at(1), args.at(3), Expiry::At(deadline));
    cx.keys.changed(1);
    record_set(cx, args.at(1), args.at(3), deadline);
    cx.out.ok();
    Ok(())
}

fn getex(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let options = Options::of_getex(args, 2)?;
    let key = args.at(1);
    if !reply_value(cx, key)? {
        return Ok(());
    }
    match options.term {
        Some((term, amount)) => {
            let deadline = term.deadline(amount, cx)?;
            if term.is_absolute() && deadline <= cx.now() {
                cx.keys.delete(key);
                cx.keys.effect(key, &[b"DEL", key]);
            } else {
                cx.keys.set_expire(key, Some(deadline));
                cx.keys.notify(Class::Generic, "expire", key);
                record_expiry(cx, key, deadline);
            }
            cx.keys.changed(1);
        }
        None if options.persist && expires(cx, key) => {
            cx.keys.set_expire(key, None);
            cx.keys.notify(Class::Generic, "persist", key);
            cx.keys.effect(key, &[b"PERSIST", key]);
            cx.keys.changed(1);
        }
        None => {}
    }
    Ok(())
}

fn expires(cx: &mut Cx, key: &[u8]) -> bool {
    cx.keys.peek(key).is_some_and(|entry| entry.expire_at().is_some())
}

fn getdel(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    if reply_value(cx, args.at(1))? {
        cx.keys.delete(args.at(1));
        cx.keys.effect(args.at(1), &[b"DEL", args.at(1)]);
        cx.keys.changed(1);
    }
    Ok(())
}

fn getset(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    reply_value(cx, args.at(1))?;
    put(cx, args.at(1), args.at(2), Expiry::Clear);
    cx.keys.effect(args.at(1), &[b"SET", args.at(1), args.at(2)]);
    cx.keys.changed(1);
    Ok(())
}

fn mget(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    cx.out.array(args.len() - 1);
    let keys = args.from(1);
    for (n, key) in keys.iter().enumerate() {
        cx.keys.look_ahead(&keys, n, 1);
        mget_element(cx, key);
    }
    Ok(())
}

/// One element of MGET's reply, without the array around it.
fn mget_part(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    mget_element(cx, args.at(1));
    Ok(())
}

/// A value of another type is no error here: it reads as null.
fn mget_element(cx: &mut Cx, key: &[u8]) {
    match cx.keys.get(key).map(string_of) {
        Some(Ok(text)) => text.write(&mut cx.out),
        Some(Err(_)) | None => cx.out.null(),
    }
}

fn mset(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    check_pairs(cx, args)?;
    set_pairs(cx, args);
    cx.out.ok();
    Ok(())
}

fn msetnx(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    check_pairs(cx, args)?;
    let free = !args.from(1).iter().step_by(2).any(|key| cx.keys.contains(key));
    if free {
        set_pairs(cx, args);
    }
    cx.out.int(i64::from(free));
    Ok(())
}

fn check_pairs(cx: &Cx, args: Args) -> Result<(), CmdError> {
    match args.len() % 2 {
        1 => Ok(()),
        _ => Err(CmdError::wrong_arity(cx.name)),
    }
}

fn set_pairs(cx: &mut Cx, args: Args) {
    let pairs = args.from(1);
    for (n, at) in (0..pairs.len()).step_by(2).enumerate() {
        cx.keys.look_ahead(&pairs, n, 2);
        put(cx, pairs.at(at), pairs.at(at + 1), Expiry::Clear);
    }
    cx.keys.changed((args.len() / 2) as u64);
    if cx.keys.is_recorded() {
        let keys: Vec<&[u8]> = pairs.iter().step_by(2).collect();
        if !cx.keys.are_together(&keys) {
            for at in (0..pairs.len()).step_by(2) {
                cx.keys.effect(pairs.at(at), &[b"SET", pairs.at(at), pairs.at(at + 1)]);
            }
        }
    }
}

fn append(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (key, tail) = (args.at(1), args.at(2));
    let bulk_len_max = cx.settings.bulk_len_max;
    let len = match cx.keys.get_mut(key) {
        None => {
            cx.keys.set_string(key, tail, Expiry::Clear);
            tail.len()
        }
        Some(entry) => {
            string_of(entry)?;
            if entry.string_len() + tail.len() > bulk_len_max {
                return Err(CmdError::STRING_TOO_LONG);
            }
            entry.append(tail)
        }
    };
    cx.keys.notify(Class::String, "append", key);
    cx.keys.changed(1);
    cx.out.int(len as i64);
    Ok(())
}

fn strlen(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let len = cx.keys.get(args.at(1)).map_or(Ok(0), string_len)?;
    cx.out.int(len as i64);
    Ok(())
}

fn string_len(entry: &Entry) -> Result<usize, CmdError> {
    string_of(entry).map(|_| entry.string_len())
}

fn getrange(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (start, end) = (integer(args.at(2))?, integer(args.at(3))?);
    // Two negative places in the wrong order are nothing even where clamping would make them one.
    let crossed = start < 0 && end < 0 && start > end;
    read_string(cx, args.at(1), |bytes, out| {
        match resolve_range(start, end, bytes.len()).filter(|_| !crossed) {
            Some((first, last)) => out.bulk(&bytes[first..=last]),
            None => out.bulk(b""),
        }
    })
}

fn setrange(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (key, offset, value) = (args.at(1), integer(args.at(2))?, args.at(3));
    let Ok(offset) = usize::try_from(offset) else {
        return Err(CmdError::fixed("ERR offset is out of range"));
    };
    if value.is_empty() {
        let len = cx.keys.peek(key).map_or(Ok(0), string_len)?;
        cx.out.int(len as i64);
        return Ok(());
    }
    let room = check_length(cx, offset, value.len());
    let len = match cx.keys.get_mut(key) {
        Some(entry) => {
            string_of(entry)?; // a wrong type comes before a wrong length
            room?;
            overwrite(entry, offset, value)
        }
        None => {
            room?;
            overwrite(cx.keys.get_or_make(key).0, offset, value)
        }
    };
    cx.keys.notify(Class::String, "setrange", key);
    cx.keys.changed(1);
    cx.out.int(len as i64);
    Ok(())
}

/// Puts `value` at `offset`, zero bytes in a gap before it; gives the string's new length.
fn overwrite(entry: &mut Entry, offset: usize, value: &[u8]) -> usize {
    let end = offset + value.len();
    let bytes = entry.grow(end);
    bytes[offset..end].copy_from_slice(value);
    bytes.len()
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Bench;
    use crate::resp::Protocol;

    fn bench(setup: &[&str]) -> Bench {
        let mut bench = Bench::new();
        for words in setup {
            bench.run(words);
        }
        bench
    }

    #[test]
    fn a_value_comes_back() {
        let mut bench = Bench::new();
        assert_eq!(bench.run("SET k v"), "+OK\r\n");
        assert_eq!(bench.run("get k"), "$1\r\nv\r\n");
        assert_eq!(bench.run("get none"), "$-1\r\n");
        assert_eq!(bench.run("SET n 42"), "+OK\r\n");
        assert_eq!(bench.run("getset n 043"), "$2\r\n42\r\n");
        assert_eq!(bench.run("getdel n"), "$3\r\n043\r\n");
        assert_eq!(bench.run("getdel n"), "$-1\r\n");
    }

    #[test]
    fn set_heeds_its_conditions() {
        let mut bench = Bench::new();
        assert_eq!(bench.run("set k v xx"), "$-1\r\n");
        assert_eq!(bench.run("set k v nx"), "+OK\r\n");
        assert_eq!(bench.run("set k w nx"), "$-1\r\n");
        assert_eq!(bench.run("set k w nx get"), "$1\r\nv\r\n");
        assert_eq!(bench.run("set k w xx get"), "$1\r\nv\r\n");
        assert_eq!(bench.run("set new w get"), "$-1\r\n");
        assert_eq!(bench.run("set newer w xx get"), "$-1\r\n");
        assert_eq!(bench.run("mget k new newer"), "*3\r\n$1\r\nw\r\n$1\r\nw\r\n$-1\r\n");
        bench.caller.protocol = Protocol::Resp3;
        assert_eq!(bench.run("set k v nx"), "_\r\n");
        assert_eq!(bench.run("setnx k v"), ":0\r\n");
        assert_eq!(bench.run("setnx k2 v"), ":1\r\n");
    }

    #[test]
    fn options_that_contradict_are_a_syntax_error() {
        let mut bench = bench(&["set k old"]);
        for options in [
            "nx xx",
            "ex",
            "ex 10 px 10",
            "ex 10 keepttl",
            "keepttl ex 10",
            "persist",
            "pxat 1 exat 1",
            "what",
            "ex 10 20",
        ] {
            let reply = bench.run(&format!("set k v {options}"));
            assert_eq!(reply, "-ERR syntax error\r\n", "{options}");
        }
        for options in ["keepttl", "ex", "persist ex 1", "ex 1 persist", "nx", "get"] {
            let reply = bench.run(&format!("getex k {options}"));
            assert_eq!(reply, "-ERR syntax error\r\n", "{options}");
        }
        assert_eq!(bench.run("set k v get nx nx get ex 1 ex 2"), "$3\r\nold\r\n");
    }

    #[test]
    fn a_time_to_live_must_be_a_time() {
        let mut bench = Bench::new();
        for term in ["ex 0", "px -1", "ex 9223372036854776", "px 9223372036854775807", "exat 0"] {
            let reply = bench.run(&format!("set k v {term}"));
            assert_eq!(reply, "-ERR invalid expire time in 'set' command\r\n", "{term}");
        }
        let not_an_integer = "-ERR value is not an integer or out of range\r\n";
        assert_eq!(bench.run("set k v ex 1.5"), not_an_integer);
        assert_eq!(bench.run("setex k a v"), not_an_integer);
        assert_eq!(bench.run("setex k 0 v"), "-ERR invalid expire time in 'setex' command\r\n");
        assert_eq!(bench.run("psetex k -5 v"), "-ERR invalid expire time in 'psetex' command\r\n");
        assert_eq!(bench.run("getex k ex 0"), "$-1\r\n");
        bench.run("set k v");
        assert_eq!(bench.run("getex k ex 0"), "-ERR invalid expire time in 'getex' command\r\n");
    }

    #[test]
    fn values_go_when_their_time_comes() {
        let mut bench = bench(&["set a v ex 10", "setex b 10 v", "psetex c 10000 v", "set d v"]);
        let start = bench.now;
        bench.run(&format!("set e v pxat {}", start + 10_000));
        bench.run("set a w keepttl");
        bench.run("getset b w");
        bench.run("getex c persist");
        bench.run("getex d px 10000");
        bench.now += 10_000;
        assert_eq!(bench.run("get a"), "$1\r\nw\r\n");
        bench.now += 1;
        let all = "*5\r\n$-1\r\n$1\r\nw\r\n$1\r\nv\r\n$-1\r\n$-1\r\n";
        assert_eq!(bench.run("mget a b c d e"), all);
        assert_eq!(bench.run("getex b exat 1"), "$1\r\nw\r\n");
        assert_eq!(bench.run("get b"), "$-1\r\n");
    }

    #[test]
    fn several_keys_are_set_at_once() {
        let mut bench = Bench::new();
        assert_eq!(bench.run("mset a 1 b 2 a 3"), "+OK\r\n");
        assert_eq!(bench.run("mget b a"), "*2\r\n$1\r\n2\r\n$1\r\n3\r\n");
        assert_eq!(bench.run("msetnx c 1 b 2"), ":0\r\n");
        assert_eq!(bench.run("msetnx c 1 d 2"), ":1\r\n");
        let wrong = "-ERR wrong number of arguments for 'mset' command\r\n";
        assert_eq!(bench.run("mset a 1 b"), wrong);
        let wrong = "-ERR wrong number of arguments for 'msetnx' command\r\n";
        assert_eq!(bench.run("msetnx a 1 b"), wrong);
    }

    #[test]
    fn parts_are_read_and_written() {
        let mut bench = bench(&["set k This_is_a_string", "set n 12345"]);
        assert_eq!(bench.run("getrange k 0 3"), "$4\r\nThis\r\n");
        assert_eq!(bench.run("getrange k -3 -1"), "$3\r\ning\r\n");
        assert_eq!(bench.run("getrange k -3 -5"), "$0\r\n\r\n");
        assert_eq!(bench.run("getrange k 0 -100"), "$1\r\nT\r\n");
        assert_eq!(bench.run("substr n 1 2"), "$2\r\n23\r\n");
        assert_eq!(bench.run("getrange none 0 -1"), "$0\r\n\r\n");
        assert_eq!(bench.run("append n 6"), ":6\r\n");
        assert_eq!(bench.run("append new 007"), ":3\r\n");
        assert_eq!(bench.run("strlen new"), ":3\r\n");
        assert_eq!(bench.run("strlen none"), ":0\r\n");
        assert_eq!(bench.run("setrange n 8 x"), ":9\r\n");
        assert_eq!(bench.run("get n"), "$9\r\n123456\0\0x\r\n");
        assert_eq!(bench.run("setrange gap 2 xy"), ":4\r\n");
        assert_eq!(bench.run("get gap"), "$4\r\n\0\0xy\r\n");
        assert_eq!(bench.run_args(&[b"setrange", b"none", b"5", b""]), b":0\r\n");
        assert_eq!(bench.run("get none"), "$-1\r\n");
        assert_eq!(bench.run("setrange n -1 x"), "-ERR offset is out of range\r\n");
    }

    #[test]
    fn a_value_has_a_longest_length() {
        let mut bench = bench(&["set k 12345"]);
        bench.shard.settings.bulk_len_max = 8;
        let too_long = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n";
        assert_eq!(bench.run("append k 6789"), too_long);
        assert_eq!(bench.run("setrange k 8 x"), too_long);
        assert_eq!(bench.run("setrange none 9223372036854775807 x"), too_long);
        assert_eq!(bench.run("append k 678"), ":8\r\n");
        assert_eq!(bench.run("get none"), "$-1\r\n");
    }
}
