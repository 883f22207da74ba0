//! Both generations on a folder that stands in for the mount; the real thing is in `tests/quota.rs`.

use tempfile::TempDir;

use super::*;

const V1: &str = "\
30 29 0:27 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw,nsdelegate
31 29 0:28 / /sys/fs/cgroup/cpuset rw,nosuid - cgroup cgroup rw,cpuset
32 29 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
33 29 0:30 / /tmp rw - tmpfs cpu rw
";

const V2: &str = "\
24 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
35 24 0:30 / /sys/fs/cgroup rw,nosuid,nodev shared:4 - cgroup2 cgroup2 rw,nsdelegate
";

fn place(version: Version, mount: &str, own: &str) -> Place {
    Place {
        version,
        mount: mount.into(),
        own: own.into(),
    }
}

#[test]
fn the_hierarchy_with_the_controller_is_found() {
    let groups = "4:cpu,cpuacct:/user\n3:cpuset:/wrong\n0::/unified\n";
    let v1 = "/sys/fs/cgroup/cpu,cpuacct";
    assert_eq!(
        find(V1, groups),
        Some(place(Version::V1, v1, &format!("{v1}/user")))
    );
    let v2 = "/sys/fs/cgroup";
    assert_eq!(
        find(V2, "0::/user.slice/a.scope\n"),
        Some(place(Version::V2, v2, "/sys/fs/cgroup/user.slice/a.scope"))
    );
    assert_eq!(find(V2, "0::/\n"), Some(place(Version::V2, v2, v2)));
    assert_eq!(
        find("24 1 8:1 / / rw - ext4 /dev/sda1 rw\n", "0::/\n"),
        None
    );
    for cut in ["", "4:cpu", "nonsense", "::"] {
        assert_eq!(find(V1, cut), None, "{cut:?}");
    }
}

#[test]
fn a_container_that_sees_a_part_of_the_hierarchy_finds_its_group() {
    let mounts = "32 29 0:29 /docker/1 /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n";
    let mount = "/sys/fs/cgroup/cpu";
    for path in ["/docker/1", "/"] {
        assert_eq!(
            find(mounts, &format!("4:cpu:{path}\n")),
            Some(place(Version::V1, mount, mount))
        );
    }
}

#[test]
fn settings_are_whole_microseconds_of_a_short_period() {
    let v1 = |cores| settings(Version::V1, cores).unwrap();
    let expected = |period: &str, quota: &str| {
        vec![
            ("cpu.cfs_period_us", period.to_owned()),
            ("cpu.cfs_quota_us", quota.to_owned()),
        ]
    };
    assert_eq!(v1(0.1), expected("20000", "2000"));
    assert_eq!(v1(1.5), expected("20000", "30000"));
    assert_eq!(v1(0.02), expected("50000", "1000"));
    let v2 = settings(Version::V2, 0.25).unwrap();
    assert_eq!(v2, [("cpu.max", "5000 20000".to_owned())]);
    for cores in [0.0, 0.01, -1.0, 2_000.0, f64::NAN, f64::INFINITY] {
        assert!(
            matches!(settings(Version::V2, cores), Err(QuotaError::OutOfRange)),
            "{cores}"
        );
    }
}

#[test]
fn throttling_is_read_in_both_units() {
    let v1 = "nr_periods 12\nnr_throttled 7\nthrottled_time 1500000\n";
    let v2 = "usage_usec 9\nuser_usec 5\nnr_periods 12\nnr_throttled 7\nthrottled_usec 1500\nnr_bursts 0\n";
    let expected = Throttled {
        periods: 7,
        time_us: 1_500,
    };
    assert_eq!(parse_stat(Version::V1, v1), expected);
    assert_eq!(parse_stat(Version::V2, v2), expected);
    assert_eq!(parse_stat(Version::V2, ""), Throttled::default());
}

/// A group on an ordinary folder; its files would keep `drop` from removing it.
fn create(place: &Place) -> (PathBuf, File) {
    let group = place.create(0.5).unwrap();
    let door = group.door().unwrap();
    let folder = group.folder.clone();
    std::mem::forget(group);
    (folder, door)
}

#[test]
fn v1_makes_its_group_below_ours() {
    let dir = TempDir::new().unwrap();
    let own = dir.path().join("user");
    fs::create_dir(&own).unwrap();
    let place = Place {
        version: Version::V1,
        mount: dir.path().into(),
        own: own.clone(),
    };
    let (folder, _door) = create(&place);
    assert_eq!(folder.parent(), Some(own.as_path()));
    let read = |file| fs::read_to_string(folder.join(file)).unwrap();
    assert_eq!(read("cpu.cfs_period_us"), "20000");
    assert_eq!(read("cpu.cfs_quota_us"), "10000");
}

#[test]
fn v2_makes_its_group_where_the_controller_is_handed_down() {
    let dir = TempDir::new().unwrap();
    let slice = dir.path().join("app.slice");
    let own = slice.join("terminal.scope");
    fs::create_dir_all(&own).unwrap();
    for (folder, handed_down) in [(dir.path(), ""), (slice.as_path(), ""), (&own, "")] {
        fs::write(folder.join("cgroup.subtree_control"), handed_down).unwrap();
        fs::write(folder.join("cgroup.procs"), "").unwrap();
    }
    let place = Place {
        version: Version::V2,
        mount: dir.path().into(),
        own: own.clone(),
    };
    let error = place.create(0.5).unwrap_err().to_string();
    let advice = format!("echo +cpu > {}/cgroup", dir.path().display());
    assert!(error.contains(&advice), "{error}");

    fs::write(slice.join("cgroup.subtree_control"), "cpuset cpu pids\n").unwrap();
    let (folder, _door) = create(&place);
    assert_eq!(folder.parent(), Some(slice.as_path()));
    let limit = fs::read_to_string(folder.join("cpu.max")).unwrap();
    assert_eq!(limit, "10000 20000");
}

#[test]
fn no_right_is_told_with_what_to_do() {
    let place = Place {
        version: Version::V1,
        mount: "/proc".into(),
        own: "/proc/no/such/folder".into(),
    };
    let error = place.create(0.5).unwrap_err();
    assert!(matches!(error, QuotaError::Refused { .. }));
    assert!(error.to_string().contains("without a quota"), "{error}");
}

#[test]
fn leftovers_of_killed_supervisors_are_removed() {
    let dir = TempDir::new().unwrap();
    let folder = |pid: u32| dir.path().join(format!("{PREFIX}{pid}-0"));
    // No process has an id as high as this.
    let (dead, alive) = (folder(u32::MAX), folder(std::process::id()));
    fs::create_dir(&dead).unwrap();
    fs::create_dir(&alive).unwrap();
    remove_leftovers(dir.path());
    assert!(!dead.exists());
    assert!(alive.exists());
}
