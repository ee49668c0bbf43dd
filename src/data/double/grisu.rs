//! The digits of a double by Grisu2 (Florian Loitsch, "Printing Floating-Point Numbers Quickly and
//! Accurately with Integers", 2010).
//!
//! The result always reads back as the same double. It is the shortest such text but for about one
//! double in a thousand, where Redis, which uses the same algorithm, has the same longer text; that
//! is why this is not the standard library's shortest form.

/// A number `mantissa * 2^exponent`.
#[derive(Clone, Copy)]
struct Wide {
    mantissa: u64,
    exponent: i32,
}

const HIDDEN: u64 = 1 << 52;
const BIAS: i32 = 1075;

/// Most digits that a double takes.
pub const DIGITS_MAX: usize = 17;
const SMALL_TENS: [u64; 20] = {
    let mut tens = [1; 20];
    let mut n = 1;
    while n < tens.len() {
        tens[n] = tens[n - 1] * 10;
        n += 1;
    }
    tens
};

impl Wide {
    /// Shifted left until the top bit is set.
    fn normal(self) -> Wide {
        let shift = self.mantissa.leading_zeros();
        Wide { mantissa: self.mantissa << shift, exponent: self.exponent - shift as i32 }
    }

    /// The product's top 64 bits, rounded half up.
    fn times(self, other: Wide) -> Wide {
        let product = u128::from(self.mantissa) * u128::from(other.mantissa);
        let mantissa = ((product + (1 << 63)) >> 64) as u64;
        Wide { mantissa, exponent: self.exponent + other.exponent + 64 }
    }
}

/// A power of ten by which a number of this binary exponent has 32 to 60 bits behind the point,
/// and its decimal exponent.
fn scale(exponent: i32) -> (Wide, i32) {
    const LOG_10_OF_2: f64 = 0.301_029_995_663_981_14;
    let estimate = (f64::from(-(exponent + POWERS.len() as i32)) * LOG_10_OF_2) as i32;
    let mut index = (estimate - POWERS_FROM) / POWERS_STEP;
    loop {
        let decimal = POWERS_FROM + index * POWERS_STEP;
        let binary = ((decimal * 217_706) >> 16) - 63;
        match exponent + binary + 64 {
            ..-60 => index += 1,
            -31.. => index -= 1,
            _ => {
                return (Wide { mantissa: POWERS[index as usize], exponent: binary }, decimal);
            }
        }
    }
}

/// The digits of a positive, finite double and the power of ten of the last one.
pub fn digits(value: f64) -> ([u8; DIGITS_MAX], usize, i32) {
    let bits = value.to_bits();
    let (fraction, raw) = (bits & (HIDDEN - 1), (bits >> 52) as i32 & 0x7ff);
    let exact = match raw {
        0 => Wide { mantissa: fraction, exponent: 1 - BIAS },
        _ => Wide { mantissa: fraction | HIDDEN, exponent: raw - BIAS },
    };
    // Whatever is between the boundaries reads back as the value; below a power of two the
    // doubles are closer together.
    let upper = Wide { mantissa: exact.mantissa * 2 + 1, exponent: exact.exponent - 1 }.normal();
    let shift = if exact.mantissa == HIDDEN { 2 } else { 1 };
    let lower = (exact.mantissa << shift) - 1;
    let lower = lower << (exact.exponent - shift - upper.exponent);
    let lower = Wide { mantissa: lower, exponent: upper.exponent };
    let (power, decimal) = scale(upper.exponent);
    let (exact, mut upper, mut lower) =
        (exact.normal().times(power), upper.times(power), lower.times(power));
    // The products may be off by one: stay on the safe side.
    lower.mantissa += 1;
    upper.mantissa -= 1;
    let (digits, len, exponent) = generate(exact, upper, lower);
    (digits, len, exponent - decimal)
}

/// Digits of `upper`, from the front on until the rest is small enough to leave out.
fn generate(exact: Wide, upper: Wide, lower: Wide) -> ([u8; DIGITS_MAX], usize, i32) {
    let mut digits = [0; DIGITS_MAX];
    let mut len = 0;
    let mut push = |digit: u64, len: &mut usize| {
        if digit != 0 || *len > 0 {
            digits[*len] = b'0' + digit as u8;
            *len += 1;
        }
    };
    let distance = upper.mantissa - exact.mantissa;
    let mut delta = upper.mantissa - lower.mantissa;
    let point = -upper.exponent;
    let one = 1u64 << point;
    let (mut whole, mut part) = (upper.mantissa >> point, upper.mantissa & (one - 1));
    for exponent in (0..10).rev() {
        let ten = SMALL_TENS[exponent];
        push(whole / ten, &mut len);
        whole %= ten;
        let rest = (whole << point) + part;
        if rest <= delta {
            round(&mut digits[len - 1], delta, rest, ten << point, distance);
            return (digits, len, exponent as i32);
        }
    }
    let mut exponent = 0;
    loop {
        part *= 10;
        delta *= 10;
        exponent += 1;
        push(part >> point, &mut len);
        part &= one - 1;
        if part < delta {
            let distance = distance.wrapping_mul(SMALL_TENS[exponent]);
            round(&mut digits[len - 1], delta, part, one, distance);
            return (digits, len, -(exponent as i32));
        }
    }
}

/// Lowers the last digit as long as that brings the number nearer to the exact one.
fn round(digit: &mut u8, delta: u64, mut rest: u64, unit: u64, distance: u64) {
    while rest < distance
        && delta - rest >= unit
        && (rest + unit < distance || distance - rest > rest + unit - distance)
    {
        *digit -= 1;
        rest += unit;
    }
}

/// The decimal exponent of the first power, and the step from one to the next.
const POWERS_FROM: i32 = -348;
const POWERS_STEP: i32 = 8;

/// The top 64 bits of powers of ten, rounded to nearest.
#[rustfmt::skip]
const POWERS: [u64; 87] = [
    0xfa8f_d5a0_081c_0288, 0xbaae_e17f_a23e_bf76, 0x8b16_fb20_3055_ac76, 0xcf42_894a_5dce_35ea,
    0x9a6b_b0aa_5565_3b2d, 0xe61a_cf03_3d1a_45df, 0xab70_fe17_c79a_c6ca, 0xff77_b1fc_bebc_dc4f,
    0xbe56_91ef_416b_d60c, 0x8dd0_1fad_907f_fc3c, 0xd351_5c28_3155_9a83, 0x9d71_ac8f_ada6_c9b5,
    0xea9c_2277_23ee_8bcb, 0xaecc_4991_4078_536d, 0x823c_1279_5db6_ce57, 0xc210_9436_4dfb_5637,
    0x9096_ea6f_3848_984f, 0xd774_85cb_2582_3ac7, 0xa086_cfcd_97bf_97f4, 0xef34_0a98_172a_ace5,
    0xb238_67fb_2a35_b28e, 0x84c8_d4df_d2c6_3f3b, 0xc5dd_4427_1ad3_cdba, 0x936b_9fce_bb25_c996,
    0xdbac_6c24_7d62_a584, 0xa3ab_6658_0d5f_daf6, 0xf3e2_f893_dec3_f126, 0xb5b5_ada8_aaff_80b8,
    0x8762_5f05_6c7c_4a8b, 0xc9bc_ff60_34c1_3053, 0x964e_858c_91ba_2655, 0xdff9_7724_7029_7ebd,
    0xa6df_bd9f_b8e5_b88f, 0xf8a9_5fcf_8874_7d94, 0xb944_7093_8fa8_9bcf, 0x8a08_f0f8_bf0f_156b,
    0xcdb0_2555_6531_31b6, 0x993f_e2c6_d07b_7fac, 0xe45c_10c4_2a2b_3b06, 0xaa24_2499_6973_92d3,
    0xfd87_b5f2_8300_ca0e, 0xbce5_0864_9211_1aeb, 0x8cbc_cc09_6f50_88cc, 0xd1b7_1758_e219_652c,
    0x9c40_0000_0000_0000, 0xe8d4_a510_0000_0000, 0xad78_ebc5_ac62_0000, 0x813f_3978_f894_0984,
    0xc097_ce7b_c907_15b3, 0x8f7e_32ce_7bea_5c70, 0xd5d2_38a4_abe9_8068, 0x9f4f_2726_179a_2245,
    0xed63_a231_d4c4_fb27, 0xb0de_6538_8cc8_ada8, 0x83c7_088e_1aab_65db, 0xc45d_1df9_4271_1d9a,
    0x924d_692c_a61b_e758, 0xda01_ee64_1a70_8dea, 0xa26d_a399_9aef_774a, 0xf209_787b_b47d_6b85,
    0xb454_e4a1_79dd_1877, 0x865b_8692_5b9b_c5c2, 0xc835_53c5_c896_5d3d, 0x952a_b45c_fa97_a0b3,
    0xde46_9fbd_99a0_5fe3, 0xa59b_c234_db39_8c25, 0xf6c6_9a72_a398_9f5c, 0xb7dc_bf53_54e9_bece,
    0x88fc_f317_f222_41e2, 0xcc20_ce9b_d35c_78a5, 0x9816_5af3_7b21_53df, 0xe2a0_b5dc_971f_303a,
    0xa8d9_d153_5ce3_b396, 0xfb9b_7cd9_a4a7_443c, 0xbb76_4c4c_a7a4_4410, 0x8bab_8eef_b640_9c1a,
    0xd01f_ef10_a657_842c, 0x9b10_a4e5_e991_3129, 0xe710_9bfb_a19c_0c9d, 0xac28_20d9_623b_f429,
    0x8044_4b5e_7aa7_cf85, 0xbf21_e440_03ac_dd2d, 0x8e67_9c2f_5e44_ff8f, 0xd433_179d_9c8c_b841,
    0x9e19_db92_b4e3_1ba9, 0xeb96_bf6e_badf_77d9, 0xaf87_023b_9bf0_ee6b,
];
