//! Where a body ends (RFC 9112, sections 6 and 7): decoding what arrives, encoding what goes on.
//!
//! Chunks are never passed on as they came. The balancer decodes them strictly and writes chunks of its own,
//! so extensions and trailers end here, and a mistake that another parser would read differently cannot
//! reach one.

use std::io::Write as _;

/// A chunk's size has at most this many hexadecimal digits: more than any body that is let through.
const SIZE_DIGITS: u8 = 15;
/// Extensions of one chunk, in bytes. Nobody uses them.
const MAX_EXTENSION: usize = 256;
/// All trailers together, in bytes.
const MAX_TRAILERS: usize = 4096;

/// How much of a body is still to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// That many bytes.
    Length(u64),
    /// Chunks, up to one of size 0.
    Chunked(Chunks),
    /// Everything until the connection is closed. Only an answer can end like that.
    UntilClose,
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As it is: its length was announced, or the end of the connection ends it.
    Plain,
    /// In chunks.
    Chunked,
}

/// The bytes break the framing. Nothing that follows can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// What became of some bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    /// Bytes of the input that were used.
    pub(crate) used: usize,
    /// Bytes of the body among them.
    pub(crate) data: usize,
}

impl Framing {
    /// Chunks from their beginning.
    pub(crate) fn chunked() -> Self {
        Self::Chunked(Chunks::default())
    }

    /// Has everything come?
    pub(crate) fn is_done(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunks) => chunks.step == Step::Done,
            Self::UntilClose => false,
        }
    }

    /// Moves as much of `input` as belongs to the body to `output`. What is not used comes after the body.
    pub(crate) fn pass(
        &mut self,
        input: &[u8],
        output: &mut Vec<u8>,
        encoding: Encoding,
    ) -> Result<Passed, Malformed> {
        let was_done = self.is_done();
        let passed = match self {
            Self::Length(left) => {
                let count = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(input.len());
                *left -= count as u64;
                write(&input[..count], output, encoding);
                Passed {
                    used: count,
                    data: count,
                }
            }
            Self::Chunked(chunks) => chunks.pass(input, output, encoding)?,
            Self::UntilClose => {
                write(input, output, encoding);
                Passed {
                    used: input.len(),
                    data: input.len(),
                }
            }
        };
        if !was_done && self.is_done() && encoding == Encoding::Chunked {
            output.extend_from_slice(b"0\r\n\r\n");
        }
        Ok(passed)
    }
}

fn write(data: &[u8], output: &mut Vec<u8>, encoding: Encoding) {
    match encoding {
        // An empty chunk would end the body.
        _ if data.is_empty() => {}
        Encoding::Plain => output.extend_from_slice(data),
        Encoding::Chunked => {
            // Writing to a vector cannot fail.
            let _ = write!(output, "{:x}\r\n", data.len());
            output.extend_from_slice(data);
            output.extend_from_slice(b"\r\n");
        }
    }
}

/// A decoder of chunks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chunks {
    step: Step,
    /// The size as far as it was read, then the bytes of the chunk that are still to come.
    size: u64,
    /// Digits of a size, bytes of an extension, bytes of all trailers: each has a limit.
    count: usize,
}

/// What the next byte must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    #[default]
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// The first byte of a trailer, or of the empty line after the last one.
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
}

impl Chunks {
    fn pass(
        &mut self,
        input: &[u8],
        output: &mut Vec<u8>,
        encoding: Encoding,
    ) -> Result<Passed, Malformed> {
        let mut passed = Passed::default();
        while self.step != Step::Done {
            let rest = &input[passed.used..];
            let Some(byte) = rest.first() else { break };
            if self.step == Step::Data {
                let count = usize::try_from(self.size)
                    .unwrap_or(usize::MAX)
                    .min(rest.len());
                write(&rest[..count], output, encoding);
                self.size -= count as u64;
                passed.used += count;
                passed.data += count;
                if self.size == 0 {
                    self.step = Step::DataCr;
                }
            } else {
                self.step = self.next(*byte)?;
                passed.used += 1;
            }
        }
        Ok(passed)
    }

    fn next(&mut self, byte: u8) -> Result<Step, Malformed> {
        self.count += 1;
        Ok(match (self.step, byte) {
            (Step::Size, _)
                if byte.is_ascii_hexdigit() && self.count <= usize::from(SIZE_DIGITS) =>
            {
                let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
                self.size = self.size * 16 + u64::from(digit);
                Step::Size
            }
            (Step::Size, b';') if self.count > 1 => {
                self.count = 0;
                Step::Extension
            }
            (Step::Size, b'\r') if self.count > 1 => Step::SizeLf,
            (Step::Extension, b'\r') => Step::SizeLf,
            (Step::Extension, _) if is_text(byte) && self.count <= MAX_EXTENSION => Step::Extension,
            (Step::SizeLf, b'\n') => {
                self.count = 0;
                if self.size == 0 {
                    Step::TrailerStart
                } else {
                    Step::Data
                }
            }
            (Step::DataCr, b'\r') => Step::DataLf,
            (Step::DataLf, b'\n') => {
                self.count = 0;
                Step::Size
            }
            (Step::TrailerStart, b'\r') => Step::EndLf,
            (Step::TrailerStart | Step::TrailerName, _)
                if is_token(byte) && self.count <= MAX_TRAILERS =>
            {
                Step::TrailerName
            }
            (Step::TrailerName, b':') => Step::TrailerValue,
            (Step::TrailerValue, b'\r') => Step::TrailerLf,
            (Step::TrailerValue, _) if is_text(byte) && self.count <= MAX_TRAILERS => {
                Step::TrailerValue
            }
            (Step::TrailerLf, b'\n') => Step::TrailerStart,
            (Step::EndLf, b'\n') => Step::Done,
            _ => return Err(Malformed),
        })
    }
}

/// What may stand in a field's value.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// What a field's name is made of (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes a whole body in pieces of `step` bytes. Returns the data and what was left over.
    fn decode(input: &[u8], step: usize) -> Result<(Vec<u8>, Vec<u8>, bool), Malformed> {
        let mut framing = Framing::chunked();
        let mut data = Vec::new();
        let mut used = 0;
        for end in (step..input.len()).step_by(step).chain([input.len()]) {
            used += framing
                .pass(&input[used..end], &mut data, Encoding::Plain)?
                .used;
        }
        Ok((data, input[used..].to_vec(), framing.is_done()))
    }

    #[test]
    fn chunks_are_decoded_and_what_follows_is_left() {
        let body = b"5;a=\"b\"\r\nhello\r\n00a\r\n0123456789\r\n0\r\nX-Trailer: 1\r\nContent-Length: 5\r\n\r\nGET";
        for step in 1..body.len() {
            assert_eq!(
                decode(body, step),
                Ok((b"hello0123456789".to_vec(), b"GET".to_vec(), true)),
                "{step}"
            );
        }
    }

    #[test]
    fn tricks_with_chunks_are_refused() {
        let long_extension = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(300));
        let long_trailer = format!("0\r\na: {}\r\n\r\n", "x".repeat(5000));
        for bad in [
            "\r\n",
            "g\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\n",
            " 1\r\n",
            "1 \r\n",
            "1\n",
            "1\rx",
            "1;a\n",
            "1;a\0\r\n",
            "ffffffffffffffff\r\n",
            "1\r\nab",
            "1\r\na\n",
            "1\r\na\rx",
            "0\r\n\n",
            "0\r\n x: 1\r\n\r\n",
            "0\r\nx : 1\r\n\r\n",
            "0\r\nnocolon\r\n\r\n",
            "0\r\nx: 1\n\r\n",
            "0\r\nx: \0\r\n\r\n",
            &long_extension,
            &long_trailer,
        ] {
            assert_eq!(decode(bad.as_bytes(), 3), Err(Malformed), "{bad:?}");
        }
    }

    #[test]
    fn a_length_takes_its_bytes_and_no_more() {
        let mut framing = Framing::Length(5);
        let mut output = Vec::new();
        let passed = framing
            .pass(b"helloGET", &mut output, Encoding::Plain)
            .expect("passed");
        assert_eq!(
            (passed.used, framing.is_done(), &output[..]),
            (5, true, &b"hello"[..])
        );
        let mut output = Vec::new();
        Framing::Length(5)
            .pass(b"hello", &mut output, Encoding::Chunked)
            .expect("passed");
        assert_eq!(output, b"5\r\nhello\r\n0\r\n\r\n");
    }

    proptest! {
        /// What is encoded is decoded to the same, however it is cut.
        #[test]
        fn chunks_of_ours_survive(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..6),
            step in 1..60_usize,
        ) {
            let whole = pieces.concat();
            let mut framing = Framing::Length(whole.len() as u64);
            let mut encoded = Vec::new();
            for piece in &pieces {
                framing.pass(piece, &mut encoded, Encoding::Chunked).expect("a length accepts everything");
            }
            if pieces.is_empty() {
                encoded.extend_from_slice(b"0\r\n\r\n");
            }
            prop_assert_eq!(decode(&encoded, step), Ok((whole, Vec::new(), true)));
        }

        /// Nothing makes the decoder panic, or take more than it was given.
        #[test]
        fn any_bytes_are_survived(
            bytes in prop::collection::vec(prop::sample::select(&b"0123afF;\r\n\r\n: x\0"[..]), 0..64),
            step in 1..9_usize,
        ) {
            if let Ok((data, rest, _)) = decode(&bytes, step) {
                prop_assert!(data.len() + rest.len() <= bytes.len());
            }
        }
    }
}
