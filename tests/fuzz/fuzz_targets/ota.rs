#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| toyhub_fuzz::edge::http::report(bytes));
