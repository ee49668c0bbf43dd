use super::*;

const SPARSE_MAX: usize = 3000;

fn grown(things: std::ops::Range<u32>) -> Vec<u8> {
    let mut bytes = empty();
    for thing in things {
        add(&mut bytes, &thing.to_le_bytes(), SPARSE_MAX).unwrap();
    }
    bytes
}

fn registers(bytes: &[u8]) -> Box<Registers> {
    let mut registers = Box::new([0; REGISTERS]);
    merge_into(&mut registers, bytes).unwrap();
    registers
}

#[test]
fn the_hash_is_murmur() {
    // The reference implementation's, with seed 0 and with Redis'.
    assert_eq!(murmur_64a(b"", 0), 0);
    assert_eq!(murmur_64a(b"hello", 0), 0x1e68_d17c_457b_f117);
    assert_eq!(place_of(b"hello").0, murmur_64a(b"hello", SEED) as usize & 0x3fff);
}

#[test]
fn an_empty_one_is_one_run() {
    let bytes = empty();
    assert_eq!(bytes, b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0\x7f\xff");
    assert_eq!((describe(&bytes), cached(&bytes)), ("Z:16384".to_string(), Some(0)));
    assert_eq!(histogram(&bytes).unwrap().cardinality(), 0);
}

#[test]
fn runs_are_split_and_joined() {
    let mut bytes = empty();
    let mut raise = |register, value| {
        let raised = sparse::Runs::new(&mut bytes, HEADER).raise(register, value, SPARSE_MAX);
        (raised.unwrap() == sparse::Raised::Changed, describe(&bytes))
    };
    let mut step = |register, value, changed, runs: &str| {
        assert_eq!(raise(register, value), (changed, runs.to_string()));
    };
    step(100, 3, true, "Z:100 v:3,1 Z:16283");
    step(101, 3, true, "Z:100 v:3,2 Z:16282");
    step(103, 3, true, "Z:100 v:3,2 z:1 v:3,1 Z:16280");
    step(102, 3, true, "Z:100 v:3,4 Z:16280");
    step(104, 3, true, "Z:100 v:3,4 v:3,1 Z:16279");
    step(101, 2, false, "Z:100 v:3,4 v:3,1 Z:16279");
    step(101, 5, true, "Z:100 v:3,1 v:5,1 v:3,3 Z:16279");
    step(0, 1, true, "v:1,1 Z:99 v:3,1 v:5,1 v:3,3 Z:16279");
    step(16_383, 32, true, "v:1,1 Z:99 v:3,1 v:5,1 v:3,3 Z:16278 v:32,1");
    step(40, 1, true, "v:1,1 z:39 v:1,1 z:59 v:3,1 v:5,1 v:3,3 Z:16278 v:32,1");
}

#[test]
fn both_forms_have_the_same_registers() {
    for count in [0, 1, 10, 300, 1500] {
        let bytes = grown(0..count);
        assert_eq!(form(&bytes), Some(Form::Sparse), "{count}");
        let mut dense = bytes.clone();
        assert_eq!(make_dense(&mut dense), Ok(true));
        assert_eq!(make_dense(&mut dense), Ok(false));
        assert_eq!(registers(&bytes), registers(&dense));
        assert!(dense_registers(&dense).eq(registers(&bytes).iter().copied()));
        let estimates = [&bytes, &dense].map(|bytes| histogram(bytes).unwrap().cardinality());
        assert_eq!(estimates[0], estimates[1]);
        assert!(estimates[0].abs_diff(u64::from(count)) <= u64::from(count / 20));
        let of_registers = Histogram::of(&registers(&bytes)).cardinality();
        assert_eq!(of_registers, estimates[0]);
    }
}

#[test]
fn a_long_or_high_one_becomes_dense() {
    assert_eq!(form(&grown(0..3000)), Some(Form::Dense));
    let mut bytes = grown(0..10);
    let mut max = registers(&bytes);
    max[77] = 33;
    raise_all(&mut bytes, &max, SPARSE_MAX).unwrap();
    assert_eq!((form(&bytes), registers(&bytes)), (Some(Form::Dense), max));
    let mut bytes = empty();
    assert_eq!(add(&mut bytes, b"x", 18), Ok(true));
    assert_eq!(form(&bytes), Some(Form::Dense));
}

/// All at once gives the same bytes as one register after another.
#[test]
fn registers_are_raised_in_one_pass() {
    for (present, more) in [(0, 50), (50, 50), (400, 900), (900, 100), (1, 1500), (0, 5000)] {
        let max = registers(&grown(present / 2..present + more));
        let mut at_once = grown(0..present);
        let mut one_by_one = at_once.clone();
        raise_all(&mut at_once, &max, SPARSE_MAX).unwrap();
        for (register, &value) in max.iter().enumerate().filter(|(_, value)| **value > 0) {
            if form(&one_by_one) == Some(Form::Sparse) {
                let runs = &mut sparse::Runs::new(&mut one_by_one, HEADER);
                match runs.raise(register, value, SPARSE_MAX).unwrap() {
                    sparse::Raised::TooMuch => make_dense(&mut one_by_one).unwrap(),
                    _ => continue,
                };
            }
            raise_dense(&mut one_by_one, register, value);
        }
        set_out_of_date(&mut one_by_one);
        assert_eq!(at_once, one_by_one, "{more} to {present}");
        assert_eq!(cached(&at_once), None);
    }
}

#[test]
fn the_estimate_is_within_its_error() {
    // 1.04 / sqrt(16384) is 0.81 %; five of them.
    for count in [10_000, 100_000, 1_000_000] {
        let estimate = histogram(&grown(0..count)).unwrap().cardinality();
        let error = estimate.abs_diff(u64::from(count)) as f64 / f64::from(count);
        assert!(error < 5.0 * 0.0081, "{estimate} for {count}");
    }
}

#[test]
fn the_cached_cardinality_goes_out_of_date() {
    let mut bytes = grown(0..100);
    set_cached(&mut bytes, 0x0102_0304);
    assert_eq!(bytes[CARDINALITY], [4, 3, 2, 1, 0, 0, 0, 0]);
    assert_eq!(cached(&bytes), Some(0x0102_0304));
    set_out_of_date(&mut bytes);
    assert_eq!(cached(&bytes), None);
}

#[test]
fn no_bytes_do_harm() {
    let mut random = fastrand::Rng::with_seed(9);
    for _ in 0..if cfg!(miri) { 30 } else { 3000 } {
        let mut bytes = grown(0..random.u32(0..20));
        for _ in 0..random.usize(0..4) {
            let at = random.usize(HEADER..bytes.len());
            bytes[at] = random.u8(..);
        }
        bytes.truncate(random.usize(HEADER..=bytes.len()));
        bytes.resize(bytes.len() + random.usize(0..3), random.u8(..));
        let mut max = Box::new([0; REGISTERS]);
        let merged = merge_into(&mut max, &bytes);
        assert_eq!(make_dense(&mut bytes.clone()).is_ok(), merged.is_ok());
        assert_eq!(histogram(&bytes).is_ok(), merged.is_ok());
        let _ = describe(&bytes);
        for _ in 0..50 {
            if add(&mut bytes, &random.u64(..).to_le_bytes(), SPARSE_MAX).is_err() {
                assert!(merged.is_err());
            }
        }
    }
}

#[test]
fn what_is_no_hyperloglog_is_known() {
    let bytes = grown(0..5);
    assert_eq!(form(&bytes[..15]), None);
    assert_eq!(form(b""), None);
    assert_eq!(form(b"HYLX\x01\0\0\0\0\0\0\0\0\0\0\0"), None);
    assert_eq!(form(b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0"), Some(Form::Sparse));
    assert_eq!(form(b"HYLL\x02\0\0\0\0\0\0\0\0\0\0\0"), None);
    assert_eq!(form(b"HYLL\0\0\0\0\0\0\0\0\0\0\0\0"), None);
}
