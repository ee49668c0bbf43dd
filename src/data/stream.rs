//! A log of entries with consumer groups.

/// A log of entries with consumer groups. None can exist yet.
#[derive(Debug)]
pub enum Stream {}

impl Stream {
    pub fn duplicate(&self) -> Stream {
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
