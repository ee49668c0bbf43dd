//! Reading streams as they grow: XREAD and XREADGROUP.
//!
//! Both look at all streams, and reply what there is in any. With BLOCK a client waits while there
//! is nothing, and then the same request is tried again, in which `$` and `+` stand for what they
//! meant at the first time ([`Wait::retry`]).
//!
//! A client that waits in XREADGROUP is to be told when its group is gone, by whatever has taken
//! the stream away: its row says so by the flag [`SERVED_WHOLE`](crate::command::spec).

use super::group::CREATE_CONSUMER;
use super::range::{write_entries, write_message};
use super::record::{self, Claimed, Of, Position};
use super::{id, no_group_or_key, stream_of, stream_of_mut};
use crate::command::number::integer;
use crate::data::Type;
use crate::data::stream::{ConsumerId, Group, Id, Log, Message, Pending, Stream};
use crate::error::CmdError;
use crate::resp::{Args, Encoder, Protocol};
use crate::shard::{Class, Cx, TimedOut, Wait};
use smallvec::SmallVec;
use std::ops::Range;

/// Where the arguments are that are keys: as many as there are ids behind them.
///
/// Found by reading the options, since a group or a consumer may be called `streams`, too.
pub fn keys(args: &Args) -> Range<usize> {
    let mut at = 1;
    loop {
        at += match () {
            () if args.is(at, "STREAMS") => {
                let first = at + 1;
                return first..first + (args.len() - first) / 2;
            }
            () if args.is(at, "BLOCK") || args.is(at, "COUNT") => 2,
            () if args.is(at, "GROUP") => 3,
            () if args.is(at, "NOACK") => 1,
            () => return 0..0,
        }
    }
}

/// What a request says.
struct Request<'a> {
    /// Whether to wait, and until when (for ever without).
    block: Option<Option<i64>>,
    /// Entries of each stream at most.
    most: usize,
    group: Option<(&'a [u8], &'a [u8])>,
    no_ack: bool,
    keys: Range<usize>,
}

impl<'a> Request<'a> {
    fn read(cx: &Cx, args: Args<'a>, of_group: bool) -> Result<Request<'a>, CmdError> {
        let mut request =
            Request { block: None, most: usize::MAX, group: None, no_ack: false, keys: 0..0 };
        let mut at = 1;
        while at < args.len() {
            let more = args.len() - 1 - at;
            if args.is(at, "BLOCK") && more > 0 {
                if cx.in_script {
                    let text = b" command is not allowed with BLOCK option from scripts";
                    return Err(CmdError::err_of(&[args.at(0), text]));
                }
                request.block = Some(timeout(cx, args.at(at + 1))?);
                at += 2;
            } else if args.is(at, "COUNT") && more > 0 {
                request.most = match integer(args.at(at + 1))? {
                    ..=0 => usize::MAX,
                    count => count as usize,
                };
                at += 2;
            } else if args.is(at, "STREAMS") && more > 0 {
                if !more.is_multiple_of(2) {
                    return Err(unbalanced(cx.name, if of_group { '>' } else { '$' }));
                }
                request.keys = at + 1..at + 1 + more / 2;
                break;
            } else if args.is(at, "GROUP") && more > 1 {
                if !of_group {
                    return Err(only_for_groups("GROUP"));
                }
                request.group = Some((args.at(at + 1), args.at(at + 2)));
                at += 3;
            } else if args.is(at, "NOACK") {
                if !of_group {
                    return Err(only_for_groups("NOACK"));
                }
                request.no_ack = true;
                at += 1;
            } else {
                return Err(CmdError::SYNTAX);
            }
        }
        match request.keys.is_empty() {
            true => Err(CmdError::SYNTAX),
            false => Ok(request),
        }
    }

    /// Where the id is that belongs to the key at `at`.
    fn id_of(&self, at: usize) -> usize {
        at + self.keys.len()
    }
}

fn unbalanced(name: &str, symbol: char) -> CmdError {
    CmdError::err(format_args!(
        "Unbalanced '{name}' list of streams: for each stream key an ID or '{symbol}' must be \
         specified."
    ))
}

fn only_for_groups(option: &str) -> CmdError {
    CmdError::err(format_args!(
        "The {option} option is only supported by XREADGROUP. You called XREAD instead."
    ))
}

/// The end of the wait for `text` milliseconds; none for 0.
fn timeout(cx: &Cx, text: &[u8]) -> Result<Option<i64>, CmdError> {
    let ms = integer(text)
        .map_err(|_| CmdError::fixed("ERR timeout is not an integer or out of range"))?;
    match ms {
        ..0 => Err(CmdError::fixed("ERR timeout is negative")),
        0 => Ok(None),
        1.. => match ms.checked_add(cx.now()) {
            Some(until) => Ok(Some(until)),
            None => Err(CmdError::fixed("ERR timeout is out of range")),
        },
    }
}

/// A key and what is wanted of it: what is behind an id.
type Wanted = (usize, Id);

pub fn xread(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let request = Request::read(cx, args, false)?;
    let mut wanted: SmallVec<[Wanted; 4]> = SmallVec::new();
    for at in request.keys.clone() {
        let stream = cx.keys.get(args.at(at)).map(stream_of).transpose()?;
        wanted.push((at, behind(stream, args.at(request.id_of(at)))?));
    }
    let ready = wanted.iter().filter(|(at, after)| {
        let stream = cx.keys.get(args.at(*at)).and_then(|entry| stream_of(entry).ok());
        stream.is_some_and(|stream| stream.log.last_live().is_some_and(|last| last > *after))
    });
    let ready: SmallVec<[Wanted; 4]> = ready.copied().collect();
    if ready.is_empty() {
        let retry = retry(args, &request, &wanted);
        return nothing(cx, request, retry);
    }
    write_streams(&mut cx.out, ready.len());
    for (at, after) in ready {
        let stream = cx.keys.peek(args.at(at)).and_then(|entry| stream_of(entry).ok());
        let (Some(stream), Some(start)) = (stream, after.next()) else { continue };
        write_key(&mut cx.out, args.at(at));
        write_behind(&mut cx.out, &stream.log, start, request.most, |_| {});
    }
    Ok(())
}

/// The id behind which XREAD reads.
fn behind(stream: Option<&Stream>, text: &[u8]) -> Result<Id, CmdError> {
    let last = stream.map(|stream| stream.log.last_id);
    match text {
        b"$" => Ok(last.unwrap_or_default()),
        // The last entry is to be had.
        b"+" => match last {
            Some(last) => {
                last.previous().ok_or(CmdError::fixed("ERR the stream last element ID is 0-0"))
            }
            None => Ok(Id::MIN),
        },
        b">" => Err(CmdError::fixed(
            "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> \
             <consumer> option.",
        )),
        _ => id::strict(text, 0),
    }
}

/// The request with what `$` and `+` mean now, if there are any.
fn retry(args: Args, request: &Request, wanted: &[Wanted]) -> Option<Vec<Vec<u8>>> {
    let moves = |at: usize| matches!(args.at(at), b"$" | b"+");
    if !request.keys.clone().any(|at| moves(request.id_of(at))) {
        return None;
    }
    let mut words: Vec<Vec<u8>> = args.iter().map(<[u8]>::to_vec).collect();
    for (at, after) in wanted {
        let at = request.id_of(*at);
        if moves(at) {
            words[at] = id::Text::new(*after).as_bytes().to_vec();
        }
    }
    Some(words)
}

/// Waits for what there is not, or says at once that there is nothing.
fn nothing(cx: &mut Cx, request: Request, retry: Option<Vec<Vec<u8>>>) -> Result<(), CmdError> {
    match request.block {
        Some(until) if cx.may_wait => {
            cx.wait = Some(Wait {
                until,
                keys: request.keys,
                kind: Type::Stream,
                retry,
                timed_out: TimedOut::NullArray,
            });
        }
        _ => cx.out.null_array(),
    }
    Ok(())
}

/// The head of a reply of so many streams.
fn write_streams(out: &mut Encoder, count: usize) {
    match out.protocol {
        Protocol::Resp2 => out.array(count),
        Protocol::Resp3 => out.map(count),
    }
}

/// What stands before the entries of a stream.
fn write_key(out: &mut Encoder, key: &[u8]) {
    if out.protocol == Protocol::Resp2 {
        out.array(2);
    }
    out.bulk(key);
}

pub fn xreadgroup(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let request = Request::read(cx, args, true)?;
    let Some((group, _)) = request.group else {
        return Err(CmdError::fixed("ERR Missing GROUP option for XREADGROUP"));
    };
    let mut wanted: SmallVec<[Wanted; 4]> = SmallVec::new();
    for at in request.keys.clone() {
        let stream = cx.keys.get(args.at(at)).map(stream_of).transpose()?;
        if stream.is_none_or(|stream| stream.group(group).is_none()) {
            let option = b" in XREADGROUP with GROUP option";
            return Err(no_group_or_key(args.at(at), group, option));
        }
        wanted.push((at, history_behind(args.at(request.id_of(at)))?));
    }
    let start = cx.out.position();
    let mut served = 0;
    for (at, after) in &wanted {
        // With one stream it is known from the start how many there will be.
        let alone = wanted.len() == 1;
        served += usize::from(serve(cx, args.at(*at), *after, &request, alone)?);
    }
    if served == 0 {
        return nothing(cx, request, None);
    }
    if wanted.len() > 1 {
        let streams = cx.out.since(start).to_vec();
        cx.out.truncate(start);
        write_streams(&mut cx.out, served);
        cx.out.raw(&streams);
    }
    Ok(())
}

/// The id behind which XREADGROUP reads the consumer's own entries; the greatest one for new ones.
fn history_behind(text: &[u8]) -> Result<Id, CmdError> {
    match text {
        b">" => Ok(Id::MAX),
        b"$" | b"+" => Err(CmdError::err(format_args!(
            "The {} ID is meaningless in the context of XREADGROUP: you want to read the history \
             of this consumer by specifying a proper ID, or use the > ID to get new messages. The \
             {0} ID would just return an empty result set.",
            char::from(text[0])
        ))),
        _ => id::strict(text, 0),
    }
}

/// Replies up to `most` entries from `start` on.
fn write_behind(out: &mut Encoder, log: &Log, start: Id, most: usize, each: impl FnMut(&Message)) {
    write_entries(out, log.range(start, Id::MAX), (log, start, Id::MAX), most, each);
}

/// Replies what a consumer is to have of one stream, `alone` with the head of the whole reply;
/// `false` when there is nothing.
fn serve(
    cx: &mut Cx,
    key: &[u8],
    after: Id,
    request: &Request,
    alone: bool,
) -> Result<bool, CmdError> {
    let now = cx.now();
    let is_recorded = cx.keys.is_recorded();
    let Some((name, consumer_name)) = request.group else { return Ok(false) };
    let Some(entry) = cx.keys.read_mut_unwatched(key) else { return Ok(false) };
    let Some((log, group)) = stream_of_mut(entry)?.group_mut(name) else { return Ok(false) };
    let (consumer, made) = group.find_or_make(consumer_name, now);
    group.consumer_mut(consumer).seen_at = now;
    let history = after != Id::MAX;
    let mut given: Vec<Claimed> = Vec::new();
    let mut note = |entry| given.extend(is_recorded.then_some(entry));
    let serves = history || log.last_live().is_some_and(|last| last > group.last_id);
    if serves {
        let out = &mut cx.out;
        if alone {
            write_streams(out, 1);
        }
        write_key(out, key);
        match history {
            true => write_history(out, log, group, consumer, (after, request.most), now, &mut note),
            false => write_new(out, log, group, consumer, request, now, &mut note),
        }
    }
    let position = Position::of(group);
    let active_at = group.consumer(consumer).active_at;
    if made {
        cx.keys.notify(Class::Stream, CREATE_CONSUMER, key);
    }
    if is_recorded {
        let (of, keys) = (Of { key, group: name }, &mut cx.keys);
        keys.no_more_effects();
        if made {
            record::made(keys, of, consumer_name);
        }
        record::claimed(keys, of, (consumer_name, active_at), &given, position.last_id);
        if serves && !history {
            record::moved(keys, of, position);
        }
    }
    cx.keys.changed(u64::from(made) + u64::from(serves));
    Ok(serves)
}

/// Replies the consumer's own pending entries behind an id, so many at most.
fn write_history(
    out: &mut Encoder,
    log: &Log,
    group: &mut Group,
    consumer: ConsumerId,
    (after, most): (Id, usize),
    now: i64,
    note: &mut dyn FnMut(Claimed),
) {
    let own = group.consumer(consumer).pending(after.next().unwrap_or(Id::MAX)..=Id::MAX);
    let ids: Vec<Id> = own.take(most).collect();
    out.array(ids.len());
    for id in ids {
        let Some(message) = log.get(id) else {
            // It was deleted, which does not acknowledge it.
            out.array(2);
            id::write(out, id);
            out.null_array();
            continue;
        };
        write_message(out, &message);
        if let Some(pending) = group.pending_mut(id) {
            pending.delivered_at = now;
            pending.deliveries = pending.deliveries.wrapping_add(1);
            note(Claimed::new(id, pending));
        }
    }
}

/// Replies entries that the group has not read, and has them pending unless without
/// acknowledgement.
fn write_new(
    out: &mut Encoder,
    log: &Log,
    group: &mut Group,
    consumer: ConsumerId,
    request: &Request,
    now: i64,
    note: &mut dyn FnMut(Claimed),
) {
    let start = group.last_id.next().unwrap_or(Id::MAX);
    write_behind(out, log, start, request.most, |message| {
        group.read(message.id, log);
        if !request.no_ack {
            let pending = Pending { consumer, delivered_at: now, deliveries: 1 };
            group.assign(message.id, pending);
            note(Claimed::new(message.id, &pending));
        }
    });
    if !request.no_ack {
        group.consumer_mut(consumer).active_at = Some(now);
    }
}
