//! DEBUG DIGEST and DIGEST-VALUE: one number for all that is in a server, or in a key, by which data sets are
//! compared.
//!
//! It is the one that Redis computes. SHA-1 sums are exclusive-ored where the order means nothing, and put
//! through SHA-1 again where it does:
//!
//! ```text
//!   add(digest, bytes)   digest ^= sha1(bytes)
//!   mix(digest, bytes)   add(digest, bytes); digest = sha1(digest)
//!
//!   value     mix type, then: a string mixed; elements of a list and ids and pairs of a stream mixed in their
//!             order; members of a set added; of a hash or sorted set, pairs mixed from zero and added;
//!             "!!expire!!" added if the key has a time to live
//!   database  mix its number, add the digests of its keys, each mixed with the name first
//! ```

use crate::data::hash::FieldValue;
use crate::data::number::Decimal;
use crate::data::packed::Element;
use crate::data::stream::{Id, Value};
use crate::data::{Entry, Object, ValueRef, double};
use crate::error::CmdError;
use crate::resp::{Args, Encoder};
use crate::shard::Cx;
use sha1::{Digest as _, Sha1};

const LEN: usize = 20;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Digest([u8; LEN]);

impl Digest {
    fn add(&mut self, bytes: &[u8]) {
        let sum: [u8; LEN] = Sha1::digest(bytes).into();
        self.combine(&sum);
    }

    fn mix(&mut self, bytes: &[u8]) {
        self.add(bytes);
        self.0 = Sha1::digest(self.0).into();
    }

    fn combine(&mut self, other: &[u8]) {
        self.0.iter_mut().zip(other).for_each(|(own, other)| *own ^= other);
    }

    fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The number by which Redis knows a type.
fn type_number(value: &ValueRef) -> u32 {
    match value {
        ValueRef::Int(_) | ValueRef::Bytes(_) => 0,
        ValueRef::Object(Object::List(_)) => 1,
        ValueRef::Object(Object::Set(_)) => 2,
        ValueRef::Object(Object::SortedSet(_)) => 3,
        ValueRef::Object(Object::Hash(_)) => 4,
        ValueRef::Object(Object::Stream(_)) => 6,
    }
}

fn mix_pair(digest: &mut Digest, first: &[u8], second: &[u8]) {
    let mut pair = Digest::default();
    pair.mix(first);
    pair.mix(second);
    digest.add(&pair.0);
}

fn mix_value(digest: &mut Digest, entry: &Entry, now: i64) {
    let value = entry.value();
    digest.mix(&type_number(&value).to_be_bytes());
    match value {
        ValueRef::Int(int) => digest.mix(&Decimal::new(int)),
        ValueRef::Bytes(bytes) => digest.mix(bytes),
        ValueRef::Object(Object::List(list)) => {
            list.iter().for_each(|element| element.with_text(|text| digest.mix(text)));
        }
        ValueRef::Object(Object::Set(set)) => {
            set.iter().for_each(|member| member.with_text(|text| digest.add(text)));
        }
        ValueRef::Object(Object::SortedSet(set)) => {
            let score = |score| double::general(score);
            set.iter().for_each(|(member, s)| mix_pair(digest, member, score(s).as_ref()));
        }
        ValueRef::Object(Object::Hash(hash)) => hash.each(now, |field, value| {
            let value = match value {
                FieldValue::Int(int) => Element::Int(int),
                FieldValue::Bytes(bytes) => Element::Bytes(bytes),
            };
            value.with_text(|value| mix_pair(digest, field, value));
        }),
        ValueRef::Object(Object::Stream(stream)) => {
            for message in stream.log.range(Id::MIN, Id::MAX) {
                digest.mix(format!("{}.{}", message.id.ms, message.id.seq).as_bytes());
                for part in message.pairs().flat_map(|(name, value)| [name, value]) {
                    match part {
                        Value::Bytes(bytes) => digest.mix(bytes),
                        Value::Int(int) => digest.mix(&Decimal::new(int)),
                    }
                }
            }
        }
    }
    if entry.expire_at().is_some() {
        digest.add(b"!!expire!!");
    }
}

/// By database: the sum of the digests of this shard's keys.
fn databases(cx: &mut Cx) -> Vec<Digest> {
    let (now, count) = (cx.now(), cx.keys.db_count());
    let of_db = |db| {
        let (mut sum, mut position) = (Digest::default(), 0);
        let keys = cx.keys.in_db(db);
        loop {
            position = keys.scan(position, &mut |entry| {
                if !entry.is_expired(now) {
                    let mut digest = Digest::default();
                    digest.mix(entry.key());
                    mix_value(&mut digest, entry, now);
                    sum.combine(&digest.0);
                }
            });
            if position == 0 {
                return sum;
            }
        }
    };
    (0..count).map(of_db).collect()
}

fn whole(databases: &[Digest]) -> Digest {
    let mut whole = Digest::default();
    // That a database with keys comes to nothing does not happen.
    let filled = databases.iter().enumerate().filter(|(_, digest)| **digest != Digest::default());
    for (db, digest) in filled {
        whole.mix(&(db as u32).to_be_bytes());
        whole.combine(&digest.0);
    }
    whole
}

/// DEBUG DIGEST.
pub(super) fn digest(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let databases = databases(cx);
    cx.out.simple(&whole(&databases).hex());
    Ok(())
}

/// One shard's part of it: the digests of its databases one behind the other.
pub(super) fn digest_part(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let bytes: Vec<u8> = databases(cx).iter().flat_map(|digest| digest.0).collect();
    cx.out.bulk(&bytes);
    Ok(())
}

/// Puts the shards' parts together.
pub(super) fn join_digests(parts: &[&[u8]], out: &mut Encoder, _: &mut fastrand::Rng) {
    let mut databases: Vec<Digest> = Vec::new();
    for part in parts {
        let body =
            part.iter().position(|&byte| byte == b'\n').map_or(&part[..0], |at| &part[at + 1..]);
        let body = body.strip_suffix(b"\r\n").unwrap_or(body);
        for (db, digest) in body.chunks(LEN).enumerate() {
            match databases.get_mut(db) {
                Some(own) => own.combine(digest),
                None => {
                    databases.push(Digest::default());
                    databases[db].combine(digest);
                }
            }
        }
    }
    out.simple(&whole(&databases).hex());
}

/// DEBUG DIGEST-VALUE.
pub(super) fn digest_value(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let now = cx.now();
    cx.out.array(args.len() - 2);
    for at in 2..args.len() {
        let mut digest = Digest::default();
        if let Some(entry) = cx.keys.peek(args.at(at)) {
            mix_value(&mut digest, entry, now);
        }
        cx.out.simple(&digest.hex());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Bench;

    #[test]
    fn it_tells_what_differs_and_not_how_it_came_about() {
        let mut bench = Bench::new();
        let none = format!("+{}\r\n", "0".repeat(40));
        assert_eq!(bench.run("DEBUG DIGEST"), none);
        let mut seen = vec![none];
        for line in [
            "SET a 1",
            "SET b 1",
            "EXPIRE b 1000",
            "RPUSH l 1 2 3",
            "SADD s 1 2 3",
            "ZADD z 1.5 m",
            "HSET h f v",
            "XADD x 1-1 f v",
            "RPUSH l 4",
            "ZADD z 1.6 m",
            "HSET h f w",
            "SADD s a",
        ] {
            bench.run(line);
            let digest = bench.run("DEBUG DIGEST");
            assert!(!seen.contains(&digest), "{line}");
            seen.push(digest);
        }
        let value = bench.run("DEBUG DIGEST-VALUE l s none");
        for line in ["DEL l s", "RPUSH l 1 2 3 4", "SADD s a 3 2 1"] {
            bench.run(line);
        }
        assert_eq!(bench.run("DEBUG DIGEST"), seen[seen.len() - 1]);
        assert_eq!(bench.run("DEBUG DIGEST-VALUE l s none"), value);
        assert!(value.starts_with("*3\r\n+") && value.ends_with(&seen[0]));
    }
}
