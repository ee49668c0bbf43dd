//! Which keys a load touches, and how a key number becomes a key.
//!
//! A key is a number below `--keys`, rendered by a [`KeyFormat`]. Numbers come from a [`Draw`]:
//! uniform, Zipf, or in sequence. Zipf ranks are scattered over the numbers by a fixed
//! permutation, so the hottest keys are not neighbours and lie in unrelated slots.

use std::str::FromStr;

/// SplitMix64: one multiplication-and-shift chain per number, good enough to pick keys.
#[derive(Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, by multiplication instead of division.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// `prefix%0Nd suffix`: the printf-like pattern of `--key-format` with exactly one `%d`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFormat {
    prefix: Vec<u8>,
    width: usize,
    suffix: Vec<u8>,
}

impl FromStr for KeyFormat {
    type Err = String;

    fn from_str(pattern: &str) -> Result<KeyFormat, String> {
        let wrong = || format!("'{pattern}': expected one %d or %0Nd, as in key:%012d");
        let (prefix, rest) = pattern.split_once('%').ok_or_else(wrong)?;
        let (width, suffix) = rest.split_once('d').ok_or_else(wrong)?;
        let width = match width {
            "" => 0,
            padded => padded.strip_prefix('0').and_then(|w| w.parse().ok()).ok_or_else(wrong)?,
        };
        if suffix.contains('%') || width > 20 {
            return Err(wrong());
        }
        Ok(KeyFormat { prefix: prefix.into(), width, suffix: suffix.into() })
    }
}

impl KeyFormat {
    /// Appends the key itself.
    pub fn write_key(&self, number: u64, out: &mut Vec<u8>) {
        let mut digits = [b'0'; 20];
        let first = self.digits(number, &mut digits);
        self.write_parts(&digits[first..], out);
    }

    /// Appends the key as a RESP bulk string.
    pub fn write_bulk(&self, number: u64, out: &mut Vec<u8>) {
        let mut digits = [b'0'; 20];
        let first = self.digits(number, &mut digits);
        let len = self.prefix.len() + (digits.len() - first) + self.suffix.len();
        write_bulk_header(len, out);
        self.write_parts(&digits[first..], out);
        out.extend_from_slice(b"\r\n");
    }

    fn write_parts(&self, digits: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&self.prefix);
        out.extend_from_slice(digits);
        out.extend_from_slice(&self.suffix);
    }

    /// Writes the number right-aligned; returns the index of its first digit, padding included.
    fn digits(&self, mut number: u64, digits: &mut [u8; 20]) -> usize {
        let mut first = digits.len();
        while number > 0 || first == digits.len() {
            first -= 1;
            digits[first] = b'0' + (number % 10) as u8;
            number /= 10;
        }
        first.min(digits.len() - self.width)
    }
}

/// Appends `$len\r\n`.
pub fn write_bulk_header(len: usize, out: &mut Vec<u8>) {
    out.push(b'$');
    if len < 10 {
        out.push(b'0' + len as u8);
    } else if len < 100 {
        out.extend_from_slice(&[b'0' + (len / 10) as u8, b'0' + (len % 10) as u8]);
    } else {
        out.extend_from_slice(len.to_string().as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// What `--distribution` may say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    Uniform,
    Zipf(f64),
    Sequential,
}

impl FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Distribution, String> {
        let (name, theta) = text.split_once(':').unwrap_or((text, "0.99"));
        match name {
            "zipf" => match theta.parse::<f64>() {
                Ok(theta) if theta > 0.0 && theta <= 10.0 => Ok(Distribution::Zipf(theta)),
                _ => Err(format!("'{theta}': theta must be above 0 and at most 10")),
            },
            "uniform" if name == text => Ok(Distribution::Uniform),
            "sequential" if name == text => Ok(Distribution::Sequential),
            _ => Err(format!("'{text}': expected uniform, sequential, zipf or zipf:THETA")),
        }
    }
}

impl std::fmt::Display for Distribution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Distribution::Uniform => f.write_str("uniform"),
            Distribution::Zipf(theta) => write!(f, "zipf:{theta}"),
            Distribution::Sequential => f.write_str("sequential"),
        }
    }
}

/// One thread's stream of key numbers.
pub enum Draw {
    Uniform {
        keys: u64,
    },
    Zipf {
        zipf: Zipf,
        keys: u64,
        multiplier: u64,
    },
    /// Round and round through `start..end`.
    Sequential {
        next: u64,
        start: u64,
        end: u64,
    },
    /// Through `next..end` once; the only stream that ends.
    Once {
        next: u64,
        end: u64,
    },
}

impl Draw {
    /// The stream of thread `thread` of `threads`. Sequential threads get a range each.
    pub fn new(distribution: Distribution, keys: u64, thread: u64, threads: u64) -> Draw {
        assert!(keys > 0 && keys <= u64::from(u32::MAX), "options bound the number of keys");
        match distribution {
            Distribution::Uniform => Draw::Uniform { keys },
            Distribution::Zipf(theta) => {
                Draw::Zipf { zipf: Zipf::new(keys, theta), keys, multiplier: scatter(keys) }
            }
            Distribution::Sequential => {
                let (start, end) = range_of(keys, thread, threads);
                Draw::Sequential { next: start, start, end: end.max(start + 1) }
            }
        }
    }

    pub fn once(keys: u64, thread: u64, threads: u64) -> Draw {
        let (next, end) = range_of(keys, thread, threads);
        Draw::Once { next, end }
    }

    pub fn ends(&self) -> bool {
        matches!(self, Draw::Once { .. })
    }

    pub fn next(&mut self, rng: &mut Rng) -> Option<u64> {
        match self {
            Draw::Uniform { keys } => Some(rng.below(*keys)),
            Draw::Zipf { zipf, keys, multiplier } => {
                // Both factors are below 2^32 (see `new`), so the product fits.
                Some((zipf.rank(rng) - 1) * *multiplier % *keys)
            }
            Draw::Sequential { next, start, end } => {
                let number = *next;
                *next = if number + 1 == *end { *start } else { number + 1 };
                Some(number)
            }
            Draw::Once { next, end } => {
                let number = *next;
                *next += u64::from(number < *end);
                (number < *end).then_some(number)
            }
        }
    }
}

fn range_of(keys: u64, thread: u64, threads: u64) -> (u64, u64) {
    (keys * thread / threads, keys * (thread + 1) / threads)
}

/// A multiplier that permutes `0..keys`: coprime to it, near the golden section of it.
fn scatter(keys: u64) -> u64 {
    let mut multiplier = (keys as f64 * 0.618_033_988_749_894_9) as u64 | 1;
    while gcd(multiplier, keys) != 1 {
        multiplier += 2;
    }
    multiplier % keys.max(2)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Ranks `1..=n` with probability proportional to `rank^-theta`, for any theta above 0.
///
/// Rejection-inversion (Hörmann and Derflinger, 1996): constant time, no table, and unlike the
/// usual closed formula not limited to theta below 1.
pub struct Zipf {
    n: f64,
    theta: f64,
    area_first: f64,
    area_last: f64,
    accept: f64,
}

impl Zipf {
    pub fn new(n: u64, theta: f64) -> Zipf {
        let mut zipf = Zipf { n: n as f64, theta, area_first: 0.0, area_last: 0.0, accept: 0.0 };
        zipf.area_first = zipf.area(1.5) - 1.0;
        zipf.area_last = zipf.area(n as f64 + 0.5);
        zipf.accept = 2.0 - zipf.area_inverse(zipf.area(2.5) - zipf.weight(2.0));
        zipf
    }

    pub fn rank(&self, rng: &mut Rng) -> u64 {
        loop {
            let u = self.area_last + rng.unit() * (self.area_first - self.area_last);
            let x = self.area_inverse(u);
            let k = x.round().clamp(1.0, self.n);
            if k - x <= self.accept || u >= self.area(k + 0.5) - self.weight(k) {
                return k as u64;
            }
        }
    }

    fn weight(&self, x: f64) -> f64 {
        x.powf(-self.theta)
    }

    /// The integral of `weight` from 1 to `x`.
    fn area(&self, x: f64) -> f64 {
        let power = 1.0 - self.theta;
        if power.abs() < 1e-9 { x.ln() } else { (x.powf(power) - 1.0) / power }
    }

    fn area_inverse(&self, area: f64) -> f64 {
        let power = 1.0 - self.theta;
        if power.abs() < 1e-9 { area.exp() } else { (1.0 + area * power).powf(1.0 / power) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(pattern: &str, number: u64) -> String {
        let mut out = Vec::new();
        pattern.parse::<KeyFormat>().unwrap().write_key(number, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn keys_are_padded_like_printf() {
        assert_eq!(key("key:%012d", 42), "key:000000000042");
        assert_eq!(key("key:%012d", 999_999_999_999), "key:999999999999");
        assert_eq!(key("k%d", 0), "k0");
        assert_eq!(key("k%02d", 12_345), "k12345");
        assert_eq!(key("{u%d}:name", 7), "{u7}:name");
    }

    #[test]
    fn bulk_lengths_count_padding_and_overflow() {
        let mut out = Vec::new();
        "key:%012d".parse::<KeyFormat>().unwrap().write_bulk(7, &mut out);
        assert_eq!(out, b"$16\r\nkey:000000000007\r\n");
        out.clear();
        "%02d".parse::<KeyFormat>().unwrap().write_bulk(12_345, &mut out);
        assert_eq!(out, b"$5\r\n12345\r\n");
        out.clear();
        format!("{}%d", "p".repeat(120)).parse::<KeyFormat>().unwrap().write_bulk(3, &mut out);
        assert!(out.starts_with(b"$121\r\nppp") && out.ends_with(b"p3\r\n"));
    }

    #[test]
    fn wrong_patterns_are_refused() {
        for pattern in ["key", "key:%12d", "%s", "%d:%d", "%0xd", "%021d"] {
            assert!(pattern.parse::<KeyFormat>().is_err(), "{pattern}");
        }
    }

    #[test]
    fn zipf_follows_its_law() {
        for theta in [0.5, 0.99, 1.0, 1.3] {
            let (n, draws) = (1000u64, 400_000u64);
            let zipf = Zipf::new(n, theta);
            let mut rng = Rng::new(5);
            let mut counts = vec![0u64; n as usize + 1];
            for _ in 0..draws {
                counts[zipf.rank(&mut rng) as usize] += 1;
            }
            assert_eq!(counts[0], 0);
            let total: f64 = (1..=n).map(|k| (k as f64).powf(-theta)).sum();
            for k in [1u64, 2, 3, 10, 100] {
                let expected = draws as f64 * (k as f64).powf(-theta) / total;
                let tolerance = 5.0 * expected.sqrt() + 1.0;
                let seen = counts[k as usize] as f64;
                assert!((seen - expected).abs() < tolerance, "{theta} {k}: {seen} {expected}");
            }
            let tail: u64 = counts[501..].iter().sum();
            let expected: f64 =
                (501..=n).map(|k| draws as f64 * (k as f64).powf(-theta) / total).sum();
            assert!((tail as f64 - expected).abs() < 5.0 * expected.sqrt() + 1.0, "{theta} tail");
        }
    }

    #[test]
    fn zipf_ranks_are_scattered_without_collisions() {
        for keys in [1u64, 2, 3, 10, 997, 1000, 65_536] {
            let multiplier = scatter(keys);
            let mut seen: Vec<u64> = (0..keys).map(|rank| rank * multiplier % keys).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..keys).collect::<Vec<_>>(), "{keys}");
        }
    }

    #[test]
    fn uniform_covers_the_range_and_stays_inside() {
        let mut rng = Rng::new(1);
        let mut draw = Draw::new(Distribution::Uniform, 100, 0, 1);
        let mut counts = [0u32; 100];
        for _ in 0..100_000 {
            counts[draw.next(&mut rng).unwrap() as usize] += 1;
        }
        assert!(counts.iter().all(|&n| (800..1200).contains(&n)), "{counts:?}");
    }

    #[test]
    fn a_fill_visits_every_key_once_over_all_threads() {
        let mut rng = Rng::new(1);
        let mut seen = Vec::new();
        for thread in 0..3 {
            let mut draw = Draw::once(1000, thread, 3);
            seen.extend(std::iter::from_fn(|| draw.next(&mut rng)));
        }
        assert_eq!(seen, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn sequential_wraps_within_the_threads_range() {
        let mut rng = Rng::new(1);
        let mut draw = Draw::new(Distribution::Sequential, 6, 1, 2);
        let seen: Vec<u64> = (0..5).filter_map(|_| draw.next(&mut rng)).collect();
        assert_eq!(seen, [3, 4, 5, 3, 4]);
    }

    #[test]
    fn distributions_parse() {
        assert_eq!("zipf".parse(), Ok(Distribution::Zipf(0.99)));
        assert_eq!("zipf:1.2".parse(), Ok(Distribution::Zipf(1.2)));
        for wrong in ["zipf:0", "zipf:x", "uniform:1", "normal"] {
            assert!(wrong.parse::<Distribution>().is_err(), "{wrong}");
        }
    }
}
