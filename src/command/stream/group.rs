//! Groups and their consumers: XGROUP, XACK.
//!
//! Nothing here is a change to those who watch the stream, as in Redis: only entries are.

use super::{id, insert, no_group_or_key, no_such_group, stream_of, stream_of_mut, wrong_words};
use crate::command::help::help;
use crate::command::number::integer;
use crate::data::stream::{Group, Id, Stream};
use crate::error::CmdError;
use crate::resp::Args;
use crate::shard::{Class, Cx};
use smallvec::SmallVec;

/// The event of a consumer that was not there, whichever command has made it.
pub const CREATE_CONSUMER: &str = "xgroup-createconsumer";

/// The stream of an XGROUP subcommand that makes none.
fn existing<'c>(cx: &'c mut Cx, key: &[u8]) -> Result<&'c mut Stream, CmdError> {
    match cx.keys.get_mut_unwatched(key) {
        Some(entry) => stream_of_mut(entry),
        None => Err(CmdError::fixed(
            "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may \
             want to use the MKSTREAM option to create an empty stream automatically.",
        )),
    }
}

/// The group of an XGROUP subcommand that needs one.
fn existing_group<'c>(cx: &'c mut Cx, key: &[u8], name: &[u8]) -> Result<&'c mut Group, CmdError> {
    let group = existing(cx, key)?.group_mut(name);
    group.map(|(_, group)| group).ok_or_else(|| no_such_group(key, name))
}

/// The options of CREATE and SETID.
struct Options {
    make: bool,
    entries_read: Option<i64>,
}

impl Options {
    fn read(args: Args, creates: bool) -> Result<Options, CmdError> {
        let mut options = Options { make: false, entries_read: None };
        let mut at = 5;
        while at < args.len() {
            if creates && args.is(at, "MKSTREAM") {
                options.make = true;
                at += 1;
            } else if args.is(at, "ENTRIESREAD") && at + 1 < args.len() {
                options.entries_read = match integer(args.at(at + 1))? {
                    -1 => None,
                    ..-1 => {
                        return Err(CmdError::fixed(
                            "ERR value for ENTRIESREAD must be positive or -1",
                        ));
                    }
                    read => Some(read),
                };
                at += 2;
            } else {
                return Err(wrong_words(&args));
            }
        }
        Ok(options)
    }
}

pub fn create(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let options = Options::read(args, true)?;
    let (key, name) = (args.at(2), args.at(3));
    let exists = match cx.keys.peek(key) {
        Some(entry) => stream_of(entry).map(|_| true)?,
        None => false,
    };
    if !options.make {
        existing(cx, key)?;
    }
    // More words can only be options that were said twice.
    if args.len() > 8 {
        return Err(wrong_words(&args));
    }
    let given = match args.at(4) {
        b"$" => None,
        text => Some(id::strict(text, 0)?),
    };
    if !exists {
        insert(cx, key, Box::default());
    }
    let stream = existing(cx, key)?;
    let group = Group::new(given.unwrap_or(stream.log.last_id), options.entries_read);
    if !stream.add_group(name, group) {
        return Err(CmdError::fixed("BUSYGROUP Consumer Group name already exists"));
    }
    cx.keys.notify(Class::Stream, "xgroup-create", key);
    cx.keys.changed(1);
    cx.out.ok();
    Ok(())
}

pub fn set_id(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let options = Options::read(args, false)?;
    let (key, name) = (args.at(2), args.at(3));
    let stream = existing(cx, key)?;
    let last_id = stream.log.last_id;
    let (_, group) = stream.group_mut(name).ok_or_else(|| no_such_group(key, name))?;
    if args.len() > 7 {
        return Err(wrong_words(&args));
    }
    group.last_id = match args.at(4) {
        b"$" => last_id,
        text => id::lenient(text, 0)?,
    };
    group.entries_read = options.entries_read;
    cx.keys.notify(Class::Stream, "xgroup-setid", key);
    cx.keys.changed(1);
    cx.out.ok();
    Ok(())
}

pub fn destroy(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let destroyed = existing(cx, args.at(2))?.remove_group(args.at(3)).is_some();
    if destroyed {
        cx.keys.notify(Class::Stream, "xgroup-destroy", args.at(2));
        cx.keys.changed(1);
        // Whoever waits for this group is told that it is gone.
        cx.keys.ready(args.at(2));
    }
    cx.out.int(i64::from(destroyed));
    Ok(())
}

pub fn create_consumer(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let now = cx.now();
    let (_, made) = existing_group(cx, args.at(2), args.at(3))?.find_or_make(args.at(4), now);
    if made {
        cx.keys.notify(Class::Stream, CREATE_CONSUMER, args.at(2));
    }
    cx.keys.changed(u64::from(made));
    cx.out.int(i64::from(made));
    Ok(())
}

pub fn delete_consumer(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let pending = existing_group(cx, args.at(2), args.at(3))?.remove_consumer(args.at(4));
    if pending.is_some() {
        cx.keys.notify(Class::Stream, "xgroup-delconsumer", args.at(2));
    }
    cx.keys.changed(u64::from(pending.is_some()));
    cx.out.int(pending.unwrap_or(0) as i64);
    Ok(())
}

pub fn group_help(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let lines = [
        "CREATE <key> <group> <id|$> [MKSTREAM] [ENTRIESREAD <count>]",
        "    Makes a group that reads what is behind <id>, or ($) what is still to come.",
        "    * MKSTREAM makes an empty stream if there is none.",
        "    * ENTRIESREAD tells how many entries there have been up to <id>.",
        "CREATECONSUMER <key> <group> <consumer>",
        "    Makes a consumer.",
        "DELCONSUMER <key> <group> <consumer>",
        "    Removes a consumer with its pending entries, and tells how many those were.",
        "DESTROY <key> <group>",
        "    Removes a group.",
        "SETID <key> <group> <id|$> [ENTRIESREAD <count>]",
        "    Has a group read on behind <id>.",
    ];
    help(&mut cx.out, "XGROUP", &lines);
    Ok(())
}

pub fn xack(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let group = match cx.keys.read_mut_unwatched(args.at(1)) {
        Some(entry) => stream_of_mut(entry)?.group_mut(args.at(2)),
        None => None,
    };
    let Some((_, group)) = group else {
        cx.out.int(0);
        return Ok(());
    };
    let ids = args.from(3).iter().map(|id| id::strict(id, 0));
    let ids: SmallVec<[Id; 8]> = ids.collect::<Result<_, _>>()?;
    let acknowledged = ids.iter().filter(|id| group.acknowledge(**id)).count();
    cx.keys.changed(acknowledged as u64);
    cx.out.int(acknowledged as i64);
    Ok(())
}

/// The group that a command about pending entries is about.
pub fn pending_group<'c>(
    stream: Option<&'c Stream>,
    key: &[u8],
    name: &[u8],
) -> Result<&'c Group, CmdError> {
    stream.and_then(|stream| stream.group(name)).ok_or_else(|| no_group_or_key(key, name, b""))
}
