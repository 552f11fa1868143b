//! See `noprop_fuzz::metrics`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| noprop_fuzz::metrics(bytes));
