//! The `syntax` of a row, taken apart into the argument objects that COMMAND DOCS answers.
//!
//! ```text
//! key [value]                   a word is an argument; in brackets it may be left out
//! [NX | XX]   <LEFT | RIGHT>    one of several; in angle brackets one is needed
//! [EX seconds] [LIMIT from n]   upper case is a literal word before its arguments
//! key [key ...]                 repeated; also [key ...], key value [key value ...], <a | b> ...
//! [GET pattern [GET pattern ...]]   repeated with its literal word
//! increment:double              the type, where the name does not tell
//! ```
//!
//! Names of groups are made up from what they contain, since clients only show them.

/// What clients may send for an argument, with Redis' names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    String,
    Integer,
    Double,
    Key,
    Pattern,
    UnixTime,
    PureToken,
    OneOf,
    Block,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::Integer => "integer",
            Kind::Double => "double",
            Kind::Key => "key",
            Kind::Pattern => "pattern",
            Kind::UnixTime => "unix-time",
            Kind::PureToken => "pure-token",
            Kind::OneOf => "oneof",
            Kind::Block => "block",
        }
    }

    fn by_name(name: &str) -> Option<Kind> {
        let named = [Kind::String, Kind::Integer, Kind::Double, Kind::Key, Kind::Pattern];
        named.into_iter().chain([Kind::UnixTime]).find(|kind| kind.name() == name)
    }

    /// The type that the names of arguments usually have.
    fn of(name: &str) -> Kind {
        const KEYS: [&str; 8] =
            ["key", "key1", "key2", "newkey", "source", "destination", "destkey", "dstkey"];
        const INTEGERS: [&str; 22] = [
            "bit",
            "client-id",
            "count",
            "cursor",
            "db",
            "decrement",
            "destination-db",
            "end",
            "increment",
            "index",
            "index1",
            "index2",
            "len",
            "maxage",
            "milliseconds",
            "min-match-len",
            "offset",
            "protover",
            "seconds",
            "slot",
            "start",
            "version",
        ];
        match name {
            "pattern" => Kind::Pattern,
            _ if name.starts_with("unix-time") => Kind::UnixTime,
            _ if KEYS.contains(&name) => Kind::Key,
            _ if INTEGERS.contains(&name) => Kind::Integer,
            _ => Kind::String,
        }
    }
}

/// One argument, or a group of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Arg<'a> {
    pub name: String,
    pub kind: Kind,
    /// The literal word before it, or all that there is of it.
    pub token: Option<&'a str>,
    pub optional: bool,
    pub multiple: bool,
    /// The literal word is repeated as well.
    pub multiple_token: bool,
    /// Which of the row's key specs finds it.
    pub key_spec: Option<usize>,
    pub arguments: Vec<Arg<'a>>,
}

impl<'a> Arg<'a> {
    fn new(name: String, kind: Kind) -> Arg<'a> {
        Arg {
            name,
            kind,
            token: None,
            optional: false,
            multiple: false,
            multiple_token: false,
            key_spec: None,
            arguments: Vec::new(),
        }
    }

    fn group(kind: Kind, joint: &str, arguments: Vec<Arg<'a>>) -> Arg<'a> {
        let names: Vec<&str> = arguments.iter().map(|a| a.name.as_str()).collect();
        let name = names.join(joint);
        Arg { arguments, ..Arg::new(name, kind) }
    }
}

/// The arguments of a command with so many key specs; `None` if the syntax is malformed.
pub fn parse(syntax: &str, key_specs: usize) -> Option<Vec<Arg<'_>>> {
    let mut words = Words { rest: syntax };
    let mut alternatives = words.alternatives(None)?;
    let items = alternatives.pop().filter(|_| alternatives.is_empty())?;
    let mut args = sequence(&items)?;
    let mut next = 0;
    number_keys(&mut args, key_specs, &mut next);
    Some(args)
}

/// Gives each key its spec: one after another, the last one for all further ones.
fn number_keys(args: &mut [Arg], specs: usize, next: &mut usize) {
    for arg in args {
        if arg.kind == Kind::Key {
            match specs {
                0 => arg.kind = Kind::String,
                _ => arg.key_spec = Some((*next).min(specs - 1)),
            }
            *next += 1;
        }
        number_keys(&mut arg.arguments, specs, next);
    }
}

/// A part of a syntax as it is written.
#[derive(Debug, PartialEq, Eq)]
enum Item<'a> {
    Word(&'a str),
    Group {
        optional: bool,
        alternatives: Vec<Vec<Item<'a>>>,
    },
    /// `...`
    More,
}

struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a str> {
        const MARKS: &str = "[]<>|";
        let rest = self.rest.trim_start();
        let first = rest.chars().next()?;
        let end = match MARKS.contains(first) {
            true => 1,
            false => rest.find(|c: char| c == ' ' || MARKS.contains(c)).unwrap_or(rest.len()),
        };
        let (word, rest) = rest.split_at(end);
        self.rest = rest;
        Some(word)
    }

    /// Everything up to the `closing` bracket, split at `|`.
    fn alternatives(&mut self, closing: Option<&str>) -> Option<Vec<Vec<Item<'a>>>> {
        let mut all = vec![Vec::new()];
        loop {
            let item = match self.next() {
                None if closing.is_none() => return Some(all),
                None => return None,
                Some("]") | Some(">") if closing.is_none() => return None,
                Some(bracket @ ("]" | ">")) => {
                    return (Some(bracket) == closing).then_some(all);
                }
                Some("|") => {
                    all.push(Vec::new());
                    continue;
                }
                Some("[") => {
                    Item::Group { optional: true, alternatives: self.alternatives(Some("]"))? }
                }
                Some("<") => {
                    Item::Group { optional: false, alternatives: self.alternatives(Some(">"))? }
                }
                Some("...") => Item::More,
                Some(word) => Item::Word(word),
            };
            all.last_mut()?.push(item);
        }
    }
}

fn token<'a>(item: &Item<'a>) -> Option<&'a str> {
    match item {
        Item::Word(word) if !word.bytes().any(|b| b.is_ascii_lowercase()) => Some(word),
        _ => None,
    }
}

/// How many items from the front on are repeated by the group behind them: `a b [a b ...]`.
fn repeated(items: &[Item]) -> Option<usize> {
    items.iter().enumerate().skip(1).find_map(|(at, item)| match item {
        Item::Group { optional: true, alternatives } => match alternatives.as_slice() {
            [again] => match again.split_last()? {
                (Item::More, again) if *again == items[..at] => Some(at),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    })
}

/// The arguments that the items of one alternative, or of the whole syntax, make.
fn sequence<'a>(items: &[Item<'a>]) -> Option<Vec<Arg<'a>>> {
    let mut args = Vec::new();
    let mut rest = items;
    while let Some(first) = rest.first() {
        let mut arg;
        if let Some(len) = repeated(rest) {
            arg = one(&rest[..len])?;
            arg.multiple = true;
            arg.multiple_token = arg.token.is_some();
            rest = &rest[len + 1..];
        } else if let Some(word) = token(first) {
            // At the top a literal word goes with what follows at once; in a group, where
            // it is the first, `one` takes all the rest.
            let value =
                rest.get(1).filter(|next| matches!(next, Item::Word(_) if token(next).is_none()));
            let len = 1 + value.map_or(0, |_| repeated(&rest[1..]).unwrap_or(1));
            arg = with_token(word, &rest[1..len])?;
            if len > 1 && repeated(&rest[1..]).is_some() {
                arg.multiple = true;
                rest = &rest[1..];
            }
            rest = &rest[len..];
        } else {
            arg = single(first)?;
            rest = &rest[1..];
        }
        if rest.first() == Some(&Item::More) {
            arg.multiple = true;
            rest = &rest[1..];
        }
        args.push(arg);
    }
    Some(args)
}

/// One argument of all the items.
fn one<'a>(items: &[Item<'a>]) -> Option<Arg<'a>> {
    if let Some(word) = items.first().and_then(token)
        && repeated(items) != Some(items.len() - 1)
    {
        return with_token(word, &items[1..]);
    }
    let mut args = sequence(items)?;
    match args.len() {
        0 => None,
        1 => args.pop(),
        _ => Some(Arg::group(Kind::Block, "-", args)),
    }
}

/// One argument of a literal word and what follows it.
fn with_token<'a>(word: &'a str, items: &[Item<'a>]) -> Option<Arg<'a>> {
    let mut args = sequence(items)?;
    let named = |kind| Arg { token: Some(word), ..Arg::new(word.to_ascii_lowercase(), kind) };
    match args.as_mut_slice() {
        [] => Some(named(Kind::PureToken)),
        [arg] if arg.token.is_none() && !arg.optional => {
            arg.token = Some(word);
            args.pop()
        }
        _ => Some(Arg { arguments: args, ..named(Kind::Block) }),
    }
}

fn single<'a>(item: &Item<'a>) -> Option<Arg<'a>> {
    match item {
        Item::More => None,
        Item::Word(word) => {
            let typed = word.rsplit_once(':').and_then(|(n, kind)| Some((n, Kind::by_name(kind)?)));
            let (name, kind) = typed.unwrap_or_else(|| (*word, Kind::of(word)));
            Some(Arg::new(name.to_string(), kind))
        }
        Item::Group { optional, alternatives } => {
            let mut args =
                alternatives.iter().map(|items| one(items)).collect::<Option<Vec<_>>>()?;
            let mut arg = match args.len() {
                1 => args.pop()?,
                _ => Arg::group(Kind::OneOf, "-or-", args),
            };
            arg.optional |= *optional;
            Some(arg)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As redis-cli would write it, from the objects alone.
    fn shown(args: &[Arg]) -> String {
        args.iter().map(show).collect::<Vec<_>>().join(" ")
    }

    fn show(arg: &Arg) -> String {
        let inner = match arg.kind {
            Kind::PureToken => String::new(),
            Kind::Block => shown(&arg.arguments),
            Kind::OneOf => arg.arguments.iter().map(show).collect::<Vec<_>>().join("|"),
            _ => arg.name.clone(),
        };
        let inner = match arg.kind == Kind::OneOf && !arg.optional {
            true => format!("<{inner}>"),
            false => inner,
        };
        let mut text = match arg.token {
            Some(token) => format!("{token} {inner}").trim_end().to_string(),
            None => inner.clone(),
        };
        if arg.multiple {
            let again = if arg.multiple_token { text.clone() } else { inner };
            text = format!("{text} [{again} ...]");
        }
        if arg.optional { format!("[{text}]") } else { text }
    }

    #[test]
    fn what_is_parsed_reads_as_before() {
        for (syntax, expected) in [
            ("", ""),
            ("key value [NX | XX] [GET]", "key value [NX|XX] [GET]"),
            (
                "key [EX seconds | PX milliseconds | PERSIST]",
                "key [EX seconds|PX milliseconds|PERSIST]",
            ),
            ("key [key ...]", "key [key ...]"),
            ("[section ...]", "[section [section ...]]"),
            ("[section [section ...]]", "[section [section ...]]"),
            ("key value [key value ...]", "key value [key value ...]"),
            ("<AND | OR> destkey key [key ...]", "<AND|OR> destkey key [key ...]"),
            ("key [start end [BYTE | BIT]]", "key [start end [BYTE|BIT]]"),
            ("[ID client-id [client-id ...]]", "[ID client-id [client-id ...]]"),
            ("key [GET p [GET p ...]]", "key [GET p [GET p ...]]"),
            (
                "[protover [AUTH username password] [SETNAME clientname]]",
                "[protover [AUTH username password] [SETNAME clientname]]",
            ),
            ("[FILTERBY <MODULE m | ACLCAT c>]", "[FILTERBY MODULE m|ACLCAT c]"),
            ("cursor [MATCH pattern]", "cursor [MATCH pattern]"),
            ("a STREAMS key [key ...] id", "a STREAMS key [key ...] id"),
        ] {
            let args = parse(syntax, 1).unwrap_or_else(|| panic!("{syntax}"));
            let shown = shown(&args)
                .replace("[FILTERBY <MODULE m|ACLCAT c>]", "[FILTERBY MODULE m|ACLCAT c]");
            assert_eq!(shown, expected);
        }
    }

    #[test]
    fn objects_have_types_and_key_specs() {
        let args = parse("source destination [DB destination-db] increment:double", 2).unwrap();
        let kinds: Vec<_> = args.iter().map(|a| (a.kind, a.key_spec)).collect();
        assert_eq!(kinds[..2], [(Kind::Key, Some(0)), (Kind::Key, Some(1))]);
        assert_eq!((kinds[2].0, args[2].token), (Kind::Integer, Some("DB")));
        assert_eq!((kinds[3].0, args[3].name.as_str()), (Kind::Double, "increment"));
        assert_eq!(parse("key", 0).unwrap()[0].kind, Kind::String);
        let both = parse("key [key ...] key", 1).unwrap();
        assert_eq!((both[0].multiple, both[1].key_spec), (true, Some(0)));
    }

    #[test]
    fn malformed_syntax_is_refused() {
        for syntax in ["[a", "a]", "<a]", "a | b", "...", "[]", "[a | ]"] {
            assert_eq!(parse(syntax, 1), None, "{syntax}");
        }
    }
}
