//! ZRANDMEMBER: ranks chosen at random, each as likely as any other.

use super::{find, write_elements};
use crate::command::value::integer;
use crate::data::sorted_set::{Direction, Element, SortedSet};
use crate::error::CmdError;
use crate::resp::Args;
use crate::shard::Cx;

const TOO_MANY: CmdError = CmdError::fixed("ERR value is out of range");
/// Longest reply that a negative count may ask for, which is as long as the count says and not as
/// long as the set: bytes, at the least that the members take.
const REPLY_MAX: u64 = 1 << 30;
/// `$0`, two line ends; with a score another `$1`, a digit and two line ends.
const REPLY_PER_MEMBER: u64 = 6;
const REPLY_PER_SCORE: u64 = 7;

pub fn zrandmember(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let Some(count) = args.get(2) else { return one(cx, args.at(1)) };
    let count = integer(count)?;
    if count == i64::MIN {
        let max = i64::MAX;
        return Err(CmdError::err(format_args!(
            "value is out of range, value must between {} and {max}",
            -max
        )));
    }
    if args.len() > 4 || (args.len() == 4 && !args.is(3, "withscores")) {
        return Err(CmdError::SYNTAX);
    }
    let with_scores = args.len() == 4;
    if with_scores && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(TOO_MANY);
    }
    let Cx { keys, out, random, .. } = cx;
    let Some(set) = find(keys, args.at(1))?.filter(|_| count != 0) else {
        out.array(0);
        return Ok(());
    };
    let many = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count < 0 {
        let shortest = match many as u64 > REPLY_MAX / 1024 {
            true => set.iter().map(|(member, _)| member.len()).min().unwrap_or(0) as u64,
            false => 0,
        };
        let each = REPLY_PER_MEMBER + shortest + if with_scores { REPLY_PER_SCORE } else { 0 };
        if (many as u64).saturating_mul(each) > REPLY_MAX {
            return Err(TOO_MANY);
        }
        let elements = (0..many).map(|_| any(set, random));
        write_elements(out, elements, with_scores);
    } else if many >= set.len() {
        write_elements(out, set.iter(), with_scores);
    } else {
        let chosen = different(set, many, random);
        write_elements(out, chosen.into_iter(), with_scores);
    }
    Ok(())
}

fn one(cx: &mut Cx, key: &[u8]) -> Result<(), CmdError> {
    let Cx { keys, out, random, .. } = cx;
    match find(keys, key)? {
        Some(set) => out.bulk(any(set, random).0),
        None => out.null(),
    }
    Ok(())
}

fn any<'s>(set: &'s SortedSet, random: &mut fastrand::Rng) -> Element<'s> {
    set.at_rank(random.usize(0..set.len())).expect("the rank is below the length")
}

/// So many different elements, fewer than there are.
fn different<'s>(set: &'s SortedSet, count: usize, random: &mut fastrand::Rng) -> Vec<Element<'s>> {
    let len = set.len();
    if count >= len / 8 {
        return every_so_often(set, count, random);
    }
    // Floyd's algorithm: the set of ranks grows by one with each step, no step is in vain.
    let mut ranks = std::collections::HashSet::with_capacity(count);
    let mut chosen = Vec::with_capacity(count);
    for limit in len - count..len {
        let rank = random.usize(0..=limit);
        let rank = if ranks.insert(rank) { rank } else { limit };
        ranks.insert(rank);
        chosen.extend(set.at_rank(rank));
    }
    chosen
}

/// One walk over all elements, each taken with the chance that is left to it.
fn every_so_often<'s>(
    set: &'s SortedSet,
    count: usize,
    random: &mut fastrand::Rng,
) -> Vec<Element<'s>> {
    let (mut wanted, mut left) = (count, set.len());
    let mut chosen = Vec::with_capacity(count);
    for element in set.range(0..set.len(), Direction::Ascending) {
        if random.usize(0..left) < wanted {
            chosen.push(element);
            wanted -= 1;
        }
        left -= 1;
    }
    chosen
}
