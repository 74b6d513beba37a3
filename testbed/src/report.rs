//! Whether a handle that is being dropped shows what its processes have logged.

/// True while a panic unwinds, and always with `SLOTWAY_TEST_LOGS=1`.
pub(crate) fn wanted() -> bool {
    std::thread::panicking() || std::env::var_os("SLOTWAY_TEST_LOGS").is_some_and(|on| on == "1")
}
