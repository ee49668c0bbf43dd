//! What one row of the option table says, and the two things every row can do: take a value
//! from words, and show its value as CONFIG GET does.
//!
//! A row reaches its field of [`Values`] through a pair of function pointers. The texts of the
//! refusals are Redis', since clients and test suites compare them.

use std::{
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use super::{
    units::{format_memory, parse_integer, parse_memory, parse_octal},
    values::{Secret, Values},
};

/// One option.
#[derive(Debug)]
pub struct Row {
    pub name: &'static str,
    pub aliases: &'static [&'static str],
    pub kind: Kind,
    /// In the file's syntax, as `configs/default.conf` shows it.
    pub default: &'static str,
    pub group: Group,
    pub mutability: Mutability,
    /// One paragraph; its first sentence stands alone in the short help.
    pub doc: &'static str,
    /// What a number counts.
    pub unit: Option<&'static str>,
    /// A value to show where the default is "not set".
    pub example: Option<&'static str>,
    /// Understood, but left out of the help and of `configs/default.conf`.
    pub hidden: bool,
    /// Never to be logged, nor shown by SLOWLOG or MONITOR.
    pub sensitive: bool,
    /// CONFIG SET acts also when the value is the same: a file of that name may have changed.
    pub volatile: bool,
    pub refusal: Option<Refusal>,
    /// What has to happen outside of the configuration when the value changes.
    pub action: Option<Action>,
}

/// The type of a value, with the way to and from its field.
#[derive(Debug)]
pub enum Kind {
    Bool {
        get: fn(&Values) -> bool,
        set: fn(&mut Values, bool),
    },
    Int {
        min: i64,
        max: i64,
        get: fn(&Values) -> i64,
        set: fn(&mut Values, i64),
    },
    Octal {
        max: i64,
        get: fn(&Values) -> i64,
        set: fn(&mut Values, i64),
    },
    Memory {
        min: u64,
        max: u64,
        get: fn(&Values) -> u64,
        set: fn(&mut Values, u64),
    },
    Choice {
        names: &'static [&'static str],
        get: fn(&Values) -> usize,
        set: fn(&mut Values, usize),
    },
    Text {
        get: fn(&Values) -> Option<&str>,
        set: fn(&mut Values, Option<String>),
    },
    Secret {
        get: fn(&Values) -> Option<&Secret>,
        set: fn(&mut Values, Option<Secret>),
    },
    Path {
        get: fn(&Values) -> Option<&Path>,
        set: fn(&mut Values, Option<PathBuf>),
    },
    /// What follows its own rules.
    Special(Special),
}

#[derive(Debug)]
pub struct Special {
    /// Names the value in the help.
    pub hint: &'static str,
    /// Whether one directive has several words. CONFIG SET then splits its argument at spaces.
    pub many: bool,
    pub set: SetWords,
    pub show: fn(&Values) -> Vec<u8>,
    /// The lines, without the option's name, that set this value in a file.
    pub lines: fn(&Values) -> Vec<Vec<u8>>,
}

/// Sets a field from the words of a directive.
pub type SetWords = fn(&mut Values, &[Vec<u8>], Turn) -> Result<(), String>;

/// Whether a directive is the first of its name in this load. Only a Special asks: `save`
/// directives add up within one load and replace what stood before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    First,
    Again,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutability {
    /// CONFIG SET may change it.
    Mutable,
    /// Fixed at start.
    Immutable,
    /// Fixed at start since changing it would let a client write files of its choice.
    Protected,
    /// A directive of the file and the command line; CONFIG does not know it.
    FileOnly,
}

/// A value that is well-formed but stands for something the server doesn't do.
#[derive(Debug)]
pub struct Refusal {
    pub when: fn(&Values) -> bool,
    pub reason: &'static str,
    /// In a file: a warning, after which the default holds, instead of an error. For directives
    /// that nearly every existing file has.
    pub lenient_in_file: bool,
}

/// A duty of the server after CONFIG SET; everything else reads its value where it uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Close the TCP listeners and open those that `bind` and `port` ask for.
    Listen,
    /// Make sure of enough file descriptors for `maxclients`.
    Descriptors,
    /// Filter the log by the new level.
    LogLevel,
    /// Read certificates and keys, for the connections to come.
    Tls,
    /// Begin to append writes to files, or stop.
    AppendOnly,
    /// Say that it does nothing.
    TellNoEffect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Network,
    Tls,
    Clients,
    Shards,
    Security,
    Process,
    Observability,
    Memory,
    Expiry,
    Types,
    Persistence,
}

impl Group {
    pub const ALL: &'static [Self] = &[
        Self::Network,
        Self::Tls,
        Self::Clients,
        Self::Shards,
        Self::Security,
        Self::Process,
        Self::Observability,
        Self::Memory,
        Self::Expiry,
        Self::Types,
        Self::Persistence,
    ];

    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Network => "Network",
            Self::Tls => "TLS",
            Self::Clients => "Clients and their limits",
            Self::Shards => "Shards",
            Self::Security => "Security",
            Self::Process => "Process and logging",
            Self::Observability => "Logs of commands, latencies, metrics",
            Self::Memory => "Memory",
            Self::Expiry => "Expiry and background work",
            Self::Types => "Encodings of the data types",
            Self::Persistence => "Persistence and events",
        }
    }
}

impl Row {
    /// An immutable option; the methods below add what differs.
    #[must_use]
    pub const fn new(
        group: Group,
        name: &'static str,
        kind: Kind,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Self {
            name,
            aliases: &[],
            kind,
            default,
            group,
            mutability: Mutability::Immutable,
            doc,
            unit: None,
            example: None,
            hidden: false,
            sensitive: false,
            volatile: false,
            refusal: None,
            action: None,
        }
    }

    #[must_use]
    pub const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    #[must_use]
    pub const fn mutable(mut self) -> Self {
        self.mutability = Mutability::Mutable;
        self
    }

    #[must_use]
    pub const fn with_mutability(mut self, mutability: Mutability) -> Self {
        self.mutability = mutability;
        self
    }

    #[must_use]
    pub const fn unit(mut self, unit: &'static str) -> Self {
        self.unit = Some(unit);
        self
    }

    #[must_use]
    pub const fn example(mut self, example: &'static str) -> Self {
        self.example = Some(example);
        self
    }

    #[must_use]
    pub const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    #[must_use]
    pub const fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }

    #[must_use]
    pub const fn volatile(mut self) -> Self {
        self.volatile = true;
        self
    }

    #[must_use]
    pub const fn refuse(mut self, when: fn(&Values) -> bool, reason: &'static str) -> Self {
        self.refusal = Some(Refusal { when, reason, lenient_in_file: false });
        self
    }

    #[must_use]
    pub const fn warn(mut self, when: fn(&Values) -> bool, reason: &'static str) -> Self {
        self.refusal = Some(Refusal { when, reason, lenient_in_file: true });
        self
    }

    #[must_use]
    pub const fn acts(mut self, action: Action) -> Self {
        self.action = Some(action);
        self
    }

    /// Whether `name`, in any case, is this option or one of its aliases.
    #[must_use]
    pub fn is_called(&self, name: &[u8]) -> bool {
        self.names().any(|own| own.as_bytes().eq_ignore_ascii_case(name))
    }

    /// The name, then the aliases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// Whether one directive may have several words.
    #[must_use]
    pub fn takes_many(&self) -> bool {
        matches!(&self.kind, Kind::Special(Special { many: true, .. }))
    }

    /// Gives the field a value. On an error the values may be half changed: work on a copy.
    pub fn set(&self, values: &mut Values, words: &[Vec<u8>], turn: Turn) -> Result<(), String> {
        if let Kind::Special(special) = &self.kind {
            return (special.set)(values, words, turn);
        }
        let [word] = words else { return Err("wrong number of arguments".to_owned()) };
        match &self.kind {
            Kind::Bool { set, .. } => set(values, parse_bool(word)?),
            Kind::Int { min, max, set, .. } => set(values, parse_bounded(word, *min, *max)?),
            Kind::Octal { max, set, .. } => {
                let number =
                    parse_octal(word).ok_or("argument couldn't be parsed as an octal number")?;
                if number > *max {
                    return Err(format!("argument must be between 0 and {max:o} inclusive"));
                }
                set(values, number);
            }
            Kind::Memory { min, max, set, .. } => {
                let bytes = parse_memory(word).ok_or("argument must be a memory value")?;
                if !(*min..=*max).contains(&bytes) {
                    return Err(out_of_bounds(min, max));
                }
                set(values, bytes);
            }
            Kind::Choice { names, set, .. } => set(values, parse_choice(word, names)?),
            Kind::Text { set, .. } => {
                let text = str::from_utf8(word).map_err(|_| "argument must be valid UTF-8")?;
                set(values, (!text.is_empty()).then(|| text.to_owned()));
            }
            Kind::Secret { set, .. } => {
                set(values, (!word.is_empty()).then(|| Secret::new(word.clone())));
            }
            Kind::Path { set, .. } => {
                let path = PathBuf::from(std::ffi::OsString::from_vec(word.clone()));
                set(values, (!word.is_empty()).then_some(path));
            }
            Kind::Special(_) => {}
        }
        Ok(())
    }

    /// The value as CONFIG GET shows it.
    #[must_use]
    pub fn show(&self, values: &Values) -> Vec<u8> {
        match &self.kind {
            Kind::Bool { get, .. } => yes_no(get(values)).into(),
            Kind::Int { get, .. } => get(values).to_string().into_bytes(),
            Kind::Octal { get, .. } => format!("{:o}", get(values)).into_bytes(),
            Kind::Memory { get, .. } => get(values).to_string().into_bytes(),
            Kind::Choice { names, get, .. } => names[get(values)].into(),
            Kind::Text { get, .. } => get(values).unwrap_or_default().into(),
            Kind::Secret { get, .. } => get(values).map_or(Vec::new(), |s| s.as_bytes().to_vec()),
            Kind::Path { get, .. } => {
                get(values).map_or(Vec::new(), |path| path.as_os_str().as_bytes().to_vec())
            }
            Kind::Special(special) => (special.show)(values),
        }
    }

    /// The lines, without the option's name, that set the present value in a file. None for an
    /// optional value that is not set.
    #[must_use]
    pub fn lines(&self, values: &Values) -> Vec<Vec<u8>> {
        let quoted = |word: &[u8]| vec![super::file::quote(word)];
        match &self.kind {
            Kind::Memory { get, .. } => vec![format_memory(get(values)).into_bytes()],
            Kind::Text { get, .. } => {
                get(values).map_or(Vec::new(), |text| quoted(text.as_bytes()))
            }
            Kind::Secret { get, .. } => get(values).map_or(Vec::new(), |s| quoted(s.as_bytes())),
            Kind::Path { get, .. } => {
                get(values).map_or(Vec::new(), |path| quoted(path.as_os_str().as_bytes()))
            }
            Kind::Special(special) => (special.lines)(values),
            _ => vec![self.show(values)],
        }
    }

    /// Why the present value cannot be served, if so.
    #[must_use]
    pub fn refused(&self, values: &Values) -> Option<&Refusal> {
        self.refusal.as_ref().filter(|refusal| (refusal.when)(values))
    }

    /// What the help puts in the value's place.
    #[must_use]
    pub fn hint(&self) -> String {
        match &self.kind {
            Kind::Bool { .. } => "yes|no".to_owned(),
            Kind::Int { .. } => self.unit.unwrap_or("number").to_owned(),
            Kind::Octal { .. } => "octal".to_owned(),
            Kind::Memory { .. } => "bytes".to_owned(),
            // Longer lists stand in the long help alone.
            Kind::Choice { names, .. } if names.len() > 5 => "word".to_owned(),
            Kind::Choice { names, .. } => names.join("|"),
            Kind::Text { .. } | Kind::Secret { .. } => "text".to_owned(),
            Kind::Path { .. } => "path".to_owned(),
            Kind::Special(special) => special.hint.to_owned(),
        }
    }
}

fn yes_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

fn parse_bool(word: &[u8]) -> Result<bool, String> {
    if word.eq_ignore_ascii_case(b"yes") {
        Ok(true)
    } else if word.eq_ignore_ascii_case(b"no") {
        Ok(false)
    } else {
        Err("argument must be 'yes' or 'no'".to_owned())
    }
}

fn parse_bounded(word: &[u8], min: i64, max: i64) -> Result<i64, String> {
    let number = parse_integer(word).ok_or("argument couldn't be parsed into an integer")?;
    if (min..=max).contains(&number) { Ok(number) } else { Err(out_of_bounds(&min, &max)) }
}

fn parse_choice(word: &[u8], names: &[&str]) -> Result<usize, String> {
    names
        .iter()
        .position(|name| name.as_bytes().eq_ignore_ascii_case(word))
        .ok_or_else(|| format!("argument(s) must be one of the following: {}", names.join(", ")))
}

fn out_of_bounds(min: &impl std::fmt::Display, max: &impl std::fmt::Display) -> String {
    format!("argument must be between {min} and {max} inclusive")
}
