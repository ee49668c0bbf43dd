//! Who may see what on the admin port.
//!
//! ```text
//!   admin-password is set       that password, whatever the name; no user counts
//!   else the request brings
//!     the name of a user        that user, with its password
//!     another name, a token     the default user, with its password
//!     nothing                   the default user, if that needs no password
//! ```
//!
//! A user sees what it could ask for by commands: [`FIGURES`], and for the console [`ALL`] and all keys.

use super::http::Request;
use crate::acl::{Hash, User, Users};
use crate::command::{CommandId, Registry};
use crate::config::Values;

/// Commands that tell what is on a page.
pub type Page = &'static [&'static str];
pub const FIGURES: Page = &["info"];
pub const ALL: Page = &["info", "client|list", "slowlog|get"];

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It knows a password.
    Known,
    /// Anybody may, who has found this server by a name of its own.
    Open,
    Refused,
}

/// Whether a request may see a page.
pub fn admit(
    config: &Values,
    users: &Users,
    registry: &Registry,
    request: &Request,
    page: Page,
) -> Admission {
    let brought = request.credentials();
    if let Some(password) = &config.admin_password {
        return match brought {
            Some((_, own)) if equal(&own, password.as_bytes()) => Admission::Known,
            _ => Admission::Refused,
        };
    }
    let user = brought.as_ref().and_then(|(name, _)| users.by_name(name));
    let user = user.unwrap_or(users.default_user());
    // Who needs no password has shown nothing by bringing one.
    let admission = match &brought {
        _ if user.needs_no_password() && user.is_enabled() => Admission::Open,
        Some((_, password)) if user.accepts(&Hash::of(password)) => Admission::Known,
        _ => Admission::Refused,
    };
    match shows(user, registry, page) {
        true => admission,
        false => Admission::Refused,
    }
}

/// Whether everybody is let in who can reach the port.
pub fn is_open(config: &Values, users: &Users) -> bool {
    config.admin_password.is_none() && !users.ask_for_password()
}

/// Whether a user may have all commands of a page, and see any key if there are keys on it.
fn shows(user: &User, registry: &Registry, page: Page) -> bool {
    let ids = || (0..registry.len()).map(|id| CommandId(id as u16));
    let numbers: Vec<u16> =
        ids().filter(|id| page.contains(&registry.command(*id).name)).map(|id| id.0).collect();
    user.selectors().iter().any(|selector| {
        numbers.iter().all(|number| selector.allows_command(*number, None))
            && (page == FIGURES || selector.reads_all_keys())
    })
}

/// Compares in a time that does not tell where two differ.
fn equal(one: &[u8], other: &[u8]) -> bool {
    let differ = one.iter().zip(other).fold(0, |differ, (a, b)| differ | (a ^ b));
    std::hint::black_box(differ) == 0 && one.len() == other.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_compared_whole() {
        assert!(equal(b"secret", b"secret") && equal(b"", b""));
        assert!(!equal(b"secret", b"secres") && !equal(b"secre", b"secret"));
        assert!(!equal(b"secret", b"secre") && !equal(b"", b"x"));
    }

    #[test]
    fn every_page_has_its_commands() {
        let registry = Registry::new(&[]).unwrap();
        let known = |name| {
            (0..registry.len()).any(|id| registry.command(CommandId(id as u16)).name == name)
        };
        assert!(FIGURES.iter().chain(ALL).all(|name| known(*name)));
    }
}
