//! Searching: GEOSEARCH, GEOSEARCHSTORE, and the older GEORADIUS family with other words for it.

use super::{place, unit, write_distance, write_place};
use crate::command::sorted_set::{find, limits, store};
use crate::command::value::integer;
use crate::data::double;
use crate::data::geo::{Place, Search, Shape};
use crate::data::sorted_set::{Direction, Element, Limits, ScoreRange, SortedSet};
use crate::error::CmdError;
use crate::resp::{Args, Encoder};
use crate::shard::{Cx, Keys};

const NO_MEMBER: CmdError = CmdError::fixed("ERR could not decode requested zset member");
const NOT_A_RADIUS: CmdError = CmdError::fixed("ERR need numeric radius");
const NEGATIVE_RADIUS: CmdError = CmdError::fixed("ERR radius cannot be negative");
const NOT_A_WIDTH: CmdError = CmdError::fixed("ERR need numeric width");
const NOT_A_HEIGHT: CmdError = CmdError::fixed("ERR need numeric height");
const NEGATIVE_BOX: CmdError = CmdError::fixed("ERR height or width cannot be negative");
const NO_COUNT: CmdError = CmdError::fixed("ERR COUNT must be > 0");
const ANY_ALONE: CmdError = CmdError::fixed("ERR the ANY argument requires COUNT argument");

/// Which command it is: where things are, and which words it knows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Variant {
    /// GEORADIUS; whether it may store.
    Coordinates(bool),
    /// GEORADIUSBYMEMBER; whether it may store.
    Member(bool),
    Search,
    SearchStore,
}

impl Variant {
    fn is_search(self) -> bool {
        matches!(self, Variant::Search | Variant::SearchStore)
    }

    fn may_store(self) -> bool {
        matches!(self, Variant::Coordinates(true) | Variant::Member(true))
    }
}

/// Around what it is searched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Place,
    Member,
}

struct Request<'a> {
    from: Option<From>,
    /// Stays unknown if the center is a member of nothing.
    center: Option<Place>,
    /// In meters.
    shape: Option<Shape>,
    /// Meters in one of the unit in which distances are answered.
    unit: f64,
    order: Option<Direction>,
    /// 0 is no limit.
    count: usize,
    any: bool,
    with_distance: bool,
    with_hash: bool,
    with_place: bool,
    store_at: Option<&'a [u8]>,
    store_distance: bool,
}

/// A member that has been found.
struct Hit<'s> {
    member: &'s [u8],
    score: f64,
    place: Place,
    distance: f64,
}

fn radius(number: &[u8], name: &[u8]) -> Result<(Shape, f64), CmdError> {
    let radius = double::parse(number).ok_or(NOT_A_RADIUS)?;
    if radius < 0.0 {
        return Err(NEGATIVE_RADIUS);
    }
    let unit = unit(name)?;
    Ok((Shape::Circle { radius: radius * unit }, unit))
}

fn rectangle(width: &[u8], height: &[u8], name: &[u8]) -> Result<(Shape, f64), CmdError> {
    let width = double::parse(width).ok_or(NOT_A_WIDTH)?;
    let height = double::parse(height).ok_or(NOT_A_HEIGHT)?;
    if width < 0.0 || height < 0.0 {
        return Err(NEGATIVE_BOX);
    }
    let unit = unit(name)?;
    Ok((Shape::Rectangle { width: width * unit, height: height * unit }, unit))
}

fn place_of(set: &SortedSet, member: &[u8]) -> Result<Place, CmdError> {
    set.score(member).map(Place::of_score).ok_or(NO_MEMBER)
}

impl<'a> Request<'a> {
    fn parse(
        args: &Args<'a>,
        variant: Variant,
        set: Option<&SortedSet>,
    ) -> Result<Request<'a>, CmdError> {
        let mut request = Request {
            from: None,
            center: None,
            shape: None,
            unit: 1.0,
            order: None,
            count: 0,
            any: false,
            with_distance: false,
            with_hash: false,
            with_place: false,
            store_at: None,
            store_distance: false,
        };
        let options = match (variant, set) {
            (Variant::Coordinates(_), _) => {
                request.center = Some(place(args.at(2), args.at(3))?);
                request.circle(args.at(4), args.at(5))?;
                6
            }
            // Without a set, only which reply it is remains to be found out.
            (Variant::Member(_), None) => 5,
            (Variant::Member(_), Some(set)) => {
                request.center = Some(place_of(set, args.at(2))?);
                request.circle(args.at(3), args.at(4))?;
                5
            }
            (Variant::Search, _) => 2,
            (Variant::SearchStore, _) => {
                request.store_at = Some(args.at(1));
                3
            }
        };
        let mut at = options;
        while at < args.len() {
            at = request.option(args, at, variant, set)?;
        }
        request.check(args, variant)?;
        Ok(request)
    }

    fn circle(&mut self, number: &[u8], name: &[u8]) -> Result<(), CmdError> {
        let (shape, unit) = radius(number, name)?;
        (self.shape, self.unit) = (Some(shape), unit);
        Ok(())
    }

    /// Reads the option at `at`; gives the index of the next one.
    fn option(
        &mut self,
        args: &Args<'a>,
        at: usize,
        variant: Variant,
        set: Option<&SortedSet>,
    ) -> Result<usize, CmdError> {
        let left = args.len() - at - 1;
        let is = |word| args.is(at, word);
        match () {
            _ if is("withdist") => self.with_distance = true,
            _ if is("withhash") => self.with_hash = true,
            _ if is("withcoord") => self.with_place = true,
            _ if is("any") => self.any = true,
            _ if is("asc") => self.order = Some(Direction::Ascending),
            _ if is("desc") => self.order = Some(Direction::Descending),
            _ if is("count") && left >= 1 => {
                let count = integer(args.at(at + 1))?;
                self.count = usize::try_from(count).ok().filter(|&n| n > 0).ok_or(NO_COUNT)?;
                return Ok(at + 2);
            }
            _ if (is("store") || is("storedist")) && left >= 1 && variant.may_store() => {
                self.store_at = Some(args.at(at + 1));
                self.store_distance = is("storedist");
                return Ok(at + 2);
            }
            _ if is("storedist") && variant == Variant::SearchStore => self.store_distance = true,
            _ if variant.is_search() => return self.search_option(args, at, set),
            _ => return Err(CmdError::SYNTAX),
        }
        Ok(at + 1)
    }

    /// As [`Request::option`], for what only GEOSEARCH and GEOSEARCHSTORE know.
    fn search_option(
        &mut self,
        args: &Args<'a>,
        at: usize,
        set: Option<&SortedSet>,
    ) -> Result<usize, CmdError> {
        let left = args.len() - at - 1;
        let is = |word| args.is(at, word);
        let is_circle = matches!(self.shape, Some(Shape::Circle { .. }));
        let is_rectangle = matches!(self.shape, Some(Shape::Rectangle { .. }));
        match () {
            _ if is("frommember") && left >= 1 && self.from != Some(From::Place) => {
                self.from = Some(From::Member);
                if let Some(set) = set {
                    self.center = Some(place_of(set, args.at(at + 1))?);
                }
                Ok(at + 2)
            }
            _ if is("fromlonlat") && left >= 2 && self.from != Some(From::Member) => {
                self.from = Some(From::Place);
                self.center = Some(place(args.at(at + 1), args.at(at + 2))?);
                Ok(at + 3)
            }
            _ if is("byradius") && left >= 2 && !is_rectangle => {
                self.circle(args.at(at + 1), args.at(at + 2))?;
                Ok(at + 3)
            }
            _ if is("bybox") && left >= 3 && !is_circle => {
                let (shape, unit) = rectangle(args.at(at + 1), args.at(at + 2), args.at(at + 3))?;
                (self.shape, self.unit) = (Some(shape), unit);
                Ok(at + 4)
            }
            _ => Err(CmdError::SYNTAX),
        }
    }

    fn check(&self, args: &Args, variant: Variant) -> Result<(), CmdError> {
        let shows = self.with_distance || self.with_hash || self.with_place;
        if self.store_at.is_some() && shows {
            let what = match variant {
                Variant::SearchStore => "GEOSEARCHSTORE",
                _ => "STORE option in GEORADIUS",
            };
            return Err(CmdError::err(format_args!(
                "{what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            )));
        }
        let needs = |what: &[u8]| CmdError::err_of(&[what, b" can be specified for ", args.at(0)]);
        if variant.is_search() && self.from.is_none() {
            return Err(needs(b"exactly one of FROMMEMBER or FROMLONLAT"));
        }
        if variant.is_search() && self.shape.is_none() {
            return Err(needs(b"exactly one of BYRADIUS and BYBOX"));
        }
        if self.any && self.count == 0 { Err(ANY_ALONE) } else { Ok(()) }
    }

    /// What is found, in the order of the reply and no more than wanted.
    fn run<'s>(&self, set: &'s SortedSet) -> Vec<Hit<'s>> {
        let (Some(center), Some(shape)) = (self.center, self.shape) else { return Vec::new() };
        let enough = if self.any { self.count } else { usize::MAX };
        let mut hits = hits(set, &Search { center, shape }, enough);
        let order = match self.order {
            None if self.count > 0 && !self.any => Some(Direction::Ascending),
            order => order,
        };
        // Equal distances stay in the order in which they were found.
        match order {
            Some(Direction::Ascending) => {
                hits.sort_by(|a, b| a.distance.total_cmp(&b.distance));
            }
            Some(Direction::Descending) => {
                hits.sort_by(|a, b| b.distance.total_cmp(&a.distance));
            }
            None => {}
        }
        if self.count > 0 {
            hits.truncate(self.count);
        }
        hits
    }

    fn answer(&self, out: &mut Encoder, hits: &[Hit]) {
        let parts = [self.with_distance, self.with_hash, self.with_place];
        let shown = parts.into_iter().filter(|&part| part).count();
        out.array(hits.len());
        for hit in hits {
            if shown > 0 {
                out.array(1 + shown);
            }
            out.bulk(hit.member);
            if self.with_distance {
                write_distance(out, hit.distance / self.unit);
            }
            if self.with_hash {
                out.int(hit.score as i64);
            }
            if self.with_place {
                write_place(out, hit.place);
            }
        }
    }

    fn stored(&self, hits: &[Hit], limits: Limits) -> SortedSet {
        let score = |hit: &Hit| match self.store_distance {
            true => hit.distance / self.unit,
            false => hit.score,
        };
        let mut elements: Vec<Element> = hits.iter().map(|hit| (hit.member, score(hit))).collect();
        elements.sort_unstable_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(b.0)));
        // Ranges of a very large search can overlap.
        elements.dedup_by(|a, b| a.0 == b.0);
        SortedSet::from_sorted(&elements, limits)
    }
}

/// The members within a shape, cell by cell; no more than `enough`.
fn hits<'s>(set: &'s SortedSet, search: &Search, enough: usize) -> Vec<Hit<'s>> {
    let mut hits = Vec::new();
    for (min, max) in search.ranges() {
        let range = ScoreRange { min, max, min_excluded: false, max_excluded: true };
        for (member, score) in set.range(set.ranks_by_score(&range), Direction::Ascending) {
            let place = Place::of_score(score);
            if let Some(distance) = search.distance_within(place) {
                hits.push(Hit { member, score, place, distance });
                if hits.len() >= enough {
                    return hits;
                }
            }
        }
    }
    hits
}

fn run(cx: &mut Cx, args: Args, variant: Variant) -> Result<(), CmdError> {
    let limits = limits(cx.settings);
    let source = if variant == Variant::SearchStore { 2 } else { 1 };
    let Cx { keys, out, .. } = cx;
    let set = find(keys, args.at(source))?;
    let request = Request::parse(&args, variant, set)?;
    let hits = set.map_or_else(Vec::new, |set| request.run(set));
    let Some(key) = request.store_at else {
        request.answer(out, &hits);
        return Ok(());
    };
    let result = request.stored(&hits, limits);
    out.int(result.len() as i64);
    let event = if variant.is_search() { "geosearchstore" } else { "georadiusstore" };
    let elements = if cx.keys.is_recorded() { words(&result) } else { Vec::new() };
    if store(cx, key, result, event) {
        record(&mut cx.keys, key, &elements);
    }
    Ok(())
}

/// Scores and members as ZADD takes them.
fn words(set: &SortedSet) -> Vec<Vec<u8>> {
    set.range(0..set.len(), Direction::Ascending)
        .flat_map(|(member, score)| [double::shortest(score).as_bytes().to_vec(), member.to_vec()])
        .collect()
}

/// Records the stored members themselves: which are within a shape, and how far away, depends on
/// the last bits of a computation that others do in another way.
fn record(keys: &mut Keys, key: &[u8], elements: &[Vec<u8>]) {
    keys.effect(key, &[b"DEL", key]);
    let elements: Vec<&[u8]> = elements.iter().map(Vec::as_slice).collect();
    keys.effect_of_many(key, &[b"ZADD", key], &elements);
}

pub fn geosearch(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    run(cx, args, Variant::Search)
}

pub fn geosearchstore(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    run(cx, args, Variant::SearchStore)
}

pub fn georadius(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    run(cx, args, Variant::Coordinates(true))
}

pub fn georadius_ro(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    run(cx, args, Variant::Coordinates(false))
}

pub fn georadiusbymember(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    run(cx, args, Variant::Member(true))
}

pub fn georadiusbymember_ro(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    run(cx, args, Variant::Member(false))
}
