//! Sorted sets.

use super::spec::*;

pub const COMMANDS: &[Command] = &[];
