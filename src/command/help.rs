//! The replies of the `HELP` subcommands.

use crate::resp::Encoder;

/// An array of status lines: how `container` is called, `lines`, and HELP itself.
pub fn help(out: &mut Encoder, container: &str, lines: &[&str]) {
    out.array(lines.len() + 3);
    out.simple(&format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    lines.iter().for_each(|line| out.simple(line));
    out.simple("HELP");
    out.simple("    Print this help.");
}
