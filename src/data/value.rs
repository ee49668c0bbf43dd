//! Types and encodings as clients see them, and the seam where collection types plug in.
//!
//! Strings never appear here as objects: an [`Entry`](super::Entry) stores them itself. Every
//! other type is a variant of [`Object`], boxed in the entry.

use super::hash::Hash;
use super::list::List;
use super::set::Set;
use super::sorted_set::SortedSet;
use super::stream::Stream;

/// What TYPE answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    String,
    List,
    Set,
    SortedSet,
    Hash,
    Stream,
}

impl Type {
    pub fn name(self) -> &'static str {
        match self {
            Type::String => "string",
            Type::List => "list",
            Type::Set => "set",
            Type::SortedSet => "zset",
            Type::Hash => "hash",
            Type::Stream => "stream",
        }
    }
}

/// What OBJECT ENCODING answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    Int,
    Embstr,
    Raw,
    Listpack,
    Quicklist,
    Intset,
    Hashtable,
    Skiplist,
    Stream,
}

impl Encoding {
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Int => "int",
            Encoding::Embstr => "embstr",
            Encoding::Raw => "raw",
            Encoding::Listpack => "listpack",
            Encoding::Quicklist => "quicklist",
            Encoding::Intset => "intset",
            Encoding::Hashtable => "hashtable",
            Encoding::Skiplist => "skiplist",
            Encoding::Stream => "stream",
        }
    }
}

/// A value that is not a string.
#[derive(Debug)]
pub enum Object {
    List(List),
    Set(Set),
    SortedSet(SortedSet),
    Hash(Hash),
    Stream(Box<Stream>),
}

impl Object {
    pub fn kind(&self) -> Type {
        match self {
            Object::List(_) => Type::List,
            Object::Set(_) => Type::Set,
            Object::SortedSet(_) => Type::SortedSet,
            Object::Hash(_) => Type::Hash,
            Object::Stream(_) => Type::Stream,
        }
    }

    pub fn encoding(&self) -> Encoding {
        match self {
            Object::List(list) => list.encoding(),
            Object::Set(set) => set.encoding(),
            Object::SortedSet(set) => set.encoding(),
            Object::Hash(hash) => hash.encoding(),
            Object::Stream(_) => Encoding::Stream,
        }
    }

    /// How many elements it has.
    #[expect(clippy::len_without_is_empty)] // what is empty is removed, but for streams
    pub fn len(&self) -> usize {
        match self {
            Object::List(list) => list.len(),
            Object::Set(set) => set.len(),
            Object::SortedSet(set) => set.len(),
            Object::Hash(hash) => hash.len(),
            Object::Stream(stream) => stream.len(),
        }
    }

    /// A deep copy, as COPY makes it.
    #[allow(unreachable_code)] // of types that cannot exist yet
    pub fn duplicate(&self) -> Box<Self> {
        Box::new(match self {
            Object::List(list) => Object::List(list.duplicate()),
            Object::Set(set) => Object::Set(set.duplicate()),
            Object::SortedSet(set) => Object::SortedSet(set.duplicate()),
            Object::Hash(hash) => Object::Hash(hash.duplicate()),
            Object::Stream(stream) => Object::Stream(Box::new(stream.duplicate())),
        })
    }

    /// Bytes of memory behind the object, without the object itself.
    pub fn allocated(&self) -> usize {
        match self {
            Object::List(list) => list.allocated(),
            Object::Set(set) => set.allocated(),
            Object::SortedSet(set) => set.allocated(),
            Object::Hash(hash) => hash.allocated(),
            Object::Stream(stream) => size_of_val(&**stream) + stream.allocated(),
        }
    }

    /// Frees about `max` elements; `true` when what is left goes with the object itself, in no
    /// time. The object is of no other use from then on.
    pub fn free_some(&mut self, max: usize) -> bool {
        match self {
            Object::List(list) => list.free_some(max),
            Object::Set(set) => set.free_some(max),
            Object::SortedSet(set) => set.free_some(max),
            Object::Hash(hash) => hash.clear_step(max),
            // It says whether there is more.
            Object::Stream(stream) => !stream.free_some(max),
        }
    }

    /// Whether parts of it expire by themselves.
    pub fn has_expiring_parts(&self) -> bool {
        matches!(self, Object::Hash(hash) if hash.has_expiries())
    }

    /// When the first of its parts expires, if any does.
    pub fn next_part_expiry(&self) -> Option<i64> {
        if let Object::Hash(hash) = self { hash.next_expiry() } else { None }
    }

    /// From when on all its parts have expired, unless one never does.
    pub fn last_part_expiry(&self) -> Option<i64> {
        if let Object::Hash(hash) = self { hash.last_expiry() } else { None }
    }

    /// Takes out up to `max` parts that have expired, and names them; how many.
    pub fn purge_parts(&mut self, now: i64, max: usize, name: &mut dyn FnMut(&[u8])) -> usize {
        if let Object::Hash(hash) = self { hash.purge(now, max, name) } else { 0 }
    }

    /// Elements, fields or entries: what freeing it costs.
    pub fn elements(&self) -> usize {
        match self {
            Object::List(list) => list.len(),
            Object::Set(set) => set.len(),
            Object::SortedSet(set) => set.len(),
            Object::Hash(hash) => hash.len(),
            Object::Stream(stream) => stream.len(),
        }
    }
}

/// A borrowed value.
#[derive(Debug)]
pub enum ValueRef<'a> {
    Int(i64),
    Bytes(&'a [u8]),
    Object(&'a Object),
}

impl ValueRef<'_> {
    pub fn kind(&self) -> Type {
        match self {
            ValueRef::Int(_) | ValueRef::Bytes(_) => Type::String,
            ValueRef::Object(object) => object.kind(),
        }
    }
}
