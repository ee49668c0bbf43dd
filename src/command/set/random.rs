//! Members chosen at random: SPOP and SRANDMEMBER.

use super::{limits, set_mut, set_of, write_member, write_set};
use crate::command::number::integer;
use crate::data::packed::Element;
use crate::error::CmdError;
use crate::resp::Args;
use crate::shard::{Class, Cx};

/// Longest reply that a negative count may ask for, which is as long as the count says and not as
/// long as the set: bytes, at the least that the members take.
const REPLY_MAX: u64 = 1 << 30;
/// `$0`, two line ends.
const REPLY_PER_MEMBER: u64 = 6;

pub(super) fn spop(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let key = args.at(1);
    let count = match args.len() {
        2 => None,
        3 => Some(positive(args.at(2))?),
        _ => return Err(CmdError::SYNTAX),
    };
    let (limits, is_recorded) = (limits(cx), cx.keys.is_recorded());
    let mut gone: Vec<Vec<u8>> = Vec::new();
    let Some(entry) = cx.keys.get_mut(key) else {
        match count {
            Some(_) => cx.out.set(0),
            None => cx.out.null(),
        }
        return Ok(());
    };
    let set = set_mut(entry)?;
    let len = set.len();
    let popped = count.unwrap_or(1).min(len);
    match count {
        None => match set.pop(cx.random) {
            Some(member) => {
                cx.out.bulk(&member);
                if is_recorded {
                    gone.push(member);
                }
            }
            None => cx.out.null(),
        },
        Some(count) if count >= len => write_set(&mut cx.out, set),
        Some(count) => {
            cx.out.set(count);
            let out = &mut cx.out;
            set.pop_many(count, &limits, cx.random, &mut |member| {
                if is_recorded {
                    gone.push(member.to_vec());
                }
                write_member(out, member);
            });
        }
    }
    if is_recorded && popped > 0 {
        // All of them at once need not be named.
        match gone.is_empty() {
            true => cx.keys.effect(key, &[b"DEL", key]),
            false => {
                let members: Vec<&[u8]> = gone.iter().map(Vec::as_slice).collect();
                cx.keys.effect_of_many(key, &[b"SREM", key], &members);
            }
        }
    }
    if popped > 0 {
        cx.keys.notify(Class::Set, "spop", key);
    }
    if popped == len {
        cx.keys.delete(key);
    }
    cx.keys.changed(popped as u64);
    Ok(())
}

pub(super) fn srandmember(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let count = match args.len() {
        2 => None,
        3 => Some(signed(args.at(2))?),
        _ => return Err(CmdError::SYNTAX),
    };
    let Some(entry) = cx.keys.get(args.at(1)) else {
        match count {
            Some(_) => cx.out.array(0),
            None => cx.out.null(),
        }
        return Ok(());
    };
    let set = set_of(entry)?;
    let (out, random) = (&mut cx.out, &mut *cx.random);
    match count {
        None => match set.random(random) {
            Some(member) => write_member(out, member),
            None => out.null(),
        },
        Some(count @ 0..) => {
            let chosen = set.sample(usize::try_from(count).unwrap_or(usize::MAX), random);
            out.array(chosen.len());
            chosen.into_iter().for_each(|member| write_member(out, member));
        }
        Some(count) => {
            let count = count.unsigned_abs();
            let shortest = match count > REPLY_MAX / 1024 {
                true => set.iter().map(Element::text_len).min().unwrap_or(0) as u64,
                false => 0,
            };
            if count.saturating_mul(REPLY_PER_MEMBER + shortest) > REPLY_MAX {
                return Err(CmdError::fixed("ERR value is out of range"));
            }
            out.array(count as usize);
            set.draw(count as usize, random, &mut |member| write_member(out, member));
        }
    }
    Ok(())
}

/// A count of members to remove.
fn positive(text: &[u8]) -> Result<usize, CmdError> {
    let count = integer(text).ok().and_then(|count| usize::try_from(count).ok());
    count.ok_or(CmdError::fixed("ERR value is out of range, must be positive"))
}

/// A count with a sign, which can be turned round.
fn signed(text: &[u8]) -> Result<i64, CmdError> {
    match integer(text)? {
        i64::MIN => Err(CmdError::err(format_args!(
            "value is out of range, value must between {} and {}",
            -i64::MAX,
            i64::MAX
        ))),
        count => Ok(count),
    }
}
