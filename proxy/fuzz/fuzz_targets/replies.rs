//! What a node sends, by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slotway::fuzz::replies(data));
