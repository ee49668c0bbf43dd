//! Times to live: the EXPIRE and TTL families and PERSIST.

use super::number::integer;
use super::spec::*;
use crate::error::{CmdError, shown};
use crate::resp::Args;
use crate::shard::{Class, Cx};

pub const COMMANDS: &[Command] = &[
    expire_row("expire", expire).doc(
        Group::Generic,
        "1.0.0",
        "O(1)",
        "key seconds [NX | XX | GT | LT]",
        "Lets a key live for so many seconds from now.",
    ),
    expire_row("pexpire", pexpire).doc(
        Group::Generic,
        "2.6.0",
        "O(1)",
        "key milliseconds [NX | XX | GT | LT]",
        "Lets a key live for so many milliseconds from now.",
    ),
    expire_row("expireat", expireat).doc(
        Group::Generic,
        "1.2.0",
        "O(1)",
        "key unix-time-seconds [NX | XX | GT | LT]",
        "Lets a key live until a Unix time in seconds.",
    ),
    expire_row("pexpireat", pexpireat).doc(
        Group::Generic,
        "2.6.0",
        "O(1)",
        "key unix-time-milliseconds [NX | XX | GT | LT]",
        "Lets a key live until a Unix time in milliseconds.",
    ),
    ttl_row("ttl", ttl).tips(NONDETERMINISTIC).doc(
        Group::Generic,
        "1.0.0",
        "O(1)",
        "key",
        "Tells how many seconds a key has left to live.",
    ),
    ttl_row("pttl", pttl).tips(NONDETERMINISTIC).doc(
        Group::Generic,
        "2.6.0",
        "O(1)",
        "key",
        "Tells how many milliseconds a key has left to live.",
    ),
    ttl_row("expiretime", expiretime).doc(
        Group::Generic,
        "7.0.0",
        "O(1)",
        "key",
        "Tells the Unix time in seconds at which a key expires.",
    ),
    ttl_row("pexpiretime", pexpiretime).doc(
        Group::Generic,
        "7.0.0",
        "O(1)",
        "key",
        "Tells the Unix time in milliseconds at which a key expires.",
    ),
    shard("persist", 2, WRITE.with(FAST), &[KeySpec::one(1, RW_UPDATE)], persist).doc(
        Group::Generic,
        "2.2.0",
        "O(1)",
        "key",
        "Lets a key live for ever.",
    ),
];

const NONDETERMINISTIC: &[&str] = &["nondeterministic_output"];

const fn expire_row(name: &'static str, run: ShardFn) -> Command {
    shard(name, -3, WRITE.with(FAST), const { &[KeySpec::one(1, RW_UPDATE)] }, run)
}

const fn ttl_row(name: &'static str, run: ShardFn) -> Command {
    shard(name, 2, READONLY.with(FAST), const { &[KeySpec::one(1, RO_ACCESS)] }, run)
}

/// Which present expiry lets a new one be set.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Condition {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Condition {
    pub(super) fn parse(args: Args) -> Result<Condition, CmdError> {
        let mut condition = Condition::default();
        for at in 0..args.len() {
            match () {
                () if args.is(at, "nx") => condition.nx = true,
                () if args.is(at, "xx") => condition.xx = true,
                () if args.is(at, "gt") => condition.gt = true,
                () if args.is(at, "lt") => condition.lt = true,
                () => {
                    let word = shown(args.at(at), usize::MAX);
                    return Err(CmdError::err_of(&[b"Unsupported option ", word]));
                }
            }
        }
        let Condition { nx, xx, gt, lt } = condition;
        if nx && (xx || gt || lt) {
            return Err(CmdError::fixed(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if gt && lt {
            return Err(CmdError::fixed(
                "ERR GT and LT options at the same time are not compatible",
            ));
        }
        Ok(condition)
    }

    /// A key without expiry counts as one that expires after all times.
    pub(super) fn holds(self, current: Option<i64>, at: i64) -> bool {
        !(self.nx && current.is_some()
            || self.xx && current.is_none()
            || self.gt && current.is_none_or(|now| at <= now)
            || self.lt && current.is_some_and(|now| at >= now))
    }
}

fn expire(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    set_expiry(cx, args, cx.now(), 1000)
}

fn pexpire(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    set_expiry(cx, args, cx.now(), 1)
}

fn expireat(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    set_expiry(cx, args, 0, 1000)
}

fn pexpireat(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    set_expiry(cx, args, 0, 1)
}

/// Sets the expiry to `base` plus the argument in units of `unit_ms`; a time that has passed
/// removes the key.
fn set_expiry(cx: &mut Cx, args: Args, base: i64, unit_ms: i64) -> Result<(), CmdError> {
    let key = args.at(1);
    let condition = Condition::parse(args.from(3))?;
    let at = integer(args.at(2))?
        .checked_mul(unit_ms)
        .and_then(|ms| ms.checked_add(base))
        .ok_or_else(|| CmdError::invalid_expire(cx.name))?;
    let done = match cx.keys.get_mut(key).map(|entry| entry.expire_at()) {
        None => false,
        Some(current) if !condition.holds(current, at) => false,
        Some(_) if at <= cx.now() => {
            cx.keys.effect(key, &[b"DEL", key]);
            cx.keys.delete(key)
        }
        Some(_) => {
            cx.keys.set_expire(key, Some(at));
            cx.keys.notify(Class::Generic, "expire", key);
            record_expiry(cx, key, at);
            true
        }
    };
    cx.keys.changed(u64::from(done));
    cx.out.int(i64::from(done));
    Ok(())
}

/// Records that a key got an expiry, whatever that was asked for by.
pub(super) fn record_expiry(cx: &mut Cx, key: &[u8], at: i64) {
    if cx.keys.is_recorded() {
        let mut text = itoa::Buffer::new();
        cx.keys.effect(key, &[b"PEXPIREAT", key, text.format(at).as_bytes()]);
    }
}

fn ttl(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let now = cx.now();
    tell(cx, args, |at| to_seconds((at - now).max(0)))
}

fn pttl(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let now = cx.now();
    tell(cx, args, |at| (at - now).max(0))
}

fn expiretime(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    tell(cx, args, to_seconds)
}

fn pexpiretime(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    tell(cx, args, |at| at)
}

/// Seconds to the nearest, as Redis rounds them.
pub(super) fn to_seconds(ms: i64) -> i64 {
    ms / 1000 + i64::from(ms % 1000 >= 500)
}

/// Replies -2 for no key, -1 for no expiry, else what `format` makes of it.
fn tell(cx: &mut Cx, args: Args, format: impl Fn(i64) -> i64) -> Result<(), CmdError> {
    let reply = match cx.keys.inspect(args.at(1)).map(|entry| entry.expire_at()) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => format(at),
    };
    cx.out.int(reply);
    Ok(())
}

fn persist(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let key = args.at(1);
    let mortal = cx.keys.get_mut(key).is_some_and(|entry| entry.expire_at().is_some());
    let done = mortal && cx.keys.set_expire(key, None);
    if done {
        cx.keys.notify(Class::Generic, "persist", key);
    }
    cx.keys.changed(u64::from(done));
    cx.out.int(i64::from(done));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Bench;

    #[test]
    fn every_unit_and_base_meets_every_reader() {
        let mut bench = Bench::new();
        bench.run("SET k v");
        let now = bench.now;
        assert_eq!(bench.run("TTL k"), ":-1\r\n");
        assert_eq!(bench.run("PEXPIRETIME none"), ":-2\r\n");
        assert_eq!(bench.run("EXPIRE k 10"), ":1\r\n");
        assert_eq!(bench.run("PTTL k"), ":10000\r\n");
        assert_eq!(bench.run("PEXPIRETIME k"), format!(":{}\r\n", now + 10_000));
        assert_eq!(bench.run("PEXPIRE k 1500"), ":1\r\n");
        assert_eq!(bench.run("TTL k"), ":2\r\n");
        assert_eq!(bench.run("PEXPIRE k 1499"), ":1\r\n");
        assert_eq!(bench.run("TTL k"), ":1\r\n");
        assert_eq!(bench.run("EXPIREAT k 1800000000"), ":1\r\n");
        assert_eq!(bench.run("EXPIRETIME k"), ":1800000000\r\n");
        assert_eq!(bench.run("PEXPIREAT k 1800000000501"), ":1\r\n");
        assert_eq!(bench.run("EXPIRETIME k"), ":1800000001\r\n");
        assert_eq!(bench.run("PEXPIREAT k 9223372036854775807"), ":1\r\n");
        assert_eq!(bench.run("EXPIRETIME k"), ":9223372036854776\r\n");
        assert_eq!(bench.run("PERSIST k"), ":1\r\n");
        assert_eq!(bench.run("PERSIST k"), ":0\r\n");
        assert_eq!(bench.run("PERSIST none"), ":0\r\n");
        assert_eq!(bench.run("EXPIRE none 1"), ":0\r\n");
    }

    #[test]
    fn a_key_is_there_to_its_last_millisecond() {
        let mut bench = Bench::new();
        bench.run("SET k v");
        bench.run("PEXPIRE k 5");
        bench.now += 5;
        assert_eq!(bench.run("PTTL k"), ":0\r\n");
        assert_eq!(bench.run("EXISTS k"), ":1\r\n");
        bench.now += 1;
        assert_eq!(bench.run("PTTL k"), ":-2\r\n");
        assert_eq!(bench.run("DBSIZE"), ":0\r\n");
        assert_eq!(bench.shard.stats.expired_keys.get(), 1);
    }

    #[test]
    fn a_time_that_has_passed_removes_the_key() {
        let mut bench = Bench::new();
        for command in ["EXPIRE k 0", "PEXPIRE k -5", "EXPIREAT k 1", "PEXPIREAT k -1"] {
            bench.run("SET k v");
            assert_eq!(bench.run(command), ":1\r\n");
            assert_eq!(bench.run("EXISTS k"), ":0\r\n");
        }
        assert_eq!(bench.shard.stats.expired_keys.get(), 0);
    }

    #[test]
    fn conditions_look_at_the_present_expiry() {
        let mut bench = Bench::new();
        bench.run("SET k v");
        for (command, reply) in [
            ("EXPIRE k 100 XX", ":0\r\n"),
            ("EXPIRE k 100 GT", ":0\r\n"),
            ("EXPIRE k 100 NX", ":1\r\n"),
            ("EXPIRE k 200 NX", ":0\r\n"),
            ("EXPIRE k 100 gt", ":0\r\n"),
            ("EXPIRE k 100 LT", ":0\r\n"),
            ("EXPIRE k 101 GT", ":1\r\n"),
            ("EXPIRE k 99 GT XX", ":0\r\n"),
            ("EXPIRE k 99 XX LT", ":1\r\n"),
            ("TTL k", ":99\r\n"),
            ("PERSIST k", ":1\r\n"),
            ("EXPIRE k 50 LT", ":1\r\n"),
            ("EXPIRE k -1 GT", ":0\r\n"),
            ("EXPIRE k -1 LT", ":1\r\n"),
            ("EXISTS k", ":0\r\n"),
        ] {
            assert_eq!(bench.run(command), reply, "{command}");
        }
    }

    #[test]
    fn wrong_arguments_are_told() {
        let mut bench = Bench::new();
        for (command, error) in [
            ("EXPIRE k 1 NX XX", "NX and XX, GT or LT options at the same time are not compatible"),
            ("EXPIRE k 1 GT LT", "GT and LT options at the same time are not compatible"),
            ("EXPIRE k x Q", "Unsupported option Q"),
            ("EXPIRE k x", "value is not an integer or out of range"),
            ("EXPIRE k 9223372036854775807", "invalid expire time in 'expire' command"),
            ("PEXPIRE k 9223372036854775807", "invalid expire time in 'pexpire' command"),
            ("EXPIREAT k -9223372036854775808", "invalid expire time in 'expireat' command"),
        ] {
            assert_eq!(bench.run(command), format!("-ERR {error}\r\n"), "{command}");
        }
    }
}
