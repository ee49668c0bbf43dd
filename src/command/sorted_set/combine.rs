//! Unions, intersections and differences of sorted sets and plain sets.
//!
//! A plain set counts as a sorted set in which all scores are 1. Whatever is stored has been
//! made before anything is changed, so the destination may be a source.

use super::{limits, set_of, store, write_elements};
use crate::command::value::integer;
use crate::data::set::Set;
use crate::data::sorted_set::{Element, SortedSet};
use crate::data::{Entry, Object, ValueRef, double};
use crate::error::CmdError;
use crate::resp::Args;
use crate::shard::{Cx, Keys};
use ahash::AHashMap;
use smallvec::SmallVec;
use std::ops::Range;

const NOT_A_WEIGHT: CmdError = CmdError::fixed("ERR weight value is not a float");
const LIMIT_NEGATIVE: CmdError = CmdError::fixed("ERR LIMIT can't be negative");

/// What may be combined.
#[derive(Clone, Copy)]
enum Source<'k> {
    Missing,
    Sorted(&'k SortedSet),
    Plain(&'k Set),
}

impl<'k> Source<'k> {
    fn of(entry: &'k Entry) -> Result<Source<'k>, CmdError> {
        match entry.value() {
            ValueRef::Object(Object::Set(set)) => Ok(Source::Plain(set)),
            _ => set_of(entry).map(Source::Sorted),
        }
    }

    fn len(self) -> usize {
        match self {
            Source::Missing => 0,
            Source::Sorted(set) => set.len(),
            Source::Plain(set) => set.len(),
        }
    }

    fn score(self, member: &[u8]) -> Option<f64> {
        match self {
            Source::Missing => None,
            Source::Sorted(set) => set.score(member),
            Source::Plain(set) => set.contains(member).then_some(1.0),
        }
    }

    /// Shows all elements; those of a plain set as they were copied to `texts`.
    fn each(self, texts: &'k Texts, each: &mut dyn FnMut(Element<'k>)) {
        match self {
            Source::Missing => {}
            Source::Sorted(set) => set.iter().for_each(each),
            Source::Plain(_) => texts.iter().for_each(|member| each((member, 1.0))),
        }
    }
}

/// The members of a plain set as bytes: it need not have them as such.
#[derive(Default)]
struct Texts {
    bytes: Vec<u8>,
    members: Vec<Range<usize>>,
}

impl Texts {
    fn of(source: Source) -> Texts {
        let mut texts = Texts::default();
        if let Source::Plain(set) = source {
            for member in set.iter() {
                let start = texts.bytes.len();
                member.with_text(|text| texts.bytes.extend_from_slice(text));
                texts.members.push(start..texts.bytes.len());
            }
        }
        texts
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.members.iter().map(|range| &self.bytes[range.clone()])
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Intersection,
    Difference,
}

/// How the scores of a member become one.
#[derive(Clone, Copy)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn join(self, a: f64, b: f64) -> f64 {
        match self {
            Aggregate::Sum => number(a + b),
            Aggregate::Min if b < a => b,
            Aggregate::Max if b > a => b,
            Aggregate::Min | Aggregate::Max => a,
        }
    }
}

/// The score, or 0 for what is not a number: the sum of two infinities, zero times infinity.
fn number(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// What a command accepts and does with the result.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Answer,
    Store,
    Count,
}

struct Request<'a> {
    operation: Operation,
    keys: Args<'a>,
    weights: SmallVec<[f64; 8]>,
    aggregate: Aggregate,
    with_scores: bool,
    /// How much is to be counted; 0 is no limit.
    limit: usize,
}

impl<'a> Request<'a> {
    /// Reads the number of keys at `args[at]` and the keys; gives the index of the first option.
    fn parse_keys(
        cx: &mut Cx,
        args: &Args<'a>,
        at: usize,
        operation: Operation,
    ) -> Result<(Request<'a>, usize), CmdError> {
        let count = integer(args.at(at))?;
        if count < 1 {
            let text = format_args!("at least 1 input key is needed for '{}' command", cx.name);
            return Err(CmdError::err(text));
        }
        let first = at + 1;
        let count = usize::try_from(count).ok().filter(|&n| n <= args.len() - first);
        let count = count.ok_or(CmdError::SYNTAX)?;
        let keys = args.range(first, first + count);
        // Their types come before whatever is wrong with the options.
        for key in keys.iter() {
            cx.keys.get(key).map_or(Ok(Source::Missing), Source::of)?;
        }
        let request = Request {
            operation,
            keys,
            weights: SmallVec::from_elem(1.0, count),
            aggregate: Aggregate::Sum,
            with_scores: false,
            limit: 0,
        };
        Ok((request, first + count))
    }

    fn parse_options(
        &mut self,
        args: &Args,
        mut at: usize,
        purpose: Purpose,
    ) -> Result<(), CmdError> {
        let scored = self.operation != Operation::Difference && purpose != Purpose::Count;
        while at < args.len() {
            let left = args.len() - at - 1;
            if scored && left >= self.keys.len() && args.is(at, "weights") {
                for weight in &mut self.weights {
                    at += 1;
                    *weight = double::parse(args.at(at)).ok_or(NOT_A_WEIGHT)?;
                }
            } else if scored && left >= 1 && args.is(at, "aggregate") {
                at += 1;
                self.aggregate = match () {
                    _ if args.is(at, "sum") => Aggregate::Sum,
                    _ if args.is(at, "min") => Aggregate::Min,
                    _ if args.is(at, "max") => Aggregate::Max,
                    _ => return Err(CmdError::SYNTAX),
                };
            } else if purpose == Purpose::Answer && args.is(at, "withscores") {
                self.with_scores = true;
            } else if purpose == Purpose::Count && left >= 1 && args.is(at, "limit") {
                at += 1;
                let limit = integer(args.at(at)).ok().and_then(|n| usize::try_from(n).ok());
                self.limit = limit.ok_or(LIMIT_NEGATIVE)?;
            } else {
                return Err(CmdError::SYNTAX);
            }
            at += 1;
        }
        Ok(())
    }

    /// The sources with their weights; the smallest first where the order does not matter but to
    /// the time it takes, and to sums of floats.
    fn sources<'k>(&self, keys: &'k Keys) -> SmallVec<[(Source<'k>, f64); 8]> {
        let source = |key| {
            // All were looked up before: none has expired or is of another type.
            let entry: Option<&'k Entry> = keys.find_any(key);
            entry.and_then(|entry| Source::of(entry).ok()).unwrap_or(Source::Missing)
        };
        let mut sources: SmallVec<[_; 8]> =
            self.keys.iter().map(source).zip(self.weights.iter().copied()).collect();
        if self.operation != Operation::Difference {
            sources.sort_by_key(|(source, _)| source.len());
        }
        sources
    }

    /// Gives `done` the resulting elements in ascending order.
    fn run<R>(&self, keys: &Keys, done: impl FnOnce(&[Element]) -> R) -> R {
        let sources = self.sources(keys);
        let texts: Vec<Texts> = sources.iter().map(|(source, _)| Texts::of(*source)).collect();
        let mut elements = match self.operation {
            Operation::Union => self.union(&sources, &texts),
            Operation::Intersection => {
                let mut elements = Vec::new();
                self.intersection(&sources, &texts, &mut |element| elements.push(element));
                elements
            }
            Operation::Difference => difference(&sources, &texts),
        };
        elements.sort_unstable_by(|a, b| {
            a.1.partial_cmp(&b.1).unwrap_or(std::cmp::Ordering::Equal).then_with(|| a.0.cmp(b.0))
        });
        done(&elements)
    }

    fn union<'k>(&self, sources: &[(Source<'k>, f64)], texts: &'k [Texts]) -> Vec<Element<'k>> {
        let most = sources.last().map_or(0, |(source, _)| source.len());
        let mut scores: AHashMap<&[u8], f64> = AHashMap::with_capacity(most);
        for (&(source, weight), texts) in sources.iter().zip(texts) {
            source.each(texts, &mut |(member, score)| {
                let score = number(weight * score);
                let joined = scores.entry(member);
                joined.and_modify(|sum| *sum = self.aggregate.join(*sum, score)).or_insert(score);
            });
        }
        scores.into_iter().collect()
    }

    fn intersection<'k>(
        &self,
        sources: &[(Source<'k>, f64)],
        texts: &'k [Texts],
        each: &mut dyn FnMut(Element<'k>),
    ) {
        let Some((&(smallest, weight), others)) = sources.split_first() else { return };
        smallest.each(&texts[0], &mut |(member, score)| {
            let mut sum = number(weight * score);
            for (other, weight) in others {
                let Some(score) = other.score(member) else { return };
                sum = self.aggregate.join(sum, weight * score);
            }
            each((member, sum));
        });
    }

    /// How many members an intersection has, counted no further than the limit.
    fn count(&self, keys: &Keys) -> usize {
        let sources = self.sources(keys);
        let Some((&(smallest, _), others)) = sources.split_first() else { return 0 };
        let everywhere =
            |member: &[u8]| others.iter().all(|(other, _)| other.score(member).is_some());
        let limit = if self.limit == 0 { usize::MAX } else { self.limit };
        match smallest {
            Source::Missing => 0,
            Source::Sorted(set) => set.iter().filter(|e| everywhere(e.0)).take(limit).count(),
            Source::Plain(_) => {
                let texts = Texts::of(smallest);
                texts.iter().filter(|member| everywhere(member)).take(limit).count()
            }
        }
    }
}

fn difference<'k>(sources: &[(Source<'k>, f64)], texts: &'k [Texts]) -> Vec<Element<'k>> {
    let Some((&(first, _), others)) = sources.split_first() else { return Vec::new() };
    let mut elements = Vec::new();
    // Asking the others costs a look-up for each of them and each member; if they are small in
    // all, it is cheaper to walk them.
    let asked = first.len() * others.len() / 2;
    let walked = first.len() + others.iter().map(|(source, _)| source.len()).sum::<usize>();
    if asked <= walked {
        first.each(&texts[0], &mut |element| {
            if others.iter().all(|(other, _)| other.score(element.0).is_none()) {
                elements.push(element);
            }
        });
        return elements;
    }
    let mut left: AHashMap<&[u8], f64> = AHashMap::with_capacity(first.len());
    first.each(&texts[0], &mut |(member, score)| {
        left.insert(member, score);
    });
    for ((source, _), texts) in others.iter().zip(&texts[1..]) {
        source.each(texts, &mut |(member, _)| {
            left.remove(member);
        });
    }
    left.into_iter().collect()
}

fn answer(cx: &mut Cx, args: Args, operation: Operation) -> Result<(), CmdError> {
    let (mut request, at) = Request::parse_keys(cx, &args, 1, operation)?;
    request.parse_options(&args, at, Purpose::Answer)?;
    let Cx { keys, out, .. } = cx;
    request.run(keys, |elements| {
        write_elements(out, elements.iter().copied(), request.with_scores);
    });
    Ok(())
}

fn store_result(cx: &mut Cx, args: Args, operation: Operation) -> Result<(), CmdError> {
    let (mut request, at) = Request::parse_keys(cx, &args, 2, operation)?;
    request.parse_options(&args, at, Purpose::Store)?;
    let limits = limits(cx.settings);
    let set = request.run(&cx.keys, |elements| SortedSet::from_sorted(elements, limits));
    cx.out.int(set.len() as i64);
    let event = match operation {
        Operation::Union => "zunionstore",
        Operation::Intersection => "zinterstore",
        Operation::Difference => "zdiffstore",
    };
    store(cx, args.at(1), set, event);
    Ok(())
}

pub fn zunion(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    answer(cx, args, Operation::Union)
}

pub fn zinter(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    answer(cx, args, Operation::Intersection)
}

pub fn zdiff(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    answer(cx, args, Operation::Difference)
}

pub fn zunionstore(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    store_result(cx, args, Operation::Union)
}

pub fn zinterstore(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    store_result(cx, args, Operation::Intersection)
}

pub fn zdiffstore(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    store_result(cx, args, Operation::Difference)
}

pub fn zintercard(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (mut request, at) = Request::parse_keys(cx, &args, 1, Operation::Intersection)?;
    request.parse_options(&args, at, Purpose::Count)?;
    let count = request.count(&cx.keys);
    cx.out.int(count as i64);
    Ok(())
}
