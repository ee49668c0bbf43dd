//! What is recorded of a command that has changed something.
//!
//! ```text
//!   the handler gave effects           those
//!   all its keys belong to one shard   the command as it was given
//!   keys of several shards             what has become of each key that it may have written to
//!   it has failed half-way             the same: no recorded command fails
//! ```

use super::registry::{CommandId, KeyIndexes, KeyShape, Registry, spec_indexes};
use super::spec::Command;
use crate::rdb::dump;
use crate::resp::Args;
use crate::shard::{Keys, Keyspace};

/// Records what a command has done that has just changed something in `db`, though it may have failed.
#[inline]
pub(super) fn record(
    registry: &Registry,
    keyspace: &mut Keyspace,
    (id, failed): (CommandId, bool),
    args: &Args,
    at: (usize, i64),
) {
    let effects = &mut keyspace.recorder.effects;
    effects.set_wrote();
    match (effects.is_given(), effects.is_in_unit()) {
        (true, _) => {}
        (false, _) if failed => {
            record_keys(&mut keyspace.keys(at.0, at.1, false), registry.command(id), args);
        }
        (false, false) => effects.record_request(at.0, args),
        (false, true) => record_by_shard(registry, keyspace, id, args, at),
    }
}

/// Records a command where keys of several shards may be at hand.
fn record_by_shard(
    registry: &Registry,
    keyspace: &mut Keyspace,
    id: CommandId,
    args: &Args,
    (db, now): (usize, i64),
) {
    let mut indexes = KeyIndexes::new();
    match registry.shape(id) {
        KeyShape::None => {}
        KeyShape::One(at) => indexes.push(at.into()),
        KeyShape::Several => {
            indexes = registry.command(id).key_indexes(args).unwrap_or_default();
        }
    }
    let recorder = &mut keyspace.recorder;
    let mut owners = indexes.iter().map(|&at| recorder.owner_of(args.at(at as usize)));
    let first = owners.next().unwrap_or_else(|| recorder.effects.shard());
    if owners.all(|owner| owner == first) {
        return recorder.effects.record(first, db, args.iter());
    }
    record_keys(&mut keyspace.keys(db, now, false), registry.command(id), args);
}

/// Records what has become of the keys that a command may have written to.
fn record_keys(keys: &mut Keys, command: &Command, args: &Args) {
    let mut written = KeyIndexes::new();
    for spec in command.keys.iter().filter(|spec| !spec.flags.contains(&"RO")) {
        // The command has run, so its keys could be found.
        let _ = spec_indexes(spec, args, &mut written);
    }
    written.iter().for_each(|&at| record_key(keys, args.at(at as usize)));
}

/// Records a key as it is: its whole value, or that it is gone.
pub(super) fn record_key(keys: &mut Keys, key: &[u8]) {
    let now = keys.now();
    let found = keys.peek(key).map(|entry| (entry.expire_at(), dump::dump(entry.value(), now)));
    match found {
        Some((expire_at, payload)) => {
            let mut number = itoa::Buffer::new();
            let at = number.format(expire_at.unwrap_or(0)).as_bytes();
            keys.effect(key, &[b"RESTORE", key, at, &payload, b"REPLACE", b"ABSTTL"]);
        }
        None => keys.effect(key, &[b"DEL", key]),
    }
}
