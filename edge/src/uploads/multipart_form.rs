//! Streaming parser of `multipart/form-data` with one file: one pass over the bytes, with tight limits before the file.
//! Pure.
//!
//! RFC 7578 for forms, RFC 2046 section 5.1 for the delimiters. Each byte is examined once, independent of the chunks
//! of the body, and at most [`MAX_BEFORE_FILE_BYTES`] are buffered besides the last chunk.

use glimpse_contract::{Code, Problem};
use memchr::memchr;

use crate::uploads::UploadFields;
use crate::uploads::content_disposition::{ContentDisposition, decode_text, header_parameter};
use crate::uploads::fields::sanitize_for_message;

/// The most bytes before the file: fields, part headers, and the preamble.
const MAX_BEFORE_FILE_BYTES: usize = 64 * 1024;
/// The most fields before the file.
const MAX_FIELDS: usize = 20;
/// The longest boundary, in bytes, by RFC 2046.
const MAX_BOUNDARY_BYTES: usize = 70;
/// The most spaces and tabs between a boundary and the end of its line.
const MAX_PADDING_BYTES: usize = 64;
const END_OF_HEADERS: &[u8] = b"\r\n\r\n";

/// The events of a form, in the order of its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormEvent {
    /// A field without a file.
    Field {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// The beginning of the file.
    File {
        /// The file's name, decoded.
        name: String,
        /// The declared type of the part; empty if there is none.
        content_type: String,
    },
    /// Bytes of the file.
    Data(Vec<u8>),
    /// The end of the form.
    End,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Preamble,
    Headers,
    Field(String),
    File,
    End,
}

/// The result of searching the buffer for a delimiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DelimiterMatch {
    /// No delimiter, and no beginning of one at the end.
    Absent,
    /// The beginning of a possible delimiter at this position: more bytes are needed.
    Partial(usize),
    /// A delimiter at this position; the next part, or nothing, follows at `end`.
    Full { at: usize, end: usize, is_last: bool },
}

/// The kind of part that the headers describe.
enum PartStart {
    /// Unknown: the headers are incomplete.
    Incomplete,
    /// A field, whose value follows.
    Field,
    /// The file.
    File(FormEvent),
}

/// Parses a form that arrives in chunks.
#[derive(Debug)]
pub struct FormReader {
    delimiter: Vec<u8>,
    buffer: Vec<u8>,
    /// Consumed bytes of the buffer.
    start: usize,
    /// Bytes after `start` that were searched without a match.
    searched: usize,
    state: State,
    /// Consumed bytes outside of the file: before it, then after it.
    bytes_outside_file: usize,
    field_count: usize,
    has_file: bool,
}

/// The boundary of a form's `Content-Type`.
pub fn parse_boundary(content_type: &str) -> Option<String> {
    let boundary = header_parameter(content_type, "boundary")?;
    let is_valid = (1..=MAX_BOUNDARY_BYTES).contains(&boundary.len())
        && boundary.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
        && !boundary.ends_with(' ');
    is_valid.then_some(boundary)
}

impl FormReader {
    /// A parser for a form with this boundary.
    pub fn new(boundary: &str) -> Self {
        Self {
            delimiter: [b"\r\n--", boundary.as_bytes()].concat(),
            // The first delimiter need not follow a line break: one is prepended.
            buffer: b"\r\n".to_vec(),
            start: 0,
            searched: 0,
            state: State::Preamble,
            bytes_outside_file: 0,
            field_count: 0,
            has_file: false,
        }
    }

    /// Appends received bytes.
    pub fn push(&mut self, chunk: Vec<u8>) {
        if self.start == self.buffer.len() {
            self.buffer = chunk;
        } else {
            self.buffer.drain(..self.start);
            self.buffer.extend_from_slice(&chunk);
        }
        self.start = 0;
    }

    /// The next event; `None` if more bytes are needed.
    ///
    /// # Errors
    /// A form that is malformed, or has too many bytes before its file or any content after it.
    pub fn next_event(&mut self) -> Result<Option<FormEvent>, Problem> {
        loop {
            match self.state {
                State::End => return Ok(Some(FormEvent::End)),
                State::Headers => match self.read_part_headers()? {
                    PartStart::Incomplete => return self.need_more_bytes(),
                    PartStart::Field => {}
                    PartStart::File(file) => return Ok(Some(file)),
                },
                State::File => match self.find_delimiter() {
                    DelimiterMatch::Full { at: 0, end, is_last } => {
                        self.bytes_outside_file = 0;
                        let _ = self.skip_delimiter(end, is_last);
                    }
                    // The search finds the delimiter again after the data, immediately.
                    DelimiterMatch::Full { at, .. } | DelimiterMatch::Partial(at) if at > 0 => {
                        return Ok(Some(FormEvent::Data(self.take_file_bytes(at))));
                    }
                    DelimiterMatch::Absent if !self.pending().is_empty() => {
                        return Ok(Some(FormEvent::Data(self.take_file_bytes(self.searched))));
                    }
                    _ => return Ok(None),
                },
                State::Preamble | State::Field(_) => {
                    let DelimiterMatch::Full { at, end, is_last } = self.find_delimiter() else {
                        return self.need_more_bytes();
                    };
                    let value = decode_text(&self.pending()[..at]);
                    let previous_state = self.skip_delimiter(end, is_last);
                    self.check_bytes_outside_file(0)?;
                    if let State::Field(name) = previous_state {
                        UploadFields::check_length(&name, at)?;
                        return Ok(Some(FormEvent::Field { name, value }));
                    }
                }
            }
        }
    }

    fn pending(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Requests more bytes, unless the limit is exceeded.
    fn need_more_bytes(&mut self) -> Result<Option<FormEvent>, Problem> {
        match &self.state {
            State::File => return Ok(None),
            State::Field(name) => {
                UploadFields::check_length(name, self.pending().len().saturating_sub(self.delimiter.len()))?;
            }
            // The preamble is ignored and not buffered.
            State::Preamble if self.searched > 0 => self.consume(self.searched),
            State::Preamble | State::Headers | State::End => {}
        }
        self.check_bytes_outside_file(self.pending().len())?;
        Ok(None)
    }

    fn check_bytes_outside_file(&self, pending: usize) -> Result<(), Problem> {
        if self.bytes_outside_file + pending <= MAX_BEFORE_FILE_BYTES {
            return Ok(());
        }
        let position = if self.has_file { "after" } else { "before" };
        Err(invalid_form(format!(
            "The form has more than {MAX_BEFORE_FILE_BYTES} bytes {position} its file."
        )))
    }

    /// Consumes bytes outside of the file.
    fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        self.searched = 0;
        self.bytes_outside_file += bytes;
    }

    /// Consumes the delimiter that ends at `end`, and returns the state before it.
    fn skip_delimiter(&mut self, end: usize, is_last: bool) -> State {
        self.consume(end);
        std::mem::replace(&mut self.state, if is_last { State::End } else { State::Headers })
    }

    /// Consumes bytes of the file.
    fn take_file_bytes(&mut self, bytes: usize) -> Vec<u8> {
        self.searched = 0;
        if self.start == 0 {
            let rest = self.buffer.split_off(bytes);
            return std::mem::replace(&mut self.buffer, rest);
        }
        let data = self.pending()[..bytes].to_vec();
        self.start += bytes;
        data
    }

    /// Finds the next delimiter, from the end of the last search.
    fn find_delimiter(&mut self) -> DelimiterMatch {
        let pending = &self.buffer[self.start..];
        let mut position = self.searched;
        while let Some(next) = memchr(b'\r', &pending[position..]) {
            let at = position + next;
            match self.match_delimiter(at) {
                DelimiterMatch::Absent => position = at + 1,
                found => {
                    self.searched = at;
                    return found;
                }
            }
        }
        self.searched = pending.len();
        DelimiterMatch::Absent
    }

    /// Whether a delimiter is at this position. A line that only begins like one is not a delimiter.
    fn match_delimiter(&self, at: usize) -> DelimiterMatch {
        let rest = &self.pending()[at..];
        if rest.len() < self.delimiter.len() {
            let is_beginning = self.delimiter.starts_with(rest);
            return if is_beginning { DelimiterMatch::Partial(at) } else { DelimiterMatch::Absent };
        }
        let Some(tail) = rest.strip_prefix(self.delimiter.as_slice()) else { return DelimiterMatch::Absent };
        let end = at + self.delimiter.len();
        if tail.starts_with(b"--") {
            return DelimiterMatch::Full { at, end: end + 2, is_last: true };
        }
        let padding = tail.iter().take(MAX_PADDING_BYTES).take_while(|byte| b" \t".contains(byte)).count();
        match &tail[padding..] {
            [b'\r', b'\n', ..] => DelimiterMatch::Full { at, end: end + padding + 2, is_last: false },
            [] | [b'\r'] if padding < MAX_PADDING_BYTES => DelimiterMatch::Partial(at),
            [b'-'] if padding == 0 => DelimiterMatch::Partial(at),
            _ => DelimiterMatch::Absent,
        }
    }

    /// Parses the headers of a part.
    fn read_part_headers(&mut self) -> Result<PartStart, Problem> {
        let pending = &self.buffer[self.start..];
        let end = if pending.starts_with(b"\r\n") {
            Some(0)
        } else {
            let from = self.searched;
            pending[from..]
                .windows(END_OF_HEADERS.len())
                .position(|four| four == END_OF_HEADERS)
                .map(|at| from + at)
        };
        let Some(end) = end else {
            // The end of the buffer may contain the beginning of the searched bytes.
            self.searched = pending.len().saturating_sub(END_OF_HEADERS.len() - 1);
            return Ok(PartStart::Incomplete);
        };
        let part = PartHeaders::read(&decode_text(&pending[..end]));
        let length = if end == 0 { 2 } else { end + END_OF_HEADERS.len() };
        self.consume(length);
        self.check_bytes_outside_file(0)?;
        if self.has_file {
            return Err(field_after_file_problem(&part.disposition.name));
        }
        let Some(name) = part.disposition.file_name else {
            self.field_count += 1;
            if self.field_count > MAX_FIELDS {
                return Err(invalid_form(format!(
                    "The form has more than {MAX_FIELDS} fields before its file."
                )));
            }
            UploadFields::check_name(&part.disposition.name)?;
            self.state = State::Field(part.disposition.name);
            return Ok(PartStart::Field);
        };
        if name.trim().is_empty() {
            return Err(invalid_form("The form has no file: the file name is empty.".to_owned()));
        }
        if part.is_encoded {
            let detail = "The file in the form must be sent as raw bytes, without \
                          Content-Transfer-Encoding.";
            return Err(invalid_form(detail.to_owned()));
        }
        self.has_file = true;
        self.state = State::File;
        Ok(PartStart::File(FormEvent::File { name, content_type: part.content_type }))
    }
}

/// The relevant headers of a part.
#[derive(Debug, Default)]
struct PartHeaders {
    disposition: ContentDisposition,
    content_type: String,
    is_encoded: bool,
}

impl PartHeaders {
    fn read(headers: &str) -> Self {
        let mut part = Self::default();
        // A line that begins with a space continues the previous one, by RFC 5322.
        let whole = headers.replace("\r\n ", " ").replace("\r\n\t", " ");
        for line in whole.split("\r\n") {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match name.trim().to_ascii_lowercase().as_str() {
                "content-disposition" => part.disposition = ContentDisposition::parse(value),
                "content-type" => value.clone_into(&mut part.content_type),
                "content-transfer-encoding" => {
                    part.is_encoded =
                        !["", "7bit", "8bit", "binary"].iter().any(|plain| value.eq_ignore_ascii_case(plain));
                }
                _ => {}
            }
        }
        part
    }
}

/// The problem for a field after the file: the upload has already started with the earlier fields.
fn field_after_file_problem(name: &str) -> Problem {
    invalid_form(format!(
        "The field `{}` is after the file: fields must precede the only file.",
        sanitize_for_message(name)
    ))
}

fn invalid_form(detail: String) -> Problem {
    Problem::with_detail(Code::BadParameter, detail)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILE: &str = "--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.mp4\"\r\n\
                        Content-Type: video/mp4\r\n\r\n";

    /// All events of a body in chunks of this length, with the file's bytes joined; or the detail of the problem.
    fn read_all(body: &[u8], chunk: usize) -> Result<(Vec<FormEvent>, Vec<u8>), Problem> {
        let mut reader = FormReader::new("XX");
        let (mut events, mut file) = (Vec::new(), Vec::new());
        let mut chunks = body.chunks(chunk);
        loop {
            match reader.next_event()? {
                Some(FormEvent::Data(data)) => {
                    assert!(!data.is_empty());
                    file.extend(data);
                }
                Some(FormEvent::End) => return Ok((events, file)),
                Some(event) => events.push(event),
                None => match chunks.next() {
                    Some(chunk) => reader.push(chunk.to_vec()),
                    None => return Err(invalid_form("cut".to_owned())),
                },
            }
            let max_buffered = MAX_BEFORE_FILE_BYTES.saturating_add(2 * chunk.min(body.len()));
            assert!(reader.buffer.len() <= max_buffered + 128, "{} bytes are buffered", reader.buffer.len());
        }
    }

    fn field(name: &str, value: &str) -> String {
        format!("--XX\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    }

    #[track_caller]
    fn assert_rejected(body: &[u8], word: &str) {
        for chunk in [1, 7, 4096, usize::MAX] {
            let problem = read_all(body, chunk).unwrap_err();
            assert_eq!(problem.code, Code::BadParameter);
            assert!(problem.detail.contains(word), "{word}: {}", problem.detail);
        }
    }

    #[test]
    fn parses_quoted_and_bare_boundary() {
        for (text, expected) in [
            ("multipart/form-data; boundary=XX", Some("XX")),
            ("multipart/form-data; charset=utf-8; Boundary=\"a b'()+_,-./:=?\"", Some("a b'()+_,-./:=?")),
            ("multipart/form-data; boundary=\"\"", None),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=\"a \"", None),
            ("multipart/form-data; boundary=\u{e9}", None),
        ] {
            assert_eq!(parse_boundary(text).as_deref(), expected, "{text}");
        }
        assert_eq!(parse_boundary(&format!("multipart/form-data; boundary={}", "x".repeat(71))), None);
    }

    #[test]
    fn result_is_independent_of_chunking() {
        let file = b"\r\n--X\r\n--XXY\r\n--XX- \r\n-\r\r\n\r\n--XX \t x\0\xff\r";
        let body = [
            b"preamble\r\n--X\r\n",
            field("external_id", "").as_bytes(),
            field("metadata", "{\"a\":\r\n\"b\"}").as_bytes(),
            FILE.as_bytes(),
            file,
            b"\r\n--XX--\r\nepilogue\r\n--XX\r\n\r\n",
        ]
        .concat();
        for chunk in 1..=body.len() {
            let (events, found) = read_all(&body, chunk).unwrap();
            assert_eq!(found, file, "chunks of {chunk}");
            assert_eq!(
                events,
                [
                    FormEvent::Field { name: "external_id".into(), value: String::new() },
                    FormEvent::Field { name: "metadata".into(), value: "{\"a\":\r\n\"b\"}".into() },
                    FormEvent::File { name: "a.mp4".into(), content_type: "video/mp4".into() },
                ]
            );
        }
    }

    #[test]
    fn parses_folded_and_mixed_case_headers() {
        let body = b"--XX  \r\ncontent-DISPOSITION : form-data;\r\n\tNAME=file ; filename=a.mp4\r\nX: y\r\n\r\nz\r\n--XX--";
        let (events, file) = read_all(body, 5).unwrap();
        assert_eq!(events, [FormEvent::File { name: "a.mp4".into(), content_type: String::new() }]);
        assert_eq!(file, b"z");
    }

    #[test]
    fn truncated_form_yields_no_end_event() {
        let body = [FILE.as_bytes(), b"xyz\r\n--XX--"].concat();
        for length in 0..body.len() {
            assert_eq!(read_all(&body[..length], 9).unwrap_err().detail, "cut", "{length} bytes");
        }
        assert_eq!(read_all(&body, 9).unwrap().1, b"xyz");
    }

    /// Row U16 of the threat model: the bytes before the file cost a bounded amount of work and memory.
    #[test]
    fn bytes_before_file_are_limited() {
        let endless = |start: &[u8], unit: &[u8]| {
            let mut body = start.to_vec();
            while body.len() < 300_000 {
                body.extend_from_slice(unit);
            }
            body
        };
        let header = b"--XX\r\nContent-Disposition: form-data; name=\"";
        for (start, unit) in [
            (&b""[..], &b"x"[..]),
            (b"", b"\r\n--X"),
            (b"", b"\r\n--XXx"),
            (b"", b"\r"),
            (b"--XX\r\n", b"X-Padding: x\r\n"),
            (b"--XX\r\n", b"x"),
            (b"--XX\r\n", b"\r\r\n"),
            (header, b"a"),
        ] {
            assert_rejected(&endless(start, unit), "65536 bytes before");
        }
        let value = endless(b"--XX\r\nContent-Disposition: form-data; name=\"external_id\"\r\n\r\n", b"x");
        assert_rejected(&value, "`external_id` is too long");
        let many = field("external_id", "x").repeat(MAX_FIELDS + 1) + FILE;
        assert_rejected(many.as_bytes(), "more than 20 fields");
        let most = field("external_id", "x").repeat(MAX_FIELDS) + FILE + "y\r\n--XX--";
        assert_eq!(read_all(most.as_bytes(), 100).unwrap().1, b"y");
        // In one chunk with the file, as well.
        let wide = format!("--XX\r\nX: {}\r\n{}", "x".repeat(MAX_BEFORE_FILE_BYTES), &FILE[6..]);
        assert_rejected(wide.as_bytes(), "65536 bytes before");
        let preamble = format!("{}\r\n{FILE}y\r\n--XX--", "x".repeat(MAX_BEFORE_FILE_BYTES));
        assert_rejected(preamble.as_bytes(), "65536 bytes before");
    }

    #[test]
    fn rejects_fields_after_file() {
        let body = |more: &str| format!("{FILE}y\r\n{more}").into_bytes();
        assert_rejected(&body(&field("visibility", "signed")), "`visibility` is after the file");
        assert_rejected(&body(FILE), "`file` is after the file");
        assert_rejected(&body(&format!("--XX\r\n{}", "x".repeat(100_000))), "bytes after");
    }

    #[test]
    fn names_part_without_file() {
        assert_rejected(
            b"--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"\"\r\n\r\n\r\n--XX--",
            "no file",
        );
        assert_rejected(field("file", "x").as_bytes(), "`file` has no file name");
        assert_rejected(field("colour", "x").as_bytes(), "Unknown field `colour`");
        assert_rejected(b"--XX\r\n\r\nx\r\n--XX--", "has no name");
        let encoded = FILE.replace("Content-Type: video/mp4", "Content-Transfer-Encoding: base64");
        assert_rejected(encoded.as_bytes(), "Content-Transfer-Encoding");
    }

    /// The work is proportional to the length: a quadratic search would take minutes.
    #[test]
    fn parses_delimiter_lookalikes_in_linear_time() {
        for unit in [&b"\r\n--X"[..], b"\r", b"\r\n--XXa", b"x"] {
            let file = unit.repeat(4_000_000 / unit.len());
            let body = [FILE.as_bytes(), &file, b"\r\n--XX--"].concat();
            for chunk in [100, 65_536, usize::MAX] {
                assert!(read_all(&body, chunk).unwrap().1 == file);
            }
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_ignores_chunking(
            body in "(--XX|\r\n|--|:|;|[a-z\"=*' ]|Content-Disposition: form-data; name=\"(file|metadata)\"|filename){0,60}",
            chunk in 1_usize..40,
        ) {
            let tail = format!("{FILE}{body}\r\n--XX--");
            for body in [body.as_bytes(), tail.as_bytes()] {
                prop_assert_eq!(read_all(body, chunk), read_all(body, usize::MAX));
            }
        }
    }
}
