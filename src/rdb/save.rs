//! From a value to what Redis 7.2 writes for it, in steps of a bounded size.
//!
//! A [`Saver`] remembers where it is in the value without holding on to it, so that others can be
//! served between two steps. The value must not change meanwhile. What is one string in the format is
//! one step: a string, a listpack, a block of a list, a node of a stream.
//!
//! | value | written as |
//! |---|---|
//! | list | `QUICKLIST_2`: its blocks as listpacks; one of more than 1 GB element by element |
//! | set | `SET_INTSET`, `SET_LISTPACK` or `SET`, as its encoding is |
//! | sorted set | `ZSET_LISTPACK`, or `ZSET_2` from the last element to the first |
//! | hash | `HASH_LISTPACK`, `HASH`, or with expiring fields `HASH_2`; without what has expired |
//! | stream | `STREAM_3`; without deleted entries, of which nodes here know no more than how many |

mod stream;
#[cfg(test)]
mod tests;

use super::kind;
use super::output::Output;
use crate::data::ValueRef;
use crate::data::double;
use crate::data::hash::{FieldValue, Hash};
use crate::data::list::List;
use crate::data::packed::{Element, Packed};
use crate::data::set::Set;
use crate::data::sorted_set::{Direction, SortedSet};
use crate::data::value::{Encoding, Object};

/// A block of a list that is longer as a listpack is cut into its elements.
const LISTPACK_MAX: usize = 1 << 30;
/// The two forms of a node of a quicklist.
const PLAIN: u64 = 1;
const PACKED: u64 = 2;

/// The number of the type as which a value is written.
pub fn kind_of(value: &ValueRef) -> u8 {
    let ValueRef::Object(object) = value else { return kind::STRING };
    match (object, object.encoding()) {
        (Object::List(_), _) => kind::QUICKLIST_2,
        (Object::Set(_), Encoding::Intset) => kind::SET_INTSET,
        (Object::Set(_), Encoding::Listpack) => kind::SET_LISTPACK,
        (Object::Set(_), _) => kind::SET,
        (Object::SortedSet(_), Encoding::Listpack) => kind::ZSET_LISTPACK,
        (Object::SortedSet(_), _) => kind::ZSET_2,
        (Object::Hash(_), Encoding::Listpack) => kind::HASH_LISTPACK,
        (Object::Hash(hash), _) if hash.has_expiries() => kind::HASH_2,
        (Object::Hash(_), _) => kind::HASH,
        (Object::Stream(_), _) => kind::STREAM_3,
    }
}

/// Where the writing of a value is.
#[derive(Debug, Default)]
pub struct Saver {
    place: Place,
}

#[derive(Debug, Default)]
enum Place {
    #[default]
    Start,
    /// So many blocks of a list are written.
    Blocks(usize),
    /// A walk through a table goes on here.
    Scan(u64),
    /// So many elements of a sorted set are left.
    Ranks(usize),
    Stream(stream::Place),
    End,
}

impl Saver {
    /// Writes on until `out` has grown by `max` bytes or more, or all is written: then `true`. The
    /// type is not written. `now` is the same in all steps; what has expired by then is left out.
    pub fn step(&mut self, value: &ValueRef, now: i64, max: usize, out: &mut Output) -> bool {
        let limit = out.bytes.len().saturating_add(max);
        loop {
            let place = std::mem::take(&mut self.place);
            self.place = match value {
                ValueRef::Int(int) => {
                    out.put_int(*int);
                    Place::End
                }
                ValueRef::Bytes(bytes) => {
                    out.put_string(bytes);
                    Place::End
                }
                ValueRef::Object(object) => part(object, place, now, out),
            };
            if matches!(self.place, Place::End) {
                return true;
            }
            if out.bytes.len() >= limit {
                return false;
            }
        }
    }
}

/// Writes some more of an object and answers where to go on.
fn part(object: &Object, place: Place, now: i64, out: &mut Output) -> Place {
    match object {
        Object::List(list) => list_part(list, place, out),
        Object::Set(set) => set_part(set, place, out),
        Object::SortedSet(set) => sorted_set_part(set, place, out),
        Object::Hash(hash) => hash_part(hash, place, now, out),
        Object::Stream(stream) => {
            let place = if let Place::Stream(place) = place { Some(place) } else { None };
            stream::part(stream, place, out).map_or(Place::End, Place::Stream)
        }
    }
}

fn list_part(list: &List, place: Place, out: &mut Output) -> Place {
    let is_long = |block: &Packed| block.listpack_len() > LISTPACK_MAX;
    let Place::Blocks(written) = place else {
        let nodes = |block: &Packed| if is_long(block) { block.len() } else { 1 };
        out.put_len(list.blocks().map(nodes).sum::<usize>() as u64);
        return Place::Blocks(0);
    };
    let Some(block) = list.blocks().nth(written) else { return Place::End };
    if is_long(block) {
        for element in block.iter() {
            out.put_len(PLAIN);
            element.with_text(|text| out.put_string(text));
        }
    } else {
        out.put_len(PACKED);
        out.put_listpack(|listpack| block.iter().for_each(|element| listpack.push(element)));
    }
    Place::Blocks(written + 1)
}

fn set_part(set: &Set, place: Place, out: &mut Output) -> Place {
    let position = match (place, set.encoding()) {
        (_, Encoding::Intset) => {
            out.put_string(&intset(set));
            return Place::End;
        }
        (_, Encoding::Listpack) => {
            out.put_listpack(|listpack| set.iter().for_each(|member| listpack.push(member)));
            return Place::End;
        }
        (Place::Scan(position), _) => position,
        _ => {
            out.put_len(set.len() as u64);
            0
        }
    };
    scanned(set.scan(position, &mut |member| out.put_element(member)))
}

fn scanned(next: u64) -> Place {
    if next == 0 { Place::End } else { Place::Scan(next) }
}

/// The integers of a set in as few bytes as all of them fit in.
fn intset(set: &Set) -> Vec<u8> {
    let ints = || set.iter().map(|member| if let Element::Int(int) = member { int } else { 0 });
    let fits = |bits: u32| ints().all(|int| int >> (bits - 1) == int >> 63);
    let width = if fits(16) {
        2
    } else if fits(32) {
        4
    } else {
        8
    };
    let mut bytes = Vec::with_capacity(8 + width * set.len());
    bytes.extend_from_slice(&(width as u32).to_le_bytes());
    bytes.extend_from_slice(&(set.len() as u32).to_le_bytes());
    ints().for_each(|int| bytes.extend_from_slice(&int.to_le_bytes()[..width]));
    bytes
}

fn sorted_set_part(set: &SortedSet, place: Place, out: &mut Output) -> Place {
    /// Elements between two looks at how much has been written.
    const ELEMENTS: usize = 32;
    if set.encoding() == Encoding::Listpack {
        out.put_listpack(|listpack| {
            for (member, score) in set.iter() {
                listpack.push(Element::new(member));
                listpack.push(Element::new(double::shortest(score).as_ref()));
            }
        });
        return Place::End;
    }
    let Place::Ranks(left) = place else {
        out.put_len(set.len() as u64);
        return Place::Ranks(set.len());
    };
    for (member, score) in set.range(0..left, Direction::Descending).take(ELEMENTS) {
        out.put_string(member);
        out.put_double(score);
    }
    if left <= ELEMENTS { Place::End } else { Place::Ranks(left - ELEMENTS) }
}

fn hash_part(hash: &Hash, place: Place, now: i64, out: &mut Output) -> Place {
    if hash.encoding() == Encoding::Listpack {
        out.put_listpack(|listpack| {
            hash.each(now, |field, value| {
                listpack.push(Element::new(field));
                listpack.push(element(value));
            });
        });
        return Place::End;
    }
    let position = if let Place::Scan(position) = place {
        position
    } else {
        out.put_len(hash.live_len(now) as u64);
        0
    };
    let expires = hash.has_expiries();
    scanned(hash.scan_with_expiry(position, now, &mut |field, value, expire_at| {
        out.put_string(field);
        out.put_element(element(value));
        if expires {
            out.put_i64(expire_at.unwrap_or(-1));
        }
    }))
}

fn element(value: FieldValue) -> Element {
    match value {
        FieldValue::Int(int) => Element::Int(int),
        FieldValue::Bytes(bytes) => Element::Bytes(bytes),
    }
}
