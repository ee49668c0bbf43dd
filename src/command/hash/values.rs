//! Values of fields together with their expiry: HGETEX, HSETEX, HGETDEL, as Valkey 9 has them.
//!
//! Redis 8 knows them too. Only Valkey's HSETEX has NX and XX, which are about the key; and where
//! error texts differ, they are Valkey's.

use super::expiry::{DELETES, after_count, deadline, find_fields, plain_fields, record};
use super::{
    Events, HDEL, HEXPIRED, HSET, edit, event_if, limits, record_fields, set_all, write_or_null,
};
use crate::data::hash::{Hash, Lifetime, Limits};
use crate::error::CmdError;
use crate::resp::Args;
use crate::shard::{Cx, Keys};

/// What becomes of the fields' expiries.
#[derive(Clone, Copy)]
enum Wish<'a> {
    /// EX and its kin: so many units after the base, now or the epoch.
    Expire {
        amount: &'a [u8],
        unit_ms: i64,
        absolute: bool,
    },
    Persist,
    Keep,
}

/// What the words in front of FIELDS say.
#[derive(Default)]
struct Options<'a> {
    wish: Option<(&'static str, Wish<'a>)>,
    /// Whether the key must be there, or must not.
    key_exists: Option<bool>,
    /// Whether all the fields must be there, or none may.
    fields_exist: Option<bool>,
}

/// A word, what it is about and which command knows it.
const TERMS: [(&str, i64, bool); 4] =
    [("ex", 1000, false), ("px", 1, false), ("exat", 1000, true), ("pxat", 1, true)];

impl<'a> Options<'a> {
    /// The same word may stand there twice; two that contradict each other may not.
    fn parse(args: Args<'a>, setting: bool) -> Result<Options<'a>, CmdError> {
        let mut options = Options::default();
        let mut at = 0;
        while at < args.len() {
            let known = TERMS.iter().find(|(word, ..)| args.is(at, word));
            if let Some(&(word, unit_ms, absolute)) = known {
                let amount = args.get(at + 1).ok_or(CmdError::SYNTAX)?;
                options.wish(word, Wish::Expire { amount, unit_ms, absolute })?;
                at += 2;
                continue;
            }
            match () {
                () if setting && args.is(at, "keepttl") => options.wish("keepttl", Wish::Keep)?,
                () if !setting && args.is(at, "persist") => {
                    options.wish("persist", Wish::Persist)?;
                }
                () if setting && args.is(at, "nx") => demand(&mut options.key_exists, false)?,
                () if setting && args.is(at, "xx") => demand(&mut options.key_exists, true)?,
                () if setting && args.is(at, "fnx") => demand(&mut options.fields_exist, false)?,
                () if setting && args.is(at, "fxx") => demand(&mut options.fields_exist, true)?,
                () => return Err(CmdError::SYNTAX),
            }
            at += 1;
        }
        Ok(options)
    }

    fn wish(&mut self, word: &'static str, wish: Wish<'a>) -> Result<(), CmdError> {
        if self.wish.is_some_and(|(other, _)| other != word) {
            return Err(CmdError::SYNTAX);
        }
        self.wish = Some((word, wish));
        Ok(())
    }

    /// The time at which the fields are to expire, if there is to be one.
    fn deadline(&self, now: i64, name: &str) -> Result<Option<i64>, CmdError> {
        let Some((_, Wish::Expire { amount, unit_ms, absolute })) = self.wish else {
            return Ok(None);
        };
        let base = if absolute { 0 } else { now };
        deadline(amount, unit_ms, base, name).map(Some)
    }
}

fn demand(what: &mut Option<bool>, exists: bool) -> Result<(), CmdError> {
    match what.replace(exists) {
        Some(other) if other != exists => Err(CmdError::SYNTAX),
        _ => Ok(()),
    }
}

pub fn hgetex(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let fields_at = find_fields(&args, 2)?;
    let options = Options::parse(args.range(2, fields_at), false)?;
    let fields = after_count(&args, fields_at, 1)?;
    let (now, name) = (cx.now(), cx.name);
    let persist = matches!(options.wish, Some((_, Wish::Persist)));
    let Cx { keys, out, .. } = cx;
    // It also reads, which a miss is told of.
    keys.get(args.at(1));
    let is_recorded = keys.is_recorded();
    let (mut at, mut recorded) = (None, Vec::new());
    let changed = edit(keys, args.at(1), |hash| {
        let deadline = options.deadline(now, name)?;
        at = deadline;
        out.array(fields.len());
        let event: Events = match deadline {
            Some(at) if at <= now => HEXPIRED,
            Some(_) => &["hexpire"],
            None => &["hpersist"],
        };
        let (mut changed, mut touched) = (0, false);
        for field in fields.iter() {
            write_or_null(out, hash.get(field, now));
            let one = match (hash.expiry(field, now), deadline) {
                (Some(_), Some(at)) if at <= now => {
                    touched = true;
                    u64::from(hash.remove(field, now))
                }
                (Some(current), Some(_)) | (Some(current @ Some(_)), None)
                    if deadline.is_some() || persist =>
                {
                    touched = true;
                    hash.set_expire(field, deadline);
                    u64::from(current != deadline)
                }
                _ => 0,
            };
            changed += one;
            recorded.extend((is_recorded && one > 0).then_some(field));
        }
        Ok((changed, event_if(touched, event)))
    })?;
    let mut text = itoa::Buffer::new();
    let effect: &[&[u8]] = match at {
        Some(at) if at <= now => DELETES,
        Some(at) => &[b"HPEXPIREAT", text.format(at).as_bytes()],
        None => &[b"HPERSIST"],
    };
    record(&mut cx.keys, args.at(1), effect, &recorded);
    cx.keys.changed(changed);
    Ok(())
}

pub fn hsetex(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let fields_at = find_fields(&args, 2)?;
    let options = Options::parse(args.range(2, fields_at), true)?;
    let pairs = after_count(&args, fields_at, 2)?;
    let (limits, now, name) = (limits(cx), cx.now(), cx.name);
    let (is_recorded, mut stale, mut put_for) = (cx.keys.is_recorded(), Vec::new(), None);
    let changed = edit(&mut cx.keys, args.at(1), |hash| {
        // An empty hash stands for a key that is not there.
        let meets = |demand: Option<bool>, exists| demand.is_none_or(|wanted| wanted == exists);
        if !meets(options.key_exists, !hash.is_empty()) {
            return Ok((None, &[] as Events));
        }
        let lifetime = match (options.deadline(now, name)?, options.wish) {
            (Some(at), _) => Lifetime::Until(at),
            (None, Some((_, Wish::Keep))) => Lifetime::AsBefore,
            _ => Lifetime::Endless,
        };
        let mut fields = pairs.iter().step_by(2);
        if !fields.all(|field| meets(options.fields_exist, hash.contains(field, now))) {
            return Ok((None, &[] as Events));
        }
        if is_recorded {
            stale.extend(pairs.iter().step_by(2).filter(|field| hash.is_stale(field, now)));
        }
        put_for = Some(lifetime);
        let changed = set_pairs(hash, pairs, lifetime, limits, now);
        let events: Events = match lifetime {
            // As if they had been set and had expired at once.
            Lifetime::Until(at) if at <= now => &["hset", "hexpire", "hexpired"],
            Lifetime::Until(_) => &["hset", "hexpire"],
            _ => HSET,
        };
        Ok((Some(changed), events))
    })?;
    if let Some(lifetime) = put_for.filter(|_| is_recorded) {
        let changes = changed.unwrap_or(0) > 0;
        record_pairs(&mut cx.keys, args.at(1), pairs, (lifetime, changes), &stale);
    }
    cx.keys.changed(changed.unwrap_or(0));
    cx.out.int(i64::from(changed.is_some()));
    Ok(())
}

/// Records that fields were set, of which some were `stale`: there, though their time was over.
fn record_pairs(
    keys: &mut Keys,
    key: &[u8],
    pairs: Args,
    (lifetime, changes): (Lifetime, bool),
    stale: &[&[u8]],
) {
    let words: Vec<&[u8]> = pairs.iter().collect();
    let mut at_text = itoa::Buffer::new();
    match lifetime {
        Lifetime::Until(at) if at <= keys.now() => {
            if changes || !stale.is_empty() {
                let fields: Vec<&[u8]> = pairs.iter().step_by(2).collect();
                record(keys, key, DELETES, &fields);
            }
        }
        Lifetime::Until(at) => {
            let head = [b"HSETEX", b"PXAT".as_slice(), at_text.format(at).as_bytes()];
            record_fields(keys, key, &head, &words, 2);
        }
        Lifetime::AsBefore => {
            record(keys, key, DELETES, stale);
            record_fields(keys, key, &[b"HSETEX", b"KEEPTTL"], &words, 2);
        }
        Lifetime::Endless => keys.effect_of_many(key, &[b"HSET", key], &words),
    }
}

/// Sets fields, or removes them if their time has passed already; how many were touched.
fn set_pairs(hash: &mut Hash, pairs: Args, lifetime: Lifetime, limits: Limits, now: i64) -> u64 {
    if matches!(lifetime, Lifetime::Until(at) if at <= now) {
        return pairs.iter().step_by(2).filter(|field| hash.remove(field, now)).count() as u64;
    }
    set_all(hash, pairs, lifetime, limits, now);
    pairs.len() as u64 / 2
}

pub fn hgetdel(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let fields = plain_fields(&args)?;
    let now = cx.now();
    let Cx { keys, out, .. } = cx;
    let mut shrunk = false;
    let gone = edit(keys, args.at(1), |hash| {
        out.array(fields.len());
        let (mut gone, len) = (0, hash.len());
        for field in fields.iter() {
            write_or_null(out, hash.get(field, now));
            gone += u64::from(hash.remove(field, now));
        }
        shrunk = hash.len() < len;
        Ok((gone, event_if(gone > 0, HDEL)))
    })?;
    if shrunk && cx.keys.is_recorded() {
        let fields: Vec<&[u8]> = fields.iter().collect();
        record(&mut cx.keys, args.at(1), DELETES, &fields);
    }
    cx.keys.changed(gone);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Bench;

    #[test]
    fn values_are_read_and_their_expiry_set() {
        let mut bench = Bench::new();
        bench.run("HSET h a 1 b 2");
        assert_eq!(bench.run("HGETEX h FIELDS 2 a x"), "*2\r\n$1\r\n1\r\n$-1\r\n");
        assert_eq!(bench.run("HGETEX none EX 5 FIELDS 1 a"), "*1\r\n$-1\r\n");
        for (option, ttl) in [
            ("EX 5", 5000),
            ("PX 700", 700),
            ("EXAT 1700000009", 9000),
            ("PXAT 1700000000003", 3),
            ("PERSIST", -1),
        ] {
            assert_eq!(bench.run(&format!("HGETEX h {option} FIELDS 1 a")), "*1\r\n$1\r\n1\r\n");
            assert_eq!(bench.run("HPTTL h FIELDS 1 a"), format!("*1\r\n:{ttl}\r\n"), "{option}");
        }
        assert_eq!(bench.run("HGETEX h EX 0 FIELDS 2 a a"), "*2\r\n$1\r\n1\r\n$-1\r\n");
        assert_eq!(bench.run("HLEN h"), ":1\r\n");
        assert_eq!(bench.run("HGETEX h PXAT 1 FIELDS 1 b"), "*1\r\n$1\r\n2\r\n");
        assert_eq!(bench.run("EXISTS h") + &bench.run("EXISTS none"), ":0\r\n:0\r\n");
    }

    #[test]
    fn values_are_set_with_their_expiry() {
        let mut bench = Bench::new();
        for (command, reply) in [
            ("HSETEX h EX 100 FIELDS 2 a 1 b 2", ":1\r\n"),
            ("HTTL h FIELDS 2 a b", "*2\r\n:100\r\n:100\r\n"),
            ("HSETEX h KEEPTTL FIELDS 2 a 3 c 4", ":1\r\n"),
            ("HSETEX h FIELDS 1 b 5", ":1\r\n"),
            ("HTTL h FIELDS 3 a b c", "*3\r\n:100\r\n:-1\r\n:-1\r\n"),
            ("HMGET h a b c", "*3\r\n$1\r\n3\r\n$1\r\n5\r\n$1\r\n4\r\n"),
            ("HSETEX h FNX FIELDS 2 d 1 a 1", ":0\r\n"),
            ("HSETEX h FXX FIELDS 2 d 1 a 1", ":0\r\n"),
            ("HSETEX h FXX FIELDS 1 a 1", ":1\r\n"),
            ("HSETEX h FNX FIELDS 2 d 1 d 2", ":1\r\n"),
            ("HGET h d", "$1\r\n2\r\n"),
            ("HSETEX h NX FIELDS 1 e 1", ":0\r\n"),
            ("HSETEX none XX FIELDS 1 e 1", ":0\r\n"),
            ("HSETEX none FXX FIELDS 1 e 1", ":0\r\n"),
            ("EXISTS none", ":0\r\n"),
            ("HSETEX h PXAT 1 FIELDS 2 a 1 new 1", ":1\r\n"),
            ("HMGET h a new", "*2\r\n$-1\r\n$-1\r\n"),
            ("HSETEX none EX 0 FIELDS 1 a 1", ":1\r\n"),
            ("EXISTS none", ":0\r\n"),
            ("HSETEX none NX EX 9 FIELDS 1 a 1", ":1\r\n"),
        ] {
            assert_eq!(bench.run(command), reply, "{command}");
        }
    }

    #[test]
    fn values_are_read_and_removed() {
        let mut bench = Bench::new();
        bench.run("HSET h a 1 b 2");
        assert_eq!(bench.run("HGETDEL h FIELDS 3 a x a"), "*3\r\n$1\r\n1\r\n$-1\r\n$-1\r\n");
        assert_eq!(bench.run("HGETDEL h FIELDS 1 b"), "*1\r\n$1\r\n2\r\n");
        assert_eq!(bench.run("HGETDEL h FIELDS 1 b"), "*1\r\n$-1\r\n");
        assert_eq!(bench.keys(0), 0);
    }

    #[test]
    fn wrong_arguments_are_told() {
        let mut bench = Bench::new();
        let count = "numfields should be greater than 0 and match the provided number of fields";
        let integer = "value is not an integer or out of range";
        let syntax = "syntax error";
        for (command, error) in [
            ("HGETEX h EX 1 PERSIST FIELDS 1 a", syntax),
            ("HGETEX h EX FIELDS 1 a", syntax),
            ("HGETEX h KEEPTTL FIELDS 1 a", syntax),
            ("HGETEX h NX FIELDS 1 a", syntax),
            ("HGETEX h EX x FIELDS 1 a", integer),
            ("HGETEX h EX -1 FIELDS 1 a", "invalid expire time in 'hgetex' command"),
            ("HGETEX h FIELDS 2 a", count),
            ("HSETEX h PERSIST FIELDS 1 a 1", syntax),
            ("HSETEX h NX XX FIELDS 1 a 1", syntax),
            ("HSETEX h FNX FXX FIELDS 1 a 1", syntax),
            ("HSETEX h EX 1 KEEPTTL FIELDS 1 a 1", syntax),
            ("HSETEX h FIELDS 1 a 1 EX 5", count),
            ("HSETEX h FIELDS 1 a 1 b", count),
            ("HSETEX h EX x FIELDS 0 a 1", count),
            (
                "HSETEX h PX 9223372036854775807 FIELDS 1 a 1",
                "invalid expire time in 'hsetex' command",
            ),
            ("HGETDEL h FIELDS 2 a", count),
            ("HGETDEL h FOO 1 a", syntax),
        ] {
            assert_eq!(bench.run(command), format!("-ERR {error}\r\n"), "{command}");
        }
        bench.run("SET s v");
        for command in ["HGETEX s FIELDS 1 a", "HSETEX s FIELDS 1 a 1", "HGETDEL s FIELDS 1 a"] {
            assert!(bench.run(command).starts_with("-WRONGTYPE"), "{command}");
        }
    }
}
