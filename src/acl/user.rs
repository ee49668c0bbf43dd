//! One user: who it is, how it shows that, and what it may do.

use super::secret::Hash;
use super::selector::{Selector, fits_channel};
use super::users::UserId;
use super::{RuleError, Vocabulary};
use crate::config::split_args;
use crate::error::shown;

/// A user; it is not changed once clients have it.
#[derive(Debug, Clone)]
pub struct User {
    pub id: UserId,
    pub name: Box<[u8]>,
    enabled: bool,
    /// Any password is right.
    no_password: bool,
    /// RESTORE need not look closely at what this user sends. It does all the same.
    skip_sanitize: bool,
    passwords: Vec<Hash>,
    /// The first one has the rules outside of parentheses.
    selectors: Vec<Selector>,
}

/// Whether a name or pattern has something in it at which a line of rules would be split.
pub fn has_spaces(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, b' ' | b'\t'..=b'\r' | 0))
}

impl User {
    /// A user that may do nothing and cannot log in.
    pub fn new(id: UserId, name: &[u8], all_channels: bool) -> User {
        User {
            id,
            name: name.into(),
            enabled: false,
            no_password: false,
            skip_sanitize: false,
            passwords: Vec::new(),
            selectors: vec![Selector::new(all_channels)],
        }
    }

    /// The user of all clients that do not say who they are: it may do everything.
    pub fn unrestricted(id: UserId, name: &[u8]) -> User {
        let mut user = User::new(id, name, true);
        (user.enabled, user.no_password) = (true, true);
        user.root().set_all_commands(true);
        user.root().set_all_keys(true);
        user
    }

    fn root(&mut self) -> &mut Selector {
        &mut self.selectors[0]
    }

    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    pub fn needs_no_password(&self) -> bool {
        self.no_password
    }

    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    pub fn passwords(&self) -> &[Hash] {
        &self.passwords
    }

    /// Whether there is nothing that it may not do.
    pub fn is_unrestricted(&self) -> bool {
        self.selectors.iter().any(Selector::is_unrestricted)
    }

    /// Whether it may log in with a password of this hash. All passwords are compared.
    pub fn accepts(&self, password: &Hash) -> bool {
        let known = self.passwords.iter().fold(false, |found, own| found | own.is(password));
        self.enabled && (known | self.no_password)
    }

    /// One password, or none that is needed.
    pub fn set_password(&mut self, password: Option<&[u8]>) {
        self.passwords = password.map(Hash::of).into_iter().collect();
        self.no_password = password.is_none();
    }

    /// Applies one rule. `all_channels` is what new selectors begin with.
    pub fn apply(
        &mut self,
        rule: &[u8],
        words: &dyn Vocabulary,
        all_channels: bool,
    ) -> Result<(), RuleError> {
        let is = |name: &str| rule.eq_ignore_ascii_case(name.as_bytes());
        match rule {
            b"" => {}
            _ if is("on") => self.enabled = true,
            _ if is("off") => self.enabled = false,
            _ if is("skip-sanitize-payload") => self.skip_sanitize = true,
            _ if is("sanitize-payload") => self.skip_sanitize = false,
            _ if is("nopass") => self.set_password(None),
            _ if is("resetpass") => {
                self.passwords.clear();
                self.no_password = false;
            }
            _ if is("clearselectors") => self.selectors.truncate(1),
            _ if is("reset") => *self = User::new(self.id, &self.name, all_channels),
            [b'>', password @ ..] => self.add_password(Hash::of(password)),
            [b'#', hash @ ..] => {
                self.add_password(Hash::parse(hash).ok_or(RuleError::NotAHash)?);
            }
            [b'<', password @ ..] => return self.remove_password(Hash::of(password)),
            [b'!', hash @ ..] => {
                return self.remove_password(Hash::parse(hash).ok_or(RuleError::NotAHash)?);
            }
            [b'(', rules @ .., b')'] => {
                let mut selector = Selector::new(all_channels);
                let rules = split_args(rules).unwrap_or_default();
                rules.iter().try_for_each(|rule| selector.apply(rule, words))?;
                self.selectors.push(selector);
            }
            _ => return self.root().apply(rule, words),
        }
        Ok(())
    }

    fn add_password(&mut self, new: Hash) {
        if self.passwords.iter().all(|own| !own.is(&new)) {
            self.passwords.push(new);
        }
        self.no_password = false;
    }

    fn remove_password(&mut self, old: Hash) -> Result<(), RuleError> {
        let at = self.passwords.iter().position(|own| own.is(&old));
        self.passwords.remove(at.ok_or(RuleError::NoSuchPassword)?);
        Ok(())
    }

    /// The user as it would be with more rules, or what is wrong with them as Redis tells it.
    pub fn with(
        &self,
        rules: &[&[u8]],
        words: &dyn Vocabulary,
        all_channels: bool,
    ) -> Result<User, Vec<u8>> {
        let mut user = self.clone();
        let merged = merge_selectors(rules).map_err(|at| {
            let start = shown(rules[at], usize::MAX);
            [b"Unmatched parenthesis in acl selector starting at '", start, b"'."].concat()
        })?;
        for rule in merged {
            user.apply(&rule, words, all_channels).map_err(|error| {
                let rule = shown(&rule, usize::MAX);
                let text = error.text().as_bytes();
                [b"Error in ACL SETUSER modifier '", rule, b"': ", text].concat()
            })?;
        }
        Ok(user)
    }

    /// The words for what it is, as ACL GETUSER's flags.
    pub fn flags(&self) -> Vec<&'static str> {
        let sanitize =
            if self.skip_sanitize { "skip-sanitize-payload" } else { "sanitize-payload" };
        let mut flags = vec![if self.enabled { "on" } else { "off" }];
        flags.extend(self.no_password.then_some("nopass"));
        flags.push(sanitize);
        flags
    }

    /// The rules that make this user of a new one.
    pub fn describe(&self) -> Vec<u8> {
        let mut line = self.flags().join(" ").into_bytes();
        for password in &self.passwords {
            line.extend(format!(" #{password}").bytes());
        }
        for (at, selector) in self.selectors.iter().enumerate() {
            let (open, close): (&[u8], &[u8]) = if at == 0 { (b" ", b"") } else { (b" (", b")") };
            line.extend([open, &selector.describe(), close].concat());
        }
        line
    }

    /// The name and the rules that make this user of a new one.
    pub fn declaration(&self) -> Vec<u8> {
        [&self.name[..], b" ", &self.describe()].concat()
    }

    /// The line that declares it in a file.
    pub fn line(&self) -> Vec<u8> {
        [b"user ", &self.declaration()[..]].concat()
    }

    /// Whether a client that listens to `channels` and `patterns` as the user `before` must stop, since
    /// it may not listen to all of them any more.
    pub fn ends_listening<'a>(
        &self,
        before: &User,
        mut channels: impl Iterator<Item = &'a [u8]>,
        mut patterns: impl Iterator<Item = &'a [u8]>,
    ) -> bool {
        if self.selectors.iter().any(Selector::all_channels) {
            return false;
        }
        let all = |user: &User| -> Vec<Box<[u8]>> {
            user.selectors.iter().flat_map(|own| own.channels().iter().cloned()).collect()
        };
        let (now, then) = (all(self), all(before));
        let had_all = before.selectors.iter().any(Selector::all_channels);
        if !had_all && then.iter().all(|pattern| now.contains(pattern)) {
            return false;
        }
        channels.any(|name| !fits_channel(&now, name, false))
            || patterns.any(|name| !fits_channel(&now, name, true))
    }
}

/// Joins a selector that is spread over several words. Where the parenthesis is that is never closed,
/// if there is one.
pub fn merge_selectors(words: &[&[u8]]) -> Result<Vec<Vec<u8>>, usize> {
    let mut merged: Vec<Vec<u8>> = Vec::with_capacity(words.len());
    let mut open: Option<(usize, Vec<u8>)> = None;
    for (at, word) in words.iter().enumerate() {
        match &mut open {
            Some((_, selector)) => {
                selector.push(b' ');
                selector.extend_from_slice(word);
                if word.ends_with(b")")
                    && let Some((_, selector)) = open.take()
                {
                    merged.push(selector);
                }
            }
            None if word.starts_with(b"(") && !word.ends_with(b")") => {
                open = Some((at, word.to_vec()));
            }
            None => merged.push(word.to_vec()),
        }
    }
    open.map_or(Ok(merged), |(at, _)| Err(at))
}

#[cfg(test)]
pub mod tests {
    use super::super::Word;
    use super::*;

    /// A few commands: get 0, set 1, config 2 with config|get 3 and config|set 4.
    pub struct Few;

    const NAMES: [&str; 5] = ["get", "set", "config", "config|get", "config|set"];

    fn word(number: usize) -> Word {
        let subcommands = if number == 2 { 3..5 } else { 0..0 };
        let (number, name) = (number as u16, NAMES[number]);
        Word { number, name, is_subcommand: name.contains('|'), subcommands }
    }

    impl Vocabulary for Few {
        fn command(&self, name: &[u8]) -> Option<Word> {
            let name = name.to_ascii_lowercase();
            NAMES.iter().position(|own| own.as_bytes() == name).map(word)
        }

        fn category(&self, name: &[u8]) -> Option<Vec<Word>> {
            match &name.to_ascii_lowercase()[..] {
                b"read" => Some(vec![word(0)]),
                b"admin" => Some(vec![word(3), word(4)]),
                _ => None,
            }
        }
    }

    fn user(rules: &str) -> Result<User, String> {
        let rules: Vec<&[u8]> = rules.split(' ').map(str::as_bytes).collect();
        let user = User::new(UserId::new(1), b"ann", false).with(&rules, &Few, false);
        user.map_err(|error| String::from_utf8(error).unwrap())
    }

    fn described(rules: &str) -> String {
        String::from_utf8(user(rules).unwrap().describe()).unwrap()
    }

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_user_is_described_by_its_rules() {
        assert_eq!(described(""), "off sanitize-payload resetchannels -@all");
        assert_eq!(
            described("ON >abc +get ~a (+set ~b) ( &c %R~d )"),
            format!(
                "on sanitize-payload #{ABC} ~a resetchannels -@all +get (~b resetchannels -@all +set) \
                 (%R~d resetchannels &c -@all)"
            )
        );
        assert_eq!(
            described("on >abc nopass (+get) clearselectors skip-sanitize-payload"),
            "on nopass skip-sanitize-payload resetchannels -@all"
        );
        assert_eq!(described("on >abc +@all ~* &* (+get) reset"), described(""));
        let all = User::unrestricted(UserId::new(1), b"default");
        assert_eq!(all.line(), b"user default on nopass sanitize-payload ~* &* +@all");
        assert!(all.is_unrestricted() && !user("+@all ~*").unwrap().is_unrestricted());
        assert!(user("(allkeys allcommands allchannels)").unwrap().is_unrestricted());
    }

    #[test]
    fn passwords_are_added_and_removed() {
        let is = |rules: &str, word: &str| user(rules).unwrap().accepts(&Hash::of(word.as_bytes()));
        assert!(is("on >abc", "abc") && !is("on >abc", "abd") && !is(">abc", "abc"));
        assert!(is(&format!("on #{ABC} >x"), "abc") && is("on nopass", "anything"));
        assert!(!is("on >abc >x <abc", "abc") && is("on >abc >x <abc", "x"));
        assert!(!is("on nopass resetpass", "abc") && !is("on nopass >x", "abc"));
        let gone = "The password you are trying to remove from the user does not exist";
        assert_eq!(
            user("<abc").unwrap_err(),
            format!("Error in ACL SETUSER modifier '<abc': {gone}")
        );
        assert!(user("#abc").unwrap_err().contains("must be exactly 64 characters"));
        assert!(user(&format!("!{ABC}")).unwrap_err().ends_with(gone));
    }

    #[test]
    fn a_selector_may_be_spread_over_words() {
        assert_eq!(user("on (+get ~a").unwrap_err(), {
            "Unmatched parenthesis in acl selector starting at '(+get'."
        });
        assert_eq!(
            user("(+get +nope)").unwrap_err(),
            "Error in ACL SETUSER modifier '(+get +nope)': Unknown command or category name in ACL"
        );
        assert_eq!(user("(on)").unwrap_err(), "Error in ACL SETUSER modifier '(on)': Syntax error");
    }

    #[test]
    fn who_listens_must_still_be_allowed_to() {
        let of = |rules: &str| user(rules).unwrap();
        let ends = |now: &str, then: &str, channels: &[&str], patterns: &[&str]| {
            let channels = channels.iter().map(|name| name.as_bytes());
            let patterns = patterns.iter().map(|name| name.as_bytes());
            of(now).ends_listening(&of(then), channels, patterns)
        };
        assert!(ends("&b", "&a", &["a"], &[]));
        assert!(!ends("&a &b", "&a", &["a"], &[]));
        assert!(!ends("&*", "&a", &["a"], &[]));
        assert!(!ends("&b", "&a &b", &["b"], &[]));
        assert!(ends("&b*", "&*", &["b1"], &["b?"]));
        assert!(!ends("&b*", "&*", &["b1"], &["b*"]));
        assert!(!ends("(&a)", "&a", &["a"], &[]));
    }
}
