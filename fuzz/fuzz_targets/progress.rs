//! See `noprop_fuzz::progress`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| noprop_fuzz::progress(bytes));
