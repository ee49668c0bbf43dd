//! A set of strings.

use super::value::Encoding;

/// A set of strings. None can exist yet.
#[derive(Debug)]
pub enum Set {}

impl Set {
    pub fn encoding(&self) -> Encoding {
        match *self {}
    }

    pub fn duplicate(&self) -> Set {
        match *self {}
    }

    pub fn allocated(&self) -> usize {
        match *self {}
    }

    #[allow(clippy::len_without_is_empty)] // an empty one does not exist
    pub fn len(&self) -> usize {
        match *self {}
    }
}
