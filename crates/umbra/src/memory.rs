//! Whether there is the memory that a piece of work needs, before it begins.
//!
//! What is left is what the system, the container (control groups of either version) and the limits of the process
//! (`ulimit -v`, `ulimit -d`) leave, whichever is least. Work that would not fit is refused in one line.

use std::fmt;

/// Memory that a piece of work takes, beyond what the process has already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// Bytes that have to be in memory.
    pub resident: u64,
    /// Bytes of addresses: those, files that are mapped, and the rounding of buffers.
    pub addresses: u64,
}

/// What bounds the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bound {
    /// Memory and swap of the machine.
    System,
    /// The control group.
    Container,
    /// `RLIMIT_AS`.
    Addresses,
    /// `RLIMIT_DATA`.
    Data,
}

/// Work that needs more memory than there is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{work} needs {} of memory, {bound} leaves {}; free some, raise the limit, or use a smaller network or batch",
    size(*needs), size(*has)
)]
pub struct TooLittle {
    /// The work.
    pub work: &'static str,
    /// Bytes that it needs.
    pub needs: u64,
    /// Bytes that are left.
    pub has: u64,
    /// What leaves no more.
    pub bound: Bound,
}

fn size(bytes: u64) -> String {
    if bytes < 999_500_000 { format!("{:.0} MB", bytes as f64 / 1e6) } else { format!("{:.2} GB", bytes as f64 / 1e9) }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "the machine",
            Self::Container => "the container's limit (cgroup)",
            Self::Addresses => "the limit on addresses (ulimit -v)",
            Self::Data => "the limit on data (ulimit -d)",
        })
    }
}

impl Need {
    /// The least that a network of so many parameters needs to be compiled: how much it is, is found out on the way.
    #[must_use]
    pub fn compilation(parameters: u64) -> Self {
        let resident = (16 << 20) + 32 * parameters;
        Self { resident, addresses: resident }
    }

    /// Refuses what does not fit into what is left.
    ///
    /// # Errors
    /// [`TooLittle`] with the first bound that does not leave enough.
    pub fn check(&self, work: &'static str) -> Result<(), TooLittle> {
        self.fits(work, &left())
    }

    fn fits(&self, work: &'static str, left: &[(Bound, u64)]) -> Result<(), TooLittle> {
        let needs = |bound| if bound == Bound::Addresses { self.addresses } else { self.resident };
        match left.iter().find(|(bound, has)| needs(*bound) > *has) {
            Some(&(bound, has)) => Err(TooLittle { work, needs: needs(bound), has, bound }),
            None => Ok(()),
        }
    }
}

/// What each bound leaves to this process, in bytes; bounds that there are not, or that cannot be found out, are left
/// out.
#[must_use]
pub fn left() -> Vec<(Bound, u64)> {
    [
        (Bound::Addresses, system::addresses()),
        (Bound::Data, system::data()),
        (Bound::Container, system::container()),
        (Bound::System, system::machine()),
    ]
    .into_iter()
    .filter_map(|(bound, left)| Some((bound, left?)))
    .collect()
}

#[cfg(target_os = "linux")]
mod system {
    use std::fs;
    use std::path::{Path, PathBuf};

    use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

    /// Memory that is free or can be freed, and swap.
    pub(super) fn machine() -> Option<u64> {
        let text = fs::read_to_string("/proc/meminfo").ok()?;
        Some(kilobytes(&text, "MemAvailable:")?.saturating_add(kilobytes(&text, "SwapFree:").unwrap_or(0)))
    }

    pub(super) fn addresses() -> Option<u64> {
        limit(Resource::RLIMIT_AS, "VmSize:")
    }

    pub(super) fn data() -> Option<u64> {
        limit(Resource::RLIMIT_DATA, "VmData:")
    }

    /// What a limit of the process leaves beyond what it has of it.
    fn limit(resource: Resource, used: &str) -> Option<u64> {
        let (limit, _) = getrlimit(resource).ok().filter(|(limit, _)| *limit != RLIM_INFINITY)?;
        let used = fs::read_to_string("/proc/self/status").ok().and_then(|status| kilobytes(&status, used));
        Some(limit.saturating_sub(used.unwrap_or(0)))
    }

    fn kilobytes(text: &str, name: &str) -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
    }

    pub(super) fn container() -> Option<u64> {
        container_in(&fs::read_to_string("/proc/self/cgroup").ok()?, Path::new("/sys/fs/cgroup"))
    }

    /// What the control groups of this process, and those around them, leave; `root` is where they are mounted.
    pub(super) fn container_in(groups: &str, root: &Path) -> Option<u64> {
        groups.lines().filter_map(|line| group(line, root)).min()
    }

    /// A line of `/proc/self/cgroup`: number, controllers, path.
    fn group(line: &str, root: &Path) -> Option<u64> {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let version_2 = controllers.is_empty();
        if !version_2 && !controllers.split(',').any(|controller| controller == "memory") {
            return None;
        }
        let roots =
            if version_2 { [root.to_path_buf(), root.join("unified")] } else { [root.join("memory"), root.into()] };
        let root = roots.into_iter().find(|root| root.is_dir())?;
        let own = Path::new(path.trim_start_matches('/'));
        // Inside a container the path may be one that only the host has: then the root is the container's own.
        let folders = own.ancestors().map(|part| root.join(part)).filter(|folder| folder.is_dir());
        folders.filter_map(|folder| left_in(&folder, version_2)).min()
    }

    /// What one group leaves: its limit without what is used of it, but for files that can be dropped.
    fn left_in(folder: &Path, version_2: bool) -> Option<u64> {
        let [limit, used, files] = if version_2 {
            ["memory.max", "memory.current", "inactive_file "]
        } else {
            ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "]
        };
        let number = |name: &str| -> Option<u64> { read(folder.join(name))?.trim().parse().ok() };
        // "max", or a number near 2^63, is none.
        let limit = number(limit).filter(|limit| *limit < 1 << 62)?;
        let stat = read(folder.join("memory.stat")).unwrap_or_default();
        let files = stat.lines().find_map(|line| line.strip_prefix(files)?.trim().parse().ok()).unwrap_or(0);
        Some(limit.saturating_sub(number(used).unwrap_or(0).saturating_sub(files)))
    }

    fn read(path: PathBuf) -> Option<String> {
        fs::read_to_string(path).ok()
    }
}

#[cfg(all(unix, not(target_os = "linux")))]
mod system {
    use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

    pub(super) fn machine() -> Option<u64> {
        None
    }

    pub(super) fn container() -> Option<u64> {
        None
    }

    pub(super) fn addresses() -> Option<u64> {
        limit(Resource::RLIMIT_AS)
    }

    pub(super) fn data() -> Option<u64> {
        limit(Resource::RLIMIT_DATA)
    }

    fn limit(resource: Resource) -> Option<u64> {
        getrlimit(resource).ok().map(|(limit, _)| limit).filter(|limit| *limit != RLIM_INFINITY)
    }
}

#[cfg(not(unix))]
mod system {
    pub(super) fn machine() -> Option<u64> {
        None
    }

    pub(super) fn container() -> Option<u64> {
        None
    }

    pub(super) fn addresses() -> Option<u64> {
        None
    }

    pub(super) fn data() -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_what_bounds_it() {
        let need = Need { resident: 2_000_000_000, addresses: 3_500_000_000 };
        let left = |addresses, machine| [(Bound::Addresses, addresses), (Bound::System, machine)];
        assert!(need.fits("an inference", &left(3_500_000_000, 2_000_000_000)).is_ok());
        assert!(need.fits("an inference", &[]).is_ok());
        let message = |left: &[(Bound, u64)]| need.fits("an inference", left).unwrap_err().to_string();
        let of_addresses = message(&left(3_499_999_999, 4_000_000_000));
        assert!(of_addresses.contains("3.50 GB") && of_addresses.contains("ulimit -v"), "{of_addresses}");
        let of_machine = message(&left(9_000_000_000, 1_500_000_000));
        assert!(of_machine.contains("needs 2.00 GB") && of_machine.contains("1.50 GB"), "{of_machine}");
        assert_eq!(of_machine.lines().count(), 1);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn control_groups_of_both_versions_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let left = |groups: &str, root: &str| system::container_in(groups, &folder.path().join(root));
        // Version 2: the tightest of a group and those around it; files that can be dropped count as free.
        write("2/memory.stat", "");
        write("2/a/memory.max", "1000\n");
        write("2/a/memory.current", "900\n");
        write("2/a/memory.stat", "anon 100\ninactive_file 300\n");
        write("2/a/b/memory.max", "max\n");
        write("2/a/b/memory.current", "5\n");
        assert_eq!(left("0::/a/b\n", "2"), Some(400));
        assert_eq!(left("0::/\n", "2"), None);
        // A path of the host: what is mounted is the container's.
        write("inner/memory.max", "700\n");
        write("inner/memory.current", "100\n");
        assert_eq!(left("0::/docker/123\n", "inner"), Some(600));
        // Version 1, beside other hierarchies.
        write("1/memory/x/memory.limit_in_bytes", "5000\n");
        write("1/memory/x/memory.usage_in_bytes", "2000\n");
        write("1/memory/x/memory.stat", "inactive_file 1\ntotal_inactive_file 500\n");
        write("1/memory/memory.limit_in_bytes", "9223372036854771712\n");
        write("1/memory/memory.usage_in_bytes", "8000\n");
        assert_eq!(left("9:name=systemd:/\n4:cpu,memory:/x\n0::/\n", "1"), Some(3500));
        assert_eq!(left("9:name=systemd:/\n3:cpuset:/x\n", "1"), None);
        // What nobody would write.
        write("odd/memory.max", "-3\n");
        assert_eq!(left("0::/../..\nx\n::::\n", "odd"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_machine_says_what_it_has() {
        let machine = left().into_iter().find(|(bound, _)| *bound == Bound::System);
        assert!(machine.is_some_and(|(_, bytes)| bytes > 1 << 20));
    }
}
