//! The target `orc` of crate `hostile`, for cargo-fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hostile::run("orc", bytes));
