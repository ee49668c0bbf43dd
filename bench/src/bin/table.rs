//! Micro-benchmark of the keyspace's table and entry, without server or network.
//!
//! `cargo run --release -p corelane-bench --bin table -- [corelane|hashbrown|grow|grow-hashbrown] [keys] [value bytes]`
//!
//! Prints CPU nanoseconds per operation and resident bytes per key. `hashbrown` does the same
//! with `HashMap<Box<[u8]>, Box<[u8]>>` as a yardstick. `--features jemalloc` uses that allocator
//! in place of mimalloc. One structure per process, so that resident memory is its own.

use std::collections::HashMap;
use std::hint::black_box;

use corelane::data::{Entry, Table, ValueRef};

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[cfg(not(feature = "jemalloc"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Look-ups whose cache misses overlap when they are prefetched, as in a pipeline.
const BATCH: usize = 16;

type Key = [u8; 16];

/// `key:%012d`
fn key(number: usize) -> Key {
    let mut key = *b"key:000000000000";
    let mut rest = number;
    for digit in key[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

/// All numbers below `keys`, in an order that no cache can foresee.
fn shuffled(keys: usize) -> impl Iterator<Item = usize> {
    let bits = keys.next_power_of_two().trailing_zeros();
    let mask = (1usize << bits) - 1;
    (0..=mask)
        .map(move |n| {
            let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) & mask;
            (mixed ^ (mixed >> (bits / 2))).wrapping_mul(0x5851_f42d_4c95_7f2d) & mask
        })
        .filter(move |&n| n < keys)
}

/// CPU time of this thread in nanoseconds: others on the machine do not count.
fn cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("procfs is mounted");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("the second field of statm is the resident pages") * 4096
}

fn per_op(name: &str, operations: usize, run: impl FnOnce()) {
    let start = cpu_ns();
    run();
    let spent = cpu_ns() - start;
    println!("  {name:<34}{:>9.1} ns", spent as f64 / operations as f64);
}

/// What is measured, on either structure.
trait Store: Default {
    /// Adds a key that is not there.
    fn insert(&mut self, key: &[u8], value: &[u8]);
    fn overwrite(&mut self, key: &[u8], value: &[u8]);
    /// Length of the value.
    fn get(&self, key: &[u8]) -> Option<usize>;
    fn remove(&mut self, key: &[u8]) -> bool;
    /// Look-ups whose keys are known together.
    fn get_batch(&self, keys: &[Key]) -> usize {
        keys.iter().filter_map(|key| self.get(key)).sum()
    }
    fn describe(&self) {}
}

impl Store for Table<Entry> {
    fn insert(&mut self, key: &[u8], value: &[u8]) {
        self.insert(self.hash(key), Entry::string(key, value, None));
    }

    fn overwrite(&mut self, key: &[u8], value: &[u8]) {
        let hash = self.hash(key);
        if let Some(mut entry) = self.get_mut(hash, key) {
            return entry.assign(value, None);
        }
        Table::insert(self, hash, Entry::string(key, value, None));
    }

    fn get(&self, key: &[u8]) -> Option<usize> {
        match Table::get(self, self.hash(key), key)?.value() {
            ValueRef::Bytes(bytes) => Some(bytes.len() + usize::from(bytes[0])),
            ValueRef::Int(_) | ValueRef::Object(_) => None,
        }
    }

    fn remove(&mut self, key: &[u8]) -> bool {
        Table::remove(self, self.hash(key), key).is_some()
    }

    fn get_batch(&self, keys: &[Key]) -> usize {
        let mut hashes = [0; BATCH];
        for (hash, key) in hashes.iter_mut().zip(keys) {
            *hash = self.hash(key);
            self.prefetch_bucket(*hash);
        }
        for &hash in &hashes[..keys.len()] {
            self.prefetch_entry(hash);
        }
        let found = hashes.iter().zip(keys).filter_map(|(&hash, key)| {
            let ValueRef::Bytes(bytes) = Table::get(self, hash, key)?.value() else { return None };
            Some(bytes.len() + usize::from(bytes[0]))
        });
        found.sum()
    }

    fn describe(&self) {
        let histogram = self.fill_histogram();
        // Seven elements fit in a line; in a chain, every line but the last has six.
        let lines = |n: usize| if n <= 7 { 1 } else { (n - 2) / 6 + 1 };
        let in_line = |n: usize| (0..n).map(|at| (at / 6 + 1).min(lines(n))).sum::<usize>();
        let hit: usize =
            histogram.iter().enumerate().map(|(n, buckets)| in_line(n) * buckets).sum();
        let chained: usize = histogram.iter().skip(8).sum();
        println!(
            "  fill {:.2}, table {:.2} bytes/key, lines per hit {:.3}, chained {:.1} %, entries {:.1} bytes/key",
            self.len() as f64 / self.buckets() as f64,
            self.memory() as f64 / self.len() as f64,
            hit as f64 / self.len() as f64,
            100.0 * chained as f64 / self.buckets() as f64,
            self.iter().map(Entry::allocated).sum::<usize>() as f64 / self.len() as f64,
        );
    }
}

#[derive(Default)]
struct Hashbrown(HashMap<Box<[u8]>, Box<[u8]>, ahash::RandomState>);

impl Store for Hashbrown {
    fn insert(&mut self, key: &[u8], value: &[u8]) {
        self.0.insert(key.into(), value.into());
    }

    fn overwrite(&mut self, key: &[u8], value: &[u8]) {
        match self.0.get_mut(key) {
            Some(old) if old.len() == value.len() => old.copy_from_slice(value),
            Some(old) => *old = value.into(),
            None => self.insert(key, value),
        }
    }

    fn get(&self, key: &[u8]) -> Option<usize> {
        self.0.get(key).map(|bytes| bytes.len() + usize::from(bytes[0]))
    }

    fn remove(&mut self, key: &[u8]) -> bool {
        self.0.remove(key).is_some()
    }
}

fn measure<S: Store>(keys: usize, value_len: usize) {
    let value = vec![b'x'; value_len];
    let other = vec![b'y'; value_len];
    let before = resident_bytes();
    let mut store = S::default();
    per_op("insert, in order", keys, || {
        (0..keys).for_each(|n| store.insert(&key(n), &value));
    });
    let resident = (resident_bytes() - before) as f64 / keys as f64;
    println!("  {:<34}{resident:>9.1} bytes", "resident per key");
    store.describe();
    per_op("making the key alone", keys, || {
        shuffled(keys).for_each(|n| _ = black_box(key(n)));
    });
    per_op("get hit", keys, || {
        shuffled(keys).for_each(|n| _ = black_box(store.get(&key(n)).expect("present")));
    });
    per_op("get hit, in batches", keys, || in_batches(&store, keys));
    per_op("get miss", keys, || {
        shuffled(keys).for_each(|n| assert!(store.get(&key(n + keys)).is_none()));
    });
    per_op("overwrite, same length", keys, || {
        shuffled(keys).for_each(|n| store.overwrite(&key(n), &other));
    });
    per_op("overwrite, other length", keys, || {
        shuffled(keys).for_each(|n| store.overwrite(&key(n), &other[..n % value_len + 1]));
    });
    per_op("remove half", keys / 2, || {
        shuffled(keys).take(keys / 2).for_each(|n| assert!(store.remove(&key(n))));
    });
    per_op("insert, shuffled", keys / 2, || {
        shuffled(keys).take(keys / 2).for_each(|n| store.insert(&key(n), &value));
    });
    per_op("drop", keys, || drop(store));
}

fn in_batches<S: Store>(store: &S, keys: usize) {
    let mut batch = [Key::default(); BATCH];
    let mut filled = 0;
    for n in shuffled(keys) {
        batch[filled] = key(n);
        filled += 1;
        if filled == BATCH {
            black_box(store.get_batch(&batch));
            filled = 0;
        }
    }
}

/// Page faults of this thread so far.
fn page_faults() -> i64 {
    // SAFETY: all zeros is a valid rusage, and the pointer is to that.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_THREAD, &mut usage);
        usage.ru_minflt + usage.ru_majflt
    }
}

/// The longest single inserts while a store grows from nothing: those in which the kernel had to
/// map memory, and those that are the store's own work.
fn measure_growth<S: Store>(keys: usize, value_len: usize) {
    let value = vec![b'x'; value_len];
    let mut store = S::default();
    let (mut faulting, mut own) = (Vec::new(), Vec::new());
    for n in 0..keys {
        let key = key(n);
        let faults = page_faults();
        let start = cpu_ns();
        store.insert(&key, &value);
        let spent = cpu_ns() - start;
        if spent > 5_000 {
            let list = if page_faults() == faults { &mut own } else { &mut faulting };
            list.push(spent / 1000);
        }
    }
    for (name, mut list) in [("own work", own), ("page fault", faulting)] {
        list.sort_unstable_by(|a, b| b.cmp(a));
        let above = |us| list.iter().filter(|&&spent| spent >= us).count();
        println!(
            "  0 to {keys} keys, {name}: longest inserts {:?} us; {} of 5 us or more, {} of 20, \
             {} of 100",
            &list[..list.len().min(5)],
            list.len(),
            above(20),
            above(100),
        );
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let store = args.next().unwrap_or_else(|| "corelane".into());
    let mut number = |default| args.next().and_then(|arg| arg.parse().ok()).unwrap_or(default);
    let (keys, value_len) = (number(1_000_000), number(64));
    let allocator = if cfg!(feature = "jemalloc") { "jemalloc" } else { "mimalloc" };
    println!("{store}, {allocator}, {keys} keys of 16 bytes, values of {value_len}");
    match store.as_str() {
        "corelane" => measure::<Table<Entry>>(keys, value_len),
        "hashbrown" => measure::<Hashbrown>(keys, value_len),
        "grow" => measure_growth::<Table<Entry>>(keys, value_len),
        "grow-hashbrown" => measure_growth::<Hashbrown>(keys, value_len),
        other => eprintln!("{other}: expected corelane, hashbrown, grow or grow-hashbrown"),
    }
}
