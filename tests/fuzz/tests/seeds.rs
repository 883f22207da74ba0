//! Every seed, through its target, with no fuzzer: what was found once is never found again.

use std::{fs, path::Path};

#[test]
fn every_seed_is_survived() {
    for (name, check) in fuzz::TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("seeds")
            .join(name);
        let seeds =
            fs::read_dir(&folder).unwrap_or_else(|error| panic!("{name} has no seeds: {error}"));
        let mut count = 0;
        for seed in seeds {
            let path = seed.unwrap().path();
            println!("{}", path.display());
            check(&fs::read(&path).unwrap());
            count += 1;
        }
        assert!(count > 0, "{name} has no seeds");
    }
}

#[test]
fn a_folder_of_seeds_has_a_target() {
    for folder in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds")).unwrap() {
        let name = folder.unwrap().file_name();
        assert!(
            fuzz::TARGETS.iter().any(|(target, _)| *target == name),
            "{name:?}"
        );
    }
}
