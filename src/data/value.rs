//! Types and encodings as clients see them, and the seam where collection types plug in.
//!
//! Strings never appear here as objects: an [`Entry`](super::Entry) stores them itself. Every
//! other type is a variant of [`Object`], boxed in the entry; a new type adds its variant there
//! and the compiler lists the matches to extend (`kind`, `encoding`, `duplicate`, `allocated`).

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

/// A value that is not a string. Has no variant until the first collection type exists, so
/// that every match on it is complete today and is pointed out by the compiler tomorrow.
#[derive(Debug)]
pub enum Object {}

impl Object {
    pub fn kind(&self) -> Type {
        match *self {}
    }

    pub fn encoding(&self) -> Encoding {
        match *self {}
    }

    /// A deep copy, as COPY makes it.
    pub fn duplicate(&self) -> Box<Self> {
        match *self {}
    }

    /// Bytes of memory behind the object, without the object itself.
    pub fn allocated(&self) -> usize {
        match *self {}
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
