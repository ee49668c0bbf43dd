//! RDB files, read item by item.
//!
//! ```text
//!   REDIS0011 or VALKEY080
//!   [ 250 ][ name ][ value ]                  a fact about the writer
//!   [ 245 ][ code ]                           a library of functions
//!   [ 247 ][ id, opcode, when, parts ]        what a module keeps beside keys
//!   [ 254 ][ database ]                       of the keys that follow
//!   [ 251 ][ keys ][ keys that expire ]       how many follow
//!   [ 244 ][ slot ][ keys ][ that expire ]    the same of a slot
//!   [ 243 ][ name ][ ranges ]                 slots that were on their way here
//!   [ 253 ][ seconds, i32 ]                   when the next key expires
//!   [ 252 ][ milliseconds, i64 ]              the same
//!   [ 248 ][ seconds ]                        how long the next key has not been used
//!   [ 249 ][ counter, u8 ]                    how often it was used
//!   [ type ][ key ][ value ]
//!   [ 255 ][ CRC64 of all before, u64 LE ]    the end, from version 5 on with a checksum, 0: not made
//! ```
//!
//! Something else may follow the end: the commands of an AOF. A [`Reader`] does not go beyond it, and gives
//! back the stream where it is.
//!
//! Deliberately absent: whether a key comes twice, whether its time is over (the caller's business).

#[cfg(test)]
mod tests;

use super::buffered::Buffered;
use super::input::Input;
use super::load::{self, Limits};
use super::skim::{Kept, skim};
use super::{Corrupt, VERSION_REDIS_MAX, VERSION_VALKEY, kind};
use crate::data::Object;
use std::fmt;
use std::io::{self, Read};
use std::ops::Range;

/// What stands where a type is expected and is none.
pub mod opcode {
    pub const SLOT_IMPORT: u8 = 243;
    pub const SLOT_INFO: u8 = 244;
    pub const FUNCTION: u8 = 245;
    /// In two release candidates of 7.0.
    pub const FUNCTION_PRE_GA: u8 = 246;
    pub const MODULE_AUX: u8 = 247;
    pub const IDLE: u8 = 248;
    pub const FREQ: u8 = 249;
    pub const AUX: u8 = 250;
    pub const RESIZE_DB: u8 = 251;
    pub const EXPIRE_MS: u8 = 252;
    pub const EXPIRE_SECONDS: u8 = 253;
    pub const SELECT_DB: u8 = 254;
    pub const END: u8 = 255;
}

/// Bytes of the magic with its version.
pub const MAGIC_LEN: usize = 9;
/// The first version with a checksum at its end.
const CHECKSUM_SINCE: u16 = 5;
/// The memory of a longer string is not kept for the next.
const TEXT_KEPT: usize = 1 << 20;

/// Whether something begins like an RDB file. As many bytes as the shorter of the two names has will do.
pub fn is_rdb(start: &[u8]) -> bool {
    start.starts_with(b"REDIS") || start.starts_with(b"VALKE")
}

/// How a file is read.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether a wrong checksum is an error.
    pub checksum: bool,
    /// Fields that have expired by then are left out.
    pub now: i64,
    /// Of one string, bytes.
    pub string_max: usize,
    pub limits: Limits,
}

/// A key whose value was not made yet.
#[derive(Debug)]
pub struct Raw {
    pub db: u32,
    /// Of the value.
    pub kind: u8,
    /// Milliseconds since the epoch.
    pub expire_at: Option<i64>,
    pub idle: Option<u64>,
    pub frequency: Option<u8>,
    /// Where the key is among the bytes that were kept, and behind it the value.
    pub key: Range<usize>,
    pub value: Range<usize>,
    /// Where the value ends in the file.
    pub offset: u64,
}

/// What comes next in a file whose values are made by others.
#[derive(Debug)]
pub enum Next<'a> {
    Raw(Raw),
    Other(Item<'a>),
}

/// What a file has to say, in its order.
#[derive(Debug)]
pub enum Item<'a> {
    Aux {
        name: &'a [u8],
        value: &'a [u8],
    },
    Function {
        code: &'a [u8],
    },
    /// How many keys of a database follow, and how many of them expire, as far as the file is right.
    Resize {
        db: u32,
        keys: u64,
        expires: u64,
    },
    Entry(Stored<'a>),
    /// A key without a value.
    Nothing {
        db: u32,
        key: &'a [u8],
        why: Nothing,
    },
    /// What a module keeps beside keys was left out.
    ModuleAux {
        module: String,
    },
    SlotInfo {
        slot: u64,
        keys: u64,
        expires: u64,
    },
    /// The writer had not all keys of some slots yet.
    SlotImport,
}

/// Why a key has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nothing {
    /// It is a collection without elements, as a bug of old Redis versions left it.
    Empty,
    /// All fields have expired.
    Expired,
}

/// A key with all that the file has of it.
#[derive(Debug)]
pub struct Stored<'a> {
    pub db: u32,
    pub key: &'a [u8],
    pub value: Value<'a>,
    /// Milliseconds since the epoch.
    pub expire_at: Option<i64>,
    /// For how many seconds it was not used.
    pub idle: Option<u64>,
    /// The logarithmic counter of its uses.
    pub frequency: Option<u8>,
}

#[derive(Debug)]
pub enum Value<'a> {
    String(&'a [u8]),
    /// A string in memory of its own.
    Owned(Vec<u8>),
    Object(Box<Object>),
}

/// Why a file cannot be read on.
#[derive(Debug)]
pub struct FileError {
    /// So many bytes were read.
    pub offset: u64,
    /// Of whose value they were the last.
    pub key: Option<Vec<u8>>,
    pub cause: Cause,
}

#[derive(Debug)]
pub enum Cause {
    Io(io::Error),
    Corrupt(Corrupt),
    NotRdb,
    /// What stands behind the magic's name, or the whole magic.
    Version(String),
    Checksum {
        stored: u64,
        computed: u64,
    },
    FunctionPreGa,
    /// A value of this module's.
    Module(String),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}", self.offset)?;
        if let Some(key) = &self.key {
            write!(f, ", in the value of key \"{}\"", key.escape_ascii())?;
        }
        write!(f, ": {}", self.cause)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Io(error) => write!(f, "{error}"),
            Cause::Corrupt(corrupt) => write!(f, "{corrupt}"),
            Cause::NotRdb => f.write_str("it is not an RDB file"),
            Cause::Version(magic) => write!(f, "the version {magic} is not known"),
            Cause::Checksum { stored, computed } => {
                write!(f, "the checksum is {computed:016x}, not {stored:016x} as the file says")
            }
            Cause::FunctionPreGa => {
                f.write_str("its functions are in the format of a release candidate of Redis 7.0")
            }
            Cause::Module(module) => write!(f, "it is a value of the module {module}"),
        }
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Cause::Io(error) = &self.cause { Some(error) } else { None }
    }
}

impl From<Corrupt> for Cause {
    fn from(corrupt: Corrupt) -> Cause {
        Cause::Corrupt(corrupt)
    }
}

/// What stands in front of a key.
#[derive(Default)]
struct Prefix {
    expire_at: Option<i64>,
    idle: Option<u64>,
    frequency: Option<u8>,
}

/// What one step has found; the item's parts are in the reader.
enum Found {
    Aux,
    Function,
    Resize(u64, u64),
    Text(Prefix),
    Object(Prefix, Box<Object>),
    Nothing(Nothing),
    ModuleAux(String),
    SlotInfo(u64, u64, u64),
    SlotImport,
    /// The value of a key, of this type, comes next.
    Value(Prefix, u8),
    End,
}

pub struct Reader<R> {
    input: Input<Buffered<R>>,
    options: Options,
    version: u16,
    db: u32,
    /// The key, or the name of a fact.
    key: Vec<u8>,
    /// The value, if it is a string.
    text: Vec<u8>,
    /// It is in the stream's buffer instead: the last so many bytes.
    taken: Option<usize>,
    /// The key was read, and what comes is its value.
    in_value: bool,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Begins with the magic.
    pub fn new(source: Buffered<R>, options: Options) -> Result<Reader<R>, FileError> {
        let mut reader = Reader {
            input: Input::new(source, options.string_max),
            options,
            version: 0,
            db: 0,
            key: Vec::new(),
            text: Vec::new(),
            taken: None,
            in_value: false,
            ended: false,
        };
        if reader.options.checksum {
            reader.input.source_mut().start_sum();
        }
        match reader.magic() {
            Ok(version) => {
                reader.version = version;
                Ok(reader)
            }
            Err(cause) => Err(reader.error(cause)),
        }
    }

    /// The version of the format.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// Bytes read so far; after the end, where what follows it begins.
    pub fn position(&self) -> u64 {
        self.input.source().position()
    }

    /// The stream, behind what was read.
    pub fn into_source(self) -> Buffered<R> {
        self.input.into_source()
    }

    /// What comes next; nothing at the end. After an error nothing useful follows.
    #[allow(clippy::should_implement_trait)] // an item borrows from its reader
    pub fn next(&mut self) -> Result<Option<Item<'_>>, FileError> {
        if self.ended {
            return Ok(None);
        }
        let found = self.begin_item().and_then(|found| match found {
            Found::Value(prefix, kind) => self.value(kind, prefix),
            other => Ok(other),
        });
        match found {
            Ok(found) => Ok(self.item(found)),
            Err(cause) => Err(self.error(cause)),
        }
    }

    /// As [`Reader::next`], but values are not made; their bytes and those of their keys are kept where `place`
    /// tells for a key.
    pub fn next_raw<'b>(
        &mut self,
        place: impl FnOnce(&[u8]) -> &'b mut Vec<u8>,
    ) -> Result<Option<Next<'_>>, FileError> {
        if self.ended {
            return Ok(None);
        }
        match self.begin_item() {
            Ok(Found::Value(prefix, kind)) => match self.keep(kind, prefix, place(&self.key)) {
                Ok(raw) => Ok(Some(Next::Raw(raw))),
                Err(cause) => Err(self.error(cause)),
            },
            Ok(found) => Ok(self.item(found).map(Next::Other)),
            Err(cause) => Err(self.error(cause)),
        }
    }

    fn begin_item(&mut self) -> Result<Found, Cause> {
        self.in_value = false;
        self.taken = None;
        if self.text.capacity() > TEXT_KEPT {
            self.text = Vec::new();
        }
        self.step()
    }

    /// Keeps a key and its value as they are in the file.
    fn keep(&mut self, kind: u8, prefix: Prefix, bytes: &mut Vec<u8>) -> Result<Raw, Cause> {
        let start = bytes.len();
        bytes.extend_from_slice(&self.key);
        let value = bytes.len();
        let source = self.input.source_mut();
        let mut input = Input::new(Kept { source, bytes }, self.options.string_max);
        skim(&mut input, kind, self.version)?;
        let Prefix { expire_at, idle, frequency } = prefix;
        let (key, value, offset) = (start..value, value..bytes.len(), self.position());
        Ok(Raw { db: self.db, kind, expire_at, idle, frequency, key, value, offset })
    }

    fn item(&self, found: Found) -> Option<Item<'_>> {
        let (db, key) = (self.db, &self.key[..]);
        let text = self.taken.map_or(&self.text[..], |len| self.input.source().taken(len));
        Some(match found {
            Found::Aux => Item::Aux { name: key, value: text },
            Found::Function => Item::Function { code: text },
            Found::Resize(keys, expires) => Item::Resize { db, keys, expires },
            Found::Text(prefix) => Item::Entry(stored(db, key, Value::String(text), prefix)),
            Found::Object(prefix, object) => {
                Item::Entry(stored(db, key, Value::Object(object), prefix))
            }
            Found::Nothing(why) => Item::Nothing { db, key, why },
            Found::ModuleAux(module) => Item::ModuleAux { module },
            Found::SlotInfo(slot, keys, expires) => Item::SlotInfo { slot, keys, expires },
            Found::SlotImport => Item::SlotImport,
            Found::End | Found::Value(..) => return None,
        })
    }

    #[cold]
    fn error(&mut self, cause: Cause) -> FileError {
        let key = self.in_value.then(|| self.key.clone());
        let source = self.input.source_mut();
        let offset = source.position();
        let cause = source.failure().map_or(cause, Cause::Io);
        FileError { offset, key, cause }
    }

    fn magic(&mut self) -> Result<u16, Cause> {
        let magic: [u8; MAGIC_LEN] = match self.input.take(MAGIC_LEN) {
            Ok(bytes) => bytes.try_into().map_err(|_| Cause::NotRdb)?,
            Err(_) => return Err(Cause::NotRdb),
        };
        let (digits, known) = match magic.strip_prefix(b"REDIS") {
            Some(digits) => (digits, 1..=VERSION_REDIS_MAX),
            None => match magic.strip_prefix(b"VALKEY") {
                Some(digits) => (digits, VERSION_VALKEY..=VERSION_VALKEY),
                None => return Err(Cause::NotRdb),
            },
        };
        let version = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
        version
            .filter(|version| digits.iter().all(u8::is_ascii_digit) && known.contains(version))
            .ok_or_else(|| Cause::Version(magic.escape_ascii().to_string()))
    }

    fn step(&mut self) -> Result<Found, Cause> {
        let mut prefix = Prefix::default();
        loop {
            match self.input.byte()? {
                opcode::EXPIRE_MS => prefix.expire_at = time(self.input.i64()?),
                opcode::EXPIRE_SECONDS => {
                    prefix.expire_at = time(i64::from(self.input.i32()?) * 1000);
                }
                opcode::IDLE => prefix.idle = Some(self.input.number()?),
                opcode::FREQ => prefix.frequency = Some(self.input.byte()?),
                opcode::SELECT_DB => {
                    const TOO_FAR: Corrupt = Corrupt::Wrong("there is no such database");
                    self.db = u32::try_from(self.input.number()?).map_err(|_| TOO_FAR)?;
                }
                opcode::END => {
                    self.end()?;
                    return Ok(Found::End);
                }
                kind if kind < opcode::SLOT_IMPORT => {
                    self.input.string_into(&mut self.key)?;
                    self.in_value = true;
                    if matches!(kind, kind::MODULE_1 | kind::MODULE_2) {
                        return Err(Cause::Module(module_name(self.input.number()?)));
                    }
                    return Ok(Found::Value(prefix, kind));
                }
                opcode => return self.other(opcode),
            }
        }
    }

    /// Makes the value that comes next.
    fn value(&mut self, kind: u8, prefix: Prefix) -> Result<Found, Cause> {
        if kind == kind::STRING {
            self.string()?;
            return Ok(Found::Text(prefix));
        }
        let Options { now, limits, .. } = &self.options;
        Ok(match load::load(&mut self.input, kind, self.version, *now, limits) {
            Ok(Some(load::Value::Object(object))) => Found::Object(prefix, object),
            Ok(Some(load::Value::String(text))) => {
                (self.text, self.taken) = (text, None);
                Found::Text(prefix)
            }
            Ok(None) => Found::Nothing(Nothing::Expired),
            Err(Corrupt::Empty) => Found::Nothing(Nothing::Empty),
            Err(corrupt) => return Err(corrupt.into()),
        })
    }

    /// Reads the string that belongs to the item.
    fn string(&mut self) -> Result<(), Corrupt> {
        self.taken = self.input.string_or_taken(&mut self.text)?;
        Ok(())
    }

    #[cold]
    fn other(&mut self, opcode: u8) -> Result<Found, Cause> {
        Ok(match opcode {
            opcode::AUX => {
                self.input.string_into(&mut self.key)?;
                self.string()?;
                Found::Aux
            }
            opcode::FUNCTION => {
                self.string()?;
                Found::Function
            }
            opcode::FUNCTION_PRE_GA => return Err(Cause::FunctionPreGa),
            opcode::RESIZE_DB => Found::Resize(self.input.number()?, self.input.number()?),
            opcode::SLOT_INFO => {
                let input = &mut self.input;
                Found::SlotInfo(input.number()?, input.number()?, input.number()?)
            }
            opcode::SLOT_IMPORT => {
                self.string()?;
                for _ in 0..self.input.number()? {
                    self.input.number()?;
                    self.input.number()?;
                }
                Found::SlotImport
            }
            opcode::MODULE_AUX => {
                let module = module_name(self.input.number()?);
                // When it is to be loaded, and then its parts, are told in the same way.
                self.module_parts()?;
                Found::ModuleAux(module)
            }
            _ => return Err(Corrupt::UnknownType(opcode).into()),
        })
    }

    /// Passes over what a module has written, up to its end.
    fn module_parts(&mut self) -> Result<(), Corrupt> {
        const END: u64 = 0;
        const SIGNED: u64 = 1;
        const UNSIGNED: u64 = 2;
        const FLOAT: u64 = 3;
        const DOUBLE: u64 = 4;
        const STRING: u64 = 5;
        loop {
            match self.input.number()? {
                END => return Ok(()),
                SIGNED | UNSIGNED => {
                    self.input.number()?;
                }
                FLOAT => {
                    self.input.take(4)?;
                }
                DOUBLE => {
                    self.input.take(8)?;
                }
                STRING => self.string()?,
                _ => return Err(Corrupt::Wrong("a module has written something unknown")),
            }
        }
    }

    fn end(&mut self) -> Result<(), Cause> {
        let computed = self.input.source_mut().end_sum();
        self.ended = true;
        if self.version < CHECKSUM_SINCE {
            return Ok(());
        }
        let stored = self.input.i64()? as u64;
        match computed {
            Some(computed) if stored != 0 && stored != computed => {
                Err(Cause::Checksum { stored, computed })
            }
            _ => Ok(()),
        }
    }
}

/// Makes a value whose bytes were kept, or tells why there is none.
pub fn value_of<'a>(
    bytes: &'a [u8],
    kind: u8,
    version: u16,
    options: &Options,
) -> Result<std::result::Result<Value<'a>, Nothing>, Cause> {
    let mut input = Input::new(bytes, options.string_max);
    if kind == kind::STRING {
        let mut text = Vec::new();
        return Ok(Ok(match input.string_or_taken(&mut text)? {
            Some(len) => Value::String(&bytes[bytes.len() - len..]),
            None => Value::Owned(text),
        }));
    }
    let value = match load::load(&mut input, kind, version, options.now, &options.limits) {
        Ok(Some(load::Value::Object(object))) => Ok(Value::Object(object)),
        Ok(Some(load::Value::String(text))) => Ok(Value::Owned(text)),
        Ok(None) => Err(Nothing::Expired),
        Err(Corrupt::Empty) => Err(Nothing::Empty),
        Err(corrupt) => return Err(corrupt.into()),
    };
    Ok(value)
}

/// As in Redis, -1 is no time.
fn time(at: i64) -> Option<i64> {
    Some(at).filter(|at| *at != -1)
}

fn stored<'a>(db: u32, key: &'a [u8], value: Value<'a>, prefix: Prefix) -> Stored<'a> {
    let Prefix { expire_at, idle, frequency } = prefix;
    Stored { db, key, value, expire_at, idle, frequency }
}

/// A module's id is nine letters of 6 bits each, and a version of 10 bits.
fn module_name(id: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let letter = |at: u32| char::from(LETTERS[(id >> (58 - 6 * at) & 63) as usize]);
    (0..9).map(letter).collect()
}
