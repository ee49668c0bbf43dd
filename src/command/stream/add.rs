//! What changes the entries of a stream: XADD, XTRIM, XDEL, XSETID.

use super::id;
use super::{insert, node_limits, stream_of_mut};
use crate::command::number::integer;
use crate::data::stream::{Id, NewId, Refused, Stream, Trim};
use crate::error::CmdError;
use crate::resp::Args;
use crate::shard::{Class, Cx};
use smallvec::SmallVec;

/// Up to where the stream is trimmed.
#[derive(Clone, Copy)]
struct Trimming {
    trim: Trim,
    /// Only whole nodes go.
    approximately: bool,
    /// Entries that may go; 0 is no limit.
    limit: u64,
}

/// The options of XADD and XTRIM.
struct Options {
    trimming: Option<Trimming>,
    make: bool,
    /// Where XADD's id is.
    id_at: usize,
    id: Option<NewId>,
}

impl Options {
    fn read(cx: &Cx, args: Args, adds: bool) -> Result<Options, CmdError> {
        let mut options = Options { trimming: None, make: true, id_at: args.len(), id: None };
        let mut limit = None;
        let mut at = 2;
        while at < args.len() {
            let more = args.len() - 1 - at;
            if adds && args.at(at) == b"*" {
                options.id = Some(NewId::Now(cx.now() as u64));
            } else if (args.is(at, "MAXLEN") || args.is(at, "MINID")) && more > 0 {
                at = options.read_trimming(args, at)?;
                continue;
            } else if args.is(at, "LIMIT") && more > 0 {
                let amount = integer(args.at(at + 1))?;
                let amount = u64::try_from(amount).ok();
                limit =
                    Some(amount.ok_or(CmdError::fixed("ERR The LIMIT argument must be >= 0."))?);
                at += 2;
                continue;
            } else if adds && args.is(at, "NOMKSTREAM") {
                options.make = false;
                at += 1;
                continue;
            } else if adds {
                options.id = Some(id::new(args.at(at))?);
            } else {
                return Err(CmdError::SYNTAX);
            }
            options.id_at = at;
            break;
        }
        options.limit(cx, limit, adds)?;
        Ok(options)
    }

    /// Reads MAXLEN or MINID at `at` with what belongs to it; answers where the next option is.
    fn read_trimming(&mut self, args: Args, at: usize) -> Result<usize, CmdError> {
        if self.trimming.is_some() {
            return Err(CmdError::fixed(
                "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
            ));
        }
        let sign =
            args.get(at + 2).and(args.get(at + 1)).filter(|word| matches!(word, [b'~' | b'=']));
        let value_at = at + 1 + usize::from(sign.is_some());
        let trim = if args.is(at, "MAXLEN") {
            let max = u64::try_from(integer(args.at(value_at))?);
            Trim::MaxLen(max.map_err(|_| CmdError::fixed("ERR The MAXLEN argument must be >= 0."))?)
        } else {
            Trim::MinId(id::strict(args.at(value_at), 0)?)
        };
        self.trimming = Some(Trimming { trim, approximately: sign == Some(b"~"), limit: 0 });
        Ok(value_at + 1)
    }

    /// Checks LIMIT against the other options and sets it.
    fn limit(&mut self, cx: &Cx, limit: Option<u64>, adds: bool) -> Result<(), CmdError> {
        let Some(trimming) = &mut self.trimming else {
            return match limit {
                Some(1..) => Err(CmdError::fixed(
                    "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
                )),
                _ if !adds => Err(CmdError::fixed(
                    "ERR syntax error, XTRIM must be called with a trimming strategy",
                )),
                Some(_) => Err(LIMIT_NEEDS_TILDE),
                None => Ok(()),
            };
        };
        trimming.limit = match limit {
            Some(_) if !trimming.approximately => return Err(LIMIT_NEEDS_TILDE),
            Some(limit) => limit,
            None if trimming.approximately => default_limit(cx),
            None => 0,
        };
        Ok(())
    }
}

const LIMIT_NEEDS_TILDE: CmdError =
    CmdError::fixed("ERR syntax error, LIMIT cannot be used without the special ~ option");

/// Entries that one command trims: those of 100 nodes, so that it cannot take long.
fn default_limit(cx: &Cx) -> u64 {
    match cx.settings.encodings.stream_node_max_entries as u64 {
        0 => 10_000,
        entries => entries.saturating_mul(100).min(1_000_000),
    }
}

fn trim(stream: &mut Stream, trimming: Trimming) -> u64 {
    stream.log.trim(trimming.trim, trimming.approximately, trimming.limit)
}

pub fn xadd(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let options = Options::read(cx, args, true)?;
    let first = options.id_at + 1;
    let (Some(new_id), Some(count)) = (options.id, args.len().checked_sub(first)) else {
        return Err(CmdError::wrong_arity(cx.name));
    };
    if count == 0 || count % 2 == 1 {
        return Err(CmdError::wrong_arity(cx.name));
    }
    if new_id == NewId::Given(Id::MIN) {
        return Err(CmdError::fixed("ERR The ID specified in XADD must be greater than 0-0"));
    }
    let pairs: SmallVec<[&[u8]; 16]> = args.from(first).iter().collect();
    let (key, limits) = (args.at(1), node_limits(cx));
    let mut trimmed = 0;
    let (added, len) = match cx.keys.get_mut(key) {
        Some(entry) => {
            let stream = stream_of_mut(entry)?;
            if stream.log.last_id == Id::MAX {
                return Err(CmdError::fixed(
                    "ERR The stream has exhausted the last possible ID, unable to add more items",
                ));
            }
            let added = stream.log.append(new_id, &pairs, limits).map_err(refusal)?;
            if let Some(trimming) = options.trimming {
                trimmed = trim(stream, trimming);
            }
            (added, stream.log.len())
        }
        None if !options.make => {
            cx.out.null();
            return Ok(());
        }
        None => {
            let mut stream = Box::<Stream>::default();
            let added = stream.log.append(new_id, &pairs, limits).map_err(refusal)?;
            if let Some(trimming) = options.trimming {
                trimmed = trim(&mut stream, trimming);
            }
            let len = stream.log.len();
            insert(cx, key, stream);
            (added, len)
        }
    };
    cx.keys.notify(Class::Stream, "xadd", key);
    if trimmed > 0 {
        cx.keys.notify(Class::Stream, "xtrim", key);
    }
    cx.keys.changed(1);
    if cx.keys.is_recorded() {
        record_added(cx, &args, &options, (added, len));
    }
    cx.keys.ready(key);
    id::write(&mut cx.out, added);
    Ok(())
}

/// Records that an entry was added under its id, and how many are left: which went when a trimming
/// is an approximate one depends on how they happen to lie in their nodes.
fn record_added(cx: &mut Cx, args: &Args, options: &Options, (id, len): (Id, u64)) {
    let (id, mut digits) = (id::Text::new(id), itoa::Buffer::new());
    let mut words: SmallVec<[&[u8]; 16]> = args.iter().take(2).collect();
    match options.trimming {
        Some(Trimming { approximately: true, .. }) => {
            words.extend((!options.make).then_some(b"NOMKSTREAM".as_slice()));
            words.extend([b"MAXLEN".as_slice(), b"=", digits.format(len).as_bytes()]);
        }
        _ => words.extend(args.range(2, options.id_at).iter()),
    }
    words.push(id.as_bytes());
    words.extend(args.from(options.id_at + 1).iter());
    cx.keys.effect(args.at(1), &words);
}

fn refusal(refused: Refused) -> CmdError {
    CmdError::fixed(match refused {
        Refused::NotGreater => {
            "ERR The ID specified in XADD is equal or smaller than the target stream top item"
        }
        Refused::TooLarge => "ERR Elements are too large to be stored",
    })
}

pub fn xtrim(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let options = Options::read(cx, args, false)?;
    let mut len = 0;
    let trimmed = match (cx.keys.get_mut(args.at(1)), options.trimming) {
        (Some(entry), Some(trimming)) => {
            let stream = stream_of_mut(entry)?;
            let trimmed = trim(stream, trimming);
            len = stream.log.len();
            trimmed
        }
        _ => 0,
    };
    if trimmed > 0 {
        cx.keys.notify(Class::Stream, "xtrim", args.at(1));
        if options.trimming.is_some_and(|trimming| trimming.approximately) {
            let mut digits = itoa::Buffer::new();
            let len = digits.format(len).as_bytes();
            cx.keys.effect(args.at(1), &[b"XTRIM", args.at(1), b"MAXLEN", b"=", len]);
        }
    }
    cx.keys.changed(trimmed);
    cx.out.int(trimmed as i64);
    Ok(())
}

pub fn xdel(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let deleted = match cx.keys.get_mut(args.at(1)) {
        None => 0,
        Some(entry) => {
            let stream = stream_of_mut(entry)?;
            let ids = args.from(2).iter().map(|id| id::strict(id, 0));
            let ids: SmallVec<[Id; 8]> = ids.collect::<Result<_, _>>()?;
            ids.iter().filter(|id| stream.log.delete(**id)).count()
        }
    };
    if deleted > 0 {
        cx.keys.notify(Class::Stream, "xdel", args.at(1));
    }
    cx.keys.changed(deleted as u64);
    cx.out.int(deleted as i64);
    Ok(())
}

pub fn xsetid(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let id = id::strict(args.at(2), 0)?;
    let (mut added, mut max_deleted) = (None, Id::MIN);
    let mut at = 3;
    while at < args.len() {
        let value = args.get(at + 1).ok_or(CmdError::SYNTAX)?;
        if args.is(at, "ENTRIESADDED") {
            let count = u64::try_from(integer(value)?);
            added = Some(count.map_err(|_| CmdError::fixed("ERR entries_added must be positive"))?);
        } else if args.is(at, "MAXDELETEDID") {
            max_deleted = id::strict(value, 0)?;
            if id < max_deleted {
                return Err(CmdError::fixed(
                    "ERR The ID specified in XSETID is smaller than the provided \
                     max_deleted_entry_id",
                ));
            }
        } else {
            return Err(CmdError::SYNTAX);
        }
        at += 2;
    }
    let entry = cx.keys.get_mut_unwatched(args.at(1)).ok_or(CmdError::NO_SUCH_KEY)?;
    let log = &mut stream_of_mut(entry)?.log;
    if id < log.max_deleted {
        return Err(CmdError::fixed(
            "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id",
        ));
    }
    if log.last_live().is_some_and(|last| id < last) {
        return Err(CmdError::fixed(
            "ERR The ID specified in XSETID is smaller than the target stream top item",
        ));
    }
    if added.is_some_and(|added| added < log.len()) {
        return Err(CmdError::fixed(
            "ERR The entries_added specified in XSETID is smaller than the target stream length",
        ));
    }
    log.last_id = id;
    log.added = added.unwrap_or(log.added);
    if max_deleted != Id::MIN {
        log.max_deleted = max_deleted;
    }
    cx.keys.notify(Class::Stream, "xsetid", args.at(1));
    cx.keys.changed(1);
    cx.out.ok();
    Ok(())
}
