//! See `noprop_fuzz::cifar`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| noprop_fuzz::cifar(bytes));
