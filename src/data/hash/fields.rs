//! The big form of a hash: a hash table of fields, and the order in which they expire.
//!
//! ```text
//!   table      Table<Field>           a field with an expiry is marked
//!   expiries   (time, hash of field)  in order, for the marked fields; no memory without any
//! ```
//!
//! Two fields with one hash and one time share an entry of `expiries`, which goes with the last.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;

use super::Lifetime;
use super::field::Field;
use super::record::{Draft, FieldValue};
use crate::data::table::{Keyed, Table};

/// Hashes fields: with the same key in the whole process, so that tables need not carry it and
/// may go to other threads, and with another key in the next process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FieldHasher;

static FIELD_HASH_KEY: LazyLock<ahash::RandomState> = LazyLock::new(ahash::RandomState::new);

impl BuildHasher for FieldHasher {
    type Hasher = ahash::AHasher;

    #[inline]
    fn build_hasher(&self) -> ahash::AHasher {
        FIELD_HASH_KEY.build_hasher()
    }
}

#[derive(Default)]
pub(super) struct Fields {
    pub(super) table: Table<Field, FieldHasher>,
    #[allow(clippy::box_collection)] // a pointer is what most hashes pay for what they don't have
    expiries: Option<Box<BTreeSet<(i64, u64)>>>,
    /// Bytes of memory of all fields.
    bytes: usize,
}

impl Fields {
    #[inline]
    pub(super) fn get(&self, field: &[u8]) -> Option<&Field> {
        self.table.get(self.table.hash(field), field)
    }

    /// Puts a value in; whether the field is new. What has expired is as good as absent.
    #[inline]
    pub(super) fn put(
        &mut self,
        field: &[u8],
        value: FieldValue,
        lifetime: Lifetime,
        now: i64,
    ) -> bool {
        let hash = self.table.hash(field);
        let Some(mut found) = self.table.get_mut(hash, field) else {
            let at = if let Lifetime::Until(at) = lifetime { Some(at) } else { None };
            let new = Field::new(&Draft::new(field, value, at));
            self.bytes += new.allocated();
            self.table.insert(hash, new);
            self.reorder(hash, None, at);
            return true;
        };
        let (old, before) = (found.expire_at(), found.allocated());
        let expired = old.is_some_and(|at| now > at);
        let new = match lifetime {
            Lifetime::Endless => None,
            Lifetime::AsBefore => old.filter(|_| !expired),
            Lifetime::Until(at) => Some(at),
        };
        found.assign(&Draft::new(field, value, new));
        self.bytes = self.bytes - before + found.allocated();
        drop(found);
        self.reorder(hash, old, new);
        expired
    }

    /// Sets or takes away the expiry of a field that is there.
    pub(super) fn set_expire(&mut self, field: &[u8], at: Option<i64>) {
        let hash = self.table.hash(field);
        let Some(mut found) = self.table.get_mut(hash, field) else { return };
        let (old, before) = (found.expire_at(), found.allocated());
        found.set_expire(at);
        self.bytes = self.bytes - before + found.allocated();
        drop(found);
        self.reorder(hash, old, at);
    }

    /// Takes a field out; whether it was there and had not expired.
    pub(super) fn remove(&mut self, field: &[u8], now: i64) -> bool {
        let hash = self.table.hash(field);
        let Some(gone) = self.table.remove(hash, field) else { return false };
        self.bytes -= gone.allocated();
        let old = gone.expire_at();
        self.reorder(hash, old, None);
        old.is_none_or(|at| now <= at)
    }

    /// Brings `expiries` up to date after a field with this hash has got another expiry.
    #[inline]
    fn reorder(&mut self, hash: u64, old: Option<i64>, new: Option<i64>) {
        if old != new {
            self.reorder_changed(hash, old, new);
        }
    }

    fn reorder_changed(&mut self, hash: u64, old: Option<i64>, new: Option<i64>) {
        let expiries = self.expiries.get_or_insert_default();
        if let Some(new) = new {
            expiries.insert((new, hash));
        }
        if let Some(old) = old
            && self.table.get_where(hash, stands_for(old, hash)).is_none()
        {
            expiries.remove(&(old, hash));
        }
        if expiries.is_empty() {
            self.expiries = None;
        }
    }

    pub(super) fn has_expiries(&self) -> bool {
        self.expiries.is_some()
    }

    /// When the first field expires.
    pub(super) fn next_expiry(&self) -> Option<i64> {
        Some(self.expiries.as_ref()?.first()?.0)
    }

    /// When the last field expires; never if one has no expiry.
    pub(super) fn last_expiry(&self) -> Option<i64> {
        if self.table.marked_len() < self.table.len() {
            return None;
        }
        Some(self.expiries.as_ref()?.last()?.0)
    }

    /// How many fields have expired and not yet gone.
    pub(super) fn expired_len(&self, now: i64) -> usize {
        match &self.expiries {
            Some(expiries) => expiries.range(..(now, 0)).count(),
            None => 0,
        }
    }

    /// Takes out up to `max` fields that have expired, the longest expired first, and names them;
    /// how many.
    pub(super) fn purge(&mut self, now: i64, max: usize, name: &mut dyn FnMut(&[u8])) -> usize {
        let mut gone = 0;
        while gone < max
            && let Some(expiries) = &mut self.expiries
            && let Some(&(at, hash)) = expiries.first()
            && now > at
        {
            if let Some(field) = self.table.remove_where(hash, stands_for(at, hash)) {
                self.bytes -= field.allocated();
                name(field.key());
                gone += 1;
            }
            if self.table.get_where(hash, stands_for(at, hash)).is_none() {
                expiries.pop_first();
            }
            if expiries.is_empty() {
                self.expiries = None;
            }
        }
        gone
    }

    /// Bytes of memory behind this.
    pub(super) fn allocated(&self) -> usize {
        // A node of the set has room for 11 times and is two thirds full, more or less.
        let expiries = self.expiries.as_ref().map_or(0, |set| 48 + set.len() * 26);
        self.table.memory() + self.bytes + expiries
    }

    pub(super) fn duplicate(&self) -> Self {
        let mut copy = Self::default();
        for field in self.table.iter() {
            copy.table.insert(copy.table.hash(field.key()), field.clone());
        }
        copy.expiries = self.expiries.clone();
        copy.bytes = self.bytes;
        copy
    }

    /// Frees up to `max` fields; whether nothing is left. In between, only this may be called.
    pub(super) fn clear_step(&mut self, max: usize) -> bool {
        self.expiries = None;
        self.table.clear_step(max)
    }
}

/// Whether an entry of `expiries` stands for a field.
fn stands_for(at: i64, hash: u64) -> impl Fn(&Field) -> bool {
    move |field| field.expire_at() == Some(at) && hash_of(field.key()) == hash
}

fn hash_of(field: &[u8]) -> u64 {
    let mut hasher = FieldHasher.build_hasher();
    hasher.write(field);
    hasher.finish()
}

impl std::fmt::Debug for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.table.iter()).finish()
    }
}
