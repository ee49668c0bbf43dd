//! Hashes.

use super::spec::*;

pub const COMMANDS: &[Command] = &[];
