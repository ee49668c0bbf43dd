//! The first byte chooses how the rest is cut up on its way; see `property.rs`.
#![no_main]

#[path = "../property.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some((&step, input)) = bytes.split_first() {
        property::however_it_is_cut(input, usize::from(step) + 1);
    }
});
