//! A history's file, which may come from somebody else's run.

use std::{fs, path::PathBuf, sync::LazyLock};

use evidence::{
    checker,
    history::{History, Line, file::Appender},
};
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder"));

/// What was read is the same when it was written and read again, and can be judged.
pub fn check(input: &[u8]) {
    let Some(history) = read("history.jsonl", input) else {
        return;
    };
    let again = write(&history);
    let again = read("again.jsonl", &again).expect("what we wrote");
    assert_eq!(format!("{again:?}"), format!("{history:?}"));
    let verdict = checker::check(&history);
    assert_eq!(verdict.losses.len(), checker::check(&again).losses.len());
}

fn path(name: &str) -> PathBuf {
    FOLDER.path().join(name)
}

fn read(name: &str, bytes: &[u8]) -> Option<History> {
    let path = path(name);
    fs::write(&path, bytes).expect("written");
    History::read(&path).ok()
}

fn write(history: &History) -> Vec<u8> {
    let path = path("written.jsonl");
    fs::write(&path, []).expect("emptied");
    let mut file = Appender::open(&path).expect("opened");
    file.push(&Line::Meta(Box::new(history.meta.clone())));
    let operations = history.operations.iter().chain(&history.revocations);
    operations.for_each(|operation| file.push(&Line::Operation(operation.clone())));
    history
        .faults
        .iter()
        .for_each(|fault| file.push(&Line::Fault(fault.clone())));
    history
        .usage
        .iter()
        .for_each(|usage| file.push(&Line::Usage(*usage)));
    if let Some(memory) = history.memory {
        file.push(&Line::Memory(memory));
    }
    if let Some(counts) = &history.counts {
        file.push(&Line::Counts(counts.clone()));
    }
    file.flush().expect("flushed");
    fs::read(&path).expect("read")
}
