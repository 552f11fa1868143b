//! See `noprop_fuzz::ranks`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| noprop_fuzz::ranks(bytes));
