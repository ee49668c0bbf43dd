//! Values as bytes that travel: DUMP and RESTORE.

use super::number::integer;
use super::spec::*;
use super::{hash, list, set, sorted_set};
use crate::data::Entry;
use crate::error::CmdError;
use crate::rdb::dump;
use crate::rdb::load::{Limits, Value};
use crate::resp::Args;
use crate::shard::{Access, Cx};

pub const COMMANDS: &[Command] = &[
    shard("dump", 2, READONLY, &[KeySpec::one(1, RO_ACCESS)], dump_value)
        .tips(&["nondeterministic_output"])
        .doc(
            Group::Generic,
            "2.6.0",
            "O(N) where N is the number of bytes of the value.",
            "key",
            "Gives the value of a key as bytes from which RESTORE makes it again.",
        ),
    restore_row("restore", WRITE.with(DENYOOM)).doc(
        Group::Generic,
        "2.6.0",
        RESTORE_COMPLEXITY,
        RESTORE_SYNTAX,
        "Makes a key from the bytes that DUMP gave for a value.",
    ),
    restore_row("restore-asking", WRITE.with(DENYOOM).with(ASKING))
        .doc(
            Group::Server,
            "3.0.0",
            RESTORE_COMPLEXITY,
            RESTORE_SYNTAX,
            "As RESTORE, for keys that move from one node of a cluster to another.",
        )
        .categories(&["keyspace", "dangerous"]),
];

const RESTORE_COMPLEXITY: &str =
    "O(N) where N is the number of bytes of the value, O(N*log(N)) for a sorted set out of order.";
const RESTORE_SYNTAX: &str = "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] \
                              [FREQ frequency]";

const fn restore_row(name: &'static str, flags: Flags) -> Command {
    shard(name, -4, flags, const { &[KeySpec::one(1, OW_UPDATE)] }, restore)
        .categories(&["dangerous"])
}

const BUSY_KEY: CmdError = CmdError::fixed("BUSYKEY Target key name already exists.");
const BAD_TTL: CmdError = CmdError::fixed("ERR Invalid TTL value, must be >= 0");
const BAD_IDLETIME: CmdError = CmdError::fixed("ERR Invalid IDLETIME value, must be >= 0");
const BAD_FREQ: CmdError = CmdError::fixed("ERR Invalid FREQ value, must be >= 0 and <= 255");
const BAD_FOOTER: CmdError = CmdError::fixed("ERR DUMP payload version or checksum are wrong");
const BAD_FORMAT: CmdError = CmdError::fixed("ERR Bad data format");

fn dump_value(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let now = cx.now();
    match cx.keys.get(args.at(1)) {
        Some(entry) => cx.out.bulk(&dump::dump(entry.value(), now)),
        None => cx.out.null(),
    }
    Ok(())
}

#[derive(Default)]
struct Options {
    replace: bool,
    absolute: bool,
    idle: Option<i64>,
    counter: Option<u8>,
}

impl Options {
    fn parse(args: &Args) -> Result<Options, CmdError> {
        let mut options = Options::default();
        let mut at = 4;
        while at < args.len() {
            let amount = args.get(at + 1);
            if args.is(at, "replace") {
                options.replace = true;
            } else if args.is(at, "absttl") {
                options.absolute = true;
            } else if let Some(amount) = amount
                && args.is(at, "idletime")
                && options.counter.is_none()
            {
                let idle = integer(amount)?;
                options.idle = Some(idle).filter(|idle| *idle >= 0);
                options.idle.ok_or(BAD_IDLETIME)?;
                at += 1;
            } else if let Some(amount) = amount
                && args.is(at, "freq")
                && options.idle.is_none()
            {
                options.counter = u8::try_from(integer(amount)?).ok();
                options.counter.ok_or(BAD_FREQ)?;
                at += 1;
            } else {
                return Err(CmdError::SYNTAX);
            }
            at += 1;
        }
        Ok(options)
    }

    /// The access field of the new entry, when they say anything that is recorded.
    fn access(&self, access: Access, now: i64) -> Option<u32> {
        let idle = self.idle.and_then(|idle| access.idle_for(idle, now));
        idle.or_else(|| self.counter.and_then(|counter| access.counted(counter, now)))
    }
}

fn limits(cx: &Cx) -> Limits {
    Limits {
        hash: hash::limits(cx),
        list: list::limit(cx),
        set: set::limits(cx),
        sorted_set: sorted_set::limits(cx.settings),
    }
}

/// RESTORE and RESTORE-ASKING.
fn restore(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (key, now) = (args.at(1), cx.now());
    let options = Options::parse(&args)?;
    if !options.replace && cx.keys.contains(key) {
        return Err(BUSY_KEY);
    }
    let expire_at = match integer(args.at(2))? {
        ..0 => return Err(BAD_TTL),
        0 => None,
        at if options.absolute => Some(at),
        // A time beyond all times never comes.
        ttl => Some(now.saturating_add(ttl)),
    };
    let content = dump::unseal(args.at(3)).ok_or(BAD_FOOTER)?;
    let value = dump::restore(content, now, cx.settings.bulk_len_max, &limits(cx));
    let mut entry = match value.map_err(|_| BAD_FORMAT)? {
        _ if expire_at.is_some_and(|at| at <= now) => return replace_by_nothing(cx, key),
        None => return replace_by_nothing(cx, key),
        Some(Value::String(bytes)) => Entry::string(key, &bytes, expire_at),
        Some(Value::Object(object)) => Entry::object(key, object, expire_at),
    };
    let access = cx.settings.access;
    entry.set_access(options.access(access, now).unwrap_or_else(|| access.fresh(now)));
    cx.keys.adopt(entry);
    cx.keys.changed(1);
    cx.out.ok();
    Ok(())
}

/// What was to be restored has expired.
fn replace_by_nothing(cx: &mut Cx, key: &[u8]) -> Result<(), CmdError> {
    let removed = cx.keys.remove(key);
    cx.keys.changed(u64::from(removed));
    cx.out.ok();
    Ok(())
}
