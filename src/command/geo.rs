//! Geo indexes.

use super::spec::*;

pub const COMMANDS: &[Command] = &[];
