//! From a value in any form to one of ours.
//!
//! Elements go one by one into a collection that begins in its smallest form and changes it as the
//! limits say, so that a loaded value looks like one made by commands, whatever form it came in. Only
//! a sorted set is gathered first: a tree of elements in order is the densest.

mod build;
mod stream;
#[cfg(test)]
mod tests;

use super::input::{Input, Source};
use super::{Corrupt, Result, VERSION_VALKEY, kind, legacy, listpack};
use crate::data::packed::Element;
use crate::data::value::Object;
use crate::data::{hash, list, set, sorted_set};
use build::{Fields, Items, Members, Scores};

/// Up to where collections are packed.
#[derive(Debug, Clone)]
pub struct Limits {
    pub hash: hash::Limits,
    pub list: list::Limit,
    pub set: set::Limits,
    pub sorted_set: sorted_set::Limits,
}

/// What was loaded.
#[derive(Debug)]
pub enum Value {
    String(Vec<u8>),
    Object(Box<Object>),
}

/// What may stand for a pair: the elements of a hash as a listpack, and others.
type Elements<'e, 'a> = &'e mut dyn Iterator<Item = Result<Element<'a>>>;

/// Loads the value of this type that comes next, as something of this version wrote it. Gives
/// nothing if all its parts have expired at `now`.
pub fn load<S: Source>(
    input: &mut Input<S>,
    kind: u8,
    version: u16,
    now: i64,
    limits: &Limits,
) -> Result<Option<Value>> {
    let object = match kind {
        kind::STRING => return string(input).map(Some),
        kind::LIST => plain_list(input, limits)?,
        kind::SET => plain_set(input, limits)?,
        kind::ZSET | kind::ZSET_2 => plain_sorted_set(input, kind == kind::ZSET, limits)?,
        kind::HASH => return plain_hash(input, HashForm::Plain, now, limits),
        kind::QUICKLIST | kind::QUICKLIST_2 => quicklist(input, kind == kind::QUICKLIST, limits)?,
        kind::STREAM_1 | kind::STREAM_2 | kind::STREAM_3 => stream::stream(input, kind)?,
        kind::HASH_2 if version >= VERSION_VALKEY => {
            return plain_hash(input, HashForm::Valkey, now, limits);
        }
        kind::HASH_METADATA_RC => return plain_hash(input, HashForm::Absolute, now, limits),
        kind::HASH_METADATA => {
            let least = input.i64()?;
            return plain_hash(input, HashForm::Relative(least), now, limits);
        }
        kind::HASH_LISTPACK_EX_RC | kind::HASH_LISTPACK_EX => {
            if kind == kind::HASH_LISTPACK_EX {
                // When the first field expires, which the fields say themselves.
                input.i64()?;
            }
            return packed(input, kind, now, limits);
        }
        kind::MODULE_1 | kind::MODULE_2 => return Err(Corrupt::Module),
        _ => return packed(input, kind, now, limits),
    };
    Ok(Some(Value::Object(Box::new(object))))
}

fn string<S: Source>(input: &mut Input<S>) -> Result<Value> {
    let mut string = Vec::new();
    input.string_into(&mut string)?;
    Ok(Value::String(string))
}

fn plain_list<S: Source>(input: &mut Input<S>, limits: &Limits) -> Result<Object> {
    let count = input.count()?;
    let (mut items, mut scratch) = (Items::new(limits), Vec::new());
    for _ in 0..count {
        items.push(Element::new(input.string(&mut scratch)?));
    }
    items.finish()
}

fn plain_set<S: Source>(input: &mut Input<S>, limits: &Limits) -> Result<Object> {
    let count = input.count()?;
    let (mut members, mut scratch) = (Members::of_any(count, limits), Vec::new());
    for _ in 0..count {
        members.add(Element::Bytes(input.string(&mut scratch)?))?;
    }
    members.finish()
}

fn plain_sorted_set<S: Source>(
    input: &mut Input<S>,
    as_text: bool,
    limits: &Limits,
) -> Result<Object> {
    let count = input.count()?;
    let (mut scores, mut scratch) = (Scores::new(limits), Vec::new());
    for _ in 0..count {
        scores.push_member(input.string(&mut scratch)?);
        scores.push_score(if as_text { input.text_double()? } else { input.double()? })?;
    }
    scores.finish()
}

/// How the expiry of each field is said.
#[derive(Clone, Copy)]
enum HashForm {
    Plain,
    /// Behind the value: a time, or -1.
    Valkey,
    /// In front of the field: a time as a length, or 0.
    Absolute,
    /// In front of the field: what to add to a time less one, as a length, or 0.
    Relative(i64),
}

fn plain_hash<S: Source>(
    input: &mut Input<S>,
    form: HashForm,
    now: i64,
    limits: &Limits,
) -> Result<Option<Value>> {
    const WRONG_TIME: Corrupt = Corrupt::Wrong("a field expires at no time that there is");
    let time = |number: u64, base: i64| match number {
        0 => Ok(None),
        number => i64::try_from(number)
            .ok()
            .and_then(|number| number.checked_add(base))
            .map(Some)
            .ok_or(WRONG_TIME),
    };
    let count = input.count()?;
    let mut fields = Fields::new(count, now, limits);
    let (mut field, mut value, mut scratch) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count {
        let before = match form {
            HashForm::Absolute => time(input.number()?, 0)?,
            HashForm::Relative(least) => {
                time(input.number()?, least.checked_sub(1).ok_or(WRONG_TIME)?)?
            }
            _ => None,
        };
        input.string_into(&mut field)?;
        if let HashForm::Valkey = form {
            input.string_into(&mut value)?;
            let expire_at = match input.i64()? {
                -1 => None,
                at @ 0.. => Some(at),
                _ => return Err(WRONG_TIME),
            };
            fields.put(&field, Element::new(&value), expire_at)?;
            continue;
        }
        let value = Element::new(input.string(&mut scratch)?);
        fields.put(&field, value, before)?;
    }
    fields.finish()
}

fn quicklist<S: Source>(
    input: &mut Input<S>,
    of_ziplists: bool,
    limits: &Limits,
) -> Result<Object> {
    const PLAIN: u64 = 1;
    const PACKED: u64 = 2;
    let count = input.count()?;
    let (mut items, mut scratch) = (Items::new(limits), Vec::new());
    for _ in 0..count {
        let container = if of_ziplists { PACKED } else { input.number()? };
        let block = input.string(&mut scratch)?;
        match container {
            _ if block.is_empty() => return Err(Corrupt::Wrong("a part of a list is empty")),
            PLAIN => items.push(Element::new(block)),
            PACKED if of_ziplists => items.extend(&mut legacy::ziplist(block)?)?,
            PACKED => items.extend(&mut listpack::elements(block)?)?,
            _ => return Err(Corrupt::Wrong("a part of a list has an unknown form")),
        }
    }
    items.finish()
}

/// A value that is one string.
fn packed<S: Source>(
    input: &mut Input<S>,
    kind: u8,
    now: i64,
    limits: &Limits,
) -> Result<Option<Value>> {
    let known = matches!(kind, kind::HASH_ZIPMAP..=kind::HASH_ZIPLIST)
        || matches!(kind, kind::HASH_LISTPACK | kind::ZSET_LISTPACK | kind::SET_LISTPACK)
        || matches!(kind, kind::HASH_LISTPACK_EX_RC | kind::HASH_LISTPACK_EX);
    if !known {
        return Err(Corrupt::UnknownType(kind));
    }
    let mut scratch = Vec::new();
    let block = input.string(&mut scratch)?;
    let object = match kind {
        kind::LIST_ZIPLIST => {
            let mut items = Items::new(limits);
            items.extend(&mut legacy::ziplist(block)?)?;
            items.finish()?
        }
        kind::SET_INTSET => set_of(&mut legacy::intset(block)?, Members::of_ints(limits))?,
        kind::SET_LISTPACK => {
            let mut elements = listpack::elements(block)?;
            let members = Members::packed(listpack::elements(block)?.count(), limits);
            set_of(&mut elements, members)?
        }
        kind::ZSET_ZIPLIST => sorted_set_of(&mut legacy::ziplist(block)?, limits)?,
        kind::ZSET_LISTPACK => sorted_set_of(&mut listpack::elements(block)?, limits)?,
        kind::HASH_ZIPMAP => return hash_of(&mut legacy::zipmap(block)?, false, now, limits),
        kind::HASH_ZIPLIST => return hash_of(&mut legacy::ziplist(block)?, false, now, limits),
        _ => {
            let expires = kind != kind::HASH_LISTPACK;
            return hash_of(&mut listpack::elements(block)?, expires, now, limits);
        }
    };
    Ok(Some(Value::Object(Box::new(object))))
}

fn set_of(elements: Elements, mut members: Members) -> Result<Object> {
    for element in elements {
        members.add(element?)?;
    }
    members.finish()
}

/// The element that belongs to the one before.
fn partner<'a>(elements: Elements<'_, 'a>) -> Result<Element<'a>> {
    elements.next().unwrap_or(Err(Corrupt::Wrong("the last element lacks its other part")))
}

fn sorted_set_of(elements: Elements, limits: &Limits) -> Result<Object> {
    let mut scores = Scores::new(limits);
    while let Some(member) = elements.next() {
        member?.with_text(|text| scores.push_member(text));
        scores.push_score_of(partner(elements)?)?;
    }
    scores.finish()
}

/// Fields and values in turn, with a time behind each value if they may expire.
fn hash_of(elements: Elements, expires: bool, now: i64, limits: &Limits) -> Result<Option<Value>> {
    let mut fields = Fields::new(0, now, limits);
    while let Some(field) = elements.next() {
        let (field, value) = (field?, partner(elements)?);
        let expire_at = match expires {
            false => None,
            true => match partner(elements)? {
                Element::Int(0) => None,
                Element::Int(at @ 1..) => Some(at),
                _ => return Err(Corrupt::Wrong("a field expires at no time that there is")),
            },
        };
        field.with_text(|field| fields.put(field, value, expire_at))?;
    }
    fields.finish()
}
