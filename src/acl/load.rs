//! Users from the `user` lines of a configuration file, and from a file of their own.

use super::user::{User, has_spaces, merge_selectors};
use super::{RuleError, Users, Vocabulary};
use crate::error::shown;

/// The users that the configuration declares, beside those that are there: name and rules each. What is
/// wrong, in words for the operator, without the rule, which may hold a password.
pub fn users_of_config(
    users: &mut Users,
    declared: &[Vec<Vec<u8>>],
    words: &dyn Vocabulary,
    all_channels: bool,
) -> Result<(), String> {
    for (at, line) in declared.iter().enumerate() {
        let [name, rules @ ..] = &line[..] else { return Err("it has no name".to_string()) };
        let text = String::from_utf8_lossy(name).into_owned();
        if has_spaces(name) {
            return Err(format!("user '{text}': a name has no spaces"));
        }
        if declared[..at].iter().any(|other| other.first() == Some(name)) {
            return Err(format!("Duplicate user '{text}' found: each is declared once"));
        }
        let mut user = users.draft(name, all_channels);
        // Of the default user nothing is left that its line does not say.
        user.apply(b"reset", words, all_channels).map_err(|error| error.text().to_string())?;
        let rules: Vec<&[u8]> = rules.iter().map(Vec::as_slice).collect();
        let rules = merge_selectors(&rules)
            .map_err(|_| format!("user '{text}': a parenthesis is not closed"))?;
        for rule in rules {
            user.apply(&rule, words, all_channels)
                .map_err(|error| format!("user '{text}': {}", about(&rule, error)))?;
        }
        if !user.is_enabled() {
            tracing::info!(user = text, "a user is declared without `on` and cannot log in");
        }
        users.set(user);
    }
    Ok(())
}

/// What is wrong with a rule. A password is not repeated.
fn about(rule: &[u8], error: RuleError) -> String {
    match rule.first() {
        Some(b'+' | b'-' | b'~' | b'%' | b'&' | b'(') => {
            format!("'{}': {}", String::from_utf8_lossy(rule), error.text())
        }
        _ => error.text().to_string(),
    }
}

/// The users of a file, where each line declares one; nobody else stays but the default user. Or all
/// that is wrong, as Redis tells it.
pub fn users_of_file(
    before: &Users,
    path: &str,
    text: &[u8],
    words: &dyn Vocabulary,
    all_channels: bool,
) -> Result<Users, Vec<u8>> {
    let mut users = before.begin_anew();
    let mut errors = Vec::new();
    let mut names: Vec<&[u8]> = Vec::new();
    for (at, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let place = format!("{path}:{}", at + 1);
        let line: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
        let [b"user", name, rules @ ..] = &line[..] else {
            let text = " should start with user keyword followed by the username. ";
            errors.extend(format!("{place}{text}").bytes());
            continue;
        };
        if has_spaces(name) {
            errors.extend(format!("'{place}: username '").bytes());
            errors.extend([shown(name, usize::MAX), b"' contains invalid characters. "].concat());
            continue;
        }
        if names.contains(name) {
            errors.extend([b"WARNING: Duplicate user '", shown(name, usize::MAX)].concat());
            errors.extend(format!("' found on line {}. ", at + 1).bytes());
            continue;
        }
        names.push(name);
        let mut user = match *name == b"default" {
            true => User::new(before.default_user().id, name, all_channels),
            false => users.draft(name, all_channels),
        };
        apply_line(&mut user, rules, words, (&place, all_channels), &mut errors);
        users.set(user);
    }
    if errors.is_empty() {
        return Ok(users);
    }
    errors.extend_from_slice(
        b"WARNING: ACL errors detected, no change to the previously active ACL rules was performed",
    );
    Err(errors)
}

/// Applies all rules of a line. Of the errors that say nothing of commands only the first is told,
/// since it may be the reason of those that follow.
fn apply_line(
    user: &mut User,
    rules: &[&[u8]],
    words: &dyn Vocabulary,
    (place, all_channels): (&str, bool),
    errors: &mut Vec<u8>,
) {
    let Ok(rules) = merge_selectors(rules) else {
        let text = format!("{place}: Unmatched parenthesis in selector definition.");
        return errors.extend(text.bytes());
    };
    let mut told = false;
    for rule in rules {
        let rule = rule.trim_ascii();
        match user.apply(rule, words, all_channels) {
            Ok(()) => {}
            Err(error @ RuleError::Unknown) => {
                errors.extend(format!("{place}: Error in applying operation '").bytes());
                errors.extend([rule, b"': ", error.text().as_bytes(), b". "].concat());
            }
            Err(_) if told => {}
            Err(error) => {
                told = true;
                errors.extend(format!("{place}: {}. ", error.text()).bytes());
            }
        }
    }
}

/// The content of a file that declares these users.
pub fn file_text(users: &Users) -> Vec<u8> {
    users.iter().flat_map(|user| [user.line(), b"\n".to_vec()].concat()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::user::tests::Few;
    use super::*;

    fn of_file(text: &str) -> Result<Users, String> {
        let users = users_of_file(&Users::default(), "u.acl", text.as_bytes(), &Few, false);
        users.map_err(|error| String::from_utf8(error).unwrap())
    }

    fn text(users: &Users) -> String {
        String::from_utf8(file_text(users)).unwrap()
    }

    #[test]
    fn a_file_comes_back() {
        let file = "user ann on sanitize-payload ~a resetchannels -@all +get (~b resetchannels -@all)\n\
                    user default on nopass sanitize-payload ~* &* +@all\n";
        assert_eq!(text(&of_file(file).unwrap()), file);
        let users = of_file("\n  user ann ON\t\r\n\nuser  \n").unwrap_err();
        assert!(users.contains("u.acl:4 should start"), "{users}");
        let default = of_file("user default off").unwrap();
        assert_eq!(default.default_user().id, Users::default().default_user().id);
        assert!(default.ask_for_password());
    }

    #[test]
    fn all_that_is_wrong_is_told() {
        let end = "WARNING: ACL errors detected, no change to the previously active ACL rules was \
                   performed";
        for (file, error) in [
            ("usr ann", "u.acl:1 should start with user keyword followed by the username. "),
            ("user ann on\nuser ann on", "WARNING: Duplicate user 'ann' found on line 2. "),
            (
                "user ann +nope on nonsense more +@nope",
                "u.acl:1: Error in applying operation '+nope': Unknown command or category name in \
                 ACL. u.acl:1: Syntax error. u.acl:1: Error in applying operation '+@nope': Unknown \
                 command or category name in ACL. ",
            ),
            ("user ann (+get", "u.acl:1: Unmatched parenthesis in selector definition."),
            ("user a\tb on", "'u.acl:1: username 'a\tb' contains invalid characters. "),
        ] {
            assert_eq!(of_file(file).unwrap_err(), format!("{error}{end}"), "{file}");
        }
    }

    #[test]
    fn the_configuration_declares_users() {
        let declare = |lines: &[&str]| {
            let words = |line: &&str| line.split(' ').map(|word| word.into()).collect();
            let lines: Vec<Vec<Vec<u8>>> = lines.iter().map(words).collect();
            let mut users = Users::default();
            users_of_config(&mut users, &lines, &Few, false).map(|()| text(&users))
        };
        assert_eq!(
            declare(&["ann on +get (~a +set)", "default on +@all nopass"]).unwrap(),
            "user ann on sanitize-payload resetchannels -@all +get (~a resetchannels -@all +set)\n\
             user default on nopass sanitize-payload resetchannels +@all\n"
        );
        for (lines, error) in [
            (&["ann on", "ann off"][..], "Duplicate user 'ann' found"),
            (&["ann +nope"], "user 'ann': '+nope': Unknown command or category name in ACL"),
            (&["ann #secret"], "user 'ann': The password hash must be exactly"),
            (&["ann (+get"], "user 'ann': a parenthesis is not closed"),
        ] {
            let told = declare(lines).unwrap_err();
            assert!(told.starts_with(error), "{told}");
        }
        assert!(!declare(&["ann #secret"]).unwrap_err().contains("secret"));
    }
}
