//! One rule of a user, applied to a selector, and what can be wrong with it.
//!
//! ```text
//!   +get -get +config|get -config|get     a command, with its subcommands, or one of these
//!   +@read -@all allcommands nocommands   all of a category
//!   +select|0                             a command with this first argument only
//!   ~keys:* %R~keys:* %RW~*               keys, to read, to write
//!   allkeys resetkeys
//!   &channel:* allchannels resetchannels
//! ```

use super::selector::{KeyPattern, READ, Selector, WRITE};
use super::user::has_spaces;
use super::{Vocabulary, Word};

/// What is wrong with a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleError {
    /// It names no command and no category.
    Unknown,
    Syntax,
    KeysAfterAll,
    ChannelsAfterAll,
    NoSuchPassword,
    NotAHash,
    FirstArgOfSubcommand,
}

impl RuleError {
    /// As Redis tells it.
    pub fn text(self) -> &'static str {
        match self {
            RuleError::Unknown => "Unknown command or category name in ACL",
            RuleError::Syntax => "Syntax error",
            RuleError::KeysAfterAll => {
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does \
                 not have any effect. Try 'resetkeys' to start with an empty list of patterns"
            }
            RuleError::ChannelsAfterAll => {
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and \
                 does not have any effect. Try 'resetchannels' to start with an empty list of \
                 channels"
            }
            RuleError::NoSuchPassword => {
                "The password you are trying to remove from the user does not exist"
            }
            RuleError::NotAHash => {
                "The password hash must be exactly 64 characters and contain only lowercase \
                 hexadecimal characters"
            }
            RuleError::FirstArgOfSubcommand => {
                "Allowing first-arg of a subcommand is not supported"
            }
        }
    }
}

impl Selector {
    /// Applies one rule. When it is refused nothing has changed.
    pub fn apply(&mut self, rule: &[u8], words: &dyn Vocabulary) -> Result<(), RuleError> {
        let is = |name: &str| rule.eq_ignore_ascii_case(name.as_bytes());
        match rule {
            _ if is("allkeys") || is("~*") => self.set_all_keys(true),
            _ if is("resetkeys") => self.set_all_keys(false),
            _ if is("allchannels") || is("&*") => self.set_all_channels(true),
            _ if is("resetchannels") => self.set_all_channels(false),
            _ if is("allcommands") || is("+@all") => self.set_all_commands(true),
            _ if is("nocommands") || is("-@all") => self.set_all_commands(false),
            [b'~' | b'%', ..] => return self.add_keys(rule),
            [b'&', pattern @ ..] => return self.add_channels(pattern),
            [sign @ (b'+' | b'-'), b'@', category @ ..] => {
                let all = words.category(category).ok_or(RuleError::Unknown)?;
                self.remember_rule(*sign, &rule[1..]);
                all.iter().for_each(|word| self.allow(word, *sign == b'+'));
            }
            [b'+', name @ ..] if name.contains(&b'|') => return self.allow_one_of(name, words),
            [sign @ (b'+' | b'-'), name @ ..] => {
                let word = words.command(name).ok_or(RuleError::Unknown)?;
                self.allow(&word, *sign == b'+');
                self.remember_rule(*sign, word.name.as_bytes());
            }
            _ => return Err(RuleError::Syntax),
        }
        Ok(())
    }

    fn add_keys(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        if self.all_keys() {
            return Err(RuleError::KeysAfterAll);
        }
        let (allows, pattern) = match rule {
            [b'%', letters @ ..] => key_use(letters).ok_or(RuleError::Syntax)?,
            _ => (READ | WRITE, &rule[1..]),
        };
        if has_spaces(pattern) {
            return Err(RuleError::Syntax);
        }
        self.add_key_pattern(KeyPattern { allows, pattern: pattern.into() });
        Ok(())
    }

    fn add_channels(&mut self, pattern: &[u8]) -> Result<(), RuleError> {
        if self.all_channels() {
            return Err(RuleError::ChannelsAfterAll);
        }
        if has_spaces(pattern) {
            return Err(RuleError::Syntax);
        }
        self.add_channel_pattern(pattern);
        Ok(())
    }

    /// `+command|word`: a subcommand, or a command with this first argument.
    fn allow_one_of(&mut self, name: &[u8], words: &dyn Vocabulary) -> Result<(), RuleError> {
        let bar = name.iter().rposition(|&byte| byte == b'|').unwrap_or(0);
        let (container, word) = (&name[..bar], &name[bar + 1..]);
        let container = words.command(container).ok_or(RuleError::Unknown)?;
        if container.is_subcommand {
            return Err(RuleError::FirstArgOfSubcommand);
        }
        if word.is_empty() {
            return Err(RuleError::Syntax);
        }
        match container.subcommands.is_empty() {
            false => {
                let subcommand: Word = words.command(name).ok_or(RuleError::Unknown)?;
                self.allow(&subcommand, true);
            }
            true => self.allow_first_arg(container.number, word),
        }
        self.remember_rule(b'+', &name.to_ascii_lowercase());
        Ok(())
    }
}

/// `R~pattern`, `W~pattern`, `RW~pattern`: what it allows, and the pattern.
fn key_use(letters: &[u8]) -> Option<(u8, &[u8])> {
    let mut allows = 0;
    for (at, letter) in letters.iter().enumerate() {
        match letter {
            b'r' | b'R' if allows & READ == 0 => allows |= READ,
            b'w' | b'W' if allows & WRITE == 0 => allows |= WRITE,
            b'~' if allows != 0 => return Some((allows, &letters[at + 1..])),
            _ => return None,
        }
    }
    // Without a `~` the pattern is taken to be empty.
    (allows != 0).then_some((allows, b""))
}

#[cfg(test)]
mod tests {
    use super::super::user::tests::Few;
    use super::*;

    fn selector(rules: &str) -> Result<Selector, RuleError> {
        let mut selector = Selector::new(false);
        rules.split(' ').try_for_each(|rule| selector.apply(rule.as_bytes(), &Few))?;
        Ok(selector)
    }

    fn described(rules: &str) -> String {
        String::from_utf8(selector(rules).unwrap().describe()).unwrap()
    }

    #[test]
    fn rules_come_back_in_their_order_and_once() {
        for (rules, expected) in [
            ("+get", "resetchannels -@all +get"),
            ("+GET +@Read -get", "resetchannels -@all +@read -get"),
            ("+@all -get +get", "resetchannels +@all +get"),
            ("+config|get +config", "resetchannels -@all +config"),
            ("+config +config|GET", "resetchannels -@all +config +config|get"),
            ("+get|A +get|b", "resetchannels -@all +get|a +get|b"),
            ("~a %R~a %W~b %R~b %R~c", "~a ~b %R~c resetchannels -@all"),
            ("allkeys &a &b &a", "~* resetchannels &a &b -@all"),
            ("~a allkeys resetkeys ~b allchannels", "~b &* -@all"),
            ("+@all nocommands", "resetchannels -@all"),
            ("%r", "%R~ resetchannels -@all"),
        ] {
            assert_eq!(described(rules), expected, "{rules}");
        }
    }

    #[test]
    fn wrong_rules_are_refused() {
        for (rules, error) in [
            ("+nope", RuleError::Unknown),
            ("-config|nope", RuleError::Unknown),
            ("+config|nope", RuleError::Unknown),
            ("+get|a|b", RuleError::Unknown),
            ("+@nope", RuleError::Unknown),
            ("-get|a", RuleError::Unknown),
            ("+config|get|x", RuleError::FirstArgOfSubcommand),
            ("+get|", RuleError::Syntax),
            ("%~a", RuleError::Syntax),
            ("%", RuleError::Syntax),
            ("%X~a", RuleError::Syntax),
            ("%RR~a", RuleError::Syntax),
            ("~a\tb", RuleError::Syntax),
            ("&a\tb", RuleError::Syntax),
            ("on", RuleError::Syntax),
            ("allkeys ~a", RuleError::KeysAfterAll),
            ("allchannels &a", RuleError::ChannelsAfterAll),
        ] {
            assert_eq!(selector(rules).unwrap_err(), error, "{rules}");
        }
    }
}
