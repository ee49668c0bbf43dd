//! What orders the entries of a stream.

/// The id of an entry: a time in milliseconds and a number within that millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    pub ms: u64,
    pub seq: u64,
}

impl Id {
    /// No entry has this one.
    pub const MIN: Id = Id { ms: 0, seq: 0 };
    pub const MAX: Id = Id { ms: u64::MAX, seq: u64::MAX };

    pub const fn new(ms: u64, seq: u64) -> Id {
        Id { ms, seq }
    }

    /// The smallest id that is greater.
    pub fn next(self) -> Option<Id> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(Id { seq, ..self }),
            None => Some(Id { ms: self.ms.checked_add(1)?, seq: 0 }),
        }
    }

    /// The greatest id that is smaller.
    pub fn previous(self) -> Option<Id> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(Id { seq, ..self }),
            None => Some(Id { ms: self.ms.checked_sub(1)?, seq: u64::MAX }),
        }
    }

    /// Both parts as one number of the same order.
    pub(super) fn number(self) -> u128 {
        u128::from(self.ms) << 64 | u128::from(self.seq)
    }

    pub(super) fn of_number(number: u128) -> Id {
        Id { ms: (number >> 64) as u64, seq: number as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_carry_from_one_part_to_the_other() {
        assert_eq!(Id::new(1, u64::MAX).next(), Some(Id::new(2, 0)));
        assert_eq!(Id::new(2, 0).previous(), Some(Id::new(1, u64::MAX)));
        assert_eq!(Id::MAX.next(), None);
        assert_eq!(Id::MIN.previous(), None);
        assert_eq!(Id::MIN.next(), Some(Id::new(0, 1)));
        let id = Id::new(0x0123_4567_89ab_cdef, 77);
        assert_eq!(Id::of_number(id.number()), id);
        assert!(Id::new(1, 9).number() < Id::new(2, 0).number());
    }
}
