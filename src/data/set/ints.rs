//! The `intset` form: integers in ascending order, all of one width.
//!
//! ```text
//!   I16  [ -3 ][ 0 ][ 7 ]          2 bytes each
//!   I32  [ -3 ][ 7 ][ 70000 ]      4 bytes each, from the first one on that needs them
//!   I64                            8 bytes each
//! ```
//!
//! The width grows when a wider number comes, and never shrinks, as in Redis. A look-up is a binary
//! search; an insert or a removal moves what is behind it.

/// Room for so many more numbers is made at a time: a part of those that there are.
const SPARE: usize = 8;

#[derive(Debug, Clone)]
pub(super) enum Ints {
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
}

impl Ints {
    pub(super) fn new() -> Ints {
        Ints::I16(Vec::new())
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Ints::I16(all) => all.len(),
            Ints::I32(all) => all.len(),
            Ints::I64(all) => all.len(),
        }
    }

    /// Bytes allocated.
    pub(super) fn memory(&self) -> usize {
        match self {
            Ints::I16(all) => all.capacity() * size_of::<i16>(),
            Ints::I32(all) => all.capacity() * size_of::<i32>(),
            Ints::I64(all) => all.capacity() * size_of::<i64>(),
        }
    }

    /// Number `index` in ascending order.
    pub(super) fn at(&self, index: usize) -> i64 {
        match self {
            Ints::I16(all) => all[index].into(),
            Ints::I32(all) => all[index].into(),
            Ints::I64(all) => all[index],
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = i64> {
        (0..self.len()).map(|index| self.at(index))
    }

    pub(super) fn contains(&self, int: i64) -> bool {
        match self {
            Ints::I16(all) => i16::try_from(int).is_ok_and(|int| all.binary_search(&int).is_ok()),
            Ints::I32(all) => i32::try_from(int).is_ok_and(|int| all.binary_search(&int).is_ok()),
            Ints::I64(all) => all.binary_search(&int).is_ok(),
        }
    }

    /// Adds a number; `false` if it was there.
    pub(super) fn insert(&mut self, int: i64) -> bool {
        self.widen(int);
        match self {
            Ints::I16(all) => insert(all, int as i16),
            Ints::I32(all) => insert(all, int as i32),
            Ints::I64(all) => insert(all, int),
        }
    }

    /// Takes a number out; `false` if it was not there.
    pub(super) fn remove(&mut self, int: i64) -> bool {
        match self {
            Ints::I16(all) => i16::try_from(int).is_ok_and(|int| remove(all, int)),
            Ints::I32(all) => i32::try_from(int).is_ok_and(|int| remove(all, int)),
            Ints::I64(all) => remove(all, int),
        }
    }

    /// Keeps those numbers for whose index `keep` holds, asked in ascending order.
    pub(super) fn retain(&mut self, keep: impl FnMut(usize) -> bool) {
        match self {
            Ints::I16(all) => retain(all, keep),
            Ints::I32(all) => retain(all, keep),
            Ints::I64(all) => retain(all, keep),
        }
    }

    /// Makes `int` fit.
    fn widen(&mut self, int: i64) {
        let fits_16 = i16::try_from(int).is_ok();
        let fits_32 = i32::try_from(int).is_ok();
        match self {
            Ints::I16(all) if fits_32 && !fits_16 => {
                *self = Ints::I32(wider(all));
            }
            Ints::I16(all) if !fits_32 => *self = Ints::I64(wider(all)),
            Ints::I32(all) if !fits_32 => *self = Ints::I64(wider(all)),
            _ => {}
        }
    }
}

fn wider<A: Copy, B: From<A>>(all: &[A]) -> Vec<B> {
    // One number more is about to come.
    let mut wide = Vec::with_capacity(all.len() + 1);
    wide.extend(all.iter().map(|&int| B::from(int)));
    wide
}

fn insert<T: Copy + Ord>(all: &mut Vec<T>, int: T) -> bool {
    let Err(at) = all.binary_search(&int) else { return false };
    if all.len() == all.capacity() {
        all.reserve_exact(all.len() / SPARE + 1);
    }
    all.insert(at, int);
    true
}

fn remove<T: Copy + Ord>(all: &mut Vec<T>, int: T) -> bool {
    let Ok(at) = all.binary_search(&int) else { return false };
    all.remove(at);
    shrink(all);
    true
}

fn retain<T>(all: &mut Vec<T>, mut keep: impl FnMut(usize) -> bool) {
    let mut index = 0;
    all.retain(|_| {
        index += 1;
        keep(index - 1)
    });
    shrink(all);
}

fn shrink<T>(all: &mut Vec<T>) {
    if all.len() < all.capacity() / 2 {
        all.shrink_to(all.len() + all.len() / SPARE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_in_order_at_the_least_width() {
        let mut ints = Ints::new();
        for int in [5, -3, 32767, 0, -32768] {
            assert!(ints.insert(int) && !ints.insert(int));
        }
        assert!(matches!(ints, Ints::I16(_)));
        assert!(ints.insert(32768));
        assert!(matches!(ints, Ints::I32(_)));
        assert!(ints.insert(i64::MIN) && ints.insert(i64::MAX));
        assert!(matches!(ints, Ints::I64(_)));
        let all: Vec<i64> = ints.iter().collect();
        assert_eq!(all, [i64::MIN, -32768, -3, 0, 5, 32767, 32768, i64::MAX]);
        assert!(ints.contains(32768) && !ints.contains(32769));
        assert!(ints.remove(i64::MIN) && !ints.remove(i64::MIN));
        assert!(matches!(ints, Ints::I64(_)), "it does not become narrower");
    }

    #[test]
    fn a_wide_number_is_not_in_a_narrow_set() {
        let mut ints = Ints::new();
        ints.insert(1);
        assert!(!ints.contains(1 << 16 | 1) && !ints.remove(1 << 16 | 1));
        assert!(!ints.contains(1 << 32 | 1) && ints.contains(1));
        ints.insert(1 << 31);
        assert!(!ints.contains(1 << 32 | 1) && !ints.remove(1 << 32 | 1));
        assert_eq!(ints.len(), 2);
    }

    #[test]
    fn memory_follows_the_number_of_numbers() {
        let mut ints = Ints::new();
        for int in 0..1000 {
            ints.insert(int);
            assert!(ints.memory() <= 2 * (ints.len() + ints.len() / SPARE + 1));
        }
        ints.retain(|index| index % 10 == 0);
        assert_eq!(ints.len(), 100);
        assert!(ints.contains(990) && !ints.contains(991));
        assert!(ints.memory() <= 2 * 113);
        for int in (0..1000).step_by(10) {
            assert!(ints.remove(int));
        }
        assert_eq!(ints.len(), 0);
    }
}
