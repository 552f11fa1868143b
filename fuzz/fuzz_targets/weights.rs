//! See `noprop_fuzz::weights`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| noprop_fuzz::weights(bytes));
