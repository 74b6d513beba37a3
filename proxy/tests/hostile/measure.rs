//! What a proxy's process and its metrics tell from outside.
#![allow(dead_code, reason = "each of the test programs uses a part")]

use std::fs;
use std::time::Duration;

use testbed::Proxy;

/// Longer than anything here takes; only a hanging test sees it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const MIB: usize = 1 << 20;

/// Resident memory of the proxy, in bytes.
pub(crate) fn resident(proxy: &Proxy) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: usize = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib * 1024
}

/// Open descriptors of the proxy.
pub(crate) fn descriptors(proxy: &Proxy) -> usize {
    fs::read_dir(format!("/proc/{}/fd", proxy.pid())).unwrap().count()
}

/// The sum of all series of one metric whose labels contain `label`.
pub(crate) fn metric(proxy: &Proxy, name: &str, label: &str) -> f64 {
    let (status, page) = proxy.http_get("/metrics").unwrap();
    assert_eq!(status, 200);
    let series = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        if !rest.starts_with([' ', '{']) {
            return None;
        }
        let (labels, value) = rest.rsplit_once(' ')?;
        labels.contains(label).then(|| value.parse::<f64>().unwrap())
    });
    series.sum()
}
