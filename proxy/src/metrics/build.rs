//! Which build this is.

/// What `build.rs` found out about this build.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// The version of the package.
    pub version: &'static str,
    /// The commit it was built from: 12 digits, `+` behind them if files had been changed;
    /// `unknown` without git, `debug` in a debug build.
    pub commit: &'static str,
    /// The compiler: `1.88.0`.
    pub rustc: &'static str,
}

/// This build.
pub const BUILD: Build = Build {
    version: env!("CARGO_PKG_VERSION"),
    commit: env!("SLOTWAY_BUILD_COMMIT"),
    rustc: env!("SLOTWAY_BUILD_RUSTC"),
};
