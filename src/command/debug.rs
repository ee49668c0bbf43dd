//! DEBUG: what test suites and people in search of a fault ask for.
//!
//! Those of Redis' subcommands are here that mean something in this server. Absent are those that
//! end the process on purpose and those that show structures which it does not have.

use super::control::{Control, ReloadRequest, SessionCx};
use super::digest;
use super::help::help;
use super::object::references;
use super::spec::*;
use crate::data::entry::Entry;
use crate::data::number::{decimal_len, parse_i64};
use crate::data::value::ValueRef;
use crate::error::CmdError;
use crate::resp::{Args, Encoder, Protocol};
use crate::shard::{Access, Cx, Loading};
use std::sync::atomic::Ordering;
use std::time::Duration;

pub const COMMANDS: &[Command] = &[with_flags(container("debug", -2, DEBUG)).doc(
    Group::Server,
    "1.0.0",
    "Depends on the subcommand.",
    "",
    "Looks under the surface, for tests.",
)];

const FLAGS: Flags = ADMIN.with(NOSCRIPT).with(LOADING).with(STALE).with(PROTECTED).with(PLAIN);

const fn with_flags(mut command: Command) -> Command {
    command.flags = FLAGS;
    command
}

const fn row(
    name: &'static str,
    arity: i32,
    run: ShardFn,
    syntax: &'static str,
    summary: &'static str,
) -> Command {
    shard(name, arity, FLAGS, &[], run).doc(Group::Server, "1.0.0", "O(1)", syntax, summary)
}

const DEBUG: &[Command] = &[
    row("debug|help", 2, debug_help, "", "Lists the subcommands."),
    session("debug|sleep", 3, FLAGS, sleep).doc(
        Group::Server,
        "1.0.0",
        "O(1)",
        "seconds",
        "Stops all shards for some time.",
    ),
    shard("debug|object", 3, FLAGS, &[KeySpec::one(2, RO)], object).doc(
        Group::Server,
        "1.0.0",
        "O(N) where N is the length of the value.",
        "key",
        "Describes the value of a key in one line.",
    ),
    row("debug|set-active-expire", 3, active_expire, "<0 | 1>", "Switches active expiry.")
        .spread(Spread::EveryShard { part: active_expire, merge: Merge::FirstError }),
    session("debug|set-disable-deny-scripts", 3, FLAGS, all_in_scripts).doc(
        Group::Server,
        "7.0.0",
        "O(1)",
        "<0 | 1>",
        "Has scripts use any command.",
    ),
    row("debug|digest", 2, digest::digest, "", "Answers a sum of all data.").spread(
        Spread::EveryShard {
            part: digest::digest_part,
            merge: Merge::Custom(digest::join_digests),
        },
    ),
    shard("debug|digest-value", -3, FLAGS, &[KeySpec::range(2, -1, 1, RO)], digest::digest_value)
        .doc(
            Group::Server,
            "5.0.0",
            "O(N) where N is the length of the values.",
            "key [key ...]",
            "Answers a sum of each value.",
        ),
    session("debug|change-repl-id", 2, FLAGS, change_repl_id).doc(
        Group::Server,
        "3.2.0",
        "O(1)",
        "",
        "Has INFO tell of another history of the data.",
    ),
    session("debug|reload", -2, APART_FLAGS, reload).doc(
        Group::Server,
        "2.2.0",
        "O(N) where N is the number of keys.",
        "[NOSAVE] [NOFLUSH] [MERGE]",
        "Writes a snapshot and loads it in place of the data.",
    ),
    session("debug|loadaof", 2, APART_FLAGS, loadaof).doc(
        Group::Server,
        "2.2.0",
        "O(N) where N is the number of keys and effects.",
        "",
        "Loads the append-only files in place of the data.",
    ),
    session("debug|log", 3, FLAGS, log).doc(
        Group::Server,
        "4.0.0",
        "O(1)",
        "message",
        "Writes a line to the log.",
    ),
    row("debug|error", 3, error, "text", "Answers an error of this text."),
    row("debug|protocol", 3, protocol, "type", "Answers a reply of this type."),
];

/// They wait for whatever is under way, so for their own transaction, too.
const APART_FLAGS: Flags = FLAGS.with(NO_MULTI).with(BEHIND);

fn reload(_: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let (mut saves, mut flushes, mut merges) = (true, true, false);
    for at in 2..args.len() {
        match args.at(at).to_ascii_lowercase().as_slice() {
            b"merge" => merges = true,
            b"noflush" => flushes = false,
            b"nosave" => saves = false,
            _ => {
                return Err(CmdError::fixed(
                    "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
                ));
            }
        }
    }
    let mode = match (flushes, merges) {
        (true, _) => Loading::Replace,
        (false, true) => Loading::Merge,
        (false, false) => Loading::Add,
    };
    Ok(Control::Reload(ReloadRequest { appended: false, saves, mode }))
}

fn loadaof(_: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    let request = ReloadRequest { appended: true, saves: false, mode: Loading::Replace };
    Ok(Control::Reload(request))
}

fn change_repl_id(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    cx.env.repl_changes.fetch_add(1, Ordering::Relaxed);
    cx.out.ok();
    Ok(Control::Done)
}

fn log(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    tracing::warn!("DEBUG LOG: {}", String::from_utf8_lossy(args.at(2)));
    cx.out.ok();
    Ok(Control::Done)
}

fn all_in_scripts(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    cx.env.all_in_scripts.store(args.at(2) != b"0", Ordering::Relaxed);
    cx.out.ok();
    Ok(Control::Done)
}

fn debug_help(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let lines = [
        "CHANGE-REPL-ID",
        "    Has INFO tell of another history of the data.",
        "DIGEST",
        "    Answers a sum of all data, the same for the same data.",
        "DIGEST-VALUE <key> [<key> ...]",
        "    Answers a sum of the value of each <key>.",
        "ERROR <text>",
        "    Answers an error of this text, for tests of clients.",
        "LOADAOF",
        "    Loads the append-only files in place of the data.",
        "LOG <message>",
        "    Writes <message> to the log.",
        "OBJECT <key>",
        "    Describes the value of <key>: address, encoding, size when saved, last use.",
        "PROTOCOL <type>",
        "    Answers a reply of this type: string, integer, double, bignum, null, array, set, map,",
        "    attrib, push, verbatim, true, false.",
        "RELOAD [NOSAVE] [NOFLUSH] [MERGE]",
        "    Writes a snapshot and loads it in place of the data. With NOSAVE an earlier one is loaded, and",
        "    with NOFLUSH the data stay; MERGE allows for keys that are in both.",
        "SET-ACTIVE-EXPIRE <0|1>",
        "    With 0, expired keys are removed only when they are looked up; 1 is the usual.",
        "SET-DISABLE-DENY-SCRIPTS <0|1>",
        "    With 1, scripts may use any command, for tests of scripts.",
        "SLEEP <seconds>",
        "    Stops the server for <seconds>, which may have a fraction.",
    ];
    help(&mut cx.out, "DEBUG", &lines);
    Ok(())
}

fn sleep(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let seconds = std::str::from_utf8(args.at(2)).ok().and_then(|text| text.parse::<f64>().ok());
    let duration = Duration::try_from_secs_f64(seconds.ok_or(CmdError::NOT_A_FLOAT)?.max(0.0));
    cx.env.sleep(duration.map_err(|_| CmdError::NOT_A_FLOAT)?);
    cx.out.ok();
    Ok(Control::Slept)
}

fn object(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let entry = cx.keys.find_any(args.at(2)).ok_or(CmdError::NO_SUCH_KEY)?;
    let line = format!(
        "Value at:{:p} refcount:{} encoding:{} serializedlength:{} lru:{} lru_seconds_idle:{}",
        entry.key().as_ptr(),
        references(entry, cx.keys.shares_integers()),
        entry.encoding().name(),
        saved_len(entry),
        entry.access(),
        Access::idle_seconds(entry.access(), cx.now()),
    );
    cx.out.simple(&line);
    Ok(())
}

/// Bytes of a string in an RDB file without compression.
fn saved_len(entry: &Entry) -> usize {
    let int_len = |value: i64| match value {
        -0x80..=0x7f => Some(2),
        -0x8000..=0x7fff => Some(3),
        -0x8000_0000..=0x7fff_ffff => Some(5),
        _ => None,
    };
    let plain_len = |len: usize| match len {
        0..0x40 => len + 1,
        0x40..0x4000 => len + 2,
        0x4000..=0xffff_ffff => len + 5,
        _ => len + 9,
    };
    match entry.value() {
        ValueRef::Int(value) => int_len(value).unwrap_or_else(|| plain_len(decimal_len(value))),
        ValueRef::Bytes(bytes) => {
            parse_i64(bytes).and_then(int_len).unwrap_or_else(|| plain_len(bytes.len()))
        }
        ValueRef::Object(object) => object.allocated(),
    }
}

fn active_expire(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let on = parse_i64(args.at(2)).ok_or(CmdError::NOT_AN_INTEGER)? != 0;
    cx.keys.set_active_expire(on);
    cx.out.ok();
    Ok(())
}

fn error(_: &mut Cx, args: Args) -> Result<(), CmdError> {
    let text = args.at(2);
    Err(CmdError::of_bytes(text.strip_prefix(b"-").unwrap_or(text)))
}

fn protocol(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let out = &mut cx.out;
    let resp3 = out.protocol == Protocol::Resp3;
    match args.at(2).to_ascii_lowercase().as_slice() {
        b"string" => out.bulk(b"Hello World"),
        b"integer" => out.int(12345),
        b"double" => out.double("3.141"),
        b"bignum" if resp3 => out.raw(b"(1234567999999999999999999999999999999\r\n"),
        b"bignum" => out.bulk(b"1234567999999999999999999999999999999"),
        b"null" => out.null(),
        b"array" => {
            out.array(3);
            (0..3).for_each(|n| out.int(n));
        }
        b"set" => {
            out.set(3);
            (0..3).for_each(|n| out.int(n));
        }
        b"map" => {
            out.map(3);
            (0..3).for_each(|n| {
                out.int(n);
                out.bool(n == 1);
            });
        }
        b"attrib" => attribute(out, resp3),
        b"push" if !resp3 => {
            return Err(CmdError::fixed("ERR RESP2 is not supported by this command"));
        }
        b"push" => {
            out.push(2);
            out.bulk(b"server-cpu-usage");
            out.int(42);
            out.bulk(b"Some real reply following the push reply");
        }
        b"verbatim" => out.verbatim("txt", b"This is a verbatim\nstring"),
        b"true" => out.bool(true),
        b"false" => out.bool(false),
        _ => {
            return Err(CmdError::fixed(
                "ERR Wrong protocol type name. Please use one of the following: \
                 string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(())
}

/// A reply with an attribute in front of it, where the protocol has attributes.
fn attribute(out: &mut Encoder, resp3: bool) {
    if resp3 {
        out.raw(b"|1\r\n");
        out.bulk(b"key-popularity");
        out.array(2);
        out.bulk(b"key:123");
        out.int(90);
    }
    out.bulk(b"Some real reply following the attribute");
}

#[cfg(test)]
mod tests {
    use crate::command::testing::{Bench, SessionBench};
    use crate::resp::Protocol;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    #[test]
    fn an_object_is_described_in_one_line() {
        let mut bench = Bench::new();
        bench.run("SET k 1000");
        bench.now += 3000;
        let line = bench.run("DEBUG OBJECT k");
        let (address, rest) = line.split_once(" refcount:").unwrap();
        assert!(address.starts_with("+Value at:0x"), "{line}");
        let lru = (bench.now / 1000 - 3) & 0xff_ffff;
        assert_eq!(
            rest,
            format!("2147483647 encoding:int serializedlength:3 lru:{lru} lru_seconds_idle:3\r\n")
        );
        assert_eq!(bench.run("DEBUG OBJECT none"), "-ERR no such key\r\n");
        for (value, len) in [("v", 2), ("99999999999", 12), (&"x".repeat(100)[..], 102)] {
            bench.run(&format!("SET k {value}"));
            assert!(bench.run("DEBUG OBJECT k").contains(&format!("serializedlength:{len} ")));
        }
    }

    #[test]
    fn switches_take_effect() {
        let mut bench = Bench::new();
        assert_eq!(bench.run("DEBUG SET-ACTIVE-EXPIRE 0"), "+OK\r\n");
        assert!(!bench.shard.keyspace.active_expire);
        assert_eq!(bench.run("debug set-active-expire 1"), "+OK\r\n");
        assert!(bench.shard.keyspace.active_expire);
    }

    #[test]
    fn all_sleep_until_the_same_time() {
        let mut bench = SessionBench::new();
        let start = crate::clock::monotonic();
        assert_eq!(bench.run("DEBUG SLEEP 0.02"), "+OK\r\n");
        assert!(start.elapsed().as_millis() >= 20 && !bench.env.is_asleep());
        // Another shard sleeps for long, and goes on doing so when this one has slept.
        let until_us = &bench.env.asleep_until_us;
        until_us.store(u64::MAX, Ordering::Release);
        bench.env.sleep(Duration::from_millis(1));
        assert!(bench.env.is_asleep());
        let soon = bench.env.born.elapsed() + Duration::from_millis(30);
        until_us.store(soon.as_micros() as u64, Ordering::Release);
        bench.env.sleep_along();
        assert!(bench.env.born.elapsed() >= soon);
        until_us.store(0, Ordering::Release);
        assert_eq!(bench.run("DEBUG SLEEP inf"), "-ERR value is not a valid float\r\n");
        assert_eq!(bench.run("DEBUG SLEEP -1"), "+OK\r\n");
    }

    #[test]
    fn replies_of_every_type_are_to_be_had() {
        let mut bench = Bench::new();
        assert_eq!(bench.run("DEBUG PROTOCOL map"), "*6\r\n:0\r\n:0\r\n:1\r\n:1\r\n:2\r\n:0\r\n");
        assert_eq!(
            bench.run("DEBUG PROTOCOL push"),
            "-ERR RESP2 is not supported by this command\r\n"
        );
        bench.caller.protocol = Protocol::Resp3;
        assert_eq!(bench.run("DEBUG PROTOCOL double"), ",3.141\r\n");
        assert!(bench.run("DEBUG PROTOCOL attrib").starts_with("|1\r\n$14\r\nkey-popularity\r\n"));
        assert_eq!(bench.run("DEBUG ERROR CODE"), "-CODE\r\n");
    }
}
