//! What a script says of itself in its first line: `#!lua name=mylib flags=no-writes,allow-oom`.

use crate::config::split_args;
use crate::error::CmdError;

/// What a script or a function is allowed to do, and wants to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScriptFlags {
    pub no_writes: bool,
    pub allow_oom: bool,
    pub allow_stale: bool,
    pub no_cluster: bool,
    pub allow_cross_slot_keys: bool,
    /// A script without the line gets the rules of the time before there was one.
    pub has_shebang: bool,
}

impl ScriptFlags {
    /// Names as they stand in the line, and in FUNCTION LIST, in Redis' order.
    pub const NAMES: [&'static str; 5] =
        ["no-writes", "allow-oom", "allow-stale", "no-cluster", "allow-cross-slot-keys"];

    fn flag_mut(&mut self, index: usize) -> Option<&mut bool> {
        Some(match index {
            0 => &mut self.no_writes,
            1 => &mut self.allow_oom,
            2 => &mut self.allow_stale,
            3 => &mut self.no_cluster,
            4 => &mut self.allow_cross_slot_keys,
            _ => return None,
        })
    }

    /// Sets the flag that `is` tells by its name.
    pub(super) fn set(&mut self, is: impl Fn(&str) -> bool) -> bool {
        let index = ScriptFlags::NAMES.iter().position(|name| is(name));
        index.and_then(|index| self.flag_mut(index)).map(|flag| *flag = true).is_some()
    }

    /// The names of those that are set.
    pub fn names(mut self) -> impl Iterator<Item = &'static str> {
        let names = ScriptFlags::NAMES.into_iter().enumerate();
        names.filter_map(move |(index, name)| (*self.flag_mut(index)?).then_some(name))
    }
}

/// The words of a first line, if there is one, and the rest from its line feed on, so that the lines
/// keep their numbers.
fn shebang(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = body.iter().position(|&byte| byte == b'\n').unwrap_or(body.len());
    body.starts_with(b"#!").then(|| body.split_at(end))
}

/// The flags of a script's body, and what of it is Lua.
pub(super) fn of_script(body: &[u8]) -> Result<(ScriptFlags, &[u8]), CmdError> {
    let mut flags = ScriptFlags::default();
    let Some((line, code)) = shebang(body) else { return Ok((flags, body)) };
    if code.is_empty() {
        return Err(CmdError::fixed("ERR Invalid script shebang"));
    }
    let words = split_args(line).filter(|words| !words.is_empty());
    let Some(words) = words else {
        return Err(CmdError::fixed("ERR Invalid engine in script shebang"));
    };
    if words[0] != b"#!lua" {
        return Err(CmdError::err_of(&[b"Unexpected engine in script shebang: ", &words[0]]));
    }
    flags.has_shebang = true;
    for word in &words[1..] {
        let Some(list) = word.strip_prefix(b"flags=") else {
            return Err(CmdError::err_of(&[b"Unknown lua shebang option: ", word]));
        };
        for name in list.split(|&byte| byte == b',').filter(|_| !list.is_empty()) {
            if !flags.set(|known| known.as_bytes() == name) {
                return Err(CmdError::err_of(&[b"Unexpected flag in script shebang: ", name]));
            }
        }
    }
    Ok((flags, code))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(body: &str) -> String {
        of_script(body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn flags_of_the_first_line() {
        let (flags, code) = of_script(b"#!lua flags=no-writes,allow-stale\nreturn 1").unwrap();
        assert!(flags.no_writes && flags.allow_stale && flags.has_shebang && !flags.allow_oom);
        assert_eq!(flags.names().collect::<Vec<_>>(), ["no-writes", "allow-stale"]);
        assert_eq!(code, b"\nreturn 1");
        assert_eq!(of_script(b"return 1").unwrap(), (ScriptFlags::default(), &b"return 1"[..]));
        assert!(of_script(b"#!lua\n").unwrap().0.has_shebang);
        assert!(of_script(b"#!lua flags=\n").is_ok());
    }

    #[test]
    fn what_is_wrong_with_a_first_line() {
        assert_eq!(error("#!lua"), "ERR Invalid script shebang");
        assert_eq!(error("#!not-lua\n"), "ERR Unexpected engine in script shebang: #!not-lua");
        assert_eq!(error("#!lua 'x\n"), "ERR Invalid engine in script shebang");
        assert_eq!(error("#!lua badger=data\n"), "ERR Unknown lua shebang option: badger=data");
        assert_eq!(
            error("#!lua flags=allow-what\n"),
            "ERR Unexpected flag in script shebang: allow-what"
        );
    }
}
