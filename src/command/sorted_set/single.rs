//! Adding members, removing them, and asking about single ones; ZSCAN.

use super::{find, find_mut, limits, new_entry, write_score};
use crate::command::scan::{ScanOptions, fits, reply_found, scan_cursor};
use crate::data::double;
use crate::data::sorted_set::{Limits, SortedSet};
use crate::data::value::Encoding;
use crate::error::CmdError;
use crate::resp::{Args, Encoder};
use crate::shard::{Class, Cx};
use smallvec::SmallVec;

const NX_AND_XX: CmdError =
    CmdError::fixed("ERR XX and NX options at the same time are not compatible");
const GT_LT_NX: CmdError =
    CmdError::fixed("ERR GT, LT, and/or NX options at the same time are not compatible");
const ONE_INCREMENT: CmdError =
    CmdError::fixed("ERR INCR option supports a single increment-element pair");
const NAN: CmdError = CmdError::fixed("ERR resulting score is not a number (NaN)");

/// The options of ZADD.
#[derive(Default, Clone, Copy)]
pub(in crate::command) struct Conditions {
    pub nx: bool,
    pub xx: bool,
    pub gt: bool,
    pub lt: bool,
    pub ch: bool,
    pub incr: bool,
}

impl Conditions {
    /// Reads options from `args[at]` on; gives the index of the first argument that is none.
    fn parse(&mut self, args: &Args, mut at: usize) -> usize {
        while at < args.len() {
            match () {
                _ if args.is(at, "nx") => self.nx = true,
                _ if args.is(at, "xx") => self.xx = true,
                _ if args.is(at, "ch") => self.ch = true,
                _ if args.is(at, "incr") => self.incr = true,
                _ if args.is(at, "gt") => self.gt = true,
                _ if args.is(at, "lt") => self.lt = true,
                _ => return at,
            }
            at += 1;
        }
        at
    }

    fn check(self, pairs: usize) -> Result<(), CmdError> {
        if self.nx && self.xx {
            return Err(NX_AND_XX);
        }
        if [self.nx, self.gt, self.lt].iter().filter(|set| **set).count() > 1 {
            return Err(GT_LT_NX);
        }
        if self.incr && pairs > 1 { Err(ONE_INCREMENT) } else { Ok(()) }
    }
}

/// What adding has done so far.
#[derive(Default)]
struct Outcome {
    added: usize,
    updated: usize,
    /// The score of the last member, unless the conditions left it alone.
    score: Option<f64>,
}

impl Outcome {
    /// Adds a member or changes its score as far as the conditions allow.
    #[inline]
    fn apply(
        &mut self,
        set: &mut SortedSet,
        (member, score): (&[u8], f64),
        on: Conditions,
        limits: Limits,
    ) -> Result<(), CmdError> {
        let mut nan = false;
        self.score = set.change(member, limits, |old| {
            let Some(old) = old else {
                self.added += usize::from(!on.xx);
                return (!on.xx).then_some(score);
            };
            let score = if on.incr { old + score } else { score };
            nan = score.is_nan() && !on.nx;
            if nan || on.nx || (on.lt && score >= old) || (on.gt && score <= old) {
                return None;
            }
            self.updated += usize::from(score != old);
            Some(score)
        });
        if nan { Err(NAN) } else { Ok(()) }
    }
}

pub fn zadd(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    add(cx, args, Conditions::default())
}

pub fn zincrby(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    add(cx, args, Conditions { incr: true, ..Conditions::default() })
}

fn add(cx: &mut Cx, args: Args, mut conditions: Conditions) -> Result<(), CmdError> {
    let pairs = args.from(conditions.parse(&args, 2));
    if pairs.len() % 2 == 1 || pairs.len() == 0 {
        return Err(CmdError::SYNTAX);
    }
    conditions.check(pairs.len() / 2)?;
    // All scores are read before anything changes.
    let mut scores: SmallVec<[f64; 8]> = SmallVec::with_capacity(pairs.len() / 2);
    for score in pairs.iter().step_by(2) {
        scores.push(double::parse(score).ok_or(CmdError::NOT_A_FLOAT)?);
    }
    let members = pairs.iter().skip(1).step_by(2);
    add_all(cx, args.at(1), members.zip(scores), conditions)
}

/// Adds members with their scores to the set at a key, and answers.
pub(in crate::command) fn add_all<'m>(
    cx: &mut Cx,
    key: &[u8],
    mut elements: impl ExactSizeIterator<Item = (&'m [u8], f64)>,
    conditions: Conditions,
) -> Result<(), CmdError> {
    let (limits, count) = (limits(cx.settings), elements.len());
    let mut outcome = Outcome::default();
    match find_mut(&mut cx.keys, key)? {
        Some(set) => {
            set.expect(count, limits);
            elements.try_for_each(|element| outcome.apply(set, element, conditions, limits))?;
        }
        None if conditions.xx => {}
        None => {
            let Some(first) = elements.next() else { return Err(CmdError::SYNTAX) };
            let mut set = SortedSet::new(count, first.0.len(), limits);
            outcome.apply(&mut set, first, conditions, limits)?;
            elements
                .try_for_each(|element| outcome.apply(&mut set, element, conditions, limits))?;
            cx.keys.insert(new_entry(key, set));
        }
    }
    let Outcome { added, updated, score } = outcome;
    if added + updated > 0 {
        let event = if conditions.incr { "zincr" } else { "zadd" };
        cx.keys.notify(Class::SortedSet, event, key);
    }
    cx.keys.changed((added + updated) as u64);
    match (conditions.incr, score) {
        (true, Some(score)) => write_score(&mut cx.out, score),
        (true, None) => cx.out.null(),
        (false, _) => cx.out.int((added + if conditions.ch { updated } else { 0 }) as i64),
    }
    Ok(())
}

pub fn zrem(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let key = args.at(1);
    let (mut removed, mut is_empty) = (0, false);
    if let Some(set) = find_mut(&mut cx.keys, key)? {
        for member in args.from(2).iter() {
            removed += u64::from(set.remove(member).is_some());
            is_empty = set.is_empty();
            if is_empty {
                break;
            }
        }
    }
    if removed > 0 {
        cx.keys.notify(Class::SortedSet, "zrem", key);
    }
    if is_empty {
        cx.keys.delete(key);
    }
    cx.keys.changed(removed);
    cx.out.int(removed as i64);
    Ok(())
}

pub fn zcard(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let len = find(&mut cx.keys, args.at(1))?.map_or(0, SortedSet::len);
    cx.out.int(len as i64);
    Ok(())
}

fn write_score_or_null(out: &mut Encoder, score: Option<f64>) {
    match score {
        Some(score) => write_score(out, score),
        None => out.null(),
    }
}

pub fn zscore(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let set = find(&mut cx.keys, args.at(1))?;
    write_score_or_null(&mut cx.out, set.and_then(|set| set.score(args.at(2))));
    Ok(())
}

pub fn zmscore(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let members = args.from(2);
    let set = find(&mut cx.keys, args.at(1))?;
    cx.out.array(members.len());
    for member in members.iter() {
        write_score_or_null(&mut cx.out, set.and_then(|set| set.score(member)));
    }
    Ok(())
}

pub fn zrank(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    rank(cx, args, false)
}

pub fn zrevrank(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    rank(cx, args, true)
}

fn rank(cx: &mut Cx, args: Args, from_greatest: bool) -> Result<(), CmdError> {
    if args.len() > 4 {
        return Err(CmdError::wrong_arity(cx.name));
    }
    let with_score = args.is(3, "withscore");
    if args.len() == 4 && !with_score {
        return Err(CmdError::SYNTAX);
    }
    let set = find(&mut cx.keys, args.at(1))?;
    let found = set.and_then(|set| Some((set.len(), set.rank(args.at(2))?)));
    let out = &mut cx.out;
    match found {
        None if with_score => out.null_array(),
        None => out.null(),
        Some((len, (rank, score))) => {
            if with_score {
                out.array(2);
            }
            out.int(if from_greatest { len - 1 - rank } else { rank } as i64);
            if with_score {
                write_score(out, score);
            }
        }
    }
    Ok(())
}

pub fn zscan(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let mut position = scan_cursor(args.at(2))?;
    let (mut found, mut count) = (Vec::new(), 0);
    let mut reply = Encoder::new(&mut found, cx.out.protocol);
    if let Some(set) = find(&mut cx.keys, args.at(1))? {
        let options = ScanOptions::of_members(args.from(3))?;
        // Redis writes scores with more digits where it has a hash table.
        let text = match set.encoding() {
            Encoding::Listpack => double::shortest,
            _ => double::general,
        };
        let (mut seen, mut buckets_left) = (0, options.count.saturating_mul(10));
        loop {
            position = set.scan(position, &mut |member, score| {
                seen += 1;
                if fits(options.pattern, member) {
                    reply.bulk(member);
                    reply.bulk(text(score).as_bytes());
                    count += 2;
                }
            });
            buckets_left -= 1;
            if position == 0 || seen >= options.count || buckets_left == 0 {
                break;
            }
        }
    } else {
        position = 0;
    }
    reply_found(&mut cx.out, position, count, &found);
    Ok(())
}
