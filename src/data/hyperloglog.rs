//! HyperLogLog: about how many different things were added, in Redis' format.
//!
//! The value is a string that clients may read, store and write themselves, so its bytes are the
//! same as Redis makes them of the same additions, and nothing in it can be taken for granted.
//!
//! ```text
//!   0        4      5          8                16
//!   +--------+------+----------+----------------+-----------------
//!   | "HYLL" | form | 0, 0, 0  | cardinality    | registers
//!   +--------+------+----------+----------------+-----------------
//!   cardinality  as last computed, u64, little endian; the top bit is set when it is out of date
//!   form 0       dense: 16384 registers of 6 bits each, from the lowest bit of each byte on
//!   form 1       sparse: runs of equal registers
//!                  00llllll            l+1 registers are 0
//!                  01hhhhhh llllllll   256*h+l+1 registers are 0
//!                  1vvvvvll            l+1 registers are v+1
//! ```
//!
//! A hash of 64 bits (MurmurHash64A) names a register with its low 14 bits; how many zeros follow
//! up to the first one decides what the register must be at least. The estimate of the cardinality is
//! Ertl's ("New cardinality estimation algorithms for HyperLogLog sketches", 2017), in the same
//! order of floating-point operations as Redis', so that the numbers are the same.
//!
//! Absent: keys and errors' texts; what is wrong with the bytes is [`Corrupt`].

mod estimate;
mod sparse;
#[cfg(test)]
mod tests;

pub use estimate::Histogram;

pub const REGISTERS: usize = 1 << REGISTER_BITS;
const REGISTER_BITS: u32 = 14;
/// Bits of the hash that are looked at for zeros.
const ZERO_BITS: u32 = u64::BITS - REGISTER_BITS;
const HEADER: usize = 16;
const DENSE_LEN: usize = HEADER + REGISTERS * 6 / 8;
const MAGIC: &[u8; 4] = b"HYLL";
const FORM: usize = 4;
const CARDINALITY: std::ops::Range<usize> = 8..16;
/// In the last byte of the cardinality.
const OUT_OF_DATE: u8 = 0x80;
const SEED: u64 = 0xadc8_3b19;

/// The registers do not add up to as many as there must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corrupt;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Dense,
    Sparse,
}

/// One byte for each register, for taking the greatest of several.
pub type Registers = [u8; REGISTERS];

/// The bytes of a HyperLogLog to which nothing was added.
pub fn empty() -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes[..MAGIC.len()].copy_from_slice(MAGIC);
    bytes[FORM] = 1;
    bytes.extend(sparse::zeros(REGISTERS));
    bytes
}

/// The form of a string; `None` if it is no HyperLogLog.
pub fn form(bytes: &[u8]) -> Option<Form> {
    let is_one = bytes.len() >= HEADER && bytes.starts_with(MAGIC);
    match bytes.get(FORM).filter(|_| is_one)? {
        0 => (bytes.len() == DENSE_LEN).then_some(Form::Dense),
        1 => Some(Form::Sparse),
        _ => None,
    }
}

/// The cardinality in the header, unless it is out of date.
pub fn cached(bytes: &[u8]) -> Option<u64> {
    let cardinality: [u8; 8] = bytes[CARDINALITY].try_into().ok()?;
    (cardinality[7] & OUT_OF_DATE == 0).then(|| u64::from_le_bytes(cardinality))
}

pub fn set_cached(bytes: &mut [u8], cardinality: u64) {
    bytes[CARDINALITY].copy_from_slice(&cardinality.to_le_bytes());
}

pub fn set_out_of_date(bytes: &mut [u8]) {
    bytes[CARDINALITY.end - 1] |= OUT_OF_DATE;
}

/// Adds a thing; whether that changed a register. A sparse form that would become longer than
/// `sparse_max` bytes, or cannot hold the register, becomes dense.
pub fn add(bytes: &mut Vec<u8>, thing: &[u8], sparse_max: usize) -> Result<bool, Corrupt> {
    let (register, value) = place_of(thing);
    if form(bytes) == Some(Form::Sparse) {
        match sparse::Runs::new(bytes, HEADER).raise(register, value, sparse_max)? {
            sparse::Raised::Changed => return Ok(true),
            sparse::Raised::Unchanged => return Ok(false),
            sparse::Raised::TooMuch => make_dense(bytes)?,
        };
    }
    Ok(raise_dense(bytes, register, value))
}

/// As [`add`], to a dense form.
pub fn add_dense(bytes: &mut [u8], thing: &[u8]) -> bool {
    let (register, value) = place_of(thing);
    raise_dense(bytes, register, value)
}

fn raise_dense(bytes: &mut [u8], register: usize, value: u8) -> bool {
    let registers = &mut bytes[HEADER..];
    let higher = value > dense_at(registers, register);
    if higher {
        set_dense(registers, register, value);
    }
    higher
}

/// Gives a sparse form the dense one; whether it was sparse.
pub fn make_dense(bytes: &mut Vec<u8>) -> Result<bool, Corrupt> {
    if form(bytes) == Some(Form::Dense) {
        return Ok(false);
    }
    let mut dense = vec![0; DENSE_LEN];
    dense[..HEADER].copy_from_slice(&bytes[..HEADER]);
    dense[FORM] = 0;
    let registers = &mut dense[HEADER..];
    sparse::each_value(&bytes[HEADER..], |register, value| set_dense(registers, register, value))?;
    *bytes = dense;
    Ok(true)
}

/// Raises each of `max` to what the registers are.
pub fn merge_into(max: &mut Registers, bytes: &[u8]) -> Result<(), Corrupt> {
    let mut raise = |register: usize, value: u8| max[register] = max[register].max(value);
    match form(bytes) {
        Some(Form::Sparse) => sparse::each_value(&bytes[HEADER..], raise),
        _ => {
            each_dense(&bytes[HEADER..]).enumerate().for_each(|(at, value)| raise(at, value));
            Ok(())
        }
    }
}

/// Raises the registers to `max`, in a sparse form as [`add`] would do it one after another.
pub fn raise_all(bytes: &mut Vec<u8>, max: &Registers, sparse_max: usize) -> Result<(), Corrupt> {
    let mut values = max.iter().enumerate().filter(|(_, value)| **value > 0).peekable();
    if form(bytes) == Some(Form::Sparse) {
        let mut runs = sparse::Runs::new(bytes, HEADER);
        while let Some(&(register, &value)) = values.peek() {
            if runs.raise(register, value, sparse_max)? == sparse::Raised::TooMuch {
                make_dense(bytes)?;
                break;
            }
            values.next();
        }
    }
    for (register, &value) in values {
        raise_dense(bytes, register, value);
    }
    set_out_of_date(bytes);
    Ok(())
}

/// How many registers there are of each value.
pub fn histogram(bytes: &[u8]) -> Result<Histogram, Corrupt> {
    let mut histogram = Histogram::default();
    match form(bytes) {
        Some(Form::Sparse) => sparse::count(&bytes[HEADER..], &mut histogram)?,
        _ => each_dense(&bytes[HEADER..]).for_each(|value| histogram.add(value, 1)),
    }
    Ok(histogram)
}

/// The registers of a dense form.
pub fn dense_registers(bytes: &[u8]) -> impl Iterator<Item = u8> {
    each_dense(&bytes[HEADER..])
}

/// The runs of a sparse form as text.
pub fn describe(bytes: &[u8]) -> String {
    sparse::describe(&bytes[HEADER..])
}

/// The register that a thing belongs to, and what it must be at least.
fn place_of(thing: &[u8]) -> (usize, u8) {
    let hash = murmur_64a(thing, SEED);
    let register = hash as usize & (REGISTERS - 1);
    let zeros = (hash >> REGISTER_BITS).trailing_zeros().min(ZERO_BITS);
    (register, zeros as u8 + 1)
}

/// Austin Appleby's MurmurHash2 for 64 bits, reading little endian.
fn murmur_64a(bytes: &[u8], seed: u64) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    const R: u32 = 47;
    let mut hash = seed ^ (bytes.len() as u64).wrapping_mul(M);
    let (eights, rest) = bytes.as_chunks::<8>();
    for eight in eights {
        let mut k = u64::from_le_bytes(*eight).wrapping_mul(M);
        k ^= k >> R;
        hash = (hash ^ k.wrapping_mul(M)).wrapping_mul(M);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(last)).wrapping_mul(M);
    }
    hash = (hash ^ hash >> R).wrapping_mul(M);
    hash ^ hash >> R
}

/// Four registers are three bytes.
fn each_dense(registers: &[u8]) -> impl Iterator<Item = u8> {
    registers.as_chunks::<3>().0.iter().flat_map(|&[a, b, c]| {
        let word = u32::from_le_bytes([a, b, c, 0]);
        [0, 6, 12, 18].map(|shift| (word >> shift & 63) as u8)
    })
}

/// The two bytes around a register, and where in them it begins.
fn dense_place(register: usize) -> (usize, u32) {
    let bit = register * 6;
    (bit / 8, bit as u32 % 8)
}

fn dense_at(registers: &[u8], register: usize) -> u8 {
    let (at, shift) = dense_place(register);
    let next = registers.get(at + 1).copied().unwrap_or(0);
    (u16::from_le_bytes([registers[at], next]) >> shift & 63) as u8
}

fn set_dense(registers: &mut [u8], register: usize, value: u8) {
    let (at, shift) = dense_place(register);
    let next = registers.get(at + 1).copied().unwrap_or(0);
    let word = u16::from_le_bytes([registers[at], next]) & !(63 << shift);
    let [low, high] = (word | u16::from(value) << shift).to_le_bytes();
    registers[at] = low;
    if let Some(next) = registers.get_mut(at + 1) {
        *next = high;
    }
}
