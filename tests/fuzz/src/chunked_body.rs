//! Bodies in chunks, which the balancer takes apart and puts together anew.

use load_balancer::inspect;

use crate::{RUNTIME, judge, step};

const HEAD: &[u8] = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";

/// hyper reads the same data, and the same end.
pub fn check(input: &[u8]) {
    let decoded = inspect::chunks(input, usize::MAX);
    assert_eq!(decoded, inspect::chunks(input, step(input)));
    let Some((data, rest, is_done)) = decoded else {
        return;
    };
    assert!(data.len() + rest.len() <= input.len());
    let used = &input[..input.len() - rest.len()];
    let (seen, is_clean) = RUNTIME.block_on(judge::read(&[HEAD, used].concat()));
    let [seen] = &seen[..] else {
        panic!("not one request: {seen:?}");
    };
    if is_done {
        assert!(is_clean);
        assert_eq!(seen.body.as_deref(), Some(&*data));
        // Chunks of ours say the same.
        let ours = format!("{:x}\r\n", data.len()).into_bytes();
        let ours = match data.len() {
            0 => b"0\r\n\r\n".to_vec(),
            _ => [&ours, &*data, b"\r\n0\r\n\r\n"].concat(),
        };
        assert_eq!(
            inspect::chunks(&ours, step(input)),
            Some((data, Vec::new(), true))
        );
    } else {
        assert_eq!(seen.body, None, "hyper sees an end that we do not");
    }
}
