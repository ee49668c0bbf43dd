//! Keys whatever they hold: removing, counting, renaming, copying, moving.

use super::effect::record_key;
use super::number::db_index;
use super::spec::*;
use crate::error::CmdError;
use crate::resp::Args;
use crate::shard::{Class, Cx, Keys};

const MULTI_SHARD_SUM: &[&str] = &["request_policy:multi_shard", "response_policy:agg_sum"];
const ALL_KEYS: i32 = -1;

pub const COMMANDS: &[Command] = &[
    shard("del", -2, WRITE.with(BRIEF), &[KeySpec::range(1, ALL_KEYS, 1, RM_DELETE)], del)
        .spread(Spread::PerKey { part: del, merge: Merge::Sum })
        .tips(MULTI_SHARD_SUM)
        .doc(
            Group::Generic,
            "1.0.0",
            "O(N) where N is the number of keys, plus the number of elements of each that is a \
             collection.",
            "key [key ...]",
            "Removes keys and tells how many there were.",
        ),
    shard("unlink", -2, WRITE.with(FAST), &[KeySpec::range(1, ALL_KEYS, 1, RM_DELETE)], del)
        .spread(Spread::PerKey { part: del, merge: Merge::Sum })
        .tips(MULTI_SHARD_SUM)
        .doc(
            Group::Generic,
            "4.0.0",
            "O(1) for each key, with the memory of big values given back later.",
            "key [key ...]",
            "Removes keys at once and frees their memory in the background.",
        ),
    shard("exists", -2, READONLY.with(FAST), &[KeySpec::range(1, ALL_KEYS, 1, RO)], exists)
        .spread(Spread::PerKey { part: exists, merge: Merge::Sum })
        .tips(MULTI_SHARD_SUM)
        .doc(
            Group::Generic,
            "1.0.0",
            "O(N) where N is the number of keys.",
            "key [key ...]",
            "Counts how many of the keys exist; one named twice counts twice.",
        ),
    shard("touch", -2, READONLY.with(FAST), &[KeySpec::range(1, ALL_KEYS, 1, RO)], touch)
        .spread(Spread::PerKey { part: touch, merge: Merge::Sum })
        .tips(MULTI_SHARD_SUM)
        .doc(
            Group::Generic,
            "3.2.1",
            "O(N) where N is the number of keys.",
            "key [key ...]",
            "Marks keys as just used and counts those that exist.",
        ),
    shard("type", 2, READONLY.with(FAST), &[KeySpec::one(1, RO)], kind).doc(
        Group::Generic,
        "1.0.0",
        "O(1)",
        "key",
        "Names the type of the value of a key.",
    ),
    shard(
        "rename",
        3,
        WRITE,
        &[KeySpec::one(1, RW_ACCESS_DELETE), KeySpec::one(2, OW_UPDATE)],
        rename,
    )
    .doc(
        Group::Generic,
        "1.0.0",
        "O(1)",
        "key newkey",
        "Gives a key another name, in place of a key that has that name.",
    ),
    shard(
        "renamenx",
        3,
        WRITE.with(FAST),
        &[KeySpec::one(1, RW_ACCESS_DELETE), KeySpec::one(2, OW_INSERT)],
        renamenx,
    )
    .doc(
        Group::Generic,
        "1.0.0",
        "O(1)",
        "key newkey",
        "Gives a key another name unless a key with that name exists.",
    ),
    shard(
        "copy",
        -3,
        WRITE.with(DENYOOM),
        &[KeySpec::one(1, RO_ACCESS), KeySpec::one(2, OW_UPDATE)],
        copy,
    )
    .doc(
        Group::Generic,
        "6.2.0",
        "O(N) where N is the number of elements of a collection, O(1) for a string.",
        "source destination [DB destination-db] [REPLACE]",
        "Copies the value and the time to live of a key to another key.",
    ),
    shard("move", 3, WRITE.with(FAST), &[KeySpec::one(1, &["RW", "access", "update"])], relocate)
        .doc(
            Group::Generic,
            "1.0.0",
            "O(1)",
            "key db",
            "Moves a key to another database unless it exists there.",
        ),
];

const SAME_OBJECT: CmdError = CmdError::fixed("ERR source and destination objects are the same");

/// DEL and UNLINK.
/// How many of the arguments from 1 on `is` says yes to.
fn count_keys(cx: &mut Cx, args: Args, is: impl Fn(&mut Keys, &[u8]) -> bool) -> usize {
    let keys = args.from(1);
    let mut count = 0;
    for (n, key) in keys.iter().enumerate() {
        cx.keys.look_ahead(&keys, n, 1);
        count += usize::from(is(&mut cx.keys, key));
    }
    count
}

fn del(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let removed = count_keys(cx, args, |keys, key| keys.delete(key));
    cx.keys.changed(removed as u64);
    cx.out.int(removed as i64);
    Ok(())
}

fn exists(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let found = count_keys(cx, args, |keys, key| keys.inspect(key).is_some());
    cx.out.int(found as i64);
    Ok(())
}

fn touch(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let found = count_keys(cx, args, |keys, key| keys.touch(key));
    cx.out.int(found as i64);
    Ok(())
}

fn kind(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let name = cx.keys.inspect(args.at(1)).map_or("none", |entry| entry.kind().name());
    cx.out.simple(name);
    Ok(())
}

fn rename(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    rename_unless(cx, args, false)?;
    cx.out.ok();
    Ok(())
}

fn renamenx(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let renamed = rename_unless(cx, args, true)?;
    cx.out.int(i64::from(renamed));
    Ok(())
}

/// Renames `args[1]`; with `nx` not to a name that is taken. A key is taken by itself.
fn rename_unless(cx: &mut Cx, args: Args, nx: bool) -> Result<bool, CmdError> {
    let (from, to) = (args.at(1), args.at(2));
    cx.keys.get_mut(from).ok_or(CmdError::NO_SUCH_KEY)?;
    if from == to {
        return Ok(!nx);
    }
    if nx && cx.keys.contains(to) {
        return Ok(false);
    }
    let entry = cx.keys.take(from).ok_or(CmdError::NO_SUCH_KEY)?;
    cx.keys.adopt(entry.with_key(to));
    cx.keys.notify(Class::Generic, "rename_from", from);
    cx.keys.notify(Class::Generic, "rename_to", to);
    cx.keys.changed(1);
    Ok(true)
}

fn copy(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (from, to) = (args.at(1), args.at(2));
    let mut target = cx.keys.db_index();
    let mut replace = false;
    let mut at = 3;
    while at < args.len() {
        if args.is(at, "replace") {
            replace = true;
        } else if args.is(at, "db") && at + 1 < args.len() {
            target = db_index(args.at(at + 1), cx.keys.db_count(), None)?;
            at += 1;
        } else {
            return Err(CmdError::SYNTAX);
        }
        at += 1;
    }
    if target == cx.keys.db_index() && from == to {
        return Err(SAME_OBJECT);
    }
    let duplicate = match cx.keys.get(from) {
        Some(entry) => entry.copy_with_key(to),
        None => {
            cx.out.int(0);
            return Ok(());
        }
    };
    let mut there = cx.keys.in_db(target);
    if !replace && there.contains(to) {
        cx.out.int(0);
        return Ok(());
    }
    there.insert_anew(duplicate);
    there.notify(Class::Generic, "copy_to", to);
    if cx.keys.is_recorded() && !cx.keys.are_together(&[from, to]) {
        record_key(&mut cx.keys.in_db(target), to);
    }
    cx.keys.changed(1);
    cx.out.int(1);
    Ok(())
}

/// MOVE.
fn relocate(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let key = args.at(1);
    let target = db_index(args.at(2), cx.keys.db_count(), None)?;
    if target == cx.keys.db_index() {
        return Err(SAME_OBJECT);
    }
    match cx.keys.get_mut(key).is_some() && !cx.keys.in_db(target).contains(key) {
        true => {
            if let Some(entry) = cx.keys.take(key) {
                cx.keys.in_db(target).adopt(entry);
                cx.keys.notify(Class::Generic, "move_from", key);
                cx.keys.in_db(target).notify(Class::Generic, "move_to", key);
            }
            cx.keys.changed(1);
            cx.out.int(1);
        }
        false => cx.out.int(0),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Bench;

    #[test]
    fn keys_are_counted_as_often_as_they_are_named() {
        let mut bench = Bench::new();
        bench.run("SET a 1");
        bench.run("SET b 2");
        assert_eq!(bench.run("EXISTS a b a none"), ":3\r\n");
        assert_eq!(bench.run("TOUCH a b none a"), ":3\r\n");
        assert_eq!(bench.run("DEL a a none"), ":1\r\n");
        assert_eq!(bench.run("UNLINK b none"), ":1\r\n");
        assert_eq!(bench.run("DBSIZE"), ":0\r\n");
        assert_eq!(bench.run("TYPE a"), "+none\r\n");
        bench.run("SET a 1");
        assert_eq!(bench.run("TYPE a"), "+string\r\n");
    }

    #[test]
    fn a_renamed_key_keeps_value_and_expiry() {
        let mut bench = Bench::new();
        assert_eq!(bench.run("RENAME a b"), "-ERR no such key\r\n");
        bench.run("SET a 1");
        bench.run("SET b 2");
        bench.run("PEXPIRE a 5000");
        assert_eq!(bench.run("RENAMENX a b"), ":0\r\n");
        assert_eq!(bench.run("RENAMENX a a"), ":0\r\n");
        assert_eq!(bench.run("RENAME a a"), "+OK\r\n");
        assert_eq!(bench.run("RENAME a b"), "+OK\r\n");
        assert_eq!(bench.run("PTTL b"), ":5000\r\n");
        assert_eq!(bench.run("GET b"), "$1\r\n1\r\n");
        assert_eq!(bench.run("EXISTS a"), ":0\r\n");
        assert_eq!(bench.run("RENAMENX b c"), ":1\r\n");
        assert_eq!(bench.expires(0), 1);
        assert_eq!(bench.run("DBSIZE"), ":1\r\n");
    }

    #[test]
    fn copy_knows_its_options() {
        let mut bench = Bench::new();
        bench.run("SET a 1");
        bench.run("SET b 2");
        assert_eq!(bench.run("COPY a b"), ":0\r\n");
        assert_eq!(bench.run("COPY a b REPLACE"), ":1\r\n");
        assert_eq!(bench.run("GET b"), "$1\r\n1\r\n");
        assert_eq!(bench.run("COPY a a"), "-ERR source and destination objects are the same\r\n");
        assert_eq!(bench.run("COPY a a DB 3"), ":1\r\n");
        assert_eq!(bench.run("COPY a b DB 16"), "-ERR DB index is out of range\r\n");
        assert_eq!(bench.run("COPY a b DB x"), "-ERR value is not an integer or out of range\r\n");
        assert_eq!(bench.run("COPY a b DB"), "-ERR syntax error\r\n");
        assert_eq!(bench.run("COPY none b"), ":0\r\n");
        bench.caller.db = 3;
        assert_eq!(bench.run("GET a"), "$1\r\n1\r\n");
    }

    #[test]
    fn move_takes_the_key_along_with_its_expiry() {
        let mut bench = Bench::new();
        bench.run("SET a 1");
        bench.run("EXPIRE a 100");
        assert_eq!(bench.run("MOVE a 0"), "-ERR source and destination objects are the same\r\n");
        assert_eq!(bench.run("MOVE a -1"), "-ERR DB index is out of range\r\n");
        assert_eq!(bench.run("MOVE a 1"), ":1\r\n");
        assert_eq!(bench.run("MOVE a 1"), ":0\r\n");
        assert_eq!((bench.expires(0), bench.expires(1)), (0, 1));
        bench.run("SET a 2");
        assert_eq!(bench.run("MOVE a 1"), ":0\r\n");
        bench.caller.db = 1;
        assert_eq!(bench.run("TTL a"), ":100\r\n");
    }
}
