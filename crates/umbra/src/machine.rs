//! What the machine tells of this process.

/// The largest resident memory of this process so far, in bytes, where the system tells.
#[cfg(target_os = "linux")]
#[must_use]
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}

/// The largest resident memory of this process so far, in bytes, where the system tells.
#[cfg(all(unix, not(target_os = "linux")))]
#[must_use]
pub fn peak_memory() -> Option<u64> {
    use nix::sys::resource::{UsageWho, getrusage};
    let peak = u64::try_from(getrusage(UsageWho::RUSAGE_SELF).ok()?.max_rss()).ok()?;
    // Bytes on Apple's systems, kilobytes on the others.
    Some(if cfg!(target_vendor = "apple") { peak } else { peak << 10 })
}

/// The largest resident memory of this process so far, in bytes, where the system tells.
#[cfg(not(unix))]
#[must_use]
pub fn peak_memory() -> Option<u64> {
    None
}

/// Seconds of processor time that this process has used, where the system tells.
#[cfg(unix)]
#[must_use]
pub fn processor_time() -> Option<f64> {
    use nix::sys::resource::{UsageWho, getrusage};
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let seconds = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 * 1e-6;
    Some(seconds(usage.user_time()) + seconds(usage.system_time()))
}

/// Seconds of processor time that this process has used, where the system tells.
#[cfg(not(unix))]
#[must_use]
pub fn processor_time() -> Option<f64> {
    None
}

/// The name of the processor, or of its architecture where the system does not tell.
#[must_use]
pub fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name =
        info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim()));
    name.unwrap_or(std::env::consts::ARCH).to_string()
}

/// Number of threads that heavy work runs on.
#[must_use]
pub fn threads() -> usize {
    rayon::current_num_threads()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_seen() {
        assert!(threads() >= 1);
        if let Some(before) = processor_time() {
            // Kept, so that it is not computed beforehand.
            let start = std::time::Instant::now();
            let mut sum = 0u64;
            while start.elapsed().as_millis() < 30 {
                sum = std::hint::black_box(sum + 1);
            }
            assert!(processor_time().is_some_and(|after| after > before));
        }
        let filled = std::hint::black_box(vec![1u8; 4 << 20]);
        assert!(peak_memory().is_none_or(|peak| peak >= filled.len() as u64));
    }
}
