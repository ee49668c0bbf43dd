//! Times to live of fields: the HEXPIRE and HTTL families and HPERSIST, as Valkey 9 has them.
//!
//! They answer a number for each field. Redis 7.4 and later answer the same numbers; where the two
//! differ it is Valkey's way here:
//!
//! - error texts, and that an unknown option is told before a wrong number of fields;
//! - XX may stand beside GT or LT;
//! - seconds are rounded to the nearest, as TTL rounds them, where Redis rounds up;
//! - times may be as far away as 64 bits reach, where Redis ends at 2^46 ms.

use super::{Events, HEXPIRED, edit, event_if, read, record_fields};
use crate::command::expire::{Condition, to_seconds};
use crate::command::number::integer;
use crate::data::hash::Hash;
use crate::error::CmdError;
use crate::resp::Args;
use crate::shard::{Cx, Keys};

const NO_FIELD: i64 = -2;
const NO_EXPIRY: i64 = -1;
const NOT_SET: i64 = 0;
const SET: i64 = 1;
/// The time had passed already.
const DELETED: i64 = 2;

pub const WRONG_COUNT: CmdError = CmdError::fixed(
    "ERR numfields should be greater than 0 and match the provided number of fields",
);

/// Where the word FIELDS stands, from the argument `first` on; a count must follow.
pub fn find_fields(args: &Args, first: usize) -> Result<usize, CmdError> {
    let at = (first..args.len()).find(|&at| args.is(at, "fields"));
    at.filter(|at| at + 1 < args.len()).ok_or(WRONG_COUNT)
}

/// What follows the count behind FIELDS, which must be `each` arguments a field.
pub fn after_count<'a>(
    args: &Args<'a>,
    fields_at: usize,
    each: usize,
) -> Result<Args<'a>, CmdError> {
    let count = integer(args.at(fields_at + 1))?;
    let fields = args.from(fields_at + 2);
    let given = fields.len() / each;
    let fits = count > 0 && count as usize == given && fields.len() == given * each;
    if fits { Ok(fields) } else { Err(WRONG_COUNT) }
}

/// The fields of a command that has FIELDS directly behind the key.
pub fn plain_fields<'a>(args: &Args<'a>) -> Result<Args<'a>, CmdError> {
    if !args.is(2, "fields") {
        return Err(CmdError::SYNTAX);
    }
    after_count(args, 2, 1)
}

/// The time `amount` units after `base`, milliseconds since the epoch.
pub fn deadline(amount: &[u8], unit_ms: i64, base: i64, name: &str) -> Result<i64, CmdError> {
    Some(integer(amount)?)
        .filter(|&amount| amount >= 0)
        .and_then(|amount| amount.checked_mul(unit_ms))
        .and_then(|ms| ms.checked_add(base))
        .ok_or_else(|| CmdError::invalid_expire(name))
}

pub fn hexpire(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    set_expiry(cx, args, cx.now(), 1000)
}

pub fn hpexpire(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    set_expiry(cx, args, cx.now(), 1)
}

pub fn hexpireat(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    set_expiry(cx, args, 0, 1000)
}

pub fn hpexpireat(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    set_expiry(cx, args, 0, 1)
}

fn set_expiry(cx: &mut Cx, args: Args, base: i64, unit_ms: i64) -> Result<(), CmdError> {
    let fields_at = find_fields(&args, 3)?;
    let condition = Condition::parse(args.range(3, fields_at))?;
    let fields = after_count(&args, fields_at, 1)?;
    let at = deadline(args.at(2), unit_ms, base, cx.name)?;
    let now = cx.now();
    let event = if at <= now { HEXPIRED } else { &["hexpire"] };
    let mut text = itoa::Buffer::new();
    let effect: &[&[u8]] = match at <= now {
        true => DELETES,
        false => &[b"HPEXPIREAT", text.format(at).as_bytes()],
    };
    change(cx, args.at(1), fields, (event, effect), |hash, field| match hash.expiry(field, now) {
        None => NO_FIELD,
        Some(current) if !condition.holds(current, at) => NOT_SET,
        Some(_) if at <= now => {
            hash.remove(field, now);
            DELETED
        }
        Some(_) => {
            hash.set_expire(field, Some(at));
            SET
        }
    })
}

pub fn hpersist(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let fields = plain_fields(&args)?;
    let now = cx.now();
    let what: (Events, &[&[u8]]) = (&["hpersist"], &[b"HPERSIST"]);
    change(cx, args.at(1), fields, what, |hash, field| match hash.expiry(field, now) {
        None => NO_FIELD,
        Some(None) => NO_EXPIRY,
        Some(Some(_)) => {
            hash.set_expire(field, None);
            SET
        }
    })
}

/// What stands for HDEL among the commands that say FIELDS.
pub const DELETES: &[&[u8]] = &[];

/// Records what was done to some fields: a command with its options, or [`DELETES`].
pub fn record(keys: &mut Keys, key: &[u8], effect: &[&[u8]], fields: &[&[u8]]) {
    match effect.is_empty() {
        true => keys.effect_of_many(key, &[b"HDEL", key], fields),
        false => record_fields(keys, key, effect, fields, 1),
    }
}

/// Answers what `change` says of each field; a positive number means that it did something, which
/// is told of by an event, and recorded.
fn change<'a>(
    cx: &mut Cx,
    key: &[u8],
    fields: Args<'a>,
    (event, effect): (Events, &[&[u8]]),
    mut change: impl FnMut(&mut Hash, &[u8]) -> i64,
) -> Result<(), CmdError> {
    let Cx { keys, out, .. } = cx;
    let is_recorded = keys.is_recorded();
    let mut touched: Vec<&'a [u8]> = Vec::new();
    let changed = edit(keys, key, |hash| {
        out.array(fields.len());
        let mut changed = 0;
        for field in fields.iter() {
            let reply = change(hash, field);
            if reply > 0 {
                changed += 1;
                touched.extend(is_recorded.then_some(field));
            }
            out.int(reply);
        }
        Ok((changed, event_if(changed > 0, event)))
    })?;
    record(&mut cx.keys, key, effect, &touched);
    cx.keys.changed(changed);
    Ok(())
}

pub fn httl(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let now = cx.now();
    tell(cx, args, |at| to_seconds(at - now))
}

pub fn hpttl(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let now = cx.now();
    tell(cx, args, |at| at - now)
}

pub fn hexpiretime(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    tell(cx, args, to_seconds)
}

pub fn hpexpiretime(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    tell(cx, args, |at| at)
}

/// Answers of each field what `format` makes of its expiry.
fn tell(cx: &mut Cx, args: Args, format: impl Fn(i64) -> i64) -> Result<(), CmdError> {
    let fields = match plain_fields(&args) {
        Err(error) if error == WRONG_COUNT => return Err(CmdError::SYNTAX),
        fields => fields?,
    };
    let now = cx.now();
    let hash = read(&mut cx.keys, args.at(1))?;
    cx.out.array(fields.len());
    for field in fields.iter() {
        cx.out.int(match hash.and_then(|hash| hash.expiry(field, now)) {
            None => NO_FIELD,
            Some(None) => NO_EXPIRY,
            Some(Some(at)) => format(at),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Bench;

    fn numbers(list: &[i64]) -> String {
        let each: String = list.iter().map(|n| format!(":{n}\r\n")).collect();
        format!("*{}\r\n{each}", list.len())
    }

    #[test]
    fn every_unit_and_base_meets_every_reader() {
        let mut bench = Bench::new();
        bench.run("HSET h a 1 b 2");
        let now = bench.now;
        assert_eq!(bench.run("HTTL h FIELDS 2 a x"), numbers(&[-1, -2]));
        assert_eq!(bench.run("HEXPIRE h 10 FIELDS 2 a x"), numbers(&[1, -2]));
        assert_eq!(bench.run("HPTTL h FIELDS 2 a b"), numbers(&[10_000, -1]));
        assert_eq!(bench.run("HPEXPIRETIME h FIELDS 1 a"), numbers(&[now + 10_000]));
        assert_eq!(bench.run("HPEXPIRE h 1500 FIELDS 1 a"), numbers(&[1]));
        assert_eq!(bench.run("HTTL h FIELDS 1 a"), numbers(&[2]));
        assert_eq!(bench.run("HEXPIREAT h 1800000000 FIELDS 1 a"), numbers(&[1]));
        assert_eq!(bench.run("HEXPIRETIME h FIELDS 1 a"), numbers(&[1_800_000_000]));
        assert_eq!(bench.run("HPEXPIREAT h 1800000000500 FIELDS 1 a"), numbers(&[1]));
        assert_eq!(bench.run("HEXPIRETIME h FIELDS 1 a"), numbers(&[1_800_000_001]));
        assert_eq!(bench.run("HPERSIST h FIELDS 3 a b x"), numbers(&[1, -1, -2]));
        assert_eq!(bench.run("HTTL h FIELDS 1 a"), numbers(&[-1]));
        for command in ["HTTL none", "HPERSIST none", "HEXPIRE none 1"] {
            assert_eq!(bench.run(&format!("{command} FIELDS 2 a b")), numbers(&[-2, -2]));
        }
        assert_eq!(bench.keys(0), 1);
    }

    #[test]
    fn what_has_expired_is_not_seen_by_any_command() {
        let mut bench = Bench::new();
        bench.run("HSET h a 1 b 2 c 3");
        bench.run("HPEXPIRE h 5 FIELDS 2 a b");
        bench.now += 5;
        assert_eq!(bench.run("HMGET h a b"), "*2\r\n$1\r\n1\r\n$1\r\n2\r\n");
        bench.now += 1;
        for (command, reply) in [
            ("HGET h a", "$-1\r\n"),
            ("HMGET h a c", "*2\r\n$-1\r\n$1\r\n3\r\n"),
            ("HGETALL h", "*2\r\n$1\r\nc\r\n$1\r\n3\r\n"),
            ("HKEYS h", "*1\r\n$1\r\nc\r\n"),
            ("HVALS h", "*1\r\n$1\r\n3\r\n"),
            ("HLEN h", ":1\r\n"),
            ("HSTRLEN h a", ":0\r\n"),
            ("HEXISTS h a", ":0\r\n"),
            ("HTTL h FIELDS 1 a", "*1\r\n:-2\r\n"),
            ("HEXPIRE h 9 FIELDS 1 a", "*1\r\n:-2\r\n"),
            ("HPERSIST h FIELDS 1 a", "*1\r\n:-2\r\n"),
            ("HSCAN h 0", "*2\r\n$1\r\n0\r\n*2\r\n$1\r\nc\r\n$1\r\n3\r\n"),
            ("HRANDFIELD h 5", "*1\r\n$1\r\nc\r\n"),
            ("HGETEX h FIELDS 1 a", "*1\r\n$-1\r\n"),
            ("HSETEX h FXX FIELDS 1 a 1", ":0\r\n"),
            ("HDEL h a", ":0\r\n"),
            ("HINCRBY h b 5", ":5\r\n"),
            ("HTTL h FIELDS 1 b", "*1\r\n:-1\r\n"),
            ("HSET h a 1", ":1\r\n"),
        ] {
            assert_eq!(bench.run(command), reply, "{command}");
        }
    }

    #[test]
    fn a_hash_goes_with_its_last_field() {
        let mut bench = Bench::new();
        bench.run("HSET h a 1 b 2");
        bench.run("HPEXPIRE h 5 FIELDS 1 a");
        bench.run("HPEXPIRE h 9 FIELDS 1 b");
        assert_eq!((bench.keys(0), bench.expires(0)), (1, 0));
        bench.now += 10;
        assert_eq!(bench.run("EXISTS h") + &bench.run("TYPE h"), ":0\r\n+none\r\n");
        assert_eq!((bench.keys(0), bench.expires(0)), (0, 0));
        assert_eq!(bench.shard.stats.expired_keys.get(), 1);
        bench.run("HSET h a 1 b 2");
        bench.run("HPEXPIRE h 5 FIELDS 1 a");
        bench.now += 10;
        assert_eq!(bench.run("HDEL h b"), ":1\r\n");
        assert_eq!(bench.run("EXISTS h"), ":0\r\n", "the other field had expired");
        bench.run("HSET h a 1");
        assert_eq!(bench.run("HEXPIRE h 0 FIELDS 1 a"), numbers(&[2]));
        assert_eq!((bench.run("EXISTS h"), bench.keys(0)), (":0\r\n".to_string(), 0));
    }

    #[test]
    fn the_key_may_expire_as_well() {
        let mut bench = Bench::new();
        bench.run("HSET h a 1 b 2");
        bench.run("HEXPIRE h 100 FIELDS 1 a");
        bench.run("EXPIRE h 50");
        assert_eq!((bench.keys(0), bench.expires(0)), (1, 1));
        bench.run("PERSIST h");
        assert_eq!((bench.keys(0), bench.expires(0)), (1, 0));
        assert_eq!(bench.run("HTTL h FIELDS 1 a"), numbers(&[100]));
        bench.run("COPY h copy");
        bench.run("RENAME h other");
        bench.run("PEXPIRE other 7");
        bench.now += 8;
        assert_eq!(bench.run("EXISTS other copy"), ":1\r\n");
        assert_eq!(bench.run("HPTTL copy FIELDS 1 a"), numbers(&[99_992]));
        bench.run("SET copy v");
        assert_eq!((bench.keys(0), bench.expires(0)), (1, 0));
    }

    #[test]
    fn expired_fields_go_without_being_asked_for() {
        let mut bench = Bench::new();
        for n in 0..1000 {
            bench.run(&format!("HSET h{} f{n} v keep{n} v", n % 10));
            bench.run(&format!("HPEXPIRE h{} 5 FIELDS 1 f{n}", n % 10));
        }
        bench.run("HSET all f v");
        bench.run("HPEXPIRE all 5 FIELDS 1 f");
        bench.now += 5;
        assert!(!bench.shard.expire_cycle(bench.now, &mut || false));
        assert_eq!(bench.shard.stats.expired_fields.get(), 0);
        bench.now += 1;
        let before = bench.run("MEMORY USAGE h0");
        while bench.shard.expire_cycle(bench.now, &mut || true) {}
        assert_eq!(bench.shard.stats.expired_fields.get(), 1000);
        assert_eq!((bench.shard.stats.expired_keys.get(), bench.keys(0)), (1, 10));
        assert_ne!(bench.run("MEMORY USAGE h0"), before);
        assert_eq!(bench.run("HLEN h0"), ":100\r\n");
        assert!(!bench.shard.expire_cycle(bench.now, &mut || panic!("nothing is left to do")));
    }

    #[test]
    fn conditions_look_at_the_present_expiry() {
        let mut bench = Bench::new();
        bench.run("HSET h a 1 b 2");
        for (command, reply) in [
            ("HEXPIRE h 100 XX FIELDS 1 a", 0),
            ("HEXPIRE h 100 GT FIELDS 1 a", 0),
            ("HEXPIRE h 100 NX FIELDS 1 a", 1),
            ("HEXPIRE h 200 NX FIELDS 1 a", 0),
            ("HEXPIRE h 99 gt FIELDS 1 a", 0),
            ("HEXPIRE h 99 LT fields 1 a", 1),
            ("HEXPIRE h 200 XX GT FIELDS 1 a", 1),
            ("HEXPIRE h 0 GT FIELDS 1 a", 0),
            ("HEXPIRE h 100 LT FIELDS 1 b", 1),
            ("HEXPIRE h 0 LT FIELDS 1 a", 2),
        ] {
            assert_eq!(bench.run(command), numbers(&[reply]), "{command}");
        }
    }

    #[test]
    fn wrong_arguments_are_told() {
        let mut bench = Bench::new();
        bench.run("HSET h a 1");
        bench.run("SET s v");
        let count = "numfields should be greater than 0 and match the provided number of fields";
        let integer = "value is not an integer or out of range";
        for (command, error) in [
            (
                "HEXPIRE h 1 NX XX FIELDS 1 a",
                "NX and XX, GT or LT options at the same time are not compatible",
            ),
            ("HEXPIRE h 1 FOO FIELDS 1 a", "Unsupported option FOO"),
            ("HEXPIRE h x FIELDS 1 a", integer),
            ("HEXPIRE h 1 FIELDS x a", integer),
            ("HEXPIRE h 1 FIELDS 0 a", count),
            ("HEXPIRE h 1 FIELDS 2 a", count),
            ("HEXPIRE h 1 NX 1 a b", count),
            ("HEXPIRE h -1 FIELDS 1 a", "invalid expire time in 'hexpire' command"),
            (
                "HPEXPIRE h 9223372036854775807 FIELDS 1 a",
                "invalid expire time in 'hpexpire' command",
            ),
            ("HTTL h FIELDS 2 a", "syntax error"),
            ("HTTL h FOO 1 a", "syntax error"),
            ("HPERSIST h FIELDS 2 a", count),
            ("HPERSIST h FOO 1 a", "syntax error"),
        ] {
            assert_eq!(bench.run(command), format!("-ERR {error}\r\n"), "{command}");
        }
        for command in ["HEXPIRE s 1 FIELDS 1 a", "HTTL s FIELDS 1 a", "HPERSIST s FIELDS 1 a"] {
            assert!(bench.run(command).starts_with("-WRONGTYPE"), "{command}");
        }
    }
}
