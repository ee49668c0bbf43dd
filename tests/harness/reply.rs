//! The reply tree of RESP2 and RESP3, and an incremental parser for it.
//!
//! Every wire type keeps its own variant, so that a comparison sees `$-1` and `_` as different.

use std::fmt;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reply {
    Simple(Vec<u8>),
    Error(Vec<u8>),
    Int(i64),
    Bulk(Vec<u8>),
    /// RESP2 `$-1`
    NilBulk,
    /// RESP2 `*-1`
    NilArray,
    Array(Vec<Reply>),
    /// RESP3 `_`
    Null,
    /// RESP3 `,`: the text as sent, since its exact form is part of the protocol
    Double(String),
    Bool(bool),
    BigNumber(String),
    BulkError(Vec<u8>),
    Verbatim(String, Vec<u8>),
    Map(Vec<(Reply, Reply)>),
    Set(Vec<Reply>),
    Push(Vec<Reply>),
    /// RESP3 `|`: attributes and the reply that they precede
    Attribute(Vec<(Reply, Reply)>, Box<Reply>),
}

/// What the bytes so far hold.
pub enum Parsed {
    /// A reply and the bytes it took.
    Whole(Reply, usize),
    Partial,
    /// Not RESP: the reason.
    Broken(String),
}

impl Reply {
    pub fn is_nil(&self) -> bool {
        matches!(self, Reply::NilBulk | Reply::NilArray | Reply::Null)
    }

    pub fn is_error(&self) -> bool {
        matches!(self, Reply::Error(_) | Reply::BulkError(_))
    }

    /// The text of a simple string, bulk, verbatim or error; panics on other types.
    pub fn text(&self) -> String {
        match self {
            Reply::Simple(b)
            | Reply::Bulk(b)
            | Reply::Error(b)
            | Reply::BulkError(b)
            | Reply::Verbatim(_, b) => String::from_utf8_lossy(b).into_owned(),
            other => panic!("no text in {other:?}"),
        }
    }

    pub fn int(&self) -> i64 {
        match self {
            Reply::Int(n) => *n,
            other => panic!("no integer in {other:?}"),
        }
    }

    /// The elements of an array, set or push; panics on other types.
    pub fn items(&self) -> &[Reply] {
        match self {
            Reply::Array(v) | Reply::Set(v) | Reply::Push(v) => v,
            other => panic!("no elements in {other:?}"),
        }
    }

    /// A field of a RESP3 map or of a RESP2 flat array of pairs.
    pub fn field(&self, name: &str) -> Option<&Reply> {
        let named =
            |k: &Reply| matches!(k, Reply::Bulk(b) | Reply::Simple(b) if b == name.as_bytes());
        match self {
            Reply::Map(m) => m.iter().find(|(k, _)| named(k)).map(|(_, v)| v),
            Reply::Array(v) => v.chunks_exact(2).find(|p| named(&p[0])).map(|p| &p[1]),
            _ => None,
        }
    }

    pub fn parse(bytes: &[u8]) -> Parsed {
        match value(bytes, 0, 0) {
            Ok(Some((reply, end))) => Parsed::Whole(reply, end),
            Ok(None) => Parsed::Partial,
            Err(why) => Parsed::Broken(why),
        }
    }
}

type Step<T> = Result<Option<(T, usize)>, String>;

fn line(bytes: &[u8], at: usize) -> Step<&[u8]> {
    let rest = &bytes[at..];
    match rest.iter().position(|&b| b == b'\n') {
        None if rest.len() > 1 << 20 => Err("a line without an end".into()),
        None => Ok(None),
        Some(n) if n > 0 && rest[n - 1] == b'\r' => Ok(Some((&rest[..n - 1], at + n + 1))),
        Some(_) => {
            Err(format!("a line that ends in LF alone: {:?}", String::from_utf8_lossy(rest)))
        }
    }
}

fn number(text: &[u8]) -> Result<i64, String> {
    let text = String::from_utf8_lossy(text);
    text.parse().map_err(|_| format!("not a number: {text:?}"))
}

fn blob(bytes: &[u8], at: usize, len: i64) -> Step<Vec<u8>> {
    let len = usize::try_from(len).map_err(|_| format!("length {len}"))?;
    match bytes.get(at..at + len + 2) {
        None => Ok(None),
        Some(b) if b.ends_with(b"\r\n") => Ok(Some((b[..len].to_vec(), at + len + 2))),
        Some(_) => Err("a blob that is longer than it says".into()),
    }
}

fn elements(bytes: &[u8], mut at: usize, count: i64, depth: usize) -> Step<Vec<Reply>> {
    let mut items = Vec::new();
    for _ in 0..count {
        let Some((item, next)) = value(bytes, at, depth + 1)? else { return Ok(None) };
        items.push(item);
        at = next;
    }
    Ok(Some((items, at)))
}

fn pairs(items: Vec<Reply>) -> Vec<(Reply, Reply)> {
    let mut items = items.into_iter();
    let mut pairs = Vec::new();
    while let (Some(k), Some(v)) = (items.next(), items.next()) {
        pairs.push((k, v));
    }
    pairs
}

fn value(bytes: &[u8], at: usize, depth: usize) -> Step<Reply> {
    if depth > 64 {
        return Err("nested deeper than 64".into());
    }
    let Some(&kind) = bytes.get(at) else { return Ok(None) };
    let Some((head, at)) = line(bytes, at + 1)? else { return Ok(None) };
    let text = || String::from_utf8_lossy(head).into_owned();
    match kind {
        b'+' => Ok(Some((Reply::Simple(head.to_vec()), at))),
        b'-' => Ok(Some((Reply::Error(head.to_vec()), at))),
        b':' => Ok(Some((Reply::Int(number(head)?), at))),
        b',' => Ok(Some((Reply::Double(text()), at))),
        b'(' => Ok(Some((Reply::BigNumber(text()), at))),
        b'_' if head.is_empty() => Ok(Some((Reply::Null, at))),
        b'#' if head == b"t" => Ok(Some((Reply::Bool(true), at))),
        b'#' if head == b"f" => Ok(Some((Reply::Bool(false), at))),
        b'$' if head == b"-1" => Ok(Some((Reply::NilBulk, at))),
        b'*' if head == b"-1" => Ok(Some((Reply::NilArray, at))),
        b'$' | b'!' | b'=' => {
            let Some((body, at)) = blob(bytes, at, number(head)?)? else { return Ok(None) };
            Ok(Some((blob_reply(kind, body)?, at)))
        }
        b'*' | b'~' | b'>' | b'%' | b'|' => {
            let count = number(head)?;
            let width = if matches!(kind, b'%' | b'|') { 2 } else { 1 };
            let Some((items, at)) = elements(bytes, at, count * width, depth)? else {
                return Ok(None);
            };
            match kind {
                b'*' => Ok(Some((Reply::Array(items), at))),
                b'~' => Ok(Some((Reply::Set(items), at))),
                b'>' => Ok(Some((Reply::Push(items), at))),
                b'%' => Ok(Some((Reply::Map(pairs(items)), at))),
                _ => {
                    let Some((inner, at)) = value(bytes, at, depth + 1)? else { return Ok(None) };
                    Ok(Some((Reply::Attribute(pairs(items), Box::new(inner)), at)))
                }
            }
        }
        other => Err(format!("type byte {:?} with {:?}", other as char, text())),
    }
}

fn blob_reply(kind: u8, body: Vec<u8>) -> Result<Reply, String> {
    match kind {
        b'$' => Ok(Reply::Bulk(body)),
        b'!' => Ok(Reply::BulkError(body)),
        _ if body.len() >= 4 && body[3] == b':' => {
            let format = String::from_utf8_lossy(&body[..3]).into_owned();
            Ok(Reply::Verbatim(format, body[4..].to_vec()))
        }
        _ => Err("a verbatim string without its format".into()),
    }
}

fn quoted(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 400;
    let shown = super::script::quote(&bytes[..bytes.len().min(SHOWN_MAX)]);
    match bytes.len() {
        n if n > SHOWN_MAX => format!("{shown}… ({n} bytes)"),
        _ => shown,
    }
}

/// One line, with the wire type's own character where redis-cli would hide it.
impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Simple(b) => write!(f, "+{}", String::from_utf8_lossy(b)),
            Reply::Error(b) => write!(f, "-{}", String::from_utf8_lossy(b)),
            Reply::Int(n) => write!(f, ":{n}"),
            Reply::Bulk(b) => write!(f, "${}", quoted(b)),
            Reply::NilBulk => write!(f, "$-1"),
            Reply::NilArray => write!(f, "*-1"),
            Reply::Array(v) => f.debug_list().entries(v).finish(),
            Reply::Null => write!(f, "_"),
            Reply::Double(t) => write!(f, ",{t}"),
            Reply::Bool(b) => write!(f, "#{b}"),
            Reply::BigNumber(t) => write!(f, "({t}"),
            Reply::BulkError(b) => write!(f, "!{}", quoted(b)),
            Reply::Verbatim(t, b) => write!(f, "={t}:{}", quoted(b)),
            Reply::Map(m) => {
                write!(f, "%")?;
                f.debug_map().entries(m.iter().map(|(k, v)| (k, v))).finish()
            }
            Reply::Set(v) => {
                write!(f, "~")?;
                f.debug_list().entries(v).finish()
            }
            Reply::Push(v) => {
                write!(f, ">")?;
                f.debug_list().entries(v).finish()
            }
            Reply::Attribute(m, r) => {
                write!(f, "|{{{m:?}}} {r:?}")
            }
        }
    }
}

#[test]
fn parses_every_type_and_waits_for_the_rest() {
    let wire = b"%1\r\n$1\r\na\r\n*9\r\n,1.5\r\n#t\r\n_\r\n(123\r\n=5\r\ntxt:x\r\n~1\r\n:1\r\n$-1\r\n!2\r\nEX\r\n|1\r\n+k\r\n+v\r\n>1\r\n+p\r\n";
    for cut in 0..wire.len() {
        assert!(matches!(Reply::parse(&wire[..cut]), Parsed::Partial), "cut at {cut}");
    }
    let Parsed::Whole(reply, used) = Reply::parse(wire) else { panic!("not parsed") };
    assert_eq!(used, wire.len());
    let items = reply.field("a").unwrap().items();
    assert_eq!(items[0], Reply::Double("1.5".into()));
    assert_eq!(items[4], Reply::Verbatim("txt".into(), b"x".to_vec()));
    assert!(
        matches!(&items[8], Reply::Attribute(m, inner) if m.len() == 1 && inner.items().len() == 1)
    );
    assert!(matches!(Reply::parse(b"?\r\n"), Parsed::Broken(_)));
    assert!(matches!(Reply::parse(b"$1\r\nabc"), Parsed::Broken(_)));
}
