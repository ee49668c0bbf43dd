//! The checksum of RDB files and DUMP payloads: CRC-64 with Jones' polynomial, bits reflected, starting
//! at 0 and not inverted at the end.
//!
//! Eight bytes a step, by eight tables. A step waits for the one before it, so long inputs are cut into four lanes
//! whose steps take turns, and the checksums of the lanes are joined: 5 GB/s where one lane makes 1.7.
//!
//! A checksum is a polynomial's remainder, to which zeros behind the input are a multiplication. So what was summed
//! apart can be [joined](combine) without its bytes.

/// The polynomial 0xad93d23594c935a9 with its bits in reverse.
const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;

/// `TABLES[n][byte]`: what `byte` comes to when `n` zero bytes follow it.
static TABLES: [[u64; 256]; 8] = tables();

const fn tables() -> [[u64; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut n = 1;
    while n < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[n - 1][byte];
            tables[n][byte] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        n += 1;
    }
    tables
}

/// Bytes of a lane.
const LANE: usize = 8 << 10;
const LANES: usize = 4;
/// What a lane behind it multiplies a checksum by.
const LANE_FACTOR: u64 = power(LANE as u64);

/// The checksum of what had `crc` with `bytes` behind it; that of nothing is 0.
pub fn crc64(mut crc: u64, bytes: &[u8]) -> u64 {
    let (blocks, rest) = bytes.as_chunks::<{ LANES * LANE }>();
    for block in blocks {
        crc = in_lanes(crc, block);
    }
    let (words, rest) = rest.as_chunks::<8>();
    crc = words.iter().fold(crc, |crc, bytes| word(crc ^ u64::from_le_bytes(*bytes)));
    rest.iter().fold(crc, |crc, byte| crc >> 8 ^ TABLES[0][usize::from(crc as u8 ^ byte)])
}

fn in_lanes(crc: u64, block: &[u8; LANES * LANE]) -> u64 {
    let [a, b, c, d] = std::array::from_fn(|lane| {
        let words: &[[u8; 8]] = block[lane * LANE..(lane + 1) * LANE].as_chunks().0;
        words
    });
    let mut sums = [crc, 0, 0, 0];
    for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
        for (sum, bytes) in sums.iter_mut().zip([a, b, c, d]) {
            *sum = word(*sum ^ u64::from_le_bytes(*bytes));
        }
    }
    sums.into_iter().fold(0, |joined, sum| multiply(joined, LANE_FACTOR) ^ sum)
}

/// What eight bytes come to.
#[inline(always)]
fn word(word: u64) -> u64 {
    let parts = word.to_le_bytes();
    let part = |at: usize| TABLES[7 - at][usize::from(parts[at])];
    ((part(0) ^ part(1)) ^ (part(2) ^ part(3))) ^ ((part(4) ^ part(5)) ^ (part(6) ^ part(7)))
}

/// The checksum of something followed by `len` bytes, of which it is `second` and that of what comes before
/// them `first`.
pub fn combine(first: u64, second: u64, len: u64) -> u64 {
    multiply(first, power(len)) ^ second
}

/// What `len` zero bytes behind it multiply a checksum by.
const fn power(mut len: u64) -> u64 {
    // Bit 63 stands for 1, the one below it for x.
    let (mut power, mut square) = (1 << 63, 1 << (63 - 8));
    while len > 0 {
        if len & 1 == 1 {
            power = multiply(power, square);
        }
        square = multiply(square, square);
        len >>= 1;
    }
    power
}

/// The product of two polynomials, less the one of the checksum as often as it goes.
const fn multiply(a: u64, mut b: u64) -> u64 {
    let mut product = 0;
    let mut bit = 64;
    while bit > 0 {
        bit -= 1;
        product ^= b & (a >> bit & 1).wrapping_neg();
        b = b >> 1 ^ POLYNOMIAL & (b & 1).wrapping_neg();
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        assert_eq!(crc64(0, b""), 0);
        assert_eq!(crc64(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        let bytes: Vec<u8> = (0..1000u32).map(|n| (n * 7) as u8).collect();
        let whole = crc64(0, &bytes);
        for cut in [0, 1, 7, 8, 9, 500, 999, 1000] {
            assert_eq!(crc64(crc64(0, &bytes[..cut]), &bytes[cut..]), whole, "cut at {cut}");
        }
    }

    #[test]
    fn lanes_and_parts_come_to_the_same() {
        let bytes: Vec<u8> =
            (0..100_000u64).map(|n| (n.wrapping_mul(2_654_435_761) >> 9) as u8).collect();
        let by_words = |bytes: &[u8]| bytes.chunks(1000).fold(0, crc64);
        for len in [LANES * LANE - 1, LANES * LANE, LANES * LANE + 9, 100_000] {
            assert_eq!(crc64(0, &bytes[..len]), by_words(&bytes[..len]), "{len} bytes");
        }
        for cut in [0, 1, 8, 777, 40_000, 99_999, 100_000] {
            let (first, second) = bytes.split_at(cut);
            let joined = combine(crc64(0, first), crc64(0, second), second.len() as u64);
            assert_eq!(joined, by_words(&bytes), "cut at {cut}");
        }
    }
}
