#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringbolt_fuzz::shard(data));
