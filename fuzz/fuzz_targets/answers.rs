//! See `noprop_fuzz::answers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| noprop_fuzz::answers(bytes));
