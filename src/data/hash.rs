//! A map of fields to values.

use super::value::Encoding;

/// A map of fields to values. None can exist yet.
#[derive(Debug)]
pub enum Hash {}

impl Hash {
    pub fn encoding(&self) -> Encoding {
        match *self {}
    }

    pub fn duplicate(&self) -> Hash {
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
