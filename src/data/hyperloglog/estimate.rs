//! The estimate of a cardinality from the values of the registers.

use super::{REGISTERS, Registers, ZERO_BITS};

/// 0.5 / ln 2
const ALPHA: f64 = 0.721_347_520_444_481_7;
/// What six bits can say; no hash gives more than [`ZERO_BITS`] + 1.
const VALUES: usize = 64;

/// How many registers have which value.
#[derive(Debug, Clone)]
pub struct Histogram([u32; VALUES]);

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram([0; VALUES])
    }
}

impl Histogram {
    pub fn of(registers: &Registers) -> Histogram {
        let mut histogram = Histogram::default();
        registers.iter().for_each(|&value| histogram.add(value, 1));
        histogram
    }

    #[inline]
    pub(super) fn add(&mut self, value: u8, registers: usize) {
        self.0[usize::from(value) % VALUES] += registers as u32;
    }

    /// About how many different things were added.
    pub fn cardinality(&self) -> u64 {
        let m = REGISTERS as f64;
        let most = ZERO_BITS as usize;
        let mut z = m * tau((m - f64::from(self.0[most + 1])) / m);
        for value in (1..=most).rev() {
            z += f64::from(self.0[value]);
            z *= 0.5;
        }
        z += m * sigma(f64::from(self.0[0]) / m);
        let estimate = ALPHA * m * m / z;
        // Registers that no hash gives can make it infinite: the same number as Redis has then.
        if estimate.is_finite() { estimate.round() as u64 } else { 1 << 63 }
    }
}

/// Ertl's σ.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if before == z {
            return z;
        }
    }
}

/// Ertl's τ.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if before == z {
            return z / 3.0;
        }
    }
}
