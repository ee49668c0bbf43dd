//! Hashes: fields and values at a key.
//!
//! | file | commands |
//! |---|---|
//! | this one | those on fields and their values |
//! | `hash/walk.rs` | HSCAN and HRANDFIELD |
//! | `hash/expiry.rs` | HEXPIRE and HTTL and their kin, HPERSIST |
//! | `hash/values.rs` | HGETEX, HSETEX, HGETDEL: values together with their expiry |
//!
//! What has expired is not there; see [`crate::data::hash`]. A hash that becomes empty is removed.

mod expiry;
mod values;
mod walk;

use super::extended::Extended;
use super::number::integer;
use super::spec::*;
use crate::data::hash::{FieldValue, Hash, Lifetime, Limits};
use crate::data::number::parse_i64;
use crate::data::{Entry, Object, ValueRef};
use crate::error::CmdError;
use crate::resp::{Args, Encoder};
use crate::shard::{Class, Cx, Keys, THINGS_MAX};

const SETS: Flags = WRITE.with(DENYOOM).with(FAST);
const FAST_WRITE: Flags = WRITE.with(FAST);
const FAST_READ: Flags = READONLY.with(FAST);

const READ: &[KeySpec] = &[KeySpec::one(1, RO_ACCESS)];
const INSPECTED: &[KeySpec] = &[KeySpec::one(1, RO)];
const UPDATED: &[KeySpec] = &[KeySpec::one(1, RW_UPDATE)];
const INSERTED: &[KeySpec] = &[KeySpec::one(1, RW_INSERT)];
const COUNTED: &[KeySpec] = &[KeySpec::one(1, RW_ACCESS_UPDATE)];
const DELETED: &[KeySpec] = &[KeySpec::one(1, &["RW", "delete"])];
const TAKEN: &[KeySpec] = &[KeySpec::one(1, RW_ACCESS_DELETE)];

pub const COMMANDS: &[Command] = &[
    shard("hset", -4, SETS, UPDATED, hset).doc(
        Group::Hash,
        "2.0.0",
        "O(N) where N is the number of fields given.",
        "key field value [field value ...]",
        "Sets values of fields of a hash.",
    ),
    shard("hmset", -4, SETS, UPDATED, hmset)
        .deprecated("4.0.0", "`HSET` with multiple field-value pairs")
        .doc(
            Group::Hash,
            "2.0.0",
            "O(N) where N is the number of fields given.",
            "key field value [field value ...]",
            "Sets values of fields of a hash.",
        ),
    shard("hsetnx", 4, SETS, INSERTED, hsetnx).doc(
        Group::Hash,
        "2.0.0",
        "O(1)",
        "key field value",
        "Sets the value of a field if there is no such field.",
    ),
    shard("hget", 3, FAST_READ, READ, hget).doc(
        Group::Hash,
        "2.0.0",
        "O(1)",
        "key field",
        "Returns the value of a field.",
    ),
    shard("hmget", -3, FAST_READ, READ, hmget).doc(
        Group::Hash,
        "2.0.0",
        "O(N) where N is the number of fields given.",
        "key field [field ...]",
        "Returns the values of fields.",
    ),
    shard("hgetall", 2, READONLY, READ, hgetall).tips(&["nondeterministic_output_order"]).doc(
        Group::Hash,
        "2.0.0",
        "O(N) where N is the number of fields of the hash.",
        "key",
        "Returns all fields and values of a hash.",
    ),
    shard("hkeys", 2, READONLY, READ, hkeys).tips(&["nondeterministic_output_order"]).doc(
        Group::Hash,
        "2.0.0",
        "O(N) where N is the number of fields of the hash.",
        "key",
        "Returns all fields of a hash.",
    ),
    shard("hvals", 2, READONLY, READ, hvals).tips(&["nondeterministic_output_order"]).doc(
        Group::Hash,
        "2.0.0",
        "O(N) where N is the number of fields of the hash.",
        "key",
        "Returns all values of a hash.",
    ),
    shard("hlen", 2, FAST_READ, INSPECTED, hlen).doc(
        Group::Hash,
        "2.0.0",
        "O(1)",
        "key",
        "Returns the number of fields of a hash.",
    ),
    shard("hstrlen", 3, FAST_READ, INSPECTED, hstrlen).doc(
        Group::Hash,
        "3.2.0",
        "O(1)",
        "key field",
        "Returns the length of the value of a field.",
    ),
    shard("hexists", 3, FAST_READ, INSPECTED, hexists).doc(
        Group::Hash,
        "2.0.0",
        "O(1)",
        "key field",
        "Tells whether there is a field.",
    ),
    shard("hdel", -3, FAST_WRITE, DELETED, hdel).doc(
        Group::Hash,
        "2.0.0",
        "O(N) where N is the number of fields given.",
        "key field [field ...]",
        "Removes fields.",
    ),
    shard("hincrby", 4, SETS, COUNTED, hincrby).doc(
        Group::Hash,
        "2.0.0",
        "O(1)",
        "key field increment",
        "Adds an integer to the integer in a field, 0 when missing.",
    ),
    shard("hincrbyfloat", 4, SETS, COUNTED, hincrbyfloat).doc(
        Group::Hash,
        "2.6.0",
        "O(1)",
        "key field increment:double",
        "Adds a floating-point number to the number in a field, 0 when missing.",
    ),
    shard("hscan", -3, READONLY, READ, walk::hscan).tips(&["nondeterministic_output"]).doc(
        Group::Hash,
        "2.8.0",
        "O(1) for each call, O(N) for a whole walk of N fields.",
        "key cursor [MATCH pattern] [COUNT count] [NOVALUES]",
        "Walks the fields of a hash, some with each call.",
    ),
    shard("hrandfield", -2, READONLY, READ, walk::hrandfield)
        .tips(&["nondeterministic_output"])
        .doc(
            Group::Hash,
            "6.2.0",
            "O(N) where N is the number of fields returned.",
            "key [count [WITHVALUES]]",
            "Returns fields chosen at random.",
        ),
    shard("hexpire", -6, FAST_WRITE, UPDATED, expiry::hexpire).doc(
        Group::Hash,
        "9.0.0",
        "O(N) where N is the number of fields given.",
        "key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        "Lets fields live for so many seconds from now.",
    ),
    shard("hpexpire", -6, FAST_WRITE, UPDATED, expiry::hpexpire).doc(
        Group::Hash,
        "9.0.0",
        "O(N) where N is the number of fields given.",
        "key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        "Lets fields live for so many milliseconds from now.",
    ),
    shard("hexpireat", -6, FAST_WRITE, UPDATED, expiry::hexpireat).doc(
        Group::Hash,
        "9.0.0",
        "O(N) where N is the number of fields given.",
        "key unix-time-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        "Lets fields live until a Unix time in seconds.",
    ),
    shard("hpexpireat", -6, FAST_WRITE, UPDATED, expiry::hpexpireat).doc(
        Group::Hash,
        "9.0.0",
        "O(N) where N is the number of fields given.",
        "key unix-time-milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        "Lets fields live until a Unix time in milliseconds.",
    ),
    shard("httl", -5, FAST_READ, READ, expiry::httl).tips(&["nondeterministic_output"]).doc(
        Group::Hash,
        "9.0.0",
        "O(N) where N is the number of fields given.",
        "key FIELDS numfields field [field ...]",
        "Tells how many seconds fields have left to live.",
    ),
    shard("hpttl", -5, FAST_READ, READ, expiry::hpttl).tips(&["nondeterministic_output"]).doc(
        Group::Hash,
        "9.0.0",
        "O(N) where N is the number of fields given.",
        "key FIELDS numfields field [field ...]",
        "Tells how many milliseconds fields have left to live.",
    ),
    shard("hexpiretime", -5, FAST_READ, READ, expiry::hexpiretime).doc(
        Group::Hash,
        "9.0.0",
        "O(N) where N is the number of fields given.",
        "key FIELDS numfields field [field ...]",
        "Tells the Unix time in seconds at which fields expire.",
    ),
    shard("hpexpiretime", -5, FAST_READ, READ, expiry::hpexpiretime).doc(
        Group::Hash,
        "9.0.0",
        "O(N) where N is the number of fields given.",
        "key FIELDS numfields field [field ...]",
        "Tells the Unix time in milliseconds at which fields expire.",
    ),
    shard("hpersist", -5, FAST_WRITE, UPDATED, expiry::hpersist).doc(
        Group::Hash,
        "9.0.0",
        "O(N) where N is the number of fields given.",
        "key FIELDS numfields field [field ...]",
        "Lets fields live for ever.",
    ),
    shard("hgetex", -5, FAST_WRITE, COUNTED, values::hgetex).doc(
        Group::Hash,
        "9.0.0",
        "O(N) where N is the number of fields given.",
        "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
         PXAT unix-time-milliseconds | PERSIST] FIELDS numfields field [field ...]",
        "Returns the values of fields and may set or take away their time to live.",
    ),
    shard("hsetex", -6, SETS, INSERTED, values::hsetex).doc(
        Group::Hash,
        "9.0.0",
        "O(N) where N is the number of fields given.",
        "key [NX | XX] [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
         PXAT unix-time-milliseconds | KEEPTTL] FIELDS numfields field value [field value ...]",
        "Sets values of fields and may set their time to live.",
    ),
    shard("hgetdel", -5, FAST_WRITE, TAKEN, values::hgetdel).doc(
        Group::Hash,
        "9.0.0",
        "O(N) where N is the number of fields given.",
        "key FIELDS numfields field [field ...]",
        "Returns the values of fields and removes them.",
    ),
];

/// The hash at `key`, for a command that reads it.
fn read<'k>(keys: &'k mut Keys, key: &[u8]) -> Result<Option<&'k Hash>, CmdError> {
    match keys.get(key).map(Entry::value) {
        None => Ok(None),
        Some(ValueRef::Object(Object::Hash(hash))) => Ok(Some(hash)),
        Some(_) => Err(CmdError::WRONG_TYPE),
    }
}

const HSET: Events = &["hset"];
const HDEL: Events = &["hdel"];
const HEXPIRED: Events = &["hexpired"];

/// The events of a change to a hash.
type Events = &'static [&'static str];

/// The event if there was a change.
fn event_if(changed: bool, event: Events) -> Events {
    if changed { event } else { &[] }
}

/// Has `change` work on the hash at `key`, on an empty one when there is none, tells of the events
/// that it names, and keeps what is left if that is not empty.
fn edit<R>(
    keys: &mut Keys,
    key: &[u8],
    change: impl FnOnce(&mut Hash) -> Result<(R, Events), CmdError>,
) -> Result<R, CmdError> {
    let tell = |keys: &mut Keys, events: Events| {
        events.iter().for_each(|event| keys.notify(Class::Hash, event, key));
    };
    let Some(entry) = keys.get_mut(key) else {
        let mut hash = Hash::new();
        let (result, events) = change(&mut hash)?;
        if !hash.is_empty() {
            keys.insert(Entry::object(key, Box::new(Object::Hash(hash)), None));
            tell(keys, events);
        } else if !events.is_empty() {
            // What it was given has expired already.
            keys.notify(Class::New, "new", key);
            tell(keys, events);
            keys.notify(Class::Generic, "del", key);
        }
        return Ok(result);
    };
    let Some(Object::Hash(hash)) = entry.object_mut() else { return Err(CmdError::WRONG_TYPE) };
    let had_expiries = hash.has_expiries();
    let (result, events) = change(hash)?;
    let (is_empty, has_expiries) = (hash.is_empty(), hash.has_expiries());
    tell(keys, events);
    if is_empty {
        keys.delete(key);
    } else if has_expiries != had_expiries {
        keys.note_parts(key);
    }
    Ok(result)
}

/// Records a command about fields, a number of words for `each`: its name and options, and FIELDS.
fn record_fields(keys: &mut Keys, key: &[u8], head: &[&[u8]], words: &[&[u8]], each: usize) {
    for part in words.chunks(THINGS_MAX) {
        let mut count = itoa::Buffer::new();
        let count = count.format(part.len() / each).as_bytes();
        keys.effect(key, &[&[head[0], key], &head[1..], &[b"FIELDS", count], part].concat());
    }
}

pub(super) fn limits(cx: &Cx) -> Limits {
    let encodings = &cx.settings.encodings;
    Limits {
        fields: encodings.hash_max_listpack_entries,
        string: encodings.hash_max_listpack_value,
    }
}

fn write(out: &mut Encoder, value: FieldValue) {
    match value {
        FieldValue::Int(int) => out.bulk_int(int),
        FieldValue::Bytes(bytes) => out.bulk(bytes),
    }
}

fn write_or_null(out: &mut Encoder, value: Option<FieldValue>) {
    match value {
        Some(value) => write(out, value),
        None => out.null(),
    }
}

fn hset(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let added = set_pairs(cx, args)?;
    cx.out.int(added);
    Ok(())
}

fn hmset(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    set_pairs(cx, args)?;
    cx.out.ok();
    Ok(())
}

/// Sets the fields that follow the key; how many of them are new.
fn set_pairs(cx: &mut Cx, args: Args) -> Result<i64, CmdError> {
    if !args.len().is_multiple_of(2) {
        return Err(CmdError::wrong_arity(cx.name));
    }
    let (limits, now, pairs) = (limits(cx), cx.now(), args.len() / 2 - 1);
    let added = edit(&mut cx.keys, args.at(1), |hash| {
        Ok((set_all(hash, args.from(2), Lifetime::Endless, limits, now), HSET))
    })?;
    cx.keys.changed(pairs as u64);
    Ok(added)
}

/// Sets all these fields and values; how many of the fields are new.
fn set_all(hash: &mut Hash, pairs: Args, lifetime: Lifetime, limits: Limits, now: i64) -> i64 {
    let (fresh, fields) = (hash.is_empty() && pairs.len() > 2, pairs.len() / 2);
    let strings = || pairs.spans().iter().map(|span| span.len()).sum();
    hash.expect(fields, if fresh { strings() } else { 0 }, limits);
    let set = |at| {
        let value = FieldValue::of(pairs.at(at + 1));
        i64::from(hash.set(pairs.at(at), value, lifetime, limits, now))
    };
    let added = (0..pairs.len()).step_by(2).map(set).sum();
    if fresh {
        hash.fit();
    }
    added
}

fn hsetnx(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (limits, now, field) = (limits(cx), cx.now(), args.at(2));
    let mut stale = false;
    let done = edit(&mut cx.keys, args.at(1), |hash| {
        let absent = !hash.contains(field, now);
        if absent {
            stale = hash.is_stale(field, now);
            hash.expect(1, 0, limits);
            hash.set(field, FieldValue::of(args.at(3)), Lifetime::Endless, limits, now);
        }
        Ok((absent, event_if(absent, HSET)))
    })?;
    if stale {
        cx.keys.effect(args.at(1), &[b"HSET", args.at(1), field, args.at(3)]);
    }
    cx.keys.changed(u64::from(done));
    cx.out.int(i64::from(done));
    Ok(())
}

fn hget(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let now = cx.now();
    let value = read(&mut cx.keys, args.at(1))?.and_then(|hash| hash.get(args.at(2), now));
    write_or_null(&mut cx.out, value);
    Ok(())
}

fn hmget(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let now = cx.now();
    let hash = read(&mut cx.keys, args.at(1))?;
    cx.out.array(args.len() - 2);
    for field in args.from(2).iter() {
        write_or_null(&mut cx.out, hash.and_then(|hash| hash.get(field, now)));
    }
    Ok(())
}

fn hgetall(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let now = cx.now();
    let Some(hash) = read(&mut cx.keys, args.at(1))? else {
        cx.out.map(0);
        return Ok(());
    };
    let out = &mut cx.out;
    out.map(hash.live_len(now));
    hash.each(now, |field, value| {
        out.bulk(field);
        write(out, value);
    });
    Ok(())
}

fn hkeys(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    list(cx, args, |out, field, _| out.bulk(field))
}

fn hvals(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    list(cx, args, |out, _, value| write(out, value))
}

/// Answers what `show` writes of each field.
fn list(
    cx: &mut Cx,
    args: Args,
    show: impl Fn(&mut Encoder, &[u8], FieldValue),
) -> Result<(), CmdError> {
    let now = cx.now();
    let Some(hash) = read(&mut cx.keys, args.at(1))? else {
        cx.out.array(0);
        return Ok(());
    };
    let out = &mut cx.out;
    out.array(hash.live_len(now));
    hash.each(now, |field, value| show(out, field, value));
    Ok(())
}

fn hlen(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let now = cx.now();
    let len = read(&mut cx.keys, args.at(1))?.map_or(0, |hash| hash.live_len(now));
    cx.out.int(len as i64);
    Ok(())
}

fn hstrlen(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let now = cx.now();
    let value = read(&mut cx.keys, args.at(1))?.and_then(|hash| hash.get(args.at(2), now));
    cx.out.int(value.map_or(0, FieldValue::len) as i64);
    Ok(())
}

fn hexists(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let now = cx.now();
    let found = read(&mut cx.keys, args.at(1))?.is_some_and(|hash| hash.contains(args.at(2), now));
    cx.out.int(i64::from(found));
    Ok(())
}

fn hdel(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let now = cx.now();
    let (gone, stale) = edit(&mut cx.keys, args.at(1), |hash| {
        let len = hash.len();
        let gone = args.from(2).iter().filter(|field| hash.remove(field, now)).count();
        Ok(((gone, len - hash.len() - gone), event_if(gone > 0, HDEL)))
    })?;
    if stale > 0 && cx.keys.is_recorded() {
        // Also those that were gone already for everybody who asked.
        let fields: Vec<&[u8]> = args.from(2).iter().collect();
        cx.keys.effect_of_many(args.at(1), &[b"HDEL", args.at(1)], &fields);
    }
    cx.keys.changed(gone as u64);
    cx.out.int(gone as i64);
    Ok(())
}

fn hincrby(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let increment = integer(args.at(3))?;
    let (limits, now, field) = (limits(cx), cx.now(), args.at(2));
    let mut stale = false;
    let value = edit(&mut cx.keys, args.at(1), |hash| {
        let old = match hash.get(field, now) {
            None => {
                stale = hash.is_stale(field, now);
                0
            }
            Some(FieldValue::Int(int)) => int,
            Some(FieldValue::Bytes(bytes)) => {
                parse_i64(bytes).ok_or(CmdError::fixed("ERR hash value is not an integer"))?
            }
        };
        let value = old.checked_add(increment).ok_or(CmdError::OVERFLOW)?;
        hash.set(field, FieldValue::Int(value), Lifetime::AsBefore, limits, now);
        Ok((value, &["hincrby"]))
    })?;
    if stale {
        let mut digits = itoa::Buffer::new();
        let text = digits.format(value).as_bytes();
        cx.keys.effect(args.at(1), &[b"HSET", args.at(1), field, text]);
    }
    cx.keys.changed(1);
    cx.out.int(value);
    Ok(())
}

fn hincrbyfloat(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let increment = Extended::parse(args.at(3)).ok_or(CmdError::NOT_A_FLOAT)?;
    if matches!(increment, Extended::Infinite { .. }) {
        return Err(CmdError::fixed("ERR value is NaN or Infinity"));
    }
    let (limits, now, field) = (limits(cx), cx.now(), args.at(2));
    let mut expires = false;
    let text = edit(&mut cx.keys, args.at(1), |hash| {
        expires = hash.expiry(field, now).flatten().is_some();
        let old = match hash.get(field, now) {
            None => Extended::from(0),
            Some(FieldValue::Int(int)) => Extended::from(int),
            Some(FieldValue::Bytes(bytes)) => {
                Extended::parse(bytes).ok_or(CmdError::fixed("ERR hash value is not a float"))?
            }
        };
        let sum = old.add(increment);
        let sum = sum.ok_or(CmdError::fixed("ERR increment would produce NaN or Infinity"))?;
        let text = sum.to_text();
        let value = FieldValue::of(text.as_bytes());
        hash.set(field, value, Lifetime::AsBefore, limits, now);
        Ok((text, &["hincrbyfloat"]))
    })?;
    let (key, sum) = (args.at(1), text.as_bytes());
    match expires {
        true => {
            let words: [&[u8]; 7] = [b"HSETEX", key, b"KEEPTTL", b"FIELDS", b"1", field, sum];
            cx.keys.effect(key, &words);
        }
        false => cx.keys.effect(key, &[b"HSET", key, field, sum]),
    }
    cx.keys.changed(1);
    cx.out.bulk(text.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Bench;
    use crate::resp::Protocol;

    const WRONG_TYPE: &str =
        "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";

    #[test]
    fn fields_are_set_read_and_removed() {
        let mut bench = Bench::new();
        assert_eq!(bench.run("HSET h a 1 b two a 3"), ":2\r\n");
        assert_eq!(bench.run("HSET h b 2"), ":0\r\n");
        assert_eq!(bench.run("HMSET h c 3"), "+OK\r\n");
        assert_eq!(bench.run("HGET h a"), "$1\r\n3\r\n");
        assert_eq!(bench.run("HGET h x"), "$-1\r\n");
        assert_eq!(bench.run("HMGET h b x c"), "*3\r\n$1\r\n2\r\n$-1\r\n$1\r\n3\r\n");
        assert_eq!(bench.run("HLEN h"), ":3\r\n");
        assert_eq!(bench.run("HEXISTS h c") + &bench.run("HEXISTS h x"), ":1\r\n:0\r\n");
        assert_eq!(bench.run("HSETNX h c 4") + &bench.run("HSETNX h d 4"), ":0\r\n:1\r\n");
        assert_eq!(bench.run("HDEL h a a x b"), ":2\r\n");
        assert_eq!(bench.run("HGETALL h"), "*4\r\n$1\r\nc\r\n$1\r\n3\r\n$1\r\nd\r\n$1\r\n4\r\n");
        assert_eq!(bench.run("HDEL h c d"), ":2\r\n");
        assert_eq!((bench.run("EXISTS h"), bench.keys(0)), (":0\r\n".to_string(), 0));
    }

    #[test]
    fn nothing_is_an_empty_hash() {
        let mut bench = Bench::new();
        for (command, reply) in [
            ("HGET none a", "$-1\r\n"),
            ("HMGET none a b", "*2\r\n$-1\r\n$-1\r\n"),
            ("HGETALL none", "*0\r\n"),
            ("HKEYS none", "*0\r\n"),
            ("HVALS none", "*0\r\n"),
            ("HLEN none", ":0\r\n"),
            ("HSTRLEN none a", ":0\r\n"),
            ("HEXISTS none a", ":0\r\n"),
            ("HDEL none a", ":0\r\n"),
        ] {
            assert_eq!(bench.run(command), reply, "{command}");
            assert_eq!(bench.keys(0), 0, "{command}");
        }
        bench.caller.protocol = Protocol::Resp3;
        assert_eq!(bench.run("HGETALL none"), "%0\r\n");
        bench.run("HSET h f v");
        assert_eq!(bench.run("HGETALL h"), "%1\r\n$1\r\nf\r\n$1\r\nv\r\n");
        assert_eq!(bench.run("HGET h x"), "_\r\n");
    }

    #[test]
    fn other_types_are_refused() {
        let mut bench = Bench::new();
        bench.run("SET s v");
        for command in [
            "HSET s a 1",
            "HMSET s a 1",
            "HSETNX s a 1",
            "HGET s a",
            "HMGET s a",
            "HGETALL s",
            "HKEYS s",
            "HVALS s",
            "HLEN s",
            "HSTRLEN s a",
            "HEXISTS s a",
            "HDEL s a",
            "HINCRBY s a 1",
            "HINCRBYFLOAT s a 1",
            "HSCAN s 0",
            "HRANDFIELD s",
        ] {
            assert_eq!(bench.run(command), WRONG_TYPE, "{command}");
        }
        bench.run("HSET h f v");
        assert_eq!(bench.run("GET h") + &bench.run("INCR h"), format!("{WRONG_TYPE}{WRONG_TYPE}"));
    }

    #[test]
    fn numbers_are_counted_and_keep_their_form() {
        let mut bench = Bench::new();
        assert_eq!(bench.run("HINCRBY h n 5"), ":5\r\n");
        assert_eq!(bench.run("HINCRBY h n -15"), ":-10\r\n");
        assert_eq!(bench.run("HSTRLEN h n"), ":3\r\n");
        assert_eq!(bench.run("HINCRBYFLOAT h n 10.5"), "$3\r\n0.5\r\n");
        assert_eq!(bench.run("HINCRBY h n 1"), "-ERR hash value is not an integer\r\n");
        bench.run("HSET h max 9223372036854775807 text abc lead 01");
        let overflow = "-ERR increment or decrement would overflow\r\n";
        assert_eq!(bench.run("HINCRBY h max 1"), overflow);
        assert_eq!(bench.run("HGET h lead"), "$2\r\n01\r\n");
        assert_eq!(bench.run("HINCRBY h lead 1"), "-ERR hash value is not an integer\r\n");
        assert_eq!(bench.run("HINCRBYFLOAT h text 1"), "-ERR hash value is not a float\r\n");
        assert_eq!(bench.run("HINCRBYFLOAT h n inf"), "-ERR value is NaN or Infinity\r\n");
        assert_eq!(bench.run("HINCRBYFLOAT h n x"), "-ERR value is not a valid float\r\n");
        let wrong = "-ERR value is not an integer or out of range\r\n";
        assert_eq!(bench.run("HINCRBY none n x"), wrong);
        assert_eq!(bench.keys(0), 1);
    }

    #[test]
    fn encodings_follow_the_options() {
        let mut bench = Bench::new();
        let encoding = |bench: &mut Bench| bench.run("OBJECT ENCODING h");
        (0..512).for_each(|n| drop(bench.run(&format!("HSET h f{n} v"))));
        assert_eq!(encoding(&mut bench), "$8\r\nlistpack\r\n");
        let packed: usize = bench.run("MEMORY USAGE h")[1..].trim().parse().unwrap();
        assert!((512 * 7..512 * 9).contains(&packed), "{packed}");
        bench.run("HSET h more v");
        assert_eq!(encoding(&mut bench), "$9\r\nhashtable\r\n");
        let table: usize = bench.run("MEMORY USAGE h")[1..].trim().parse().unwrap();
        assert!((513 * 20..513 * 30).contains(&table), "{table}");
        bench.run("DEL h");
        bench.run(&format!("HSET h f {}", "v".repeat(64)));
        assert_eq!(encoding(&mut bench), "$8\r\nlistpack\r\n");
        bench.run(&format!("HSET h f {}", "v".repeat(65)));
        assert_eq!(encoding(&mut bench), "$9\r\nhashtable\r\n");
    }

    #[test]
    fn an_odd_number_of_arguments_is_refused() {
        let mut bench = Bench::new();
        for name in ["hset", "hmset"] {
            let error = format!("-ERR wrong number of arguments for '{name}' command\r\n");
            assert_eq!(bench.run(&format!("{name} h a 1 b")), error);
        }
        assert_eq!(bench.keys(0), 0);
    }

    #[test]
    fn changes_are_counted_as_redis_counts_them() {
        let mut bench = Bench::new();
        let mut last = 0;
        for (command, changes) in [
            ("HSET h a 1 b 2", 2),
            ("HSET h a 1", 1),
            ("HSETNX h a 1", 0),
            ("HSETNX h c 1", 1),
            ("HINCRBY h a 1", 1),
            ("HINCRBY h a x", 0),
            ("HDEL h b x c", 2),
            ("HDEL h x", 0),
            ("HGET h a", 0),
        ] {
            bench.run(command);
            let now = bench.shard.stats.changes.get();
            assert_eq!(now - last, changes, "{command}");
            last = now;
        }
    }
}
