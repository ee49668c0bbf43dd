//! Entries that were delivered and not acknowledged: XPENDING, XCLAIM, XAUTOCLAIM.

use super::group::{CREATE_CONSUMER, pending_group};
use super::range::write_message;
use super::record::{self, Claimed, Of, Position};
use super::{id, no_group_or_key, stream_of, stream_of_mut};
use crate::command::number::integer;
use crate::data::stream::{ConsumerId, Group, Id, Log, Message, Pending};
use crate::error::{CmdError, shown};
use crate::resp::{Args, Encoder};
use crate::shard::{Class, Cx, Keys, NO_CLOCK};
use smallvec::SmallVec;

/// Which pending entries XPENDING is to show.
struct Filter<'a> {
    idle_min: i64,
    start: Id,
    end: Id,
    most: usize,
    consumer: Option<&'a [u8]>,
}

impl<'a> Filter<'a> {
    /// Reads what is behind the group, from the argument at 3 on.
    fn read(args: Args<'a>) -> Result<Filter<'a>, CmdError> {
        let (mut idle_min, mut at) = (0, 3);
        if args.is(3, "IDLE") {
            idle_min = integer(args.at(4))?;
            at = 5;
            if args.len() < 8 {
                return Err(CmdError::SYNTAX);
            }
        }
        let most = integer(args.at(at + 2))?.max(0) as usize;
        let start = id::interval_start(args.at(at))?;
        let end = id::interval_end(args.at(at + 1))?;
        Ok(Filter { idle_min, start, end, most, consumer: args.get(at + 3) })
    }
}

pub fn xpending(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let filter = match args.len() {
        3 => None,
        6..=9 => Some(Filter::read(args)?),
        _ => return Err(CmdError::SYNTAX),
    };
    let now = cx.now();
    let stream = cx.keys.get(args.at(1)).map(stream_of).transpose()?;
    let group = pending_group(stream, args.at(1), args.at(2))?;
    match filter {
        None => write_summary(&mut cx.out, group),
        Some(filter) => write_pending(&mut cx.out, group, &filter, now),
    }
    Ok(())
}

fn write_summary(out: &mut Encoder, group: &Group) {
    out.array(4);
    out.int(group.pending_len() as i64);
    let Some((first, last)) = group.pending_ends() else {
        out.null();
        out.null();
        out.null_array();
        return;
    };
    id::write(out, first);
    id::write(out, last);
    let busy = || group.consumers().filter(|consumer| consumer.pending_len() > 0);
    out.array(busy().count());
    for consumer in busy() {
        out.array(2);
        out.bulk(consumer.name());
        out.bulk_int(consumer.pending_len() as i64);
    }
}

fn write_pending(out: &mut Encoder, group: &Group, filter: &Filter, now: i64) {
    let range = filter.start..=filter.end;
    let idle = |pending: &Pending| now.wrapping_sub(pending.delivered_at);
    let idles =
        |(_, pending): &(Id, Pending)| filter.idle_min == 0 || idle(pending) >= filter.idle_min;
    let found: Vec<(Id, Pending)> = match filter.consumer {
        None => group.pending(range).filter(idles).take(filter.most).collect(),
        Some(name) => {
            let own = group.find(name).map(|consumer| group.consumer(consumer).pending(range));
            let own = own.into_iter().flatten();
            let own = own.filter_map(|id| Some((id, *group.pending_of(id)?)));
            own.filter(idles).take(filter.most).collect()
        }
    };
    out.array(found.len());
    for (id, pending) in found {
        out.array(4);
        id::write(out, id);
        out.bulk(group.consumer(pending.consumer).name());
        out.int(idle(&pending).max(0));
        out.int(pending.deliveries as i64);
    }
}

/// The ids and options of XCLAIM.
struct Claim {
    ids: SmallVec<[Id; 8]>,
    idle_min: i64,
    delivered_at: i64,
    deliveries: Option<u64>,
    force: bool,
    just_id: bool,
    last_id: Id,
}

impl Claim {
    fn read(args: Args, now: i64) -> Result<Claim, CmdError> {
        let mut claim = Claim {
            ids: SmallVec::new(),
            idle_min: idle_min(args.at(4), "XCLAIM")?,
            delivered_at: -1,
            deliveries: None,
            force: false,
            just_id: false,
            last_id: Id::MIN,
        };
        let mut at = 5;
        while let Some(id) = args.get(at).and_then(|text| id::strict(text, 0).ok()) {
            claim.ids.push(id);
            at += 1;
        }
        while at < args.len() {
            at += claim.read_option(args, at, now)?;
        }
        // -1 stands for none given, and what cannot be is no error, since clients compute it. What
        // was recorded is right, and then there is no clock to tell.
        let is_replayed = now == NO_CLOCK && claim.delivered_at >= 0;
        if !is_replayed && !(0..=now).contains(&claim.delivered_at) {
            claim.delivered_at = now;
        }
        Ok(claim)
    }

    /// Reads the option at `at`; answers how many words it has.
    fn read_option(&mut self, args: Args, at: usize, now: i64) -> Result<usize, CmdError> {
        let number = |option: &str| {
            integer(args.at(at + 1)).map_err(|_| {
                CmdError::err(format_args!("Invalid {option} option argument for XCLAIM"))
            })
        };
        let more = at + 1 < args.len();
        if args.is(at, "FORCE") {
            self.force = true;
            return Ok(1);
        } else if args.is(at, "JUSTID") {
            self.just_id = true;
            return Ok(1);
        } else if args.is(at, "IDLE") && more {
            self.delivered_at = now.wrapping_sub(number("IDLE")?);
        } else if args.is(at, "TIME") && more {
            self.delivered_at = number("TIME")?;
        } else if args.is(at, "RETRYCOUNT") && more {
            self.deliveries = u64::try_from(number("RETRYCOUNT")?).ok();
        } else if args.is(at, "LASTID") && more {
            self.last_id = id::strict(args.at(at + 1), 0)?;
        } else {
            let option = shown(args.at(at), usize::MAX);
            return Err(CmdError::err_of(&[b"Unrecognized XCLAIM option '", option, b"'"]));
        }
        Ok(2)
    }
}

fn idle_min(text: &[u8], command: &str) -> Result<i64, CmdError> {
    match integer(text) {
        Ok(idle) => Ok(idle.max(0)),
        Err(_) => Err(CmdError::err(format_args!("Invalid min-idle-time argument for {command}"))),
    }
}

/// Replies claimed entries, or their ids.
fn write_claimed(out: &mut Encoder, claimed: &[Message], just_id: bool) {
    out.array(claimed.len());
    for message in claimed {
        match just_id {
            true => id::write(out, message.id),
            false => write_message(out, message),
        }
    }
}

/// A command's consumer, made if need be; and whether it was made.
fn claimant(group: &mut Group, name: &[u8], now: i64) -> (ConsumerId, bool) {
    let (consumer, made) = group.find_or_make(name, now);
    group.consumer_mut(consumer).seen_at = now;
    (consumer, made)
}

pub fn xclaim(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (key, name, now) = (args.at(1), args.at(2), cx.now());
    let is_recorded = cx.keys.is_recorded();
    let stream = cx.keys.read_mut_unwatched(key).map(stream_of_mut).transpose()?;
    let (log, group) = stream
        .and_then(|stream| stream.group_mut(name))
        .ok_or_else(|| no_group_or_key(key, name, b""))?;
    let claim = Claim::read(args, now)?;
    let moved = claim.last_id > group.last_id;
    group.last_id = group.last_id.max(claim.last_id);
    if now == NO_CLOCK && claim.ids[..] == [record::NO_ENTRY] {
        // What was told as -1, or not at all, is no time.
        let active_at = Some(claim.delivered_at).filter(|at| *at != NO_CLOCK);
        if let Some(consumer) = group.find(args.at(3)) {
            group.consumer_mut(consumer).active_at = active_at;
        }
        cx.out.array(0);
        return Ok(());
    }
    let heard_at = if now == NO_CLOCK { claim.delivered_at } else { now };
    let (consumer, made) = claimant(group, args.at(3), heard_at);
    let mut claimed: Vec<Message> = Vec::with_capacity(claim.ids.len());
    let mut dropped = Vec::new();
    for id in &claim.ids {
        let Some(message) = log.get(*id) else {
            dropped.extend(group.acknowledge(*id).then_some(*id));
            continue;
        };
        let old = group.pending_of(*id).copied();
        let deliveries = match old {
            None if !claim.force => continue,
            None => 1,
            Some(old) if claim.idle_min > 0 && idle(now, &old) < claim.idle_min => continue,
            Some(old) => old.deliveries,
        };
        let again = u64::from(!claim.just_id);
        let deliveries = claim.deliveries.unwrap_or(deliveries.wrapping_add(again));
        group.assign(*id, Pending { consumer, delivered_at: claim.delivered_at, deliveries });
        claimed.push(message);
    }
    if !claimed.is_empty() {
        group.consumer_mut(consumer).active_at = Some(heard_at);
    }
    write_claimed(&mut cx.out, &claimed, claim.just_id);
    let mut changes = u64::from(made) + (claimed.len() + dropped.len()) as u64;
    if moved && changes == u64::from(made) {
        changes += 1;
    }
    let position = Position::of(group);
    let active_at = group.consumer(consumer).active_at;
    let entries = if is_recorded { entries(group, &claimed) } else { Vec::new() };
    if made {
        cx.keys.notify(Class::Stream, CREATE_CONSUMER, key);
    }
    if is_recorded {
        let of = Of { key, group: name };
        record_all(&mut cx.keys, of, (args.at(3), made), active_at, &entries, &dropped, position);
        if moved && entries.is_empty() {
            record::moved(&mut cx.keys, of, position);
        }
    }
    cx.keys.changed(changes);
    Ok(())
}

/// What is pending of these entries, which were claimed just now.
fn entries(group: &Group, claimed: &[Message]) -> Vec<Claimed> {
    let entry = |message: &Message| Some(Claimed::new(message.id, group.pending_of(message.id)?));
    claimed.iter().filter_map(entry).collect()
}

/// Records what a claim has done, whichever entries it has looked at for that.
fn record_all(
    keys: &mut Keys,
    of: Of,
    (consumer, made): (&[u8], bool),
    active_at: Option<i64>,
    claimed: &[Claimed],
    dropped: &[Id],
    position: Position,
) {
    if made {
        record::made(keys, of, consumer);
    }
    record::claimed(keys, of, (consumer, active_at), claimed, position.last_id);
    record::dropped(keys, of, dropped);
}

fn idle(now: i64, pending: &Pending) -> i64 {
    now.wrapping_sub(pending.delivered_at)
}

/// The options of XAUTOCLAIM.
struct AutoClaim {
    idle_min: i64,
    start: Id,
    most: u64,
    just_id: bool,
}

impl AutoClaim {
    fn read(args: Args) -> Result<AutoClaim, CmdError> {
        const MOST: i64 = i64::MAX / 16;
        let idle_min = idle_min(args.at(4), "XAUTOCLAIM")?;
        let start = id::interval_start(args.at(5))?;
        let mut claim = AutoClaim { idle_min, start, most: 100, just_id: false };
        let mut at = 6;
        while at < args.len() {
            if args.is(at, "COUNT") && at + 1 < args.len() {
                let count = integer(args.at(at + 1)).ok().filter(|n| (1..=MOST).contains(n));
                claim.most = count.ok_or(CmdError::fixed("ERR COUNT must be > 0"))? as u64;
                at += 2;
            } else if args.is(at, "JUSTID") {
                claim.just_id = true;
                at += 1;
            } else {
                return Err(CmdError::SYNTAX);
            }
        }
        Ok(claim)
    }

    /// Claims for `consumer` what `group` has pending from the start on. Answers the claimed
    /// entries, the ids of those that are gone, and where to go on.
    fn run<'l>(
        &self,
        log: &'l Log,
        group: &mut Group,
        consumer: ConsumerId,
        now: i64,
    ) -> (Vec<Message<'l>>, Vec<Id>, Option<Id>) {
        let (mut claimed, mut gone) = (Vec::new(), Vec::new());
        // So many are looked at for each that may be claimed.
        let mut attempts = self.most * 10;
        let mut from = Some(self.start);
        while let Some(start) = from {
            let Some((id, old)) = group.pending(start..=Id::MAX).next() else {
                return (claimed, gone, None);
            };
            if attempts == 0 || (claimed.len() + gone.len()) as u64 >= self.most {
                return (claimed, gone, Some(id));
            }
            attempts -= 1;
            from = id.next();
            let Some(message) = log.get(id) else {
                group.acknowledge(id);
                gone.push(id);
                continue;
            };
            if self.idle_min > 0 && idle(now, &old) < self.idle_min {
                continue;
            }
            let deliveries = old.deliveries.wrapping_add(u64::from(!self.just_id));
            group.assign(id, Pending { consumer, delivered_at: now, deliveries });
            claimed.push(message);
        }
        (claimed, gone, None)
    }
}

pub fn xautoclaim(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (key, name, now) = (args.at(1), args.at(2), cx.now());
    let is_recorded = cx.keys.is_recorded();
    let entry = cx.keys.read_mut_unwatched(key);
    let claim = AutoClaim::read(args)?;
    let stream = entry.map(stream_of_mut).transpose()?;
    let (log, group) = stream
        .and_then(|stream| stream.group_mut(name))
        .ok_or_else(|| no_group_or_key(key, name, b""))?;
    let (consumer, made) = claimant(group, args.at(3), now);
    let (claimed, gone, next) = claim.run(log, group, consumer, now);
    if !claimed.is_empty() {
        group.consumer_mut(consumer).active_at = Some(now);
    }
    let out = &mut cx.out;
    out.array(3);
    id::write(out, next.unwrap_or_default());
    write_claimed(out, &claimed, claim.just_id);
    out.array(gone.len());
    gone.iter().for_each(|id| id::write(out, *id));
    let changes = u64::from(made) + (claimed.len() + gone.len()) as u64;
    let position = Position::of(group);
    let active_at = group.consumer(consumer).active_at;
    let entries = if is_recorded { entries(group, &claimed) } else { Vec::new() };
    if made {
        cx.keys.notify(Class::Stream, CREATE_CONSUMER, key);
    }
    if is_recorded {
        let of = Of { key, group: name };
        record_all(&mut cx.keys, of, (args.at(3), made), active_at, &entries, &gone, position);
    }
    cx.keys.changed(changes);
    Ok(())
}
