//! What one set of rules allows. A user may do what any of its selectors allows as a whole.

use super::Word;
use crate::data::glob;

/// To read a key's value.
pub const READ: u8 = 1;
/// To change or remove it.
pub const WRITE: u8 = 2;

/// Commands that a selector can tell apart, as in Redis.
pub const BITS: usize = 1024;

/// Keys, and what may be done with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPattern {
    pub allows: u8,
    pub pattern: Box<[u8]>,
}

/// The commands, keys and channels that are allowed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// No command was taken away since `+@all`.
    all_commands: bool,
    /// It began with `+@all`, so that commands yet to come would be allowed.
    from_all: bool,
    all_keys: bool,
    all_channels: bool,
    /// By the commands' numbers.
    commands: [u64; BITS / 64],
    /// Commands that are allowed with certain first arguments only; a rare thing.
    first_args: Vec<(u16, Box<[u8]>)>,
    keys: Vec<KeyPattern>,
    channels: Vec<Box<[u8]>>,
    /// The rules about commands since `+@all` or `-@all`, without those that later ones undo.
    rules: Vec<Box<[u8]>>,
}

impl Selector {
    /// Allows nothing, but perhaps all channels.
    pub fn new(all_channels: bool) -> Selector {
        Selector {
            all_commands: false,
            from_all: false,
            all_keys: false,
            all_channels,
            commands: [0; BITS / 64],
            first_args: Vec::new(),
            keys: Vec::new(),
            channels: Vec::new(),
            rules: Vec::new(),
        }
    }

    pub fn all_keys(&self) -> bool {
        self.all_keys
    }

    pub fn all_channels(&self) -> bool {
        self.all_channels
    }

    /// Whether there is nothing that it denies.
    pub fn is_unrestricted(&self) -> bool {
        self.all_commands && self.all_keys && self.all_channels
    }

    /// Whether a command with this number may run, of which `first` is the first argument.
    pub fn allows_command(&self, number: u16, first: Option<&[u8]>) -> bool {
        let bit = self.commands[number as usize / 64] >> (number % 64) & 1;
        self.all_commands || bit == 1 || self.allows_first_arg(number, first)
    }

    #[cold]
    fn allows_first_arg(&self, number: u16, first: Option<&[u8]>) -> bool {
        let Some(first) = first else { return false };
        let is_it =
            |(own, word): &(u16, Box<[u8]>)| *own == number && word.eq_ignore_ascii_case(first);
        self.first_args.iter().any(is_it)
    }

    /// Whether a key may be used as `needs` says: [`READ`], [`WRITE`], both or neither.
    pub fn allows_key(&self, key: &[u8], needs: u8) -> bool {
        let fits =
            |own: &KeyPattern| own.allows & needs == needs && glob::matches(&own.pattern, key);
        self.all_keys || self.keys.iter().any(fits)
    }

    /// Whether every key may be read.
    pub fn reads_all_keys(&self) -> bool {
        let all = |own: &KeyPattern| own.allows & READ != 0 && *own.pattern == *b"*";
        self.all_keys || self.keys.iter().any(all)
    }

    /// Whether a channel may be used. A client's own pattern must be one of the rules' patterns.
    pub fn allows_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        self.all_channels || fits_channel(&self.channels, channel, is_pattern)
    }

    pub fn channels(&self) -> &[Box<[u8]>] {
        &self.channels
    }

    pub(super) fn set_all_keys(&mut self, all: bool) {
        self.all_keys = all;
        self.keys.clear();
    }

    pub(super) fn set_all_channels(&mut self, all: bool) {
        self.all_channels = all;
        self.channels.clear();
    }

    pub(super) fn set_all_commands(&mut self, all: bool) {
        (self.all_commands, self.from_all) = (all, all);
        self.commands = [if all { u64::MAX } else { 0 }; BITS / 64];
        self.first_args.clear();
        self.rules.clear();
    }

    pub(super) fn add_key_pattern(&mut self, new: KeyPattern) {
        match self.keys.iter_mut().find(|own| own.pattern == new.pattern) {
            Some(own) => own.allows |= new.allows,
            None => self.keys.push(new),
        }
    }

    pub(super) fn add_channel_pattern(&mut self, pattern: &[u8]) {
        if self.channels.iter().all(|own| **own != *pattern) {
            self.channels.push(pattern.into());
        }
    }

    /// Allows or denies a command with all its subcommands.
    pub(super) fn allow(&mut self, word: &Word, allow: bool) {
        self.first_args.retain(|(number, _)| *number != word.number);
        for number in std::iter::once(word.number).chain(word.subcommands.clone()) {
            let (at, bit) = (number as usize / 64, 1 << (number % 64));
            match allow {
                true => self.commands[at] |= bit,
                false => self.commands[at] &= !bit,
            }
        }
        self.all_commands &= allow;
    }

    pub(super) fn allow_first_arg(&mut self, number: u16, word: &[u8]) {
        if !self.allows_first_arg(number, Some(word)) {
            self.first_args.push((number, word.into()));
        }
    }

    /// Keeps a rule in the place of those about the same command or its subcommands.
    pub(super) fn remember_rule(&mut self, sign: u8, name: &[u8]) {
        let name = name.to_ascii_lowercase();
        self.rules.retain(|own| {
            let rest = own[1..].strip_prefix(&name[..]);
            !rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'|')
        });
        self.rules.push([&[sign], &name[..]].concat().into());
    }

    /// The rules about commands, such that they make this selector again.
    pub fn command_rules(&self) -> Vec<u8> {
        let first: &[u8] = if self.from_all { b"+@all" } else { b"-@all" };
        let rules = std::iter::once(first).chain(self.rules.iter().map(|rule| &rule[..]));
        rules.collect::<Vec<_>>().join(&b' ')
    }

    /// The key patterns with spaces between.
    pub fn key_rules(&self) -> Vec<u8> {
        if self.all_keys {
            return b"~*".to_vec();
        }
        let rule = |own: &KeyPattern| {
            let prefix: &[u8] = match own.allows {
                READ => b"%R~",
                WRITE => b"%W~",
                _ => b"~",
            };
            [prefix, &own.pattern].concat()
        };
        self.keys.iter().map(rule).collect::<Vec<_>>().join(&b' ')
    }

    /// The channel patterns with spaces between.
    pub fn channel_rules(&self) -> Vec<u8> {
        if self.all_channels {
            return b"&*".to_vec();
        }
        let rules = self.channels.iter().map(|own| [b"&", &own[..]].concat());
        rules.collect::<Vec<_>>().join(&b' ')
    }

    /// All rules in one line.
    pub fn describe(&self) -> Vec<u8> {
        let reset: &[u8] = if self.all_channels { b"" } else { b"resetchannels" };
        let (keys, channels) = (self.key_rules(), self.channel_rules());
        let parts = [&keys[..], reset, &channels, &self.command_rules()];
        let parts: Vec<&[u8]> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join(&b' ')
    }
}

/// Whether a channel, or a client's own pattern, is among those that patterns allow.
pub fn fits_channel(patterns: &[Box<[u8]>], channel: &[u8], is_pattern: bool) -> bool {
    patterns.iter().any(|own| match is_pattern {
        true => **own == *channel,
        false => glob::matches(own, channel),
    })
}

#[cfg(test)]
mod tests {
    use super::super::user::tests::Few;
    use super::*;

    fn selector(rules: &str) -> Selector {
        let mut selector = Selector::new(false);
        for rule in rules.split(' ') {
            selector.apply(rule.as_bytes(), &Few).unwrap();
        }
        selector
    }

    #[test]
    fn commands_are_bits() {
        // get 0, set 1, config 2 with config|get 3 and config|set 4
        let allowed = |rules: &str| -> Vec<u16> {
            let selector = selector(rules);
            (0..5).filter(|&number| selector.allows_command(number, None)).collect()
        };
        assert_eq!(allowed("+get"), [0]);
        assert_eq!(allowed("+config"), [2, 3, 4]);
        assert_eq!(allowed("+config -config|set"), [2, 3]);
        assert_eq!(allowed("+@all -@read"), [1, 2, 3, 4]);
        assert_eq!(allowed("+config|get"), [3]);
        assert_eq!(allowed("+@all"), [0, 1, 2, 3, 4]);
        assert!(selector("+@all").allows_command(super::super::ABSENT, None));
    }

    #[test]
    fn a_first_argument_may_open_a_command() {
        let some = selector("+get|A +get|b");
        assert!(some.allows_command(0, Some(b"a")) && some.allows_command(0, Some(b"B")));
        assert!(!some.allows_command(0, Some(b"c")) && !some.allows_command(0, None));
        assert!(!selector("+get|a -get").allows_command(0, Some(b"a")));
    }

    #[test]
    fn keys_are_read_or_written() {
        let some = selector("~both:* %R~read:* %W~write:*");
        assert!(some.allows_key(b"both:1", READ | WRITE));
        assert!(some.allows_key(b"read:1", READ) && !some.allows_key(b"read:1", WRITE));
        assert!(some.allows_key(b"write:1", WRITE) && !some.allows_key(b"write:1", READ | WRITE));
        // A command that only asks whether it is there.
        assert!(some.allows_key(b"write:1", 0) && !some.allows_key(b"other", 0));
        assert!(!some.reads_all_keys() && selector("%R~*").reads_all_keys());
        assert!(!selector("%W~*").reads_all_keys() && selector("allkeys").reads_all_keys());
    }

    #[test]
    fn a_pattern_is_allowed_as_it_stands() {
        let some = selector("&news.*");
        assert!(some.allows_channel(b"news.a", false) && !some.allows_channel(b"olds", false));
        assert!(some.allows_channel(b"news.*", true) && !some.allows_channel(b"news.a", true));
        assert!(Selector::new(true).allows_channel(b"*", true));
    }
}
