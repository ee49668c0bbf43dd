//! A set of strings, in one of three forms with Redis' names and limits.
//!
//! ```text
//!   intset      all members are integers, and few     sorted integers (set/ints.rs)
//!   listpack    few, and none is long                 a packed block  (packed.rs)
//!   hashtable   any others                            a table whose members are packed into chunks
//!                                                     (set/members.rs, set/arena.rs)
//! ```
//!
//! A set changes its form when a member comes that the form has no place for; going back, as Redis
//! does, is for those commands that make a new set ([`Set::prefer_ints`], [`Set::pop`]).
//!
//! Deliberately absent: the empty set as a value. It is a step on the way only; who has made one
//! removes its key.

mod arena;
mod ints;
mod members;
mod random;
#[cfg(test)]
mod tests;

use super::number::decimal_len;
use super::packed::{Element, Packed};
use super::value::Encoding;
use ahash::RandomState;
use ints::Ints;
use members::Members;

/// No more integers than that are an intset, whatever the limit.
const INTSET_MAX: usize = 1 << 30;

/// Up to where a set has which form, and how the members of a big one are hashed.
#[derive(Debug, Clone)]
pub struct Limits {
    pub intset_entries: usize,
    pub listpack_entries: usize,
    /// Bytes of a member.
    pub listpack_value: usize,
    pub hasher: RandomState,
}

pub struct Set(Form);

enum Form {
    Ints(Ints),
    Packed(Packed),
    Members(Box<Members>),
}

impl Default for Set {
    fn default() -> Set {
        Set::new()
    }
}

impl Set {
    /// An empty set, in the form of integers.
    pub fn new() -> Set {
        Set(Form::Ints(Ints::new()))
    }

    /// An empty set, in the packed form.
    pub fn packed() -> Set {
        Set(Form::Packed(Packed::new()))
    }

    /// An empty set in the form that suits `first` and `expected` members in all.
    pub fn for_members(first: &[u8], expected: usize, limits: &Limits) -> Set {
        match Element::new(first) {
            Element::Int(_) if expected <= limits.intset_entries => Set::new(),
            _ if expected <= limits.listpack_entries => Set::packed(),
            _ => Set(Form::Members(Box::new(Members::new(limits.hasher.clone())))),
        }
    }

    pub fn encoding(&self) -> Encoding {
        match &self.0 {
            Form::Ints(_) => Encoding::Intset,
            Form::Packed(_) => Encoding::Listpack,
            Form::Members(_) => Encoding::Hashtable,
        }
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Ints(ints) => ints.len(),
            Form::Packed(packed) => packed.len(),
            Form::Members(members) => members.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory behind the set.
    pub fn allocated(&self) -> usize {
        match &self.0 {
            Form::Ints(ints) => ints.memory(),
            Form::Packed(packed) => packed.allocated(),
            Form::Members(members) => size_of::<Members>() + members.memory(),
        }
    }

    /// A copy in the same form.
    pub fn duplicate(&self) -> Set {
        Set(match &self.0 {
            Form::Ints(ints) => Form::Ints(ints.clone()),
            Form::Packed(packed) => Form::Packed(packed.clone()),
            Form::Members(members) => Form::Members(Box::new(members.duplicate())),
        })
    }

    /// Frees about `max` members' share of the memory; `true` when nothing is left. The set is of
    /// no other use from then on.
    pub fn free_some(&mut self, max: usize) -> bool {
        match &mut self.0 {
            Form::Members(members) => members.free_step(max),
            Form::Ints(_) | Form::Packed(_) => {
                *self = Set::new();
                true
            }
        }
    }

    pub fn contains(&self, member: &[u8]) -> bool {
        self.holds(Element::Bytes(member))
    }

    /// As [`Set::contains`], for a member of another set.
    pub fn holds(&self, member: Element) -> bool {
        match &self.0 {
            Form::Ints(ints) => as_int(member).is_some_and(|int| ints.contains(int)),
            Form::Packed(packed) => packed.find(canonical(member), packed.first(), 1).is_some(),
            Form::Members(members) => member.with_text(|text| members.contains(text)),
        }
    }

    /// Makes ready for `expected` members at once: too many for a small form make it a big one,
    /// even if most of them turn out to be there already.
    pub fn expect(&mut self, expected: usize, limits: &Limits) {
        let too_many = match &self.0 {
            Form::Ints(_) => expected > limits.intset_entries,
            Form::Packed(_) => expected > limits.listpack_entries,
            Form::Members(_) => false,
        };
        if too_many {
            self.spread(limits);
        }
    }

    /// Adds a member; `false` if it was there.
    pub fn add(&mut self, member: &[u8], limits: &Limits) -> bool {
        self.adopt(Element::Bytes(member), limits)
    }

    /// As [`Set::add`], for a member of another set.
    pub fn adopt(&mut self, member: Element, limits: &Limits) -> bool {
        match &mut self.0 {
            Form::Members(members) => return member.with_text(|text| members.insert(text)),
            Form::Ints(ints) => {
                if let Some(int) = as_int(member) {
                    let added = ints.insert(int);
                    if added && ints.len() > limits.intset_entries.min(INTSET_MAX) {
                        self.spread(limits);
                    }
                    return added;
                }
                match self.packs_with(member, limits) {
                    true => self.pack(),
                    false => self.spread(limits),
                }
            }
            Form::Packed(packed) => {
                if packed.find(canonical(member), packed.first(), 1).is_some() {
                    return false;
                }
                if !self.packs_with(member, limits) {
                    self.spread(limits);
                }
            }
        }
        // It is known to be a new one, and that the form has a place for it.
        match &mut self.0 {
            Form::Packed(packed) => packed.push_back(canonical(member)),
            Form::Members(members) => {
                member.with_text(|text| members.insert(text));
            }
            Form::Ints(_) => unreachable!("it was given another form"),
        }
        true
    }

    /// Takes a member out; `false` if it was not there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        self.discard(Element::Bytes(member))
    }

    /// As [`Set::remove`], for a member of another set.
    pub fn discard(&mut self, member: Element) -> bool {
        match &mut self.0 {
            Form::Ints(ints) => as_int(member).is_some_and(|int| ints.remove(int)),
            Form::Members(members) => member.with_text(|text| members.remove(text)),
            Form::Packed(packed) => {
                let place = packed.find(canonical(member), packed.first(), 1);
                if let Some(place) = place {
                    packed.remove(place);
                }
                place.is_some()
            }
        }
    }

    /// All members: integers in ascending order, packed ones as they came, others in no order.
    /// Those of a big set are bytes, also where they are the text of an integer.
    pub fn iter(&self) -> impl Iterator<Item = Element<'_>> {
        match &self.0 {
            Form::Ints(ints) => Forms::Ints(ints.iter().map(Element::Int)),
            Form::Packed(packed) => Forms::Packed(packed.iter()),
            Form::Members(members) => Forms::Members(members.iter().map(Element::Bytes)),
        }
    }

    /// Shows some members and gives the position to go on from, 0 after the last; start with 0.
    /// What stays in the set during a whole walk is shown. Small sets are shown at once.
    pub fn scan(&self, position: u64, each: &mut dyn FnMut(Element)) -> u64 {
        match &self.0 {
            Form::Members(members) => {
                members.scan(position, &mut |member| each(Element::Bytes(member)))
            }
            Form::Ints(_) | Form::Packed(_) => {
                self.iter().for_each(each);
                0
            }
        }
    }

    /// Gives a new set whose members are all integers the form of integers, if they are few enough.
    pub fn prefer_ints(&mut self, limits: &Limits) {
        if matches!(self.0, Form::Ints(_)) || self.len() > limits.intset_entries.min(INTSET_MAX) {
            return;
        }
        let mut ints = Ints::new();
        for member in self.iter() {
            let Some(int) = as_int(member) else { return };
            ints.insert(int);
        }
        self.0 = Form::Ints(ints);
    }

    /// Whether there is room for one more member in a packed block of all of them.
    fn packs_with(&self, member: Element, limits: &Limits) -> bool {
        let longest = match &self.0 {
            // One of the ends has the most digits.
            Form::Ints(ints) if ints.len() > 0 => {
                decimal_len(ints.at(0)).max(decimal_len(ints.at(ints.len() - 1)))
            }
            _ => 0,
        };
        self.len() < limits.listpack_entries
            && member.text_len().max(longest) <= limits.listpack_value
    }

    /// From integers to packed.
    fn pack(&mut self) {
        self.0 = Form::Packed(self.iter().collect());
    }

    /// From a small form to the big one.
    fn spread(&mut self, limits: &Limits) {
        let mut members = Members::new(limits.hasher.clone());
        for member in self.iter() {
            member.with_text(|text| members.insert(text));
        }
        self.0 = Form::Members(Box::new(members));
    }
}

impl std::fmt::Debug for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ", self.encoding().name())?;
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The integer whose text a member is.
fn as_int(member: Element) -> Option<i64> {
    match canonical(member) {
        Element::Int(int) => Some(int),
        Element::Bytes(_) => None,
    }
}

/// A member as a packed block has it: as an integer if it is the text of one.
fn canonical(member: Element) -> Element {
    match member {
        Element::Bytes(text) => Element::new(text),
        int => int,
    }
}

/// The iterators of the forms as one.
enum Forms<I, P, M> {
    Ints(I),
    Packed(P),
    Members(M),
}

impl<T, I, P, M> Iterator for Forms<I, P, M>
where
    I: Iterator<Item = T>,
    P: Iterator<Item = T>,
    M: Iterator<Item = T>,
{
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        match self {
            Forms::Ints(ints) => ints.next(),
            Forms::Packed(packed) => packed.next(),
            Forms::Members(members) => members.next(),
        }
    }
}
