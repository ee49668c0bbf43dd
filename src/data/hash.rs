//! A map of fields to values, of which each may have an expiry of its own.
//!
//! ```text
//!   listpack    Packed    one block of records, searched from the front
//!   hashtable   Fields    a table of records in allocations of their own
//! ```
//!
//! Small maps are packed. One becomes a table when it gets more fields or longer strings than the
//! [`Limits`] say, or a field that expires; it never goes back. Both hold the same records
//! (`hash/record.rs`).
//!
//! **Expiry.** What has expired at the `now` of a call is not there for that call: it is neither
//! found nor counted nor shown, whether [`Hash::purge`] has taken it out yet or not. A field is
//! expired from the first millisecond after its time on. Maps without such fields pay for none of
//! this but the look at a bit that is read anyway.
//!
//! Absent: a clock; removing itself when empty (whoever holds the key does); order.

mod field;
mod fields;
mod packed;
mod random;
mod record;
#[cfg(test)]
mod tests;

use super::entry::allocation_size;
use super::value::Encoding;
use fields::Fields;
use packed::{BLOCK_MAX, Packed};
pub use random::Sampler;
use record::Draft;
pub use record::FieldValue;

/// Up to where a map is packed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub fields: usize,
    /// Bytes of a field or a value.
    pub string: usize,
}

/// How long a field lives when its value is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    Endless,
    /// As it has lived until now; endless if it is new.
    AsBefore,
    /// Milliseconds since the epoch.
    Until(i64),
}

#[derive(Debug)]
pub struct Hash(Form);

#[derive(Debug)]
enum Form {
    Packed(Packed),
    Fields(Box<Fields>),
}

const _: () = assert!(size_of::<Hash>() <= 32);

impl Default for Hash {
    fn default() -> Self {
        Self::new()
    }
}

impl Hash {
    /// An empty map, which allocates nothing.
    pub fn new() -> Self {
        Self(Form::Packed(Packed::default()))
    }

    pub fn encoding(&self) -> Encoding {
        match &self.0 {
            Form::Packed(_) => Encoding::Listpack,
            Form::Fields(_) => Encoding::Hashtable,
        }
    }

    /// Fields, those that have expired and not yet gone among them.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Packed(packed) => packed.len(),
            Form::Fields(fields) => fields.table.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fields that have not expired.
    #[inline]
    pub fn live_len(&self, now: i64) -> usize {
        match &self.0 {
            Form::Packed(packed) => packed.len(),
            Form::Fields(fields) => fields.table.len() - fields.expired_len(now),
        }
    }

    #[inline]
    pub fn get(&self, field: &[u8], now: i64) -> Option<FieldValue<'_>> {
        match &self.0 {
            Form::Packed(packed) => packed.find(field).map(|spot| packed.value(spot)),
            Form::Fields(fields) => Some(fields.get(field)?.live(now)?.1),
        }
    }

    pub fn contains(&self, field: &[u8], now: i64) -> bool {
        self.get(field, now).is_some()
    }

    /// Has the map know that so many fields are about to be set, with so many bytes of strings, so
    /// that it takes its form and its room at once.
    pub fn expect(&mut self, fields: usize, strings: usize, limits: Limits) {
        if fields > limits.fields {
            self.unpack();
        } else if let Form::Packed(packed) = &mut self.0
            && packed.len() == 0
            && fields > 1
            && strings <= fields * 2 * limits.string
        {
            packed.expect(strings + fields * record::FIRST);
        }
    }

    /// Gives back room that was expected to be needed, and was not.
    pub fn fit(&mut self) {
        if let Form::Packed(packed) = &mut self.0 {
            packed.fit();
        }
    }

    /// Sets the value of a field; whether the field is new.
    #[inline]
    pub fn set(
        &mut self,
        field: &[u8],
        value: FieldValue,
        lifetime: Lifetime,
        limits: Limits,
        now: i64,
    ) -> bool {
        if let Form::Packed(packed) = &mut self.0 {
            let draft = Draft::new(field, value, None);
            let fits = field.len() <= limits.string
                && value.len() <= limits.string
                && packed.bytes() + draft.total() < BLOCK_MAX;
            if fits && !matches!(lifetime, Lifetime::Until(_)) {
                let spot = packed.find(field);
                packed.put(spot, &draft);
                if packed.len() > limits.fields {
                    self.unpack();
                }
                return spot.is_none();
            }
        }
        self.unpack().put(field, value, lifetime, now)
    }

    /// Takes a field out; whether it was there.
    pub fn remove(&mut self, field: &[u8], now: i64) -> bool {
        match &mut self.0 {
            Form::Packed(packed) => match packed.find(field) {
                Some(spot) => {
                    packed.remove(spot);
                    true
                }
                None => false,
            },
            Form::Fields(fields) => fields.remove(field, now),
        }
    }

    /// Shows all fields with their values: packed ones in their order, others in none.
    #[inline]
    pub fn each<'a>(&'a self, now: i64, mut show: impl FnMut(&'a [u8], FieldValue<'a>)) {
        match &self.0 {
            Form::Packed(packed) => packed.iter().for_each(|(field, value)| show(field, value)),
            Form::Fields(fields) => {
                let live = fields.table.iter().filter_map(|field| field.live(now));
                live.for_each(|(field, value)| show(field, value));
            }
        }
    }

    /// Shows some of the fields and gives where to go on, 0 after the last. Start with 0. A field
    /// that stays throughout such a walk is shown at least once, whatever else comes and goes.
    pub fn scan<'a>(
        &'a self,
        position: u64,
        now: i64,
        show: &mut dyn FnMut(&'a [u8], FieldValue<'a>),
    ) -> u64 {
        match &self.0 {
            Form::Packed(_) => {
                self.each(now, show);
                0
            }
            Form::Fields(fields) => fields.table.scan(position, &mut |field| {
                if let Some((field, value)) = field.live(now) {
                    show(field, value);
                }
            }),
        }
    }

    /// As [`Hash::scan`], with when each field expires, if it does.
    pub fn scan_with_expiry<'a>(
        &'a self,
        position: u64,
        now: i64,
        show: &mut dyn FnMut(&'a [u8], FieldValue<'a>, Option<i64>),
    ) -> u64 {
        match &self.0 {
            Form::Packed(_) => {
                self.each(now, |field, value| show(field, value, None));
                0
            }
            Form::Fields(fields) => fields.table.scan(position, &mut |field| {
                if let Some((name, value)) = field.live(now) {
                    show(name, value, field.expire_at());
                }
            }),
        }
    }

    /// When a field expires: nothing if there is no such field, and `Some(None)` if it never does.
    pub fn expiry(&self, field: &[u8], now: i64) -> Option<Option<i64>> {
        match &self.0 {
            Form::Packed(packed) => packed.find(field).map(|_| None),
            Form::Fields(fields) => {
                let at = fields.get(field)?.expire_at();
                at.is_none_or(|at| now <= at).then_some(at)
            }
        }
    }

    /// Sets or takes away the expiry of a field, if there is such a field.
    pub fn set_expire(&mut self, field: &[u8], at: Option<i64>) {
        if at.is_some() {
            self.unpack();
        }
        if let Form::Fields(fields) = &mut self.0 {
            fields.set_expire(field, at);
        }
    }

    /// Whether a field has expired and not yet gone.
    pub fn is_stale(&self, field: &[u8], now: i64) -> bool {
        let Form::Fields(fields) = &self.0 else { return false };
        fields.next_expiry().is_some_and(|at| now > at)
            && fields.get(field).is_some_and(|field| field.live(now).is_none())
    }

    /// Whether any field has an expiry.
    pub fn has_expiries(&self) -> bool {
        matches!(&self.0, Form::Fields(fields) if fields.has_expiries())
    }

    /// When the first field expires, if any does.
    pub fn next_expiry(&self) -> Option<i64> {
        if let Form::Fields(fields) = &self.0 { fields.next_expiry() } else { None }
    }

    /// From when on there is nothing left, unless a field has no expiry.
    pub fn last_expiry(&self) -> Option<i64> {
        if let Form::Fields(fields) = &self.0 { fields.last_expiry() } else { None }
    }

    /// Takes out up to `max` fields that have expired, and names them; how many.
    pub fn purge(&mut self, now: i64, max: usize, name: &mut dyn FnMut(&[u8])) -> usize {
        if let Form::Fields(fields) = &mut self.0 { fields.purge(now, max, name) } else { 0 }
    }

    /// Becomes a table if it is not one.
    fn unpack(&mut self) -> &mut Fields {
        if let Form::Packed(packed) = &self.0 {
            let mut fields = Box::new(Fields::default());
            for (field, value) in packed.iter() {
                fields.put(field, value, Lifetime::Endless, 0);
            }
            self.0 = Form::Fields(fields);
        }
        match &mut self.0 {
            Form::Fields(fields) => fields,
            Form::Packed(_) => unreachable!("it has been replaced just now"),
        }
    }

    pub fn duplicate(&self) -> Hash {
        Hash(match &self.0 {
            Form::Packed(packed) => Form::Packed(packed.duplicate()),
            Form::Fields(fields) => Form::Fields(Box::new(fields.duplicate())),
        })
    }

    /// Bytes of memory behind this.
    pub fn allocated(&self) -> usize {
        match &self.0 {
            Form::Packed(packed) => packed.allocated(),
            Form::Fields(fields) => allocation_size(size_of::<Fields>()) + fields.allocated(),
        }
    }

    /// Frees up to `max` fields; whether nothing is left. In between, only this may be called.
    pub fn clear_step(&mut self, max: usize) -> bool {
        match &mut self.0 {
            Form::Packed(packed) => {
                *packed = Packed::default();
                true
            }
            Form::Fields(fields) => fields.clear_step(max),
        }
    }
}
