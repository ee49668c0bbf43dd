//! Collections in the making.

use super::super::{Corrupt, Result};
use super::{Elements, Limits, Value};
use crate::data::double;
use crate::data::hash::{self, FieldValue, Hash, Lifetime};
use crate::data::list::{self, End, List};
use crate::data::packed::Element;
use crate::data::set::{self, Set};
use crate::data::sorted_set::{self, SortedSet};
use crate::data::value::Object;
use std::cmp::Ordering;

const TWICE: Corrupt = Corrupt::Wrong("an element is there twice");

/// A list.
pub struct Items {
    list: List,
    limit: list::Limit,
}

impl Items {
    pub fn new(limits: &Limits) -> Items {
        Items { list: List::to_fill(), limit: limits.list }
    }

    pub fn push(&mut self, element: Element) {
        self.list.push(End::Back, element, self.limit);
    }

    pub fn extend(&mut self, elements: Elements) -> Result<()> {
        for element in elements {
            self.push(element?);
        }
        Ok(())
    }

    pub fn finish(self) -> Result<Object> {
        if self.list.is_empty() {
            return Err(Corrupt::Empty);
        }
        Ok(Object::List(self.list.filled(self.limit)))
    }
}

/// A set.
pub struct Members<'l> {
    set: Set,
    limits: &'l set::Limits,
}

impl Members<'_> {
    /// For so many members that may be anything.
    pub fn of_any(count: u64, limits: &Limits) -> Members<'_> {
        let mut members = Members::of_ints(limits);
        members.set.expect(usize::try_from(count).unwrap_or(usize::MAX), members.limits);
        members
    }

    /// For integers.
    pub fn of_ints(limits: &Limits) -> Members<'_> {
        Members { set: Set::new(), limits: &limits.set }
    }

    /// For so many members that are packed if they may be, also if they are integers.
    pub fn packed(count: usize, limits: &Limits) -> Members<'_> {
        let mut set = Set::packed();
        set.expect(count, &limits.set);
        Members { set, limits: &limits.set }
    }

    pub fn add(&mut self, member: Element) -> Result<()> {
        if self.set.adopt(member, self.limits) { Ok(()) } else { Err(TWICE) }
    }

    pub fn finish(self) -> Result<Object> {
        if self.set.is_empty() { Err(Corrupt::Empty) } else { Ok(Object::Set(self.set)) }
    }
}

/// A sorted set: its members one behind the other, until they are put in order.
pub struct Scores {
    limits: sorted_set::Limits,
    bytes: Vec<u8>,
    /// Where each member ends, and its score.
    elements: Vec<(usize, f64)>,
}

impl Scores {
    pub fn new(limits: &Limits) -> Scores {
        Scores { limits: limits.sorted_set, bytes: Vec::new(), elements: Vec::new() }
    }

    /// Its score must follow.
    pub fn push_member(&mut self, member: &[u8]) {
        self.bytes.extend_from_slice(member);
    }

    pub fn push_score(&mut self, score: f64) -> Result<()> {
        if score.is_nan() {
            return Err(Corrupt::Wrong("a score is not a number"));
        }
        self.elements.push((self.bytes.len(), score));
        Ok(())
    }

    pub fn push_score_of(&mut self, element: Element) -> Result<()> {
        match element {
            Element::Int(int) => self.push_score(int as f64),
            Element::Bytes(text) => self.push_score(double::parse(text).unwrap_or(f64::NAN)),
        }
    }

    pub fn finish(self) -> Result<Object> {
        let mut start = 0;
        let mut elements: Vec<sorted_set::Element> = Vec::with_capacity(self.elements.len());
        for &(end, score) in &self.elements {
            elements.push((&self.bytes[start..end], score));
            start = end;
        }
        if elements.is_empty() {
            return Err(Corrupt::Empty);
        }
        // Redis writes the last element first.
        if elements.is_sorted_by(|a, b| order(b, a).is_le()) {
            elements.reverse();
        } else if !elements.is_sorted_by(|a, b| order(a, b).is_le()) {
            elements.sort_unstable_by(order);
        }
        let set = SortedSet::from_sorted_if_distinct(&elements, self.limits);
        set.map(Object::SortedSet).ok_or(TWICE)
    }
}

/// By score, then by member.
fn order(a: &sorted_set::Element, b: &sorted_set::Element) -> Ordering {
    // No score is NaN.
    a.1.partial_cmp(&b.1).unwrap_or(Ordering::Equal).then_with(|| a.0.cmp(b.0))
}

/// A hash.
pub struct Fields {
    hash: Hash,
    limits: hash::Limits,
    now: i64,
    /// Some fields had expired.
    some_expired: bool,
}

impl Fields {
    /// For so many fields, if that is known.
    pub fn new(count: u64, now: i64, limits: &Limits) -> Fields {
        let mut hash = Hash::new();
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > limits.hash.fields {
            // Its form is known; room is not made, since a count may lie.
            hash.expect(count, usize::MAX, limits.hash);
        }
        Fields { hash, limits: limits.hash, now, some_expired: false }
    }

    pub fn put(&mut self, field: &[u8], value: Element, expire_at: Option<i64>) -> Result<()> {
        if expire_at.is_some_and(|at| self.now > at) {
            self.some_expired = true;
            return Ok(());
        }
        let value = match value {
            Element::Int(int) => FieldValue::Int(int),
            Element::Bytes(bytes) => FieldValue::Bytes(bytes),
        };
        let lifetime = expire_at.map_or(Lifetime::Endless, Lifetime::Until);
        let new = self.hash.set(field, value, lifetime, self.limits, self.now);
        if new { Ok(()) } else { Err(TWICE) }
    }

    pub fn finish(mut self) -> Result<Option<Value>> {
        if self.hash.is_empty() {
            return if self.some_expired { Ok(None) } else { Err(Corrupt::Empty) };
        }
        self.hash.fit();
        Ok(Some(Value::Object(Box::new(Object::Hash(self.hash)))))
    }
}
