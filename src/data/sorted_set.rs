//! A set of strings ordered by scores.

use super::value::Encoding;

/// A set of strings ordered by scores. None can exist yet.
#[derive(Debug)]
pub enum SortedSet {}

impl SortedSet {
    pub fn encoding(&self) -> Encoding {
        match *self {}
    }

    pub fn duplicate(&self) -> SortedSet {
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
