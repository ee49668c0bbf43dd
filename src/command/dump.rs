//! Values as bytes that travel: DUMP and RESTORE.

use super::effect::record_key;
use super::number::integer;
use super::spec::*;
use crate::data::{Entry, hash, list, set, sorted_set};
use crate::error::CmdError;
use crate::rdb::load::{Limits, Value};
use crate::rdb::{dump, kind};
use crate::resp::Args;
use crate::shard::{Access, Class, Cx, Settings};
use smallvec::{SmallVec, smallvec};

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
    load_limits(cx.settings, cx.keys.hasher())
}

/// Up to where collections are packed that are loaded, for a shard that hashes so.
pub fn load_limits(settings: &Settings, hasher: &ahash::RandomState) -> Limits {
    let encodings = &settings.encodings;
    Limits {
        hash: hash::Limits {
            fields: encodings.hash_max_listpack_entries,
            string: encodings.hash_max_listpack_value,
        },
        list: list::Limit::new(encodings.list_max_listpack_size),
        set: set::Limits {
            intset_entries: encodings.set_max_intset_entries,
            listpack_entries: encodings.set_max_listpack_entries,
            listpack_value: encodings.set_max_listpack_value,
            hasher: hasher.clone(),
        },
        sorted_set: sorted_set::Limits {
            entries: encodings.zset_max_listpack_entries,
            value: encodings.zset_max_listpack_value,
        },
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
        // As in Redis, a time beyond all times has passed.
        ttl => Some(now.wrapping_add(ttl)),
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
    cx.keys.clear(key);
    cx.keys.adopt(entry);
    cx.keys.notify(Class::Generic, "restore", key);
    if cx.keys.is_recorded() {
        record(cx, &args, &options, expire_at);
    }
    cx.keys.changed(1);
    cx.out.ok();
    Ok(())
}

/// Records that a key was restored: with an absolute time, and without what had expired already.
fn record(cx: &mut Cx, args: &Args, options: &Options, expire_at: Option<i64>) {
    let (key, payload) = (args.at(1), args.at(3));
    if payload.first().is_some_and(|&kind| has_field_times(kind)) {
        return record_key(&mut cx.keys, key);
    }
    let (mut at, mut amount) = (itoa::Buffer::new(), itoa::Buffer::new());
    let at = at.format(expire_at.unwrap_or(0)).as_bytes();
    let mut words: SmallVec<[&[u8]; 8]> = smallvec![b"RESTORE".as_slice(), key, at, payload];
    words.extend(options.replace.then_some(b"REPLACE".as_slice()));
    words.extend(expire_at.map(|_| b"ABSTTL".as_slice()));
    if let Some(idle) = options.idle {
        words.extend([b"IDLETIME".as_slice(), amount.format(idle).as_bytes()]);
    } else if let Some(counter) = options.counter {
        words.extend([b"FREQ".as_slice(), amount.format(counter).as_bytes()]);
    }
    cx.keys.effect(key, &words);
}

/// Whether a value of this type may have fields that expire.
fn has_field_times(kind: u8) -> bool {
    matches!(
        kind,
        kind::HASH_2 | kind::HASH_LISTPACK_EX_RC | kind::HASH_METADATA | kind::HASH_LISTPACK_EX
    )
}

/// What was to be restored has expired.
fn replace_by_nothing(cx: &mut Cx, key: &[u8]) -> Result<(), CmdError> {
    let removed = cx.keys.replace_by_nothing(key);
    if removed {
        cx.keys.effect(key, &[b"DEL", key]);
    }
    cx.keys.changed(u64::from(removed));
    cx.out.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Bench;
    use crate::rdb::dump::seal;
    use crate::shard::Access;

    fn dump(bench: &mut Bench, key: &str) -> Vec<u8> {
        let reply = bench.run_args(&[b"DUMP", key.as_bytes()]);
        let start = reply.iter().position(|&byte| byte == b'\n').expect("a bulk") + 1;
        reply[start..reply.len() - 2].to_vec()
    }

    fn restore(bench: &mut Bench, words: &str, payload: &[u8]) -> String {
        let words: Vec<&[u8]> = words
            .split(' ')
            .map(|word| if word == "@" { payload } else { word.as_bytes() })
            .collect();
        String::from_utf8_lossy(&bench.run_args(&words)).into_owned()
    }

    #[test]
    fn values_of_all_types_come_back() {
        let mut bench = Bench::new();
        for (make, show) in [
            ("SET k v", "GET"),
            ("SET k 12", "GET"),
            ("RPUSH k a 1", "LRANGE 0 -1"),
            ("SADD k a", "SMEMBERS"),
            ("ZADD k 1.5 a 2 b", "ZRANGE 0 -1"),
            ("HSET k f v", "HGETALL"),
            ("XADD k 1-1 f v", "XRANGE - +"),
        ] {
            bench.run("DEL k l");
            bench.run(make);
            let payload = dump(&mut bench, "k");
            assert_eq!(restore(&mut bench, "RESTORE l 0 @", &payload), "+OK\r\n");
            let mut shown = |key: &str| {
                let (name, rest) = show.split_once(' ').unwrap_or((show, ""));
                bench.run(&format!("{name} {key} {rest}"))
            };
            assert_eq!(shown("k"), shown("l"));
            let mut encoding = |key: &str| bench.run(&format!("OBJECT ENCODING {key}"));
            assert_eq!(encoding("k"), encoding("l"));
        }
        assert_eq!(bench.run("DUMP none"), "$-1\r\n");
    }

    #[test]
    fn times_to_live() {
        let mut bench = Bench::new();
        bench.run("SET k v");
        let payload = dump(&mut bench, "k");
        let now = bench.now;
        for (words, ttl) in [
            ("RESTORE k 0 @ REPLACE".to_string(), -1),
            ("RESTORE k 5000 @ REPLACE".to_string(), 5000),
            (format!("RESTORE k {} @ absttl replace", now + 7), 7),
            (format!("RESTORE k {now} @ ABSTTL REPLACE"), -2),
            ("RESTORE k 1 @ ABSTTL".to_string(), -2),
            ("RESTORE k 9223372036854775807 @".to_string(), -2),
            ("RESTORE-ASKING k 9 @".to_string(), 9),
        ] {
            assert_eq!(restore(&mut bench, &words, &payload), "+OK\r\n");
            assert_eq!(bench.run("PTTL k"), format!(":{ttl}\r\n"), "{words}");
        }
        assert_eq!((bench.keys(0), bench.expires(0)), (1, 1));
    }

    #[test]
    fn errors_in_the_order_of_redis() {
        let mut bench = Bench::new();
        bench.run("SET k v");
        let payload = dump(&mut bench, "k");
        for (words, error) in [
            ("RESTORE k x @ NOSUCH", "ERR syntax error"),
            ("RESTORE k 0 @ IDLETIME", "ERR syntax error"),
            ("RESTORE k 0 @ IDLETIME 1 FREQ 1", "ERR syntax error"),
            ("RESTORE k 0 @ FREQ x", "ERR value is not an integer or out of range"),
            ("RESTORE k 0 @ FREQ 256", "ERR Invalid FREQ value, must be >= 0 and <= 255"),
            ("RESTORE k 0 @ IDLETIME -1", "ERR Invalid IDLETIME value, must be >= 0"),
            ("RESTORE k x @", "BUSYKEY Target key name already exists."),
            ("RESTORE l x @", "ERR value is not an integer or out of range"),
            ("RESTORE l -1 bad", "ERR Invalid TTL value, must be >= 0"),
            ("RESTORE l 0 bad", "ERR DUMP payload version or checksum are wrong"),
        ] {
            assert_eq!(restore(&mut bench, words, &payload), format!("-{error}\r\n"), "{words}");
        }
        for (content, version, error) in [
            (&b"\x00\x01v"[..], 13, "DUMP payload version or checksum are wrong"),
            (b"\x00\x02v", 11, "Bad data format"),
            (b"\x01\x00", 11, "Bad data format"),
            (b"\x63\x00", 11, "Bad data format"),
            (b"", 11, "Bad data format"),
        ] {
            let payload = seal(content.to_vec(), version);
            let reply = restore(&mut bench, "RESTORE k 1 @ ABSTTL REPLACE", &payload);
            assert_eq!(reply, format!("-ERR {error}\r\n"));
        }
        assert_eq!(bench.run("GET k"), "$1\r\nv\r\n", "an error changes nothing");
        assert_eq!(restore(&mut bench, "RESTORE k 1 @ ABSTTL REPLACE", &payload), "+OK\r\n");
        assert_eq!(bench.keys(0), 0);
    }

    #[test]
    fn the_history_of_access_can_be_told() {
        let mut bench = Bench::new();
        bench.run("SET k v");
        let payload = dump(&mut bench, "k");
        restore(&mut bench, "RESTORE k 0 @ REPLACE IDLETIME 1000", &payload);
        assert_eq!(bench.run("OBJECT IDLETIME k"), ":1000\r\n");
        restore(&mut bench, "RESTORE k 0 @ REPLACE FREQ 100", &payload);
        assert_eq!(bench.run("OBJECT IDLETIME k"), ":0\r\n");
        let mut settings = bench.shard.settings;
        settings.access = Access::Lfu { log_factor: 10, decay_minutes: 1 };
        bench.shard.configure(settings);
        restore(&mut bench, "RESTORE k 0 @ REPLACE FREQ 100", &payload);
        assert_eq!(bench.run("OBJECT FREQ k"), ":100\r\n");
        restore(&mut bench, "RESTORE k 0 @ REPLACE IDLETIME 9", &payload);
        assert_eq!(bench.run("OBJECT FREQ k"), ":5\r\n");
    }

    #[test]
    fn fields_keep_their_times() {
        let mut bench = Bench::new();
        let now = bench.now;
        bench.run("HSET h a 1 b 2");
        bench.run("HPEXPIRE h 50 FIELDS 1 a");
        let payload = dump(&mut bench, "h");
        restore(&mut bench, "RESTORE i 0 @", &payload);
        let times = format!("*2\r\n:{}\r\n:-1\r\n", now + 50);
        assert_eq!(bench.run("HPEXPIRETIME i FIELDS 2 a b"), times);
        bench.now += 51;
        restore(&mut bench, "RESTORE j 0 @", &payload);
        assert_eq!((bench.run("HLEN i"), bench.run("HLEN j")), (":1\r\n".into(), ":1\r\n".into()));
        bench.run("HSET k a 1");
        bench.run("HPEXPIRE k 50 FIELDS 1 a");
        let payload = dump(&mut bench, "k");
        bench.now += 51;
        assert_eq!(restore(&mut bench, "RESTORE i 0 @ REPLACE", &payload), "+OK\r\n");
        assert_eq!(bench.run("EXISTS i k"), ":0\r\n");
    }
}
