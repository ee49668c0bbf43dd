//! A list.

use super::value::Encoding;

/// A list. None can exist yet.
#[derive(Debug)]
pub enum List {}

impl List {
    pub fn encoding(&self) -> Encoding {
        match *self {}
    }

    pub fn duplicate(&self) -> List {
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
