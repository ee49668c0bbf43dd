//! Ranges of ranks, scores and members: reading, storing, counting and removing what is in them.

use super::{find, find_mut, limits, store, write_elements};
use crate::command::value::integer;
use crate::data::double;
use crate::data::sorted_set::{
    Direction, Element, LexLimit, LexRange, Limits, ScoreRange, SortedSet,
};
use crate::error::CmdError;
use crate::resp::Args;
use crate::shard::{Class, Cx};
use std::ops::Range;

const NOT_A_SCORE_RANGE: CmdError = CmdError::fixed("ERR min or max is not a float");
const NOT_A_LEX_RANGE: CmdError = CmdError::fixed("ERR min or max not valid string range item");
const LIMIT_OF_RANKS: CmdError = CmdError::fixed(
    "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
);
const SCORES_OF_LEX: CmdError =
    CmdError::fixed("ERR syntax error, WITHSCORES not supported in combination with BYLEX");

/// What the limits of a range are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

enum Span<'a> {
    /// From and to, negative numbers counting from the end.
    Ranks(i64, i64),
    Scores(ScoreRange),
    Members(LexRange<'a>),
}

/// One limit of a range of scores, and whether it is excluded itself.
fn score_limit(text: &[u8]) -> Result<(f64, bool), CmdError> {
    let (number, excluded) = match text {
        [b'(', rest @ ..] => (rest, true),
        _ => (text, false),
    };
    Ok((double::parse_limit(number).ok_or(NOT_A_SCORE_RANGE)?, excluded))
}

fn lex_limit(text: &[u8]) -> Result<LexLimit<'_>, CmdError> {
    match text {
        b"-" => Ok(LexLimit::Least),
        b"+" => Ok(LexLimit::Greatest),
        // What follows a NUL is not seen.
        [b'-', 0, ..] => Ok(LexLimit::Least),
        [b'+', 0, ..] => Ok(LexLimit::Greatest),
        [b'[', member @ ..] => Ok(LexLimit::Including(member)),
        [b'(', member @ ..] => Ok(LexLimit::Excluding(member)),
        _ => Err(NOT_A_LEX_RANGE),
    }
}

impl<'a> Span<'a> {
    fn parse(by: By, min: &'a [u8], max: &'a [u8]) -> Result<Span<'a>, CmdError> {
        Ok(match by {
            By::Rank => Span::Ranks(integer(min)?, integer(max)?),
            By::Score => {
                let ((min, min_excluded), (max, max_excluded)) =
                    (score_limit(min)?, score_limit(max)?);
                Span::Scores(ScoreRange { min, max, min_excluded, max_excluded })
            }
            By::Lex => Span::Members(LexRange { min: lex_limit(min)?, max: lex_limit(max)? }),
        })
    }

    /// The ranks that are meant, counted from the least element.
    fn resolve(&self, set: &SortedSet, direction: Direction) -> Range<usize> {
        match self {
            Span::Scores(range) => set.ranks_by_score(range),
            Span::Members(range) => set.ranks_by_lex(range, direction),
            Span::Ranks(start, end) => {
                let len = set.len() as i64;
                let from_end = |rank: i64| if rank < 0 { rank + len } else { rank };
                let (first, end) = (from_end(*start).max(0), from_end(*end).min(len - 1) + 1);
                if first >= end {
                    return 0..0;
                }
                match direction {
                    Direction::Ascending => first as usize..end as usize,
                    Direction::Descending => (len - end) as usize..(len - first) as usize,
                }
            }
        }
    }
}

/// The options of ZRANGE and its kin.
struct Query<'a> {
    key: &'a [u8],
    span: Span<'a>,
    direction: Direction,
    offset: i64,
    /// No limit if it is negative.
    limit: i64,
    with_scores: bool,
}

impl<'a> Query<'a> {
    /// Reads `key min max options...`; `by` and `direction` are fixed by the command, or else
    /// options are.
    fn parse(
        args: &Args<'a>,
        by: Option<By>,
        direction: Option<Direction>,
        stores: bool,
    ) -> Result<Query<'a>, CmdError> {
        let (mut chosen_by, mut chosen_direction) = (by, direction);
        let (mut offset, mut limit, mut with_scores) = (0, -1, false);
        let mut at = 3;
        while at < args.len() {
            match () {
                _ if !stores && args.is(at, "withscores") => with_scores = true,
                _ if args.is(at, "limit") && at + 2 < args.len() => {
                    offset = integer(args.at(at + 1))?;
                    limit = integer(args.at(at + 2))?;
                    at += 2;
                }
                _ if chosen_direction.is_none() && args.is(at, "rev") => {
                    chosen_direction = Some(Direction::Descending);
                }
                _ if chosen_by.is_none() && args.is(at, "bylex") => chosen_by = Some(By::Lex),
                _ if chosen_by.is_none() && args.is(at, "byscore") => chosen_by = Some(By::Score),
                _ => return Err(CmdError::SYNTAX),
            }
            at += 1;
        }
        let by = chosen_by.unwrap_or(By::Rank);
        let direction = chosen_direction.unwrap_or(Direction::Ascending);
        if limit != -1 && by == By::Rank {
            return Err(LIMIT_OF_RANKS);
        }
        if with_scores && by == By::Lex {
            return Err(SCORES_OF_LEX);
        }
        let (mut min, mut max) = (args.at(1), args.at(2));
        if direction == Direction::Descending && by != By::Rank {
            std::mem::swap(&mut min, &mut max);
        }
        let span = Span::parse(by, min, max)?;
        Ok(Query { key: args.at(0), span, direction, offset, limit, with_scores })
    }

    /// The ranks of the elements asked for.
    fn ranks(&self, set: &SortedSet) -> Range<usize> {
        let Range { start, end } = self.span.resolve(set, self.direction);
        if matches!(self.span, Span::Ranks(..)) {
            return start..end;
        }
        // A negative offset never comes to its end.
        let len = end - start;
        let skipped = usize::try_from(self.offset).map_or(len, |offset| offset.min(len));
        let left = len - skipped;
        let taken = usize::try_from(self.limit).map_or(left, |limit| limit.min(left));
        match self.direction {
            Direction::Ascending => start + skipped..start + skipped + taken,
            Direction::Descending => end - skipped - taken..end - skipped,
        }
    }
}

fn read(
    cx: &mut Cx,
    args: Args,
    by: Option<By>,
    direction: Option<Direction>,
) -> Result<(), CmdError> {
    let query = Query::parse(&args.from(1), by, direction, false)?;
    match find(&mut cx.keys, query.key)? {
        None => cx.out.array(0),
        Some(set) => {
            let elements = set.range(query.ranks(set), query.direction);
            write_elements(&mut cx.out, elements, query.with_scores);
        }
    }
    Ok(())
}

pub fn zrange(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    read(cx, args, None, None)
}

pub fn zrevrange(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    read(cx, args, Some(By::Rank), Some(Direction::Descending))
}

pub fn zrangebyscore(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    read(cx, args, Some(By::Score), Some(Direction::Ascending))
}

pub fn zrevrangebyscore(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    read(cx, args, Some(By::Score), Some(Direction::Descending))
}

pub fn zrangebylex(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    read(cx, args, Some(By::Lex), Some(Direction::Ascending))
}

pub fn zrevrangebylex(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    read(cx, args, Some(By::Lex), Some(Direction::Descending))
}

pub fn zrangestore(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let query = Query::parse(&args.from(2), None, None, true)?;
    let limits: Limits = limits(cx.settings);
    let result = match find(&mut cx.keys, query.key)? {
        None => SortedSet::new(0, 0, limits),
        Some(set) => {
            let elements: Vec<Element> =
                set.range(query.ranks(set), Direction::Ascending).collect();
            SortedSet::from_sorted(&elements, limits)
        }
    };
    cx.out.int(result.len() as i64);
    store(cx, args.at(1), result, "zrangestore");
    Ok(())
}

fn count(cx: &mut Cx, args: Args, by: By) -> Result<(), CmdError> {
    let span = Span::parse(by, args.at(2), args.at(3))?;
    let set = find(&mut cx.keys, args.at(1))?;
    let count = set.map_or(0, |set| span.resolve(set, Direction::Ascending).len());
    cx.out.int(count as i64);
    Ok(())
}

pub fn zcount(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    count(cx, args, By::Score)
}

pub fn zlexcount(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    count(cx, args, By::Lex)
}

fn remove(cx: &mut Cx, args: Args, by: By) -> Result<(), CmdError> {
    let (key, span) = (args.at(1), Span::parse(by, args.at(2), args.at(3))?);
    let (mut removed, mut is_empty) = (0, false);
    if let Some(set) = find_mut(&mut cx.keys, key)? {
        let ranks = span.resolve(set, Direction::Ascending);
        removed = ranks.len();
        set.remove_ranks(ranks, &mut |_, _| ());
        is_empty = set.is_empty();
    }
    if removed > 0 {
        let event = match by {
            By::Rank => "zremrangebyrank",
            By::Score => "zremrangebyscore",
            By::Lex => "zremrangebylex",
        };
        cx.keys.notify(Class::SortedSet, event, key);
    }
    if is_empty {
        cx.keys.delete(key);
    }
    cx.keys.changed(removed as u64);
    cx.out.int(removed as i64);
    Ok(())
}

pub fn zremrangebyrank(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    remove(cx, args, By::Rank)
}

pub fn zremrangebyscore(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    remove(cx, args, By::Score)
}

pub fn zremrangebylex(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    remove(cx, args, By::Lex)
}
