//! See `noprop_fuzz::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| noprop_fuzz::config(bytes));
