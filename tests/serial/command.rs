//! What a history is made of: commands on strings of tokens, and what was answered.
//!
//! A key is a number, `k7` on the wire. A value is a string of tokens of five characters each;
//! every write brings a token of its own, so a value tells who wrote it and in which order.

use crate::harness::Reply;
use std::fmt;

pub type Key = u32;
pub type Token = u32;

/// Characters of a token on the wire.
pub const TOKEN_LEN: usize = 5;

/// More than any token: five digits of base 36.
pub const TOKENS: u32 = 36 * 36 * 36 * 36 * 36;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Get(Key),
    MGet(Vec<Key>),
    Strlen(Key),
    Exists(Vec<Key>),
    DbSize,
    /// `KEYS *`
    Keys,
    Set(Key, Token),
    /// `SET key value GET`: what was there before is answered.
    SetGet(Key, Token),
    Append(Key, Token),
    MSet(Vec<(Key, Token)>),
    MSetNx(Vec<(Key, Token)>),
    GetDel(Key),
    Del(Vec<Key>),
    Rename(Key, Key),
    RenameNx(Key, Key),
    /// `COPY from to REPLACE`
    Copy(Key, Key),
    FlushDb,
    FlushAll,
    SwapDb(u8, u8),
    Select(u8),
}

/// An answer, as far as it says something about keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Ok,
    Nil,
    Int(i64),
    Value(Vec<Token>),
    Values(Vec<Option<Vec<Token>>>),
    /// The keys of `KEYS *`, sorted.
    Keys(Vec<Key>),
    /// `ERR no such key`
    Missing,
}

pub fn key_name(key: Key) -> String {
    format!("k{key}")
}

pub fn parse_key(name: &[u8]) -> Option<Key> {
    std::str::from_utf8(name.strip_prefix(b"k")?).ok()?.parse().ok()
}

pub fn token_text(token: Token) -> String {
    assert!(token < TOKENS, "tokens have {TOKEN_LEN} digits");
    let digit = |place: u32| {
        let digit = token / 36u32.pow(place) % 36;
        char::from_digit(digit, 36).expect("a digit of base 36")
    };
    (0..TOKEN_LEN as u32).rev().map(digit).collect()
}

/// The tokens of a value, or nothing when it is not made of tokens.
fn parse_value(bytes: &[u8]) -> Option<Vec<Token>> {
    if bytes.is_empty() || !bytes.len().is_multiple_of(TOKEN_LEN) {
        return None;
    }
    let token = |digits: &[u8]| {
        digits.iter().try_fold(0, |sum, &b| Some(sum * 36 + char::from(b).to_digit(36)?))
    };
    bytes.chunks(TOKEN_LEN).map(token).collect()
}

impl Command {
    /// The command in RESP, at the end of `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let words = self.words();
        encode_words(words.iter().map(String::as_bytes), out);
    }

    /// The words of the command, its name first.
    pub fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = vec![self.name().into()];
        match self {
            Command::Get(key) | Command::Strlen(key) | Command::GetDel(key) => {
                words.push(key_name(*key));
            }
            Command::MGet(keys) | Command::Exists(keys) | Command::Del(keys) => {
                words.extend(keys.iter().map(|key| key_name(*key)));
            }
            Command::DbSize | Command::FlushDb | Command::FlushAll => {}
            Command::Keys => words.push("*".into()),
            Command::Set(key, token) | Command::Append(key, token) => {
                words.extend([key_name(*key), token_text(*token)]);
            }
            Command::SetGet(key, token) => {
                words.extend([key_name(*key), token_text(*token), "GET".into()]);
            }
            Command::MSet(pairs) | Command::MSetNx(pairs) => {
                words.extend(pairs.iter().flat_map(|(k, t)| [key_name(*k), token_text(*t)]));
            }
            Command::Rename(a, b) | Command::RenameNx(a, b) => {
                words.extend([key_name(*a), key_name(*b)]);
            }
            Command::Copy(a, b) => words.extend([key_name(*a), key_name(*b), "REPLACE".into()]),
            Command::SwapDb(a, b) => words.extend([a.to_string(), b.to_string()]),
            Command::Select(db) => words.push(db.to_string()),
        }
        words
    }

    pub fn name(&self) -> &'static str {
        match self {
            Command::Get(_) => "GET",
            Command::MGet(_) => "MGET",
            Command::Strlen(_) => "STRLEN",
            Command::Exists(_) => "EXISTS",
            Command::DbSize => "DBSIZE",
            Command::Keys => "KEYS",
            Command::Set(..) | Command::SetGet(..) => "SET",
            Command::Append(..) => "APPEND",
            Command::MSet(_) => "MSET",
            Command::MSetNx(_) => "MSETNX",
            Command::GetDel(_) => "GETDEL",
            Command::Del(_) => "DEL",
            Command::Rename(..) => "RENAME",
            Command::RenameNx(..) => "RENAMENX",
            Command::Copy(..) => "COPY",
            Command::FlushDb => "FLUSHDB",
            Command::FlushAll => "FLUSHALL",
            Command::SwapDb(..) => "SWAPDB",
            Command::Select(_) => "SELECT",
        }
    }

    /// Whether it leaves every key as it is.
    pub fn is_read(&self) -> bool {
        use Command::{DbSize, Exists, Get, Keys, MGet, Select, Strlen};
        matches!(self, Get(_) | MGet(_) | Strlen(_) | Exists(_) | DbSize | Keys | Select(_))
    }

    /// Whether, being answered so, it has left every key as it was.
    pub fn has_left_all(&self, answer: &Answer) -> bool {
        use Command::{Copy, Del, GetDel, MSetNx, Rename, RenameNx};
        match (self, answer) {
            (MSetNx(_) | Del(_) | RenameNx(..) | Copy(..), Answer::Int(0)) => true,
            (Rename(..) | RenameNx(..), Answer::Missing) | (GetDel(_), Answer::Nil) => true,
            _ => self.is_read(),
        }
    }

    /// Whether it concerns all keys of a database.
    pub fn is_whole(&self) -> bool {
        use Command::{DbSize, FlushAll, FlushDb, Keys, SwapDb};
        matches!(self, DbSize | Keys | FlushDb | FlushAll | SwapDb(..))
    }

    /// The tokens it would write, by key.
    pub fn tokens(&self) -> Vec<(Key, Token)> {
        match self {
            Command::Set(key, token) | Command::SetGet(key, token) => vec![(*key, *token)],
            Command::Append(key, token) => vec![(*key, *token)],
            Command::MSet(pairs) | Command::MSetNx(pairs) => pairs.clone(),
            _ => Vec::new(),
        }
    }

    /// All keys it names.
    pub fn keys(&self) -> Vec<Key> {
        match self {
            Command::Get(key) | Command::Strlen(key) | Command::GetDel(key) => vec![*key],
            Command::MGet(keys) | Command::Exists(keys) | Command::Del(keys) => keys.clone(),
            Command::Rename(a, b) | Command::RenameNx(a, b) | Command::Copy(a, b) => vec![*a, *b],
            _ => self.tokens().into_iter().map(|(key, _)| key).collect(),
        }
    }

    /// Reads a reply to this command; the reply in words when it is none that the command has.
    pub fn answer(&self, reply: &Reply) -> Result<Answer, String> {
        let strange = || format!("{self} was answered {reply:?}");
        let value = |bytes: &[u8]| parse_value(bytes).ok_or_else(strange);
        let answer = match (self, reply) {
            (Command::Get(_) | Command::GetDel(_) | Command::SetGet(..), Reply::Bulk(bytes)) => {
                Answer::Value(value(bytes)?)
            }
            (Command::Get(_) | Command::GetDel(_) | Command::SetGet(..), reply)
                if reply.is_nil() =>
            {
                Answer::Nil
            }
            (Command::MGet(keys), Reply::Array(items)) if items.len() == keys.len() => {
                let item = |reply: &Reply| match reply {
                    Reply::Bulk(bytes) => value(bytes).map(Some),
                    reply if reply.is_nil() => Ok(None),
                    _ => Err(strange()),
                };
                Answer::Values(items.iter().map(item).collect::<Result<_, _>>()?)
            }
            (Command::Strlen(_) | Command::Append(..), Reply::Int(bytes)) => {
                match bytes % TOKEN_LEN as i64 {
                    0 => Answer::Int(bytes / TOKEN_LEN as i64),
                    _ => return Err(strange()),
                }
            }
            (
                Command::Exists(_)
                | Command::DbSize
                | Command::MSetNx(_)
                | Command::Del(_)
                | Command::RenameNx(..)
                | Command::Copy(..),
                Reply::Int(n),
            ) => Answer::Int(*n),
            (Command::Keys, Reply::Array(items)) => {
                let key = |reply: &Reply| match reply {
                    Reply::Bulk(name) => parse_key(name).ok_or_else(strange),
                    _ => Err(strange()),
                };
                let mut keys = items.iter().map(key).collect::<Result<Vec<_>, _>>()?;
                keys.sort_unstable();
                Answer::Keys(keys)
            }
            (Command::Rename(..) | Command::RenameNx(..), Reply::Error(text))
                if text == b"ERR no such key" =>
            {
                Answer::Missing
            }
            (
                Command::Set(..)
                | Command::MSet(_)
                | Command::Rename(..)
                | Command::FlushDb
                | Command::FlushAll
                | Command::SwapDb(..)
                | Command::Select(_),
                Reply::Simple(text),
            ) if text == b"OK" => Answer::Ok,
            _ => return Err(strange()),
        };
        Ok(answer)
    }
}

impl Answer {
    /// All tokens that it shows.
    pub fn tokens(&self) -> impl Iterator<Item = &Token> {
        let (one, several): (&[Token], &[Option<Vec<Token>>]) = match self {
            Answer::Value(tokens) => (tokens, &[]),
            Answer::Values(values) => (&[], values),
            _ => (&[], &[]),
        };
        one.iter().chain(several.iter().flatten().flatten())
    }
}

pub fn encode_words<'w>(words: impl ExactSizeIterator<Item = &'w [u8]>, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// As in the notation of histories: tokens are plain numbers.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name())?;
        let pairs = |f: &mut fmt::Formatter<'_>, pairs: &[(Key, Token)]| {
            pairs.iter().try_for_each(|(key, token)| write!(f, " k{key} {token}"))
        };
        match self {
            Command::Set(key, token) | Command::Append(key, token) => write!(f, " k{key} {token}"),
            Command::SetGet(key, token) => write!(f, " k{key} {token} GET"),
            Command::MSet(all) | Command::MSetNx(all) => pairs(f, all),
            Command::Keys => write!(f, " *"),
            Command::SwapDb(a, b) => write!(f, " {a} {b}"),
            Command::Select(db) => write!(f, " {db}"),
            _ => self.keys().iter().try_for_each(|key| write!(f, " k{key}")),
        }
    }
}

struct Tokens<'t>(&'t [Token]);

impl fmt::Display for Tokens<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 12;
        let skipped = self.0.len().saturating_sub(SHOWN);
        let words: Vec<String> = self.0[skipped..].iter().map(Token::to_string).collect();
        match skipped {
            0 => write!(f, "[{}]", words.join(" ")),
            n => write!(f, "[({n} more) {}]", words.join(" ")),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Ok => write!(f, "ok"),
            Answer::Nil => write!(f, "nil"),
            Answer::Int(n) => write!(f, "{n}"),
            Answer::Value(tokens) => write!(f, "{}", Tokens(tokens)),
            Answer::Values(values) => {
                let word = |value: &Option<Vec<Token>>| match value {
                    Some(tokens) => Tokens(tokens).to_string(),
                    None => "nil".into(),
                };
                write!(f, "{}", values.iter().map(word).collect::<Vec<_>>().join(" "))
            }
            Answer::Keys(keys) => {
                write!(f, "{{{}}}", keys.iter().map(|k| key_name(*k)).collect::<Vec<_>>().join(" "))
            }
            Answer::Missing => write!(f, "missing"),
        }
    }
}

#[test]
fn values_on_the_wire_are_read_back() {
    let tokens: Vec<Token> = vec![0, 1, 35, 36, 123_456, TOKENS - 1];
    let text: String = tokens.iter().map(|token| token_text(*token)).collect();
    let get = Command::Get(7);
    assert_eq!(get.answer(&Reply::Bulk(text.clone().into_bytes())), Ok(Answer::Value(tokens)));
    assert!(get.answer(&Reply::Bulk(text[1..].into())).is_err(), "half a token");
    let mut bytes = Vec::new();
    Command::MSet(vec![(1, 1), (20, 36)]).encode(&mut bytes);
    let expected = "*5\r\n$4\r\nMSET\r\n$2\r\nk1\r\n$5\r\n00001\r\n$3\r\nk20\r\n$5\r\n00010\r\n";
    assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    assert_eq!(Command::Append(1, 2).answer(&Reply::Int(10)), Ok(Answer::Int(2)));
    assert!(Command::Append(1, 2).answer(&Reply::Int(9)).is_err());
}
