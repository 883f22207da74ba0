//! The CPU limit that a container gives to everything in it, as its own cgroup tells.

use std::{fs, path::Path};

/// Cores, or `None` where nothing is limited (or nothing is told).
pub fn cpu_cores() -> Option<f64> {
    below(Path::new("/sys/fs/cgroup"))
}

/// In a container the mount point shows its own group. v1 has two files, v2 one: `max 100000`, or quota and period.
fn below(mount: &Path) -> Option<f64> {
    let read = |file: &str| fs::read_to_string(mount.join(file)).ok();
    let (quota, period) = match read("cpu.max") {
        Some(line) => {
            let (quota, period) = line.trim().split_once(' ')?;
            (quota.parse::<f64>().ok()?, period.parse::<f64>().ok()?)
        }
        None => (
            read("cpu/cpu.cfs_quota_us")?.trim().parse().ok()?,
            read("cpu/cpu.cfs_period_us")?.trim().parse().ok()?,
        ),
    };
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(files: &[(&str, &str)]) -> Option<f64> {
        let mount = tempfile::tempdir().unwrap();
        fs::create_dir(mount.path().join("cpu")).unwrap();
        for (file, text) in files {
            fs::write(mount.path().join(file), text).unwrap();
        }
        below(mount.path())
    }

    #[test]
    fn both_versions_tell_quota_and_period() {
        assert_eq!(with(&[("cpu.max", "5000 50000\n")]), Some(0.1));
        assert_eq!(with(&[("cpu.max", "max 100000\n")]), None);
        let v1 = |quota| {
            with(&[
                ("cpu/cpu.cfs_quota_us", quota),
                ("cpu/cpu.cfs_period_us", "100000\n"),
            ])
        };
        assert_eq!(v1("150000\n"), Some(1.5));
        assert_eq!(v1("-1\n"), None);
        assert_eq!(with(&[]), None);
    }
}
